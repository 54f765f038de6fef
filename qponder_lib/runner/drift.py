"""Which numbers of a run moved away from a reference, and by how much.

A number with an interval has moved if it lies outside the interval that the reference has for it.
A number without one has moved if it differs by more than a declared tolerance. A number that is
there on one side only is missing or new, never moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from qponder_lib import artifacts
from qponder_lib.paths import RunPaths

State = Literal["moved", "missing", "new", "within"]
Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Numbers:
    """The numbers of one file that are compared.

    Attributes:
        file: Relative to the run folder.
        keys: Columns that name a row.
        values: Column of a number, and how far it may move where there is no interval.
        ends: Columns of an interval by column of a number.
    """

    file: str
    keys: tuple[str, ...]
    values: Mapping[str, float]
    ends: Mapping[str, tuple[str, str]]


_LONG = {"value": ("ci_low", "ci_high")}
_FILTER = {name: (f"{name}_low", f"{name}_high") for name in ("plcc", "srcc", "mae")}
COMPARED = (
    Numbers(
        "eval/scores.csv",
        ("model", "dataset", "decoding", "metric", "protocol"),
        {"value": 0.02},
        _LONG,
    ),
    Numbers(
        "eval/differences.csv",
        ("model_a", "model_b", "dataset", "decoding", "protocol", "metric"),
        {"value": 0.02},
        _LONG,
    ),
    Numbers("eval/judged.csv", ("judge", "model", "dataset", "aspect"), {"value": 0.1}, _LONG),
    Numbers(
        "tables/filter.csv",
        ("selection",),
        {"n": 0.0, "plcc": 0.01, "srcc": 0.01, "mae": 0.5},
        _FILTER,
    ),
    Numbers(
        "tables/breakdown.csv",
        ("model", "dataset", "kind", "group", "metric"),
        {"value": 0.02},
        _LONG,
    ),
    Numbers("tables/statements.csv", ("model", "dataset"), {"value": 0.02}, _LONG),
    Numbers(
        "tables/benchmark.csv",
        ("set", "split"),
        {"n": 0.0, "mos_mean": 1e-6, "ceiling_srcc": 1e-6, "ceiling_plcc": 1e-6},
        {},
    ),
)
"""What is compared. Tolerances without an interval: 0.02 of a correlation or share, 0.1 of a
rating, 0.5 MOS units of an error, and nothing for counts and for the images themselves."""

TOLERANCE_BY_METRIC = {"mae": 0.5, "rmse": 0.5}
"""MOS units, for a row of these metrics that has no interval."""


@dataclass(frozen=True)
class Moved:
    """One number on both sides.

    Attributes:
        file: Where it stands.
        name: What names its row, joined by commas, and its column if that is not `value`.
        state: moved, missing (in the run), new (not in the reference) or within tolerance.
        run: The number of the run; None if it has none.
        reference: The number of the reference; None if it has none.
        low: Least that counts as not moved; None where there is nothing to hold it against.
        high: Most that counts as not moved.
        why: One sentence.
    """

    file: str
    name: str
    state: State
    run: float | None
    reference: float | None
    low: float | None
    high: float | None
    why: str


def compare(run: RunPaths, reference: RunPaths) -> list[Moved]:
    """Hold every compared number of a run against a reference.

    Args:
        run: A run folder.
        reference: A run folder, or the small files kept of one.

    Returns:
        One row per number that is there on at least one side, in the order of the reference.

    Raises:
        FileNotFoundError: If a folder is not there, or has none of the files compared.
        ArtifactError: If a file is damaged.
        ValueError: If a row is there twice or a number cannot be read.
    """
    for paths in (run, reference):
        if not any((paths.root / one.file).is_file() for one in COMPARED):
            raise FileNotFoundError(
                f"{paths.root} has none of {', '.join(one.file for one in COMPARED)}"
            )
    return [row for one in COMPARED for row in _file(one, run, reference)]


def summary(rows: list[Moved]) -> dict[str, Any]:
    """Return counts by state, and every number that is not within tolerance, for JSON."""
    states: tuple[State, ...] = ("moved", "missing", "new", "within")
    counts = {name: sum(row.state == name for row in rows) for name in states}
    listed = {name: [asdict(row) for row in rows if row.state == name] for name in states[:3]}
    return {"compared": len(rows), "counts": counts} | listed


def _file(numbers: Numbers, run: RunPaths, reference: RunPaths) -> Iterator[Moved]:
    new, old = (_rows(numbers, paths) for paths in (run, reference))
    for key in [*old, *(key for key in new if key not in old)]:
        for column, tolerance in numbers.values.items():
            name = ", ".join(key) + ("" if column == "value" else f", {column}")
            if key not in new or key not in old:
                yield _one_side(numbers.file, name, column, new.get(key), old.get(key))
                continue
            yield _both(
                numbers.file,
                name,
                _cells(new[key], column, numbers),
                _cells(old[key], column, numbers),
                TOLERANCE_BY_METRIC.get(str(old[key].get("metric")), tolerance),
            )


def _rows(numbers: Numbers, paths: RunPaths) -> dict[tuple[str, ...], Row]:
    file = paths.root / numbers.file
    found: dict[tuple[str, ...], Row] = {}
    for place, row in enumerate(artifacts.read_csv(file) if file.is_file() else [], start=2):
        lacking = [name for name in numbers.keys if name not in row]
        if lacking:
            raise ValueError(f"{file}: expected the columns {lacking}")
        key = tuple(str(row[name]) for name in numbers.keys)
        if key in found:
            raise ValueError(f"{file}, line {place}: a second row for {', '.join(key)}")
        found[key] = row
    return found


@dataclass(frozen=True)
class _Cells:
    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def _cells(row: Row, column: str, numbers: Numbers) -> _Cells:
    ends = numbers.ends.get(column, ("", ""))
    values = [_number(row, name) for name in (column, *ends)]
    return _Cells(*values, reason=row.get("reason"))


def _number(row: Row, column: str) -> float | None:
    text = row.get(column)
    if text is None or text == "":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"expected a number in column {column!r}, got {text!r}") from error


def _one_side(file: str, name: str, column: str, new: Row | None, old: Row | None) -> Moved:
    there = new if new is not None else old
    assert there is not None  # a key comes from one of the two
    value = _number(there, column)
    if new is None:
        return Moved(file, name, "missing", None, value, None, None, "the run has no such row")
    return Moved(file, name, "new", value, None, None, None, "the reference has no such row")


def _both(file: str, name: str, new: _Cells, old: _Cells, tolerance: float) -> Moved:
    if new.value is None or old.value is None:
        same = new.value is None and old.value is None
        if same and new.reason == old.reason:
            return Moved(file, name, "within", None, None, None, None, "no value on either side")
        why = f"run: {_told(new)}; reference: {_told(old)}"
        return Moved(file, name, "moved", new.value, old.value, None, None, why)
    if old.low is not None and old.high is not None:
        low, high, what = old.low, old.high, "the reference's interval"
    else:
        low, high = old.value - tolerance, old.value + tolerance
        what = f"the tolerance of {tolerance:g}"
    slack = 1e-9 * max(1.0, abs(old.value))  # a CSV may round the last digit
    inside = low - slack <= new.value <= high + slack
    why = f"{'inside' if inside else 'outside'} {what}"
    state: State = "within" if inside else "moved"
    return Moved(file, name, state, new.value, old.value, low, high, why)


def _told(cells: _Cells) -> str:
    return f"{cells.value:.4g}" if cells.value is not None else f"none ({cells.reason})"
