"""Seconds for one interval at full size: python tests/benchmarks/bootstrap_speed.py."""

import time

import numpy as np

from qponder_lib.metrics import Resampling, estimate

N_IMAGES = N_RESAMPLES = 10_000


def main() -> None:
    """Time each metric that has an interval, without ties and with scores of whole numbers."""
    rng = np.random.default_rng(0)
    mos = rng.uniform(0.0, 100.0, N_IMAGES)
    scores = mos + rng.normal(0.0, 20.0, N_IMAGES)
    for metric in ("plcc", "srcc", "mae", "rmse"):
        for name, data in (("reals", scores), ("whole numbers", scores.round())):
            start = time.perf_counter()
            result = estimate(metric, data, mos, resampling=Resampling(N_RESAMPLES))
            seconds = time.perf_counter() - start
            interval = f"{result.value:.4f} [{result.ci_low:.4f}, {result.ci_high:.4f}]"
            print(f"{metric:5} {name:14} {interval}  {seconds:.1f} s")


if __name__ == "__main__":
    main()
