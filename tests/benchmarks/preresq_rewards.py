"""Milliseconds of PreResQ-R1's rewards beside loops: PYTHONPATH=. python <this file>.

Also counts how often moving one score toward its label lowers the sum of a batch's rewards, on
batches drawn at random, and which terms and circumstances do it (decision D67).
"""

import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import preresq_loops as loops

from qponder_lib.rewards import preresq

RESULTS = Path(__file__).parent / "results" / "preresq_rewards.json"
N_IMAGES, N_ANSWERS, N_ASPECTS = 8, 6, 5
N_MOVES = 2000
TERMS = {
    "std_penalty": -1.0,
    "balance": preresq.WEIGHT_BALANCE,
    "pairwise": preresq.WEIGHT_PAIRWISE,
    "triplet": preresq.WEIGHT_TRIPLET,
    "truth_rank": 1.0,
}


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
        **losing_moves(rng),
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


def losing_moves(rng: np.random.Generator) -> dict[str, object]:
    """Move one answer halfway to its label in random batches with errors of about 0.5.

    Returns:
        Shares of all moves that lower the sum, and that lower what the moved answer earns. Of the
        former, the share that would not have lowered it without the change of each term, and the
        share with each circumstance; and moves without any circumstance, with those of them that
        lowered the sum.
    """
    lost, own, calm, calm_lost = 0, 0, 0, 0
    without: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for _ in range(N_MOVES):
        labels = rng.uniform(1.5, 4.5, N_IMAGES)
        scores = labels[:, None] + rng.normal(0.0, 0.5, (N_IMAGES, N_ANSWERS))
        aspects = scores[..., None] + rng.normal(0.0, 0.6, (N_IMAGES, N_ANSWERS, N_ASPECTS))
        moved = aspects.copy()
        moved[0, 0] += (labels[0] - aspects[0, 0].mean()) / 2
        before, after = (preresq.image_rewards(one, labels) for one in (aspects, moved))
        change = (after.total - before.total).sum()
        own += bool(after.total[0, 0] < before.total[0, 0] - 1e-9)
        there = circumstances(aspects, moved, labels)
        calm += not there
        if change >= -1e-9:
            continue
        lost += 1
        calm_lost += not there
        seen.update(there)
        for term, weight in TERMS.items():
            part = weight * (getattr(after, term) - getattr(before, term)).sum() / 3.0
            without[term] += bool(change - part >= -1e-9)
    return {
        "moves": N_MOVES,
        "share_of_moves_that_lower_the_sum": round(lost / N_MOVES, 4),
        "share_of_moves_that_lower_what_the_answer_earns": round(own / N_MOVES, 4),
        "of_lowering_moves_due_to_term": {k: round(without[k] / lost, 3) for k in TERMS},
        "of_lowering_moves_with": {k: round(n / lost, 3) for k, n in sorted(seen.items())},
        "moves_with_none_of_these": calm,
        "of_which_lower_the_sum": calm_lost,
    }


def circumstances(aspects: np.ndarray, moved: np.ndarray, labels: np.ndarray) -> set[str]:
    """Name what keeps the law of D67 from holding for the first answer to the first image."""
    scores = aspects.mean(axis=-1)
    far, near = scores[0, 0], moved[0, 0].mean()
    rank = int((scores[0] < far).sum())
    met = np.sort(scores, axis=1)[1:, rank]
    side = np.sign(labels[0] - labels[1:])
    found = {
        "passes an answer": ((scores[0, 1:] - far) * (scores[0, 1:] - near) <= 0).any(),
        "close in an aspect": (np.abs(aspects[0, 1:] - aspects[0, 0]) < 0.05).any(),
        "wrong order": (np.sign(far - met) != side).any(),
        "met beyond the label": (np.sign(labels[0] - met) != side).any(),
    }
    return {name for name, there in found.items() if there}


if __name__ == "__main__":
    main()
