"""`qponder evaluate`, `compare` and `probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qponder_lib.cli.common import BAD_INPUT, FAILED, AsJson, answer, complain

if TYPE_CHECKING:
    import pandas as pd

    from qponder_lib.evaluation.external import Comparison, Evaluation, Joined, Labels

_NAMED = 5  # rows of a kind that are named before the others are counted

LabelsOption = Annotated[
    Path | None, typer.Option(help="file of human scores; default: those in the predictions")
]
IdOption = Annotated[str | None, typer.Option("--id", help="column that names the image")]
ScoreOption = Annotated[str | None, typer.Option("--score", help="column of the prediction")]
LabelsIdOption = Annotated[
    str | None, typer.Option("--labels-id", help="column of the label file that names the image")
]
MosOption = Annotated[str | None, typer.Option("--mos", help="column of the human score")]


def evaluate(
    files: Annotated[list[Path], typer.Argument(help="predictions, one file per set")],
    labels: LabelsOption = None,
    id_column: IdOption = None,
    score_column: ScoreOption = None,
    labels_id: LabelsIdOption = None,
    mos_column: MosOption = None,
    protocols: Annotated[
        bool, typer.Option("--protocols", help="also measure after a logistic fit, and softmax")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure files of predictions against human scores.

    Whoever wrote them. A file that cannot be used costs itself alone: the others are measured,
    and the exit code is 1.
    """
    from tqdm import tqdm

    from qponder_lib.data.tabular import TableError
    from qponder_lib.evaluation import external
    from qponder_lib.metrics.bootstrap import N_RESAMPLES

    human = _labels(labels, labels_id, mos_column)
    results, measured = [], 0
    for file in files:
        try:
            mos = None if labels else mos_column
            scores = external.read_scores(file, id=id_column, score=score_column, mos=mos)
            with tqdm(total=N_RESAMPLES, desc=file.name, delay=3, mininterval=5) as bar:
                found = external.evaluate(scores, human, protocols=protocols, progress=bar.update)
        except TableError as error:
            if len(files) == 1:
                raise
            complain(error)
            results.append({"file": file, "error": str(error)})
            continue
        results.append(_result(found))
        measured += any(one.value is not None for one in found.numbers.values())
        if not as_json:
            print(describe(found), flush=True)
    if as_json:
        answer(as_json, {"resampling": _resampling(), "files": results}, "")
    if measured < len(files):
        bad_input = all("error" in result for result in results)
        raise typer.Exit(BAD_INPUT if bad_input else FAILED)


