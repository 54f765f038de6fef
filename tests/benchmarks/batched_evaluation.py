"""Evaluation in batches beside one image at a time: equal greedy answers, and the time.

The mini student answers for images of the embedded benchmark, by the function that prediction
uses. Cases: its base weights' own short answers; answers of a length that its trained variants
write (the end token is forbidden); the same with images of different sizes in a batch. One
thread; both ways take turns, and each has its least seconds. The ratio of processor time is what
an idle machine would show; the ratio by the clock suffers from whatever else runs.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/batched_evaluation.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import typer
from measuring import about, in_turn, keep
from PIL import Image
from tqdm import tqdm

from qponder_lib.config import StudentConfig
from qponder_lib.data import benchmark, distortions
from qponder_lib.student.generation import Completion, generate
from qponder_lib.student.model import Student, load_student

SIZES = ((128, 128), (192, 112), (112, 160), (256, 128))


@dataclass(frozen=True)
class Case:
    """One kind of evaluation."""

    name: str
    max_new_tokens: int
    runs_to_the_end: bool = False
    mixed_sizes: bool = False


CASES = (
    Case("own answers", 192),
    Case("120 tokens", 120, runs_to_the_end=True),
    Case("120 tokens, mixed sizes", 120, runs_to_the_end=True, mixed_sizes=True),
)


def pictures(n: int, *, mixed: bool) -> list[Image.Image]:
    """Damaged scenes of the embedded benchmark."""
    mixture, made = benchmark.mixture_named("mini-koniq"), []
    for number in range(n):
        rng = np.random.default_rng(number)
        scene, _ = benchmark.draw_scene(mixture, "test", 256 if mixed else 128, rng)
        pixels = distortions.apply_all(scene, benchmark.draw_distortions(mixture, rng), rng)
        width, height = SIZES[number % len(SIZES)] if mixed else SIZES[0]
        made.append(Image.fromarray(np.ascontiguousarray(pixels[:height, :width])))
    return made


def opened(case: Case) -> Student:
    """The mini student, set up for a case."""
    config = StudentConfig()
    if case.mixed_sizes:
        config = config.model_copy(update={"max_pixels": 4 * config.max_pixels})
    student = load_student(config)
    if case.runs_to_the_end:
        end = student.processor.tokenizer.eos_token_id
        student.model.generation_config.suppress_tokens = [end]
    return student


def measure(case: Case, n: int, n_alone: int, turns: int) -> dict[str, Any]:
    """Time both ways, and prove that the answers timed are equal."""
    student, images = opened(case), pictures(n, mixed=case.mixed_sizes)
    found: dict[str, list[Completion]] = {}

    def answer(name: str, some: Sequence[Image.Image], size: int) -> None:
        limits = {"max_new_tokens": case.max_new_tokens, "batch_size": size}
        found[name] = generate(student, some, "student_short", **limits)

    answer("warm-up", images[:2], 2)
    taken = in_turn(
        {
            "batched": lambda: answer("batched", images, n),
            "alone": lambda: answer("alone", images[:n_alone], 1),
        },
        turns,
    )
    pairs = list(zip(found["batched"], found["alone"], strict=False))
    equal = sum(one == two for one, two in pairs)
    assert equal == len(pairs), f"{case.name}: {len(pairs) - equal} of {len(pairs)} answers differ"
    counts = {"batched": n, "alone": n_alone}
    each = {
        name: {clock: value / counts[name] for clock, value in one.items()}
        for name, one in taken.items()
    }
    return {
        "case": case.name,
        "images": counts,
        "turns": turns,
        "threads": 1,
        "equal_answers": f"{equal} of {len(pairs)}",
        "mean_tokens": round(float(np.mean([one.n_tokens for one in found["alone"]])), 1),
        "ms_per_image": {
            name: {clock: round(1000 * value, 2) for clock, value in one.items()}
            for name, one in each.items()
        },
        "ratio_cpu": round(each["alone"]["cpu"] / each["batched"]["cpu"], 2),
        "ratio_wall": round(each["alone"]["wall"] / each["batched"]["wall"], 2),
    }


def main(n: int = 64, n_alone: int = 64, turns: int = 1) -> None:
    """Measure every case, print a table, write each row as it comes.

    Args:
        n: Images of a batch.
        n_alone: How many of them are also asked about one at a time.
        turns: How often each way is timed; the least time counts.
    """
    torch.set_num_threads(1)
    print(f"a batch of {n} images; processor ms per image, ratios of processor time and clock")
    print(f"{'case':<26}{'equal':>10}{'tokens':>8}{'alone':>9}{'batched':>9}{'cpu':>7}{'wall':>7}")
    for case in tqdm(CASES, file=sys.stderr):
        where = about("torch", "transformers")
        row = measure(case, n, n_alone, turns)
        ms = [row["ms_per_image"][name]["cpu"] for name in ("alone", "batched")]
        print(
            f"{row['case']:<26}{row['equal_answers']:>10}{row['mean_tokens']:>8}"
            f"{ms[0]:>9}{ms[1]:>9}{row['ratio_cpu']:>7}{row['ratio_wall']:>7}",
            flush=True,
        )
        keep("batched_evaluation", {**row, "about": where}, ("case",))


if __name__ == "__main__":
    typer.run(main)
