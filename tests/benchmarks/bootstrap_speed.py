"""How much faster 10,000 resamples of an SRCC are than with `scipy.stats.bootstrap`.

First the proof that both compute the same: every SRCC is recomputed by `spearmanr` on the very
images that our resamples drew, for untied scores and for whole numbers. Then both are timed in
turns, in processor seconds of one thread, and the fastest turn of each counts. From the same seed
both draw the same images, so their intervals must be equal too, not only alike. Prints a table and
writes JSON with machine, versions and date.

    python tests/benchmarks/bootstrap_speed.py --images 10000 --turns 3
"""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

if __name__ == "__main__":  # before numpy; an importing process keeps its own setting
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy
import typer
from scipy import stats

from qponder_lib import artifacts
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import N_RESAMPLES
from qponder_lib.metrics.statistics import spearman_statistic

RESULT = Path(__file__).parent / "results" / "bootstrap_speed.json"


def scores_and_mos(n: int, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores that agree with the MOS at an SRCC of about 0.8; tied: whole numbers of both."""
    rng = np.random.default_rng(0)
    mos = rng.uniform(0.0, 100.0, n)
    scores = mos + rng.normal(0.0, 20.0, n)
    return (scores.round(), mos.round()) if tied else (scores, mos)


def replayed(scores: np.ndarray, mos: np.ndarray, n_resamples: int) -> dict[str, object]:
    """Let scipy compute every resample that we drew; both intervals and the largest gap."""
    n = len(scores)
    statistic = spearman_statistic(scores, mos)
    ours = bootstrap.draw([statistic], n, n_resamples=n_resamples)[:, 0]
    drawn = (
        np.repeat(np.arange(n), row.astype(int))
        for counts in bootstrap.resample_counts(n, n_resamples=n_resamples)
        for row in counts
    )
    theirs = np.array([stats.spearmanr(scores[i], mos[i]).statistic for i in drawn])
    intervals = [np.quantile(draws, [0.025, 0.975]) for draws in (ours, theirs)]
    gap = float(np.abs(intervals[0] - intervals[1]).max())
    assert gap < 1e-12, intervals
    return {
        "n_images": n,
        "n_resamples": n_resamples,
        "largest_gap_of_a_resample": float(np.abs(ours - theirs).max()),
        "gap_of_the_interval": gap,
    }


def scipy_interval(
    scores: np.ndarray, mos: np.ndarray, n_resamples: int, seed: int
) -> tuple[float, float]:
    """The percentile interval as one would write it with scipy alone."""
    interval = stats.bootstrap(
        (scores, mos),
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=n_resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def timed(scores: np.ndarray, mos: np.ndarray, turns: int) -> dict[str, object]:
    """Time both in turns at the full number of resamples."""
    ours, theirs, intervals = [], [], {"ours": [], "scipy": []}
    for turn in range(turns):
        start = time.process_time()
        statistic = spearman_statistic(scores, mos)
        result = bootstrap.estimate(statistic, len(scores), seed=turn)
        ours.append(time.process_time() - start)
        start = time.process_time()
        intervals["scipy"].append(scipy_interval(scores, mos, N_RESAMPLES, turn))
        theirs.append(time.process_time() - start)
        intervals["ours"].append((result.ci_low, result.ci_high))
    apart = np.array(intervals["ours"]) - np.array(intervals["scipy"])
    assert np.abs(apart).max() < 1e-12, intervals
    return {
        "seconds_ours": min(ours),
        "seconds_scipy": min(theirs),
        "ratio": min(theirs) / min(ours),
        "largest_gap_of_the_intervals": float(np.abs(apart).max()),
        "intervals": intervals,
    }


def main(images: int = 10_000, turns: int = 3, replays: int = 300) -> None:
    """Prove, measure, print and write."""
    measured = {}
    for name, tied in (("untied", False), ("whole numbers", True)):
        scores, mos = scores_and_mos(images, tied)
        proof = replayed(scores, mos, replays)
        measured[name] = {"proof": proof, **timed(scores, mos, turns)}
    print(f"{images} images, {N_RESAMPLES} resamples, processor seconds of one thread")
    print(f"{'scores':<15}{'ours':>8}{'scipy':>9}{'ratio':>8}   interval of both (first turn)")
    for name, found in measured.items():
        ends = "  ".join(
            f"[{low:.4f}, {high:.4f}]" for low, high in (v[0] for v in found["intervals"].values())
        )
        seconds = f"{found['seconds_ours']:>8.2f}{found['seconds_scipy']:>9.2f}"
        print(f"{name:<15}{seconds}{found['ratio']:>8.1f}   {ends}")
    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions["scipy"] = scipy.__version__
    settings = {"n_images": images, "n_resamples": N_RESAMPLES, "turns": turns, "threads": 1}
    artifacts.write_json(
        RESULT,
        {
            "date": artifacts.now(),
            "machine": machine,
            "versions": versions,
            "settings": settings,
            "measured": measured,
        },
    )


def processor() -> str:
    """Name the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    typer.run(main)
