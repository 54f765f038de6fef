"""GRPO with a shared prefix beside stock TRL: same weights, same batch, equality first.

Times a rollout, an update (loss and gradients of the policy) and a whole step (rollout, reference,
loss, gradients), in turn with both trainers. Answers have the stated length in every row, so
nothing is won by answers that end early. Peak memory is that of an update, above what stands
before it. Prints a table and writes JSON,
in which cases measured earlier stay.

    PYTHONPATH=. python tests/benchmarks/shared_prefix.py --shapes 400x200 --n 8 --repeats 1
"""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import typer
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm
from transformers import Qwen2_5_VLForConditionalGeneration
from trl import GRPOConfig, GRPOTrainer

from qponder_lib.config import load_profile
from qponder_lib.student.architecture import build_mini
from qponder_lib.student.model import load_student
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer

RESULTS = Path(__file__).parent / "results" / "shared_prefix.json"
KINDS = {"stock": GRPOTrainer, "shared": SharedPrefixTrainer}
PIXELS = {"six": 512 * 512, "mini": 128 * 128}
WORD = " sharp"


def random_model(name: str, base: Any) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights: six language layers and windows in the vision tower, or the mini's shape."""
    config = type(base).from_dict(base.to_dict())
    if name == "six":
        config.text_config.num_hidden_layers = 6
        config.text_config.layer_types = ["full_attention"] * 6
        config.text_config.max_position_embeddings = 4096
        config.vision_config.fullatt_block_indexes = [config.vision_config.depth - 1]
    return build_mini(config, seed=0)


def make_trainer(kind: type[GRPOTrainer], model: str, n: int, n_images: int, length: int) -> Any:
    """A trainer whose answers all have ``length`` tokens."""
    student = load_student(load_profile("mini").student)
    random = random_model(model, student.model.config)
    return trainer_of(kind, random, student.processor, PIXELS[model], (n * n_images, n, length))


def trainer_of(
    kind: type[GRPOTrainer],
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Any,
    pixels: int,
    batch: tuple[int, int, int],
    *,
    checkpointing: bool = False,
) -> Any:
    """A trainer of a model, for a batch of so many rows, answers per image and answer tokens."""
    rows, n, length = batch
    processor.image_processor.size = {"shortest_edge": pixels, "longest_edge": pixels}
    folder = tempfile.mkdtemp()
    model.save_pretrained(folder)
    made = kind(
        model=folder,
        reward_funcs=[lambda completions, **_: [float(hash(str(one)) % 7) for one in completions]],
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            num_generations=n,
            max_completion_length=length,
            generation_kwargs={"min_new_tokens": length},
            beta=0.04,
            loss_type="grpo",
            bf16=False,
            gradient_checkpointing=checkpointing,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        ),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}] * 64),
        processing_class=processor,
    )
    made.current_gradient_accumulation_steps = 1
    made.model.train()
    if checkpointing:  # which only train() turns on by itself
        made.model.gradient_checkpointing_enable(made.args.gradient_checkpointing_kwargs)
    return made


def prompt_rows(made: Any, length: int, n: int, n_images: int) -> list[dict[str, Any]]:
    """Rows whose prompts, images included, have ``length`` tokens."""
    pictures = [
        Image.effect_noise((512, 512), 20 + number).convert("RGB") for number in range(n_images)
    ]

    def row(words: int, picture: Image.Image) -> dict[str, Any]:
        return {"prompt": [{"role": "user", "content": "Rate." + WORD * words}], "image": picture}

    def tokens(words: int) -> int:
        one = row(words, pictures[0])
        message = [{"type": "image", "image": one["image"]}]
        message.append({"type": "text", "text": one["prompt"][0]["content"]})
        ids, _, _ = made._tokenize_prompts([[{"role": "user", "content": message}]])
        return len(ids[0])

    words = (length - tokens(0)) // (tokens(1) - tokens(0))
    if words < 0 or abs(tokens(words) - length) > 4:
        raise typer.BadParameter(f"no prompt of {length} tokens: {tokens(0)} without a word")
    return [dict(row(words, picture)) for picture in pictures for _ in range(n)]


def step(made: Any, rows: list[dict[str, Any]]) -> None:
    """A whole step without the optimiser, which is the same for both."""
    torch.manual_seed(0)
    update(made, made._generate_and_score_completions(rows))


def rollout(made: Any, rows: list[dict[str, Any]]) -> list[list[int]]:
    """Sampled answers."""
    torch.manual_seed(0)
    return made._generate([conversation(row) for row in rows])[1]


def conversation(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A prompt with its image in it, as TRL writes it."""
    parts = [
        {"type": "image", "image": row["image"]},
        {"type": "text", "text": row["prompt"][0]["content"]},
    ]
    return [{"role": "user", "content": parts}]


def update(made: Any, batch: dict[str, Any]) -> float:
    """Loss and gradients of the policy."""
    made.model.zero_grad()
    loss = made._compute_loss(made.model, batch)
    loss.backward()
    return loss.item()


def gradient(made: Any) -> torch.Tensor:
    """All gradients in one vector."""
    grads = [one.grad for one in made.model.parameters() if one.grad is not None]
    return torch.cat([grad.flatten() for grad in grads])


def peak_mib(call: Callable[[], object]) -> float | None:
    """Peak memory of a call above what is held before it; None where it cannot be asked for."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")

    def kib(name: str) -> int:
        return int(status.read_text().split(f"{name}:")[1].split()[0])

    before = kib("VmRSS")
    call()
    return (kib("VmHWM") - before) / 2**10


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Seconds on the clock and of the processors."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock, work = time.perf_counter(), time.process_time()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"wall": time.perf_counter() - clock, "cpu": time.process_time() - work}


