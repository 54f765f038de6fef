"""Milliseconds of PreResQ-R1's rewards beside loops: PYTHONPATH=. python <this file>.

Also counts how often moving one score toward its label lowers the sum of a batch's rewards, on
batches drawn at random: a wrong order earns more for a larger error, so it is not never.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import preresq_loops as loops

from qponder_lib.rewards import preresq

RESULTS = Path(__file__).parent / "results" / "preresq_rewards.json"
N_IMAGES, N_ANSWERS, N_ASPECTS = 8, 6, 5
N_MOVES = 2000


def main() -> None:
    """Time both, compare them, count the moves, and write the figures."""
    rng = np.random.default_rng(0)
    labels = rng.uniform(1.0, 5.0, N_IMAGES)
    aspects = rng.uniform(1.0, 5.0, (N_IMAGES, N_ANSWERS, N_ASPECTS)).round(2)
    arrays = preresq.image_rewards(aspects, labels, mode="released").total
    looped = loops.image_totals(aspects.tolist(), labels.tolist())
    figures = {
        "images": N_IMAGES,
        "answers": N_ANSWERS,
        "aspects": N_ASPECTS,
        "milliseconds_repaired": milliseconds(lambda: preresq.image_rewards(aspects, labels)),
        "milliseconds_released": milliseconds(
            lambda: preresq.image_rewards(aspects, labels, mode="released")
        ),
        "milliseconds_loops": milliseconds(
            lambda: loops.image_totals(aspects.tolist(), labels.tolist()), repeats=5
        ),
        "largest_difference": float(np.abs(arrays - np.array(looped)).max()),
        "moves": N_MOVES,
        "share_of_moves_that_lower_the_sum": round(share_of_losing_moves(rng), 4),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def milliseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Return the median wall time of a call after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return round(1000.0 * float(np.median(times)), 3)


def share_of_losing_moves(rng: np.random.Generator) -> float:
    """Move one answer halfway to its label in random batches with errors of about 0.5."""
    lost = 0
    for _ in range(N_MOVES):
        labels = rng.uniform(1.5, 4.5, N_IMAGES)
        scores = labels[:, None] + rng.normal(0.0, 0.5, (N_IMAGES, N_ANSWERS))
        aspects = scores[..., None] + rng.normal(0.0, 0.6, (N_IMAGES, N_ANSWERS, N_ASPECTS))
        moved = aspects.copy()
        moved[0, 0] += (labels[0] - aspects[0, 0].mean()) / 2
        before, after = (preresq.image_rewards(one, labels).total.sum() for one in (aspects, moved))
        lost += bool(after < before - 1e-9)
    return lost / N_MOVES


if __name__ == "__main__":
    main()
