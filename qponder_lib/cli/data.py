"""`qponder data`: list, check, leaks, prepare, mirrors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from qponder_lib import artifacts, config
from qponder_lib.paths import RunPaths

if TYPE_CHECKING:
    from qponder_lib.data.specs import DatasetSpec

_USAGE, _FAILED = 2, 1

app = typer.Typer(no_args_is_help=True, help="Public image sets: check a copy, use it in a run.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="a set; `qponder data list` has them")]
Root = Annotated[Path, typer.Option(help="folder of your copy")]
Label = Annotated[str | None, typer.Option(help="kind of label; the set's first without")]
Layout = Annotated[str | None, typer.Option(help="official or metas; without, what lies there")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def _refuse(error: Exception, code: int = _USAGE) -> NoReturn:
    print(f"qponder: {error}", file=sys.stderr)
    raise typer.Exit(code) from error


@app.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """Print every set: images or clips, labels, splits, terms, traps."""
    from qponder_lib.data import catalog
    from qponder_lib.data.splits import split_named

    if as_json:
        print(artifacts.to_json([_described(spec) for spec in catalog.SPECS], indent=2))
        return
    for spec in catalog.SPECS:
        references = f", {spec.n_references} references" if spec.n_references else ""
        print(f"{spec.name}: {spec.title}, {spec.n_images:,} {spec.media}s{references}")
        for column in spec.labels:
            scale = column.scale
            way = "higher is better" if scale.higher_is_better else "higher is worse"
            print(f"  label  {column.name}, {scale.low:g} to {scale.high:g}, {way}")
        for name in spec.splits:
            print(f"  split  {name}: {split_named(name).meaning}")
        for meta in spec.metas.files if spec.metas else ():
            print(f"  meta   {meta.file}: {meta.n:,} {meta.split}")
        print(f"  terms  {spec.terms}")
        if spec.notes:
            print(f"  note   {spec.notes}")


def _described(spec: DatasetSpec) -> dict[str, Any]:
    described = spec.model_dump(mode="json")
    return {**described, "severity_tags": spec.severity_tags}


@app.command()
def check(
    name: Name,
    root: Root,
    label: Label = None,
    layout: Layout = None,
    decode: Annotated[bool, typer.Option(help="read and decode every image")] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is in a copy of a set, what is missing and what disagrees; exit 1 on errors."""
    from qponder_lib.data import catalog, checking

    try:
        report = checking.check(
            catalog.spec_named(name),
            root,
            label=label,
            source=_one_of("--layout", layout, ("official", "metas")),
            decode=decode,
            progress=not as_json,
        )
    except ValueError as error:
        _refuse(error)
    print(artifacts.to_json(report.to_json(), indent=2) if as_json else checking.describe(report))
    raise typer.Exit(0 if report.ok else _FAILED)


def _one_of(option: str, text: str | None, allowed: tuple[str, ...]) -> Any:
    if text is not None and text not in allowed:
        raise ValueError(f"{option} {text!r}: expected {' or '.join(allowed)}")
    return text


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
    from qponder_lib.data import leaks

    try:
        if (run is None) == (not train and not test) or bool(train) != bool(test):
            raise ValueError("state either --run RUN, or --train DIR and --test DIR")
        if run is not None:
            report = leaks.leaks_in_run(RunPaths.named(run), progress=not as_json)
        else:
            report = leaks.leaks_between(
                _by_path(train or ()), _by_path(test or ()), progress=not as_json
            )
    except (ValueError, FileNotFoundError) as error:
        _refuse(error)
    if as_json:
        print(artifacts.to_json({**report.model_dump(mode="json"), "ok": report.ok}, indent=2))
    else:
        for place, n in report.n_images.items():
            print(f"{place}: {n} images")
        for finding in report.findings:
            print(f"{finding.kind}: {finding}")
        print(f"{report.n_shared} shared images, {len(report.findings)} findings in all")
    raise typer.Exit(0 if report.ok else _FAILED)


def _by_path(folders: Sequence[Path]) -> dict[str, Path]:
    return {str(folder): folder for folder in folders}


@app.command()
def prepare(
    name: Name,
    root: Root,
    run: Annotated[str, typer.Option(help="folder in papermill_runs/")],
    split: Annotated[str | None, typer.Option(help="the set's first without")] = None,
    label: Label = None,
    layout: Layout = None,
    mapping: Annotated[
        str, typer.Option(help="minmax: by the labels of the whole set; scale: by its scale")
    ] = "minmax",
    validation: Annotated[int, typer.Option(help="training images to hold out", min=0)] = 0,
    at_most: Annotated[
        int | None, typer.Option(help="images of each part at most, for a rehearsal", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="which are held out, and which stay")] = 0,
) -> None:
    """Write the rows of a set into a run; the images stay where they are."""
    from qponder_lib.data import prepared as preparing
    from qponder_lib.data.findings import DatasetError

    try:
        choices = preparing.Choices(
            split=split,
            label=label,
            source=_one_of("--layout", layout, ("official", "metas")),
            mapping=_one_of("--mapping", mapping, ("minmax", "scale")),
            n_validation=validation,
            at_most=at_most,
            seed=seed,
        )
        made = preparing.prepare(name, root, RunPaths.named(run), choices)
    except DatasetError as error:
        _refuse(error, _FAILED)
    except (ValueError, FileNotFoundError) as error:
        _refuse(error)
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


@app.command()
def mirrors(
    run: Annotated[str, typer.Option(help="folder in papermill_runs/")],
    images: Annotated[int, typer.Option(help="in each mirror", min=1)] = 300,
) -> None:
    """Make the mini-valid sets, to choose and tune by, in a run that has none."""
    from qponder_lib.data import benchmark

    try:
        paths = RunPaths.named(run)
        settings = config.load_profile(paths.profile).data
        if settings.source != "embedded":
            raise ValueError(f"{run} has {settings.source} sets; mirrors are of the embedded ones")
        rows = benchmark.build_mirrors(settings, images, paths)
    except (ValueError, FileNotFoundError) as error:
        _refuse(error)
    for row in rows:
        print(f"{row['set']}: {row['n']} images, ceiling SRCC {row['ceiling_srcc']:.3f}")