def measure(shape: tuple[int, int], n: int, n_images: int, model: str, repeats: int) -> dict:
    """One row of the table: equality, then times and memory."""
    length, answer = shape
    made = {name: make_trainer(kind, model, n, n_images, answer) for name, kind in KINDS.items()}
    rows = prompt_rows(made["stock"], length, n, n_images)
    torch.manual_seed(0)
    batch = made["stock"]._generate_and_score_completions(rows)
    chance = torch.Generator().manual_seed(1)
    batch["advantages"] = torch.randn(len(rows), generator=chance).to(batch["advantages"])
    losses = {name: update(one, batch) for name, one in made.items()}
    stock, shared = (gradient(one) for one in made.values())
    answers = {name: rollout(one, rows) for name, one in made.items()}
    result: dict[str, Any] = {
        "model": model,
        "prompt": int(batch["prompt_ids"].shape[1]),
        "completion": answer,
        "n": n,
        "images": n_images,
        "gradient_difference": ((shared - stock).norm() / stock.norm()).item(),
        "loss_difference": abs(losses["shared"] - losses["stock"]),
        "equal_answers": statistics.fmean(
            one == two for one, two in zip(*answers.values(), strict=True)
        ),
        "stock_reason": made["shared"].stock_reason,
    }
    del stock, shared
    actions: dict[str, Callable[[Any], object]] = {
        "update": lambda one: update(one, batch),
        "rollout": lambda one: rollout(one, rows),
        "step": lambda one: step(one, rows),
    }
    for action, call in actions.items():
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in made}
        for _ in range(repeats):
            for name, one in made.items():
                taken[name].append(timed(lambda one=one, call=call: call(one)))
        result[action] = seconds_and_ratios(taken)
    for one in made.values():
        one.model.zero_grad()
    result["peak_mib"] = {}
    for name, one in made.items():
        result["peak_mib"][name] = peak_mib(lambda one=one: update(one, batch))
        one.model.zero_grad()
    return result


def seconds_and_ratios(taken: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Median seconds of both, and how many times stock's time is the shared one's."""
    found = {
        f"{name}_{clock}": statistics.median(one[clock] for one in times)
        for name, times in taken.items()
        for clock in ("wall", "cpu")
    }
    ratios = {f"ratio_{c}": found[f"stock_{c}"] / found[f"shared_{c}"] for c in ("wall", "cpu")}
    return {name: round(value, 3) for name, value in {**found, **ratios}.items()}


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        if info.exists()
        else []
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": names[0] if names else platform.processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "trl")},
    }


def line(row: dict[str, Any]) -> str:
    """A row of the printed table."""
    memory = row["peak_mib"]
    share = memory["shared"] / memory["stock"] if memory["stock"] else float("nan")
    ratios = "  ".join(
        f"{row[name]['ratio_wall']:5.2f} ({row[name]['ratio_cpu']:5.2f})"
        for name in ("update", "rollout", "step")
    )
    return (
        f"{row['prompt']:6d} {row['completion']:6d} {row['n']:3d} {row['images']:3d}  "
        f"{row['gradient_difference']:.0e}  {row['equal_answers']:.2f}  {ratios}  {share:5.2f}"
    )


def main(
    shapes: str = "1150x200,400x200,400x1000",
    n: str = "4,8,16",
    images: int = 1,
    model: str = "six",
    repeats: int = 3,
    out: Path = RESULTS,
) -> None:
    """Measure every shape with every group size, print a table, write JSON.

    Args:
        shapes: Prompt and answer tokens, such as 400x200, separated by commas.
        n: Answers per image, separated by commas.
        images: Images per step.
        model: six or mini; both with random weights.
        repeats: Timings of each, of which the median counts.
        out: JSON file.
    """
    print("ratios: times stock's time is the shared one's, on the clock (of processor time)")
    print("prompt answer   n img  grad   same  update         rollout        step           memory")
    pairs = [tuple(int(part) for part in shape.split("x")) for shape in shapes.split(",")]
    plan = [(shape, int(size)) for shape in pairs for size in n.split(",")]
    for shape, size in tqdm(plan, file=sys.stderr, mininterval=5):
        where = machine()
        row = {**measure(shape, size, images, model, repeats), "repeats": repeats, "machine": where}
        print(line(row), flush=True)
        keep(row, out)


def keep(row: dict[str, Any], out: Path) -> None:
    """Write a row into the file, in place of an earlier one of the same case."""

    def case(one: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(one[name] for name in ("model", "prompt", "completion", "n", "images"))

    rows = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.exists() else []
    rows = sorted([one for one in rows if case(one) != case(row)] + [row], key=case)
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
