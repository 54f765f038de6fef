"""The same predictions under the protocols in use, and how far each moves the number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qponder_lib import metrics
from qponder_lib.evaluation.external.joining import Joined
from qponder_lib.evaluation.external.measuring import OTHER_SCALE, on_other_scale
from qponder_lib.metrics.agreement import MIN_N, DegenerateInputError, FloatArray, checked
from qponder_lib.metrics.logistic import LOGISTIC_FIT_FAILED
from qponder_lib.metrics.scores import RAW
from qponder_lib.records import Record

FILLED = "filled"


class Moved(Record):
    """SRCC and PLCC by one protocol, and their distance from those of the raw scores.

    Attributes:
        protocol: Its name.
        meaning: What is done, in words.
        srcc: By this protocol, or None with a reason; srcc_moved: minus the raw one.
        plcc: By this protocol, or None; plcc_moved: minus the raw one.
        reason: Why something is missing.
    """

    protocol: str
    meaning: str
    srcc: float | None
    plcc: float | None
    srcc_moved: float | None = None
    plcc_moved: float | None = None
    reason: str | None = None


Pair = tuple[float | None, float | None]
Protocol = Callable[[FloatArray, FloatArray], Pair]


def protocols(joined: Joined, *, min_n: int = MIN_N) -> list[Moved]:
    """Measure SRCC and PLCC by every protocol.

    Args:
        joined: Predictions with labels; of several samples per image the first is taken.
        min_n: Fewest readable predictions for which a value is given.

    Returns:
        One row per protocol, raw first; for logits also the softmax; where answers could not be
        read, also what filling them in would give. If the raw correlation is degenerate every row
        says why.

    Source:
        Decision D27.
    """
    kept = [k for k, score in enumerate(joined.samples[0]) if score is not None]
    scores = [joined.samples[0][k] for k in kept]
    mos = [joined.mos[k] for k in kept]
    try:
        x, y = checked("srcc", scores, mos, min_n)
    except DegenerateInputError as error:
        return [
            Moved(protocol=name, meaning=meaning, srcc=None, plcc=None, reason=error.reason)
            for name, (meaning, _) in PROTOCOLS.items()
        ]
    raw = _raw(x, y)
    rows = [_row(name, m, protocol(x, y), raw) for name, (m, protocol) in PROTOCOLS.items()]
    if joined.softmax is not None:
        shares = np.array([joined.softmax[k] for k in kept], dtype=np.float64)
        meaning = "share of good instead of the logits' difference"
        rows.append(_row("softmax", meaning, _degenerate_as_none(shares, y), raw))
    if len(kept) < len(joined.mos):
        rows.append(_filled(joined, raw))
    return rows


def _filled(joined: Joined, raw: Pair) -> Moved:
    """Put the middle of the labels' range where there is no score, as some scripts do."""
    sample, mos = joined.samples[0], np.array(joined.mos)
    meaning = "unread answers get the middle of the labels' range"
    if on_other_scale(sample, joined.mos):
        return Moved(protocol=FILLED, meaning=meaning, srcc=None, plcc=None, reason=OTHER_SCALE)
    middle = (mos.min() + mos.max()) / 2.0
    filled = np.array([middle if score is None else score for score in sample])
    return _row(FILLED, meaning, _degenerate_as_none(filled, mos), raw)


def _row(name: str, meaning: str, values: Pair, raw: Pair) -> Moved:
    srcc, plcc = values
    return Moved(
        protocol=name,
        meaning=meaning,
        srcc=srcc,
        plcc=plcc,
        srcc_moved=None if srcc is None else srcc - raw[0],
        plcc_moved=None if plcc is None else plcc - raw[1],
        reason=LOGISTIC_FIT_FAILED if srcc is None else None,
    )


def _raw(x: FloatArray, y: FloatArray) -> Pair:
    return metrics.srcc(x, y, min_n=2), metrics.plcc(x, y, min_n=2)


def _logistic(n_parameters: int) -> Protocol:
    def protocol(x: FloatArray, y: FloatArray) -> Pair:
        mapped = metrics.mapped_scores(list(x), y, n_parameters, min_n=2)
        return (None, None) if mapped is None else _degenerate_as_none(np.array(mapped), y)

    return protocol


def _degenerate_as_none(x: FloatArray, y: FloatArray) -> Pair:
    try:
        return _raw(x, y)
    except DegenerateInputError:
        return None, None


def isotonic_fit(x: FloatArray, y: FloatArray) -> FloatArray:
    """Map scores to the monotone curve nearest to the labels, rising or falling as they do.

    Args:
        x: Scores, shape (n,); equal scores get one value.
        y: Labels, shape (n,).

    Returns:
        The fitted label of each score, shape (n,).

    Example:
        >>> isotonic_fit(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])).tolist()
        [10.0, 25.0, 25.0]
    """
    from scipy.optimize import isotonic_regression  # takes a second to import

    _, group_of, sizes = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(group_of, weights=y) / sizes
    rising = bool(np.corrcoef(x, y)[0, 1] >= 0.0)
    fitted = isotonic_regression(means, weights=sizes, increasing=rising)
    return np.asarray(fitted.x)[group_of]


def _isotonic(x: FloatArray, y: FloatArray) -> Pair:
    return _degenerate_as_none(isotonic_fit(x, y), y)


def _ties_ignored(x: FloatArray, y: FloatArray) -> Pair:
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (x, y)]
    n = len(x)
    squares = float(((ranks[0] - ranks[1]) ** 2).sum())
    return 1.0 - 6.0 * squares / (n * (n * n - 1.0)), metrics.plcc(x, y, min_n=2)


def _absolute(x: FloatArray, y: FloatArray) -> Pair:
    srcc, plcc = _raw(x, y)
    return abs(srcc), abs(plcc)


PROTOCOLS: dict[str, tuple[str, Protocol]] = {
    RAW: ("scores as they stand, mid-ranks for ties, with sign", _raw),
    "logistic4": ("4-parameter logistic fitted on the test set, before both", _logistic(4)),
    "logistic5": ("5-parameter logistic fitted on the test set, before both", _logistic(5)),
    "isotonic": ("monotone curve fitted on the test set, before both", _isotonic),
    "ties ignored": ("equal scores get different ranks, in the order of the ids", _ties_ignored),
    "absolute": ("sign left out", _absolute),
}
"""Protocol by name: what it does, and how."""
