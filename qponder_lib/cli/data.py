"""`qponder data`: list, check, leaks, prepare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qponder_lib.cli.common import AsJson, answer
from qponder_lib.paths import RunPaths

if TYPE_CHECKING:
    from qponder_lib.data.catalog import DatasetSpec

app = typer.Typer(no_args_is_help=True, help="Check image sets, public or your own; use them.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="a public set, or with --labels a name of yours")
]
ImagesOption = typer.Option("--root", "--images", help="folder of your copy, or of your images")
Labels = Annotated[Path | None, typer.Option(help="table of your own labels")]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="column of your table: image; default: by its name")
]
ScoreColumn = Annotated[
    str | None, typer.Option("--score", help="column: human score; default: by its name")
]
StdColumn = Annotated[str | None, typer.Option("--std", help="column: its standard deviation")]
ReferenceColumn = Annotated[
    str | None, typer.Option("--reference", help="column: photograph that an image was made of")
]
Ends = Annotated[
    tuple[float, float] | None,
    typer.Option("--range", metavar="LOW HIGH", help="ends of your scale; default: of the labels"),
]
Lower = Annotated[bool, typer.Option("--lower-is-better", help="your labels rate bad quality")]
Kind = Annotated[str | None, typer.Option(help="kind of label; default: the set's first")]
Layout = Annotated[
    Literal["official", "metas"] | None,
    typer.Option(help="the authors' label files, or metas; default: what lies there"),
]


@app.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """Print every set: images or clips, labels, splits, terms, traps."""
    from qponder_lib.data import catalog

    text = "\n".join(line for spec in catalog.SPECS for line in _told(spec))
    answer(as_json, catalog.SPECS, text)


def _told(spec: DatasetSpec) -> Iterator[str]:
    references = f", {spec.n_references} references" if spec.n_references else ""
    yield f"{spec.name}: {spec.title}, {spec.n_images:,} {spec.media}s{references}"
    for label in spec.labels:
        way = "higher is better" if label.scale.higher_is_better else "higher is worse"
        yield f"  label  {label.name}, {label.scale.low:g} to {label.scale.high:g}, {way}"
    for name, rule in spec.splits.items():
        yield f"  split  {name}: {rule.meaning}"
    for file, (split, n) in spec.metas.items():
        yield f"  meta   {file}: {n:,} {split}"
    yield f"  terms  {spec.terms}"
    if spec.notes:
        yield f"  note   {spec.notes}"


@app.command()
def check(
    name: Name,
    root: Annotated[Path | None, ImagesOption] = None,
    labels: Labels = None,
    id_column: IdColumn = None,
    score: ScoreColumn = None,
    std: StdColumn = None,
    reference: ReferenceColumn = None,
    split: Annotated[str | None, typer.Option(help="column of your table: split")] = None,
    ends: Ends = None,
    lower_is_better: Lower = False,
    label: Kind = None,
    layout: Layout = None,
    decode: Annotated[bool, typer.Option(help="read and decode every image")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is in a set, what is missing and what disagrees; exit 1 on errors.

    Of your own set the labels alone are checked if no --images are given.
    """
    from qponder_lib.data import check as checking

    columns = {"id": id_column, "score": score, "std": std, "reference": reference, "split": split}
    spec = _spec(name, labels, columns, ends, lower_is_better)
    folder = root or (labels.parent if labels else None)
    if folder is None:
        raise ValueError("state the folder of your copy: --root DIR")
    copy = checking.load_labels(spec, folder, label, layout)
    if root is not None:
        copy = checking.examine(copy, decode=decode, progress=not as_json)
    told = checking.summary(copy)
    answer(as_json, told, checking.describe(copy), ok=told["ok"])


