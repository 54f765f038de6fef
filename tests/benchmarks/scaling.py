"""How the stages of mini grow with their input: processor seconds at several sizes, and exponents.

Each stage runs through the function that its notebook calls, at sizes that double twice, with all
else equal. An exponent of 1 says that twice the input takes twice the time; below 1 a fixed part
weighs at these sizes, or work is shared. Sizes take turns; each has its least processor time, of
this process and those it started, which other work on the machine disturbs little. For answers
the measured length in tokens is the size.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/scaling.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import typer
from measuring import about, exponent, keep
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
import synthetic_run

from qponder_lib import artifacts
from qponder_lib.artifacts import read_csv, read_jsonl, write_jsonl
from qponder_lib.config import load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_image, load_records
from qponder_lib.evaluation import filtering, scoring
from qponder_lib.judging.rubric import Candidate, judge
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse
from qponder_lib.student.generation import generate
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import LazyImages
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training.launch import train

STEPS = 4
PROMPT_TOKENS = 41 + 16
"""Of the mini student: the prompt, and an image of 128 x 128."""
BASE = {
    "data.n_train": 96,
    "data.n_validation": 4,
    "data.n_test": 1,
    "sft.max_steps": STEPS,
    "sft.save_steps": STEPS,
    "sft.per_device_train_batch_size": 16,
    "grpo.max_steps": STEPS,
    "grpo.save_steps": STEPS,
    "grpo.n_validation": 0,
    "grpo.images_per_step": 4,
    "grpo.num_generations": 8,
    "grpo.max_completion_length": 48,
}
Stage = Callable[[Run, int, Path], float | None]


@dataclass(frozen=True)
class Growth:
    """A stage, what of its input grows, and the sizes; a stage may return the size it measured."""

    stage: str
    input: str
    sizes: tuple[int, ...]
    run: Stage

    @property
    def needs_student(self) -> bool:
        """True for the stages that start from a cold start."""
        return self.stage.startswith(("06", "07"))


def variant(run: Run, **changes: Any) -> Run:
    """The run with other settings and the same folder."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return Run(run.paths, run.profile.with_overrides(named))


def data(run: Run, n: int, work: Path) -> None:
    """01: make the embedded sets, from a process whose workers do not import this script."""
    config = run.profile.data.model_copy(update={"n_train": n})
    code = (
        "import sys; from pathlib import Path; from qponder_lib.config import DataConfig; "
        "from qponder_lib.data import benchmark; from qponder_lib.paths import RunPaths; "
        "benchmark.build(DataConfig.model_validate_json(sys.argv[1]), RunPaths(Path(sys.argv[2])), "
        "progress=False)"
    )
    subprocess.run([sys.executable, "-c", code, config.model_dump_json(), str(work)], check=True)


def distilled(run: Run, n: int, work: Path) -> None:
    """02: the offline expert's answers."""
    config = run.profile.distill
    records = load_records(run.paths, "mini-koniq", "train")[:n]
    store = work / "raw.jsonl"
    distill(records, open_teacher(config), config, run.paths, store=store)


