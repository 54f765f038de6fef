"""The scores a model stated for a set, and their resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qponder_lib import metrics
from qponder_lib.config import EvaluateConfig
from qponder_lib.metrics import resampling
from qponder_lib.metrics.agreement import FloatArray, Statistic
from qponder_lib.records import PredictionRecord

MEAN = "mean"
"""Name of the set that stands for the mean over all sets."""
MEAN_OF_K = "mean_of_k"
COMPARED = ("srcc", "plcc", "krcc", "mae", "rmse", "parse_rate")
"""Metrics that two models are compared by; mae and rmse are better when lower."""


@dataclass(frozen=True)
class Answers:
    """The scores that one model stated for one set.

    Attributes:
        mos: MOS by image id, 0 to 100.
        samples: Score by image id, once for greedy decoding, k times for sampled; None: unread.
    """

    mos: Mapping[str, float]
    samples: tuple[Mapping[str, float | None], ...]

    @classmethod
    def of(cls, predictions: Sequence[PredictionRecord]) -> Answers:
        """Sort prediction rows by sample and image."""
        mos, samples = metrics.samples_by_id(predictions)
        return cls(mos, tuple(samples))

    def mean_of_samples(self) -> Answers:
        """Return one sample: the mean of each image's readable scores, None where there is none.

        Example:
            >>> three = Answers({"a": 50.0}, ({"a": 40.0}, {"a": None}, {"a": 50.0}))
            >>> three.mean_of_samples().samples
            ({'a': 45.0},)
        """
        readable = {
            image_id: [s[image_id] for s in self.samples if s[image_id] is not None]
            for image_id in self.mos
        }
        means = {i: float(np.mean(scores)) if scores else None for i, scores in readable.items()}
        return Answers(self.mos, (means,))


@dataclass(frozen=True)
class Part:
    """A statistic's value and its values on the resamples, shape (resamples,)."""

    value: float
    draws: FloatArray


def resampled(statistic: Statistic, n: int, settings: EvaluateConfig, position: int) -> Part:
    """Resample one set; each set has its own seed, or all would draw the same places."""
    seed = np.random.SeedSequence([settings.seed, position]).generate_state(1)[0]
    plan = replace(plan_of(settings), seed=int(seed))
    value = float(statistic(np.ones((1, n)))[0])
    return Part(value, resampling.draw(statistic, n, plan))


def mean_part(parts: Sequence[Part]) -> Part:
    """Average over sets: of the values, and resample by resample."""
    value = float(np.mean([part.value for part in parts]))
    return Part(value, np.mean([part.draws for part in parts], axis=0))


def plan_of(settings: EvaluateConfig) -> metrics.Resampling:
    """Return how intervals are made."""
    return metrics.Resampling(settings.n_resamples, settings.confidence, settings.seed)


def named_reasons(missing: Mapping[str, str | None], n_sets: int) -> str:
    """Write which sets have no value, and why.

    Example:
        >>> named_reasons({"a": "too_few"}, 2), named_reasons({"a": "too_few", "b": "too_few"}, 2)
        ('a: too_few', 'every set: too_few')
    """
    if len(missing) == n_sets and len(set(missing.values())) == 1:
        return f"every set: {next(iter(missing.values()))}"
    return "; ".join(f"{name}: {reason}" for name, reason in missing.items())