def _spec(
    name: str,
    labels: Path | None,
    columns: dict[str, str | None],
    ends: tuple[float, float] | None,
    lower_is_better: bool,
) -> DatasetSpec:
    """Return the catalogue's set, or describe the user's own."""
    from qponder_lib.data import catalog

    if labels is not None:
        own = {"columns": columns, "ends": ends, "lower_is_better": lower_is_better}
        return catalog.own_spec(name, labels, **own)
    options = {**columns, "range": ends, "lower-is-better": lower_is_better}
    if declared := [f"--{option}" for option, value in options.items() if value]:
        raise ValueError(f"{', '.join(declared)} describe a set of your own: say --labels")
    return catalog.spec_named(name)


@app.command("leaks")
def find_leaks(
    run: Annotated[str | None, typer.Option(help="compare the parts of this run")] = None,
    train: Annotated[
        list[Path] | None, typer.Option(help="folder of images trained on; repeatable")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option(help="folder of images tested on; repeatable")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find images that training and test sets share, by their pixels; exit 1 if there are any."""
    from qponder_lib.data import check as checking

    if (run is None) == (not train and not test) or bool(train) != bool(test):
        raise ValueError("state either --run RUN, or --train DIR and --test DIR")
    if run is not None:
        counted, found = checking.leaks_in_run(RunPaths.named(run), progress=not as_json)
    else:
        counted, found = checking.leaks_between(train or (), test or (), progress=not as_json)
    n_shared = sum(finding.code == "shared_image" for finding in found)
    lines = [f"{place}: {n} images" for place, n in counted.items()]
    lines += [str(finding) for finding in found]
    lines.append(f"{n_shared} shared images, {len(found)} findings in all")
    data = {"n_images": counted, "findings": found, "ok": not found}
    answer(as_json, data, "\n".join(lines), ok=not found)


@app.command()
def prepare(
    name: Name,
    root: Annotated[Path, ImagesOption],
    run: Annotated[
        str | None, typer.Option(help="folder in papermill_runs/; default: for every run")
    ] = None,
    labels: Labels = None,
    id_column: IdColumn = None,
    score: ScoreColumn = None,
    std: StdColumn = None,
    reference: ReferenceColumn = None,
    split: Annotated[
        str | None,
        typer.Option(help="a split of the set; of your own: its column, or whole for a test set"),
    ] = None,
    ends: Ends = None,
    lower_is_better: Lower = False,
    label: Kind = None,
    layout: Layout = None,
    mapping: Annotated[
        Literal["minmax", "scale"] | None,
        typer.Option(
            help="MOS 0 and 100 are, minmax: the smallest and largest label; scale: the ends of "
            "the scale; default: minmax, or scale with --range"
        ),
    ] = None,
    validation: Annotated[int, typer.Option(help="training images to hold out", min=0)] = 0,
    at_most: Annotated[
        int | None, typer.Option(help="images of each part at most, for a rehearsal", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="which are held out, and which stay")] = 0,
) -> None:
    """Check a set and write its rows for one run or every run; the images stay where they are."""
    from qponder_lib.data import prepare as preparing

    columns = {"id": id_column, "score": score, "std": std, "reference": reference}
    if labels and split != "whole":
        columns["split"], split = split, None
    made = preparing.prepare(
        _spec(name, labels, columns, ends, lower_is_better),
        root,
        RunPaths.named(run or preparing.SHARED),
        split=split,
        label=label,
        layout=layout,
        mapping=mapping or ("scale" if ends else "minmax"),
        n_validation=validation,
        at_most=at_most,
        seed=seed,
    )
    low, high = made.label_range
    whole = made.n_whole or {}
    parts = ", ".join(
        f"{part} {n:,}" + (f" of {whole[part]:,}" if part in whole else "")
        for part, n in made.n.items()
    )
    print(f"{made.name}, split {made.split}: {parts}")
    print(f"label {made.label}: {low:g} to {high:g} on MOS 0 to 100 ({made.mapping})")
    if made.n_duplicates:
        print(f"{made.n_duplicates} images show the same pixels as another of their part")
    for warning in made.warnings:
        print(f"  {warning}")
    print(f"to use it: --set data.source=prepared --set data.train_set={made.name}")