def filtered(run: Run, n: int, work: Path) -> None:
    """03: Eq. 1 on copies of real answers."""
    records = load_records(run.paths, "mini-koniq", "train")
    answers = current_responses(records, run.profile.distill, run.paths)
    many = [
        one.model_copy(update={"image_id": f"{one.image_id}-{k}", "response_id": f"{k:016x}"})
        for k, one in zip(range(n), answers * (n // len(answers) + 1), strict=False)
    ]
    mos = {one.image_id: 50.0 for one in many}
    filtering.filter_responses(many, mos, run.profile.filter.gamma)


def sft_images(run: Run, n: int, work: Path) -> None:
    """04: steps of so many images."""
    train(variant(run, sft__per_device_train_batch_size=n), "sft-long", work)


def sft_tokens(run: Run, n: int, work: Path) -> float:
    """04: answers cut to n words; the mean tokens of prompt, image and answer are the size."""
    kept = read_jsonl(run.paths.kept, FilteredResponse)
    short = []
    for row in kept:
        words = (row.text or "").removeprefix("<think>").partition("</think>")[0].split()
        text = f"<think>{' '.join((words * 9)[:n])}</think><answer>{row.score}</answer>"
        short.append(row.model_copy(update={"text": text}))
    place = RunPaths(work / "run")
    place.root.mkdir(parents=True)
    place.data.symlink_to(run.paths.data)
    write_jsonl(place.kept, short)
    train(Run(place, run.profile), "sft-long", work / "sft")
    tokenizer = load_student(run.profile.student).processor.tokenizer
    lengths = [len(tokenizer(row.text).input_ids) for row in short]
    return sum(lengths) / len(lengths) + PROMPT_TOKENS


def grpo_images(run: Run, n: int, work: Path) -> None:
    """06: steps of so many images."""
    train(variant(run, grpo__images_per_step=n), "grpo-qponder", work)


def grpo_answers(run: Run, n: int, work: Path) -> None:
    """06: so many answers per image."""
    train(variant(run, grpo__num_generations=n), "grpo-qponder", work)


def grpo_tokens(run: Run, n: int, work: Path) -> float:
    """06: answers of at most n tokens; the mean length measured is the size."""
    folder = train(variant(run, grpo__max_completion_length=n), "grpo-qponder", work)
    lengths = [float(row["completion_length"] or 0) for row in read_csv(folder / "history.csv")]
    return sum(lengths) / len(lengths)


def predicted_images(run: Run, n: int, work: Path) -> None:
    """07: greedy answers in batches of 32."""
    records = load_records(run.paths, "mini-koniq", "train")[:n]
    student = load_student(run.profile.student, run.paths.sft("long"))
    images = LazyImages(records, partial(load_image, run.paths))
    generate(student, images, "student_short", max_new_tokens=48, batch_size=32)


def predicted_tokens(run: Run, n: int, work: Path) -> None:
    """07: answers of exactly n tokens."""
    records = load_records(run.paths, "mini-koniq", "train")[:32]
    student = load_student(run.profile.student, run.paths.sft("long"))
    student.model.generation_config.suppress_tokens = [student.processor.tokenizer.eos_token_id]
    images = LazyImages(records, partial(load_image, run.paths))
    generate(student, images, "student_short", max_new_tokens=n, batch_size=32)


def evaluated(run: Run, n: int, work: Path) -> None:
    """08: scores, intervals and differences of seven models on six sets."""
    scoring.evaluate_run(synthetic_run.write_run(work, n))


def judged(run: Run, n: int, work: Path) -> None:
    """09: the offline rubric."""
    records = load_records(run.paths, "mini-koniq", "train")
    answers = current_responses(records, run.profile.distill, run.paths)
    texts = [
        Candidate("teacher", one, said.text, 50.0)
        for one, said in zip(records, answers, strict=True)
    ]
    for text in (texts * (n // len(texts) + 1))[:n]:
        judge(text)


GROWTHS = (
    Growth("01 data", "images", (200, 400, 800), data),
    Growth("02 distill", "images", (24, 48, 96), distilled),
    Growth("03 filter", "answers", (2000, 4000, 8000), filtered),
    Growth("04 sft", "images a step", (8, 16, 32), sft_images),
    Growth("04 sft", "tokens a row", (60, 150, 330), sft_tokens),
    Growth("06 grpo", "images a step", (2, 4, 8), grpo_images),
    Growth("06 grpo", "answers an image, n", (4, 8, 16), grpo_answers),
    Growth("06 grpo", "tokens an answer", (24, 48, 96), grpo_tokens),
    Growth("07 predict", "images", (24, 48, 96), predicted_images),
    Growth("07 predict", "tokens an answer", (32, 64, 128), predicted_tokens),
    Growth("08 evaluate", "images a set", (50, 100, 200), evaluated),
    Growth("09 judge", "texts", (200, 400, 800), judged),
)


def prepared(folder: Path, *, with_student: bool) -> Run:
    """A run with images, kept answers and, if asked for, a cold start, made by the stages."""
    run = Run(RunPaths(folder), load_profile("smoke").with_overrides(BASE))
    benchmark.build(run.profile.data, run.paths, progress=False)
    records = load_records(run.paths, "mini-koniq", "train")
    distill(records, open_teacher(run.profile.distill), run.profile.distill, run.paths)
    answers = current_responses(records, run.profile.distill, run.paths)
    mos = {one.image_id: one.mos for one in records}
    kept = filtering.filter_responses(answers, mos, run.profile.filter.gamma).kept
    artifacts.write_jsonl(run.paths.kept, kept)
    if with_student:
        train(run, "sft-long", folder / "work")
    return run


def cpu_seconds() -> float:
    """Processor seconds of this process and of those it started and that have ended."""
    return sum(os.times()[:4])


def measure(growth: Growth, run: Run, turns: int) -> dict[str, Any]:
    """Run a stage at every size, in turn, and fit the exponent."""
    taken: dict[int, list[float]] = {size: [] for size in growth.sizes}
    real = {size: float(size) for size in growth.sizes}
    for _ in range(turns):
        for size in growth.sizes:
            with tempfile.TemporaryDirectory() as work:
                began = cpu_seconds()
                found = growth.run(run, size, Path(work))
                taken[size].append(cpu_seconds() - began)
                real[size] = found or real[size]
    seconds = [round(min(taken[size]), 3) for size in growth.sizes]
    sizes = [round(real[size], 1) for size in growth.sizes]
    return {
        "stage": growth.stage,
        "input": growth.input,
        "sizes": sizes,
        "cpu_seconds": seconds,
        "exponent": round(exponent(sizes, seconds), 2),
        "exponent_of_last_step": round(exponent(sizes[-2:], seconds[-2:]), 2),
    }


def main(turns: int = 1, only: str = "") -> None:
    """Measure stages, print a table, write each row as it comes; rows measured earlier stay.

    Args:
        turns: How often each size is run; the least time counts.
        only: Beginning of the stages' names; others are left out.
    """
    torch.set_num_threads(1)
    settings = {"turns": turns, "steps": STEPS, "base": BASE, "threads": 1}
    chosen: Sequence[Growth] = [one for one in GROWTHS if one.stage.startswith(only)]
    print(f"{'stage':<13}{'input':<21}{'sizes':<24}{'cpu seconds':<26}exponent (last step)")
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder), with_student=any(one.needs_student for one in chosen))
        for growth in tqdm(chosen, file=sys.stderr):
            where = about("torch", "transformers", "trl")
            row = measure(growth, run, turns)
            print(
                f"{row['stage']:<13}{row['input']:<21}{row['sizes']!s:<24}"
                f"{row['cpu_seconds']!s:<26}{row['exponent']} ({row['exponent_of_last_step']})",
                flush=True,
            )
            keep("scaling", {**row, "settings": settings, "about": where}, ("stage", "input"))


if __name__ == "__main__":
    typer.run(main)
