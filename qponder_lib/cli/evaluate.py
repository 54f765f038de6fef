"""`qponder evaluate` and `qponder compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qponder_lib import artifacts

if TYPE_CHECKING:
    from qponder_lib.evaluation.external import (
        Columns,
        Compared,
        Joined,
        Labels,
        Measured,
        Moved,
        Submission,
    )

_USAGE = 2
N_RESAMPLES, CONFIDENCE = 10_000, 0.95

LabelsOption = Annotated[
    Path | None, typer.Option(help="file of human scores; default: those in the predictions")
]
IdOption = Annotated[str | None, typer.Option("--id", help="column that names the image")]
ScoreOption = Annotated[str | None, typer.Option("--score", help="column of the prediction")]
MosOption = Annotated[str | None, typer.Option("--mos", help="column of the human score")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="write the numbers here as JSON")]


def evaluate(
    files: Annotated[list[Path], typer.Argument(help="predictions, one file per set")],
    labels: LabelsOption = None,
    id_column: IdOption = None,
    score_column: ScoreOption = None,
    mos_column: MosOption = None,
    json_out: JsonOption = None,
) -> None:
    """Measure files of predictions, whoever wrote them, with intervals and by every protocol."""
    from qponder_lib.evaluation import external as submissions
    from qponder_lib.metrics import Resampling

    plan = Resampling(N_RESAMPLES, CONFIDENCE)
    columns, results = submissions.Columns(id_column, score_column, mos_column), []
    try:
        human = _labels(labels, columns)
        for number, file in enumerate(files, start=1):
            if len(files) > 1 and sys.stderr.isatty():
                print(f"file {number} of {len(files)}: {file}", file=sys.stderr)
            submission = submissions.read_submission(file, _without_label(columns, labels))
            joined = submissions.join(submission, human)
            measured = submissions.measure(joined, plan)
            moved = submissions.protocols(joined)
            print(describe(submission, human or submission.labels, joined, measured), flush=True)
            print(describe_protocols(moved), flush=True)
            results.append(_result(submission, human, joined, measured, moved))
    except submissions.TableError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    if json_out:
        artifacts.write_json(json_out, {"resampling": asdict(plan), "files": results})


def compare(
    first: Annotated[Path, typer.Argument(help="predictions of one model")],
    second: Annotated[Path, typer.Argument(help="predictions of another for the same images")],
    labels: LabelsOption = None,
    id_column: IdOption = None,
    score_column: ScoreOption = None,
    mos_column: MosOption = None,
    json_out: JsonOption = None,
) -> None:
    """Compare two files of predictions on the images that both have: first minus second."""
    from qponder_lib.evaluation import external as submissions
    from qponder_lib.metrics import Resampling

    plan = Resampling(N_RESAMPLES, CONFIDENCE)
    columns = submissions.Columns(id_column, score_column, mos_column)
    try:
        human = _labels(labels, columns)
        declared = _without_label(columns, labels)
        both = [submissions.read_submission(file, declared) for file in (first, second)]
        compared = submissions.compare(both[0], both[1], human, plan)
    except submissions.TableError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    print(describe_comparison(first, second, compared))
    if json_out:
        gaps = [gap.model_dump(mode="json") for gap in compared.gaps]
        result = asdict(compared) | {"gaps": gaps, "first": first, "second": second}
        artifacts.write_json(json_out, result | {"resampling": asdict(plan)})


def _labels(path: Path | None, columns: Columns) -> Labels | None:
    from qponder_lib.evaluation import external as submissions

    return None if path is None else submissions.read_labels(path, columns)


def _without_label(columns: Columns, labels: Path | None) -> Columns:
    """With a file of labels, --mos names a column there."""
    from qponder_lib.evaluation.external import Columns

    return columns if labels is None else Columns(columns.id, columns.score)


def describe(
    submission: Submission, labels: Labels | None, joined: Joined, measured: Sequence[Measured]
) -> str:
    """Return what one file holds, what joined, and its numbers, as text."""
    report, lines = joined.report, [f"\n{submission.path}", f"  {submission.layout}"]
    lines.append(f"  predictions: {_counts(submission.states)}")
    lines += [f"    {example}" for example in submission.examples]
    if labels is not None:
        lines.append(
            f"  labels: {labels.path.name}, column {labels.column!r}, as published: "
            f"{min(joined.mos):g} to {max(joined.mos):g}; {_counts(labels.states)}"
        )
        lines += [f"    {example}" for example in labels.examples]
    lines.append(
        f"  joined by {report.by}: {report.n_joined} of {report.n_predictions} predictions "
        f"and {report.n_labels} labels"
    )
    lines += _left_over(
        "prediction without label", report.without_label, report.n_predictions - report.n_joined
    )
    lines += _left_over(
        "label without prediction", report.without_prediction, report.n_labels - report.n_joined
    )
    drawn = f"{len(set(joined.clusters))} references" if joined.clusters else "single images"
    drawn += f", told by {joined.named_as}'s file names" if joined.named_as else ""
    lines.append(
        f"  n {measured[0].n}, unparsed {measured[0].n_unparsed}; {CONFIDENCE:.0%} intervals "
        f"from {N_RESAMPLES} resamples of {drawn} (KRCC: asymptotic)"
    )
    lines += [f"    {row.metric.upper():<5}{row.protocol:<10}{_number(row)}" for row in measured]
    if any(row.metric == "srcc" and (row.value or 0.0) < 0.0 for row in measured):
        lines.append(
            "  SRCC is negative: labels or scores run from good to bad; nothing was turned"
        )
    return "\n".join(lines)


def describe_protocols(moved: Sequence[Moved]) -> str:
    """Return the comparison of protocols as text."""
    lines = ["  the same predictions by other protocols (and how far from raw)"]
    for row in moved:
        srcc, plcc = _moved(row.srcc, row.srcc_moved), _moved(row.plcc, row.plcc_moved)
        reason = f"  {row.reason}" if row.reason else ""
        lines.append(f"    {row.protocol:<13}SRCC {srcc}  PLCC {plcc}  {row.meaning}{reason}")
    return "\n".join(lines)


def describe_comparison(first: Path, second: Path, compared: Compared) -> str:
    """Return the paired differences as text."""
    drawn = "references" if compared.clustered else "single images"
    lines = [
        f"{first} minus {second}",
        f"  n {compared.n} images that both answer, {compared.n_excluded} that one does not; "
        f"{CONFIDENCE:.0%} paired intervals from {N_RESAMPLES} resamples of {drawn} "
        "(KRCC: asymptotic)",
    ]
    for which, ids, n in zip(
        ("first", "second"),
        (compared.only_first, compared.only_second),
        compared.n_only,
        strict=True,
    ):
        lines += _left_over(f"image only in the {which}", ids, n)
    for gap in compared.gaps:
        if gap.value is None:
            lines.append(f"    {gap.metric.upper():<5} none: {gap.reason}")
            continue
        ends = f"[{gap.ci_low:+.4f}, {gap.ci_high:+.4f}]" if gap.ci_low is not None else gap.reason
        p_value = "" if gap.p_value is None else f"  p {_p(gap.p_value)}"
        lines.append(
            f"    {gap.metric.upper():<5} {gap.first:.4f} - {gap.second:.4f} = "
            f"{gap.value:+.4f} {ends}{p_value}"
        )
        if gap.steiger_z is not None:
            lines.append(
                f"          check: Steiger Z {gap.steiger_z:+.2f}, p {_p(gap.steiger_p)}; "
                f"Zou [{gap.zou_low:+.4f}, {gap.zou_high:+.4f}]"
            )
    return "\n".join(lines)


def _p(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.00005 else "< 0.0001"


def _number(row: Measured) -> str:
    if row.value is None:
        return f"none: {row.reason}"
    ends = "" if row.ci_low is None else f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
    return f"{row.value:.3f}{ends}" + (f"  {row.reason}" if row.reason else "")


def _moved(value: float | None, moved: float | None) -> str:
    return f"{'none':<15}" if value is None else f"{value:.3f} ({moved:+.3f})".ljust(15)


def _counts(states: dict[str, int] | Any) -> str:
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items(), key=lambda s: -s[1]))


def _left_over(what: str, ids: Sequence[str], n: int) -> list[str]:
    more = ", ..." if n > len(ids) else ""
    return [f"    {n} x {what}: {', '.join(ids)}{more}"] if n else []


def _result(
    submission: Submission,
    labels: Labels | None,
    joined: Joined,
    measured: Sequence[Measured],
    moved: Sequence[Moved],
) -> dict[str, Any]:
    """Return the numbers of one file, with the hashes of what they were made from."""
    human = labels or submission.labels
    return {
        "file": submission.path,
        "sha256": artifacts.file_sha256(submission.path),
        "layout": submission.layout,
        "states": dict(submission.states),
        "examples": submission.examples,
        "labels": None if human is None else human.path,
        "labels_sha256": None if human is None else artifacts.file_sha256(human.path),
        "label_states": {} if human is None else dict(human.states),
        "join": asdict(joined.report),
        "clustered": joined.clusters is not None,
        "references_named_as": joined.named_as,
        "measured": [row.model_dump(mode="json") for row in measured],
        "protocols": [row.model_dump(mode="json") for row in moved],
    }
