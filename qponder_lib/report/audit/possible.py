"""Checks that printed values are possible at all: in range, and reachable by whole scores.

The mean of n whole scores is k/n for a whole k. With few images and many decimals not every
printed value can be reached, so the decimals say something about how many images were judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil, floor, prod

from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.printed import Interval, PrintedTable
from qponder_lib.report.audit.repeats import EXPECTED_AT_MOST, at_least

RANGES: Mapping[str, tuple[int, int]] = {
    "plcc": (-1, 1),
    "srcc": (-1, 1),
    "krcc": (-1, 1),
    "completeness": (0, 5),
    "accuracy": (0, 5),
    "reasonableness": (0, 5),
}
"""What a value of each metric can be; the judged aspects by section 3.1 of Q-Ponder (D18)."""

JUDGED = ("completeness", "accuracy", "reasonableness")
"""Metrics that are means of whole scores, one per image."""

IMAGE_COUNTS: Mapping[str, int] = {
    "CIDIQ": 690,
    "CSIQ": 866,
    "KADID": 10125,
    "LIVE": 779,
    "TID2008": 1700,
    "TID2013": 3000,
}
"""Distorted images of the sets of Tables 2 and 4, as their authors publish them."""

ROUND_COUNTS = (50, 100, 200, 250, 500)
"""Numbers of images that people like to draw."""


def check_ranges(table: PrintedTable, ranges: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Find values that their metric cannot have.

    Args:
        table: The table.
        ranges: Lowest and highest value by metric; other metrics are not checked.
    """
    return [
        Finding(
            "range",
            table.name,
            f"{cell.method}, {cell.dataset}, {cell.metric}",
            "disagrees",
            f"printed {cell.text}, but {cell.metric} lies from {low} to {high}",
        )
        for cell in table
        if cell.metric in ranges
        for low, high in [ranges[cell.metric]]
        if not cell.interval.meets(Interval(Fraction(low), Fraction(high)))
    ]


def reachable(text: str, n: int) -> bool:
    """Say whether the mean of n whole scores can be printed so.

    Example:
        >>> reachable("2.33", 3), reachable("2.34", 3)
        (True, False)
    """
    interval = Interval.of(text)
    return ceil(interval.low * n) <= floor(interval.high * n)


def check_whole_scores(table: PrintedTable, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Ask of every column of judged scores whether it can be a mean over that many images.

    Args:
        table: The table; only metrics in `JUDGED` are looked at.
        counts: Images by set.

    Yields:
        One finding per set whose values say something: with that many images every value of the
        column can be reached, or some cannot.
    """
    for dataset in table.datasets:
        cells = [c for c in table if c.dataset == dataset and c.metric in JUDGED]
        n = counts.get(dataset)
        if n is None or not cells:
            continue
        # With steps finer than the printed digit, any value can be reached.
        if all(Fraction(1, n) <= 2 * cell.interval.half for cell in cells):
            continue
        missed = [cell for cell in cells if not reachable(cell.text, n)]
        if missed:
            first = missed[0]
            sentence = (
                f"{len(missed)} of {len(cells)} values are no mean of {n} whole scores, such as "
                f"{first.text} ({first.method}, {first.metric}); fewer or more images, answers "
                "left out or scores with fractions would explain it, and the number of judged "
                "images is not stated"
            )
            yield Finding("whole_scores", table.name, dataset, "notable", sentence)
        else:
            sentence = f"all {len(cells)} values can be means of {n} whole scores"
            yield Finding("whole_scores", table.name, dataset, "consistent", sentence)


def check_round_count(table: PrintedTable) -> list[Finding]:
    """Ask whether judged scores look like means over a round number of images.

    Args:
        table: The table; a cell counts if all its metrics in `JUDGED` can be such means.

    Returns:
        One finding, for the count that explains most, or none if chance explains it as well.
    """
    cells = [
        [c for c in table if (c.method, c.dataset) == (method, dataset) and c.metric in JUDGED]
        for method in table.methods
        for dataset in table.datasets
    ]
    cells = [cell for cell in cells if cell]
    found = []
    for n in ROUND_COUNTS:
        hit = [cell for cell in cells if all(reachable(value.text, n) for value in cell)]
        # Of values with d decimals, n of 10^d can be reached.
        chances = [prod(min(1.0, float(2 * n * v.interval.half)) for v in cell) for cell in cells]
        if not hit or min(chances) == 1.0:
            continue
        mean = sum(chances) / len(chances)
        surprise = at_least(len(hit), len(cells), mean) * len(ROUND_COUNTS)
        found.append((surprise, n, len(hit), mean * len(cells)))
    if not found or min(found)[0] > EXPECTED_AT_MOST:
        return []
    _, n, n_hit, expected = min(found)
    sentence = (
        f"in {n_hit} of {len(cells)} cells all values can be means of {n} whole scores; "
        f"of arbitrary values {expected:.1f} could; that fits {n} judged images there, "
        "and the number is not stated"
    )
    return [Finding("whole_scores", table.name, "all cells", "notable", sentence)]
