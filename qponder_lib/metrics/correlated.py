"""Two correlations with the same human scores: the textbook test and interval beside the bootstrap.

Both assume normal variables and images drawn one by one. For ranks, and where images share a
reference, they are approximations; they serve to check the paired bootstrap, not to replace it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Overlapping:
    """Two correlations that share one variable, on the same images.

    Attributes:
        first: Correlation of the first scores with the MOS.
        second: Correlation of the second scores with the MOS.
        between: Correlation of the first scores with the second.
        n: Images.
    """

    first: float
    second: float
    between: float
    n: int

    def __post_init__(self) -> None:
        if self.n < 4:
            raise ValueError(f"expected at least 4 images, got {self.n}")
        if not all(-1.0 < r < 1.0 for r in (self.first, self.second)):
            raise ValueError(f"expected correlations inside -1 to 1, got {self}")
        if not -1.0 <= self.between <= 1.0:
            raise ValueError(f"expected a correlation from -1 to 1, got {self.between}")
        squares = self.first**2 + self.second**2 + self.between**2
        if 1.0 + 2.0 * self.first * self.second * self.between - squares < -1e-6:
            raise ValueError(f"expected correlations that three variables can have, got {self}")


def steiger_z(compared: Overlapping) -> tuple[float, float]:
    """Test whether two overlapping correlations differ.

    Args:
        compared: The correlations.

    Returns:
        Z, positive if the first is higher, and the two-sided p value.

    Raises:
        ValueError: If the two scores agree so fully that their difference has no variance.

    Source:
        Steiger (1980), Psychological Bulletin 87, 245-251, with the mean of both correlations in
        the covariance. The tests work it out by hand and hold it against simulated scores.

    Example:
        >>> z, p = steiger_z(Overlapping(0.3, 0.2, 0.5, n=203))
        >>> round(z, 2), round(p, 3)
        (1.47, 0.14)
    """
    pooled = (compared.first + compared.second) / 2.0
    square, between = pooled**2, compared.between
    psi = between * (1.0 - 2.0 * square) - 0.5 * square * (1.0 - 2.0 * square - between**2)
    variance = 2.0 - 2.0 * psi / (1.0 - square) ** 2
    if variance <= 1e-12:
        raise ValueError("the two scores are the same up to a linear map; nothing to test")
    gap = math.atanh(compared.first) - math.atanh(compared.second)
    z = gap * math.sqrt((compared.n - 3) / variance)
    return z, 2.0 * _NORMAL.cdf(-abs(z))


def zou_interval(compared: Overlapping, confidence: float = 0.95) -> tuple[float, float]:
    """Give an interval for the difference of two overlapping correlations.

    Args:
        compared: The correlations.
        confidence: Coverage of the interval.

    Returns:
        Lower and upper end of first minus second.

    Source:
        Zou (2007), Psychological Methods 12, 399-413. The tests work it out by hand and hold it
        against simulated scores.

    Example:
        >>> low, high = zou_interval(Overlapping(0.6, 0.0, 0.5, n=103))
        >>> round(low, 3), round(high, 3)
        (0.427, 0.768)
    """
    r1, r2, r12 = compared.first, compared.second, compared.between
    half = _NORMAL.inv_cdf((1.0 + confidence) / 2.0) / math.sqrt(compared.n - 3)
    (low1, high1), (low2, high2) = (
        (math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)) for r in (r1, r2)
    )
    shared = (r12 - 0.5 * r1 * r2) * (1.0 - r1**2 - r2**2 - r12**2) + r12**3
    together = shared / ((1.0 - r1**2) * (1.0 - r2**2))
    below = _combined(r1 - low1, high2 - r2, together)
    above = _combined(high1 - r1, r2 - low2, together)
    return r1 - r2 - below, r1 - r2 + above


def _combined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(0.0, a * a + b * b - 2.0 * correlation * a * b))