def compare(
    first: Annotated[Path, typer.Argument(help="predictions of one model")],
    second: Annotated[Path, typer.Argument(help="predictions of another for the same images")],
    labels: LabelsOption = None,
    id_column: IdOption = None,
    score_column: ScoreOption = None,
    labels_id: LabelsIdOption = None,
    mos_column: MosOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare two files of predictions: first minus second.

    On the images that both predict.
    """
    from qponder_lib.evaluation import external

    human = _labels(labels, labels_id, mos_column)
    options = {"id": id_column, "score": score_column, "mos": None if labels else mos_column}
    both = [external.read_scores(file, **options) for file in (first, second)]
    found = external.compare(both[0], both[1], human)
    measured = any(one.value is not None for one in found.numbers.values())
    answer(as_json, _compared(found), describe_comparison(found), ok=measured)


def probe(
    model: Annotated[
        str | None,
        typer.Option(help="as for score: a run, model folder or hub name"),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write the images, for a model of yours")
    ] = None,
    read: Annotated[
        Path | None, typer.Option(metavar="FILE", help="judge this table of scores of them")
    ] = None,
    id_column: IdOption = None,
    score_column: ScoreOption = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="low scores in --read mean good quality")
    ] = False,
    size: Annotated[
        int, typer.Option(help="longer side of the photographs, px; 128: as mini sees them", min=64)
    ] = 512,
    out: Annotated[Path | None, typer.Option(help="folder of the figure and its tables")] = None,
    as_json: AsJson = False,
) -> None:
    """Probe a scorer: does it follow distortions, and only them?

    Ladders of distortion, copies that look the same, images without a subject. Exit code 1 if a
    check fails.
    """
    from qponder_lib.data.tabular import read_table
    from qponder_lib.report import probe as probing
    from qponder_lib.report import render, style

    if sum(one is not None for one in (model, write, read)) > 1:
        raise ValueError("state one of --model, --write and --read")
    if write is not None:
        probing.write_images(write, size)
        print(f"{write / 'manifest.csv'} lists the images; then: qponder probe --read FILE")
        return
    if read is not None:
        scorer = read.name
        rows = probing.read_answers(read_table(read), id_column, score_column)
    else:
        scorer, rows = _probed(model, size)
    checks = probing.judge(rows.assign(score=-rows["score"]) if lower_is_better else rows)
    if out is not None:
        figure = probing.probe_figure(rows, scorer, lower_is_better=lower_is_better)
        style.save(figure, rows, out / "probe")
        render.write_frame(out / "probe_checks.csv", checks)
    data = checks.astype(object).where(checks.notna(), None).to_dict("records")
    text = probing.describe(rows, checks, scorer)
    failed = (checks["verdict"] == "fails").any()
    answer(as_json, {"scorer": scorer, "checks": data}, text, ok=not failed)


def _probed(model: str | None, size: int) -> tuple[str, pd.DataFrame]:
    """Let a model score the files of the probe; they are as a stranger would get them."""
    import numpy as np

    from qponder_lib.report import probe as probing
    from qponder_lib.student.assessment import load

    rows, ready = probing.probes(), load(model)
    with TemporaryDirectory() as folder:
        probing.write_images(Path(folder), size)
        said = ready.score([Path(folder) / name for name in rows["image"]], distribution=False)
    scores = np.array([one.score for one in said], dtype=float)
    rows = rows.assign(score=scores, text=[one.reasoning for one in said])
    return f"{ready.name}, photographs of {size} px", rows


def _labels(path: Path | None, labels_id: str | None, mos: str | None) -> Labels | None:
    from qponder_lib.evaluation import external

    return None if path is None else external.read_labels(path, id=labels_id, mos=mos)


def describe(found: Evaluation) -> str:
    """Return what one file holds, what joined, and its numbers, as text."""
    joined, some = found.joined, next(iter(found.numbers.values()))
    drawn = "images" if joined.predictions.clusters is None else f"{some.n_references} references"
    drawn += f", told by {joined.named_as}'s file names" if joined.named_as else ""
    lines = ["", *_side_lines(joined)]
    lines.append(f"  n {some.n}, unparsed {some.n_unparsed}{_drawn(drawn, found.numbers)}")
    for (metric, protocol), one in found.numbers.items():
        shown = "" if protocol == "raw" else protocol
        lines.append(f"    {metric.upper():<5}{shown:<10}{_number(one)}")
    srcc = found.numbers["srcc", "raw"].value
    if srcc is not None and srcc < 0.0:
        turned = "labels or scores run from good to bad; nothing was turned round"
        lines.append(f"  SRCC is negative: {turned}")
    return "\n".join(lines)


def describe_comparison(found: Comparison) -> str:
    """Return the paired differences as text."""
    lines = ["First minus second"]
    for joined in found.joined:
        lines += _side_lines(joined)
    for which, ids in zip(("first", "second"), found.only, strict=True):
        lines += _left_over(f"image only in the {which}", {"": ids} if ids else {})
    some = next(iter(found.numbers.values()))
    drawn = f"{some.n_references} references" if _is_clustered(found) else "images"
    counted = f"n {some.n} images that both predict, {some.n_excluded} that one does not"
    lines.append(f"  {counted}{_drawn(drawn, found.numbers)}")
    for key, one in found.numbers.items():
        name = f"    {key[0].upper():<5}"
        if one.value is None:
            lines.append(f"{name} none: {one.reason}")
            continue
        ends = "" if one.ci_low is None else f" [{one.ci_low:+.4f}, {one.ci_high:+.4f}]"
        p_value = "" if one.p_value is None else f"  p {_p(one.p_value)}"
        values = f"{found.first[key].value:.4f} - {found.second[key].value:.4f}"
        lines.append(f"{name} {values} = {one.value:+.4f}{ends}{p_value}")
    return "\n".join(lines)


def _is_clustered(found: Comparison) -> bool:
    return any(joined.predictions.clusters for joined in found.joined)


def _side_lines(joined: Joined) -> list[str]:
    """Say what a file of predictions holds, what its labels are, and what joined."""
    scores, labels = joined.scores, joined.labels
    n, ends = len(joined.label_ids), f"{labels.mos.min():g} to {labels.mos.max():g}"
    how = ", ".join(by if n == k else f"{by} ({k})" for by, k in joined.by.items())
    return [
        str(scores.path),
        f"  predictions: {scores.layout}: {_counts(scores.states)}",
        *(f"    {example}" for example in scores.examples),
        f"  labels: {labels.path.name}, column {labels.column!r}, as published: {ends}; "
        f"{_counts(labels.states)}",
        *(f"    {example}" for example in labels.examples),
        f"  joined by {how}: {n} of {len(scores.ids)} predictions and {len(labels.ids)} labels",
        *_left_over("prediction without label", joined.without_label),
        *_left_over("label without prediction", joined.without_prediction),
    ]


def _left_over(what: str, by_reason: Mapping[str, Sequence[str]]) -> list[str]:
    """Name a few of the rows that fell out, and count them."""
    lines = []
    for reason, ids in by_reason.items():
        why = f" ({reason})" if reason else ""
        named = ", ".join(name[-80:] for name in ids[:_NAMED])
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        lines.append(f"    {len(ids)} x {what}{why}: {named}{more}")
    return lines


def _drawn(what: str, numbers: Mapping[tuple[str, str], Any]) -> str:
    from qponder_lib.metrics.bootstrap import CONFIDENCE, N_RESAMPLES

    if all(one.ci_low is None for one in numbers.values()):
        return ""
    return f"; {CONFIDENCE:.0%} intervals from {N_RESAMPLES} resamples of {what}"


def _number(one: Any) -> str:
    if one.value is None:
        return f"none: {one.reason}"
    ends = "" if one.ci_low is None else f" [{one.ci_low:.3f}, {one.ci_high:.3f}]"
    noted = one.reason not in (None, "no_interval")
    return f"{one.value:.3f}{ends}" + (f"  {one.reason}" if noted else "")


def _p(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.00005 else "< 0.0001"


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {state}" for state, n in states.items())


def _resampling() -> dict[str, float]:
    from qponder_lib.metrics.bootstrap import CONFIDENCE, N_RESAMPLES

    return {"n_resamples": N_RESAMPLES, "confidence": CONFIDENCE, "seed": 0}


def _result(found: Evaluation) -> dict[str, Any]:
    return {**_side(found.joined), "measured": found.rows()}


def _compared(found: Comparison) -> dict[str, Any]:
    first, second = (
        {**_side(joined), "only": only[:_NAMED], "n_only": len(only)}
        for joined, only in zip(found.joined, found.only, strict=True)
    )
    return {
        "resampling": _resampling(),
        "first": first,
        "second": second,
        "clustered": _is_clustered(found),
        "differences": found.rows(),
    }


def _side(joined: Joined) -> dict[str, Any]:
    """Return what was read and joined, with the hashes of the files."""
    scores, labels = joined.scores, joined.labels
    return {
        "file": scores.path,
        "sha256": scores.sha256,
        "layout": scores.layout,
        "states": dict(scores.states),
        "examples": scores.examples,
        "labels": labels.path,
        "labels_sha256": labels.sha256,
        "label_column": labels.column,
        "label_range": (labels.mos.min(), labels.mos.max()),
        "label_states": dict(labels.states),
        "clustered": joined.predictions.clusters is not None,
        "references_named_as": joined.named_as,
        "join": {
            "by": dict(joined.by),
            "n_predictions": len(scores.ids),
            "n_labels": len(labels.ids),
            "n_joined": len(joined.label_ids),
            "without_label": _some(joined.without_label),
            "without_prediction": _some(joined.without_prediction),
        },
    }


def _some(by_reason: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {why: {"n": len(ids), "first": ids[:_NAMED]} for why, ids in by_reason.items()}
