"""The preflight's estimate of activations beside the measured peak of a GRPO update.

Stock TRL with gradient checkpointing in float32, random weights, one image and its answers at
once. Measured is the peak of what torch allocates for loss and gradients above what stood before;
the gradients of the weights, which are there at the end, are told beside it. On a CPU TRL scores
every position, not the answers' alone, and its torch operations in place of the GPU's kernel hold
seven tiles of scores: the estimate is told so there. Prints rows, writes JSON.

    PYTHONPATH=. python tests/benchmarks/memory_estimate.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import typer
from measuring import about, write
from shared_prefix import prompt_rows, trainer_of, update
from tqdm import tqdm
from trl import GRPOTrainer

from qponder_lib.config import load_profile
from qponder_lib.gpu.sizes import TILE_TOKENS, Lengths, activations, shape_of
from qponder_lib.student.architecture import build_mini
from qponder_lib.student.model import load_student

SIDE = 224
"""Of the picture, pixels."""


@dataclass(frozen=True)
class Case:
    """A model's layers and width, prompt and answer tokens, and answers at once."""

    layers: int
    hidden: int
    prompt: int
    completion: int
    n: int


CASES = (
    Case(6, 256, 400, 200, 4),
    Case(12, 256, 400, 200, 4),
    Case(12, 512, 400, 200, 4),
    Case(12, 512, 400, 200, 8),
    Case(12, 512, 1150, 200, 4),
)


def trainer(case: Case) -> Any:
    """Stock TRL around a random model of the case's size."""
    student = load_student(load_profile("mini").student)
    config = type(student.model.config).from_dict(student.model.config.to_dict())
    text = config.text_config
    text.num_hidden_layers, text.hidden_size = case.layers, case.hidden
    text.layer_types = ["full_attention"] * case.layers
    text.intermediate_size = 3 * case.hidden
    text.num_attention_heads, text.num_key_value_heads = case.hidden // 64, 2
    text.max_position_embeddings = 4096
    config.vision_config.out_hidden_size = case.hidden
    batch = (case.n, case.n, case.completion)
    return trainer_of(
        GRPOTrainer,
        build_mini(config, seed=0),
        student.processor,
        SIDE * SIDE,
        batch,
        checkpointing=True,
    )


def measure(case: Case) -> dict[str, Any]:
    """One row of the table."""
    made = trainer(case)
    rows = prompt_rows(made, case.prompt, case.n, 1)
    torch.manual_seed(0)
    batch = made._generate_and_score_completions(rows)
    shape = shape_of(made.model.config._name_or_path)
    if shape is None:
        raise RuntimeError("the model's configuration cannot be read")
    update(made, batch)
    made.model.zero_grad(set_to_none=True)
    peak = peak_mib(lambda: update(made, batch))
    grads = sum(one.grad.nbytes for one in made.model.parameters() if one.grad is not None) / 2**20
    image = shape.image_tokens(SIDE * SIDE)
    scored = case.completion if torch.cuda.is_available() else case.prompt + case.completion - image
    tokens = Lengths(case.prompt + case.completion - image - scored, image, scored, counted=True)
    estimate = activations(shape, tokens, case.n, 4) / 2**20
    if not torch.cuda.is_available():
        estimate += 7 * 4 * min(case.n * scored, TILE_TOKENS) * shape.text.vocab_size / 2**20
    return {
        **case.__dict__,
        "estimate_mib": round(estimate, 1),
        "measured_mib": round(peak, 1),
        "estimate_over_measured": round(estimate / peak, 3),
        "gradients_mib": round(grads, 1),
    }


def peak_mib(call: Callable[[], object]) -> float:
    """MiB that torch has allocated at most during a call, above what it held before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        call()
    events = [one for one in profile.profiler.kineto_results.events() if one.name() == "[memory]"]
    sizes = [one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())]
    return max(accumulate(sizes)) / 2**20


def main() -> None:
    """Measure every case, print and write."""
    machine = about("torch", "transformers", "trl")
    machine["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    rows = []
    for case in tqdm(CASES, file=sys.stderr):
        rows.append(measure(case))
        print(rows[-1], flush=True)
    print(write("memory_estimate", {**machine, "rows": rows}))


if __name__ == "__main__":
    typer.run(main)
