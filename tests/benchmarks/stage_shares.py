"""Where the time of a finished run goes, and what the arithmetic of its stages would take.

    python tests/benchmarks/stage_shares.py mini

For each stage its seconds and its share, from the stage records. For stages that train or predict,
beside them the seconds that their multiply-adds would take if all of them ran as fast as a large
float32 matrix product does on this machine: two steps of each training and one batch of each
prediction are run under torch's own counter, and taken times the number of steps or batches.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path

import torch
from measuring import about, write
from torch.utils.flop_counter import FlopCounterMode

from qponder_lib import pipeline
from qponder_lib.artifacts import read_record
from qponder_lib.config import load_profile
from qponder_lib.data.images import load_records
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.student.prediction import predictor
from qponder_lib.training import launch

STEPS = 2
SIDE = 2048


def matrix_rate() -> float:
    """Floating-point operations per second of a large matrix product, the best of ten."""
    one = torch.randn(SIDE, SIDE)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        one @ one
        best = max(best, 2 * SIDE**3 / (time.perf_counter() - start))
    return best


def counted(work: object) -> int:
    """Floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter, contextlib.redirect_stdout(io.StringIO()):
        work()
    return counter.get_total_flops()


def training_operations(run: Run, stage: str, scratch: Path) -> float:
    """Operations of a whole training, from its first `STEPS` steps in a scratch folder."""
    section = stage.split("-")[0]
    short = {f"{section}.max_steps": STEPS, f"{section}.logging_steps": 1, "grpo.n_validation": 0}
    paths = RunPaths.at(scratch)
    for name in ("data", "distill", "sft"):
        if name != section and not (scratch / name).exists():
            (scratch / name).symlink_to(run.paths.root / name)
    if section == "sft":
        (scratch / "sft").mkdir(exist_ok=True)
    other = Run(paths, run.profile.with_overrides(short))
    work = Path(tempfile.mkdtemp(dir=scratch))
    n_steps = getattr(run.profile, section).max_steps
    return counted(lambda: launch.train(other, stage, work)) * n_steps / STEPS


def prediction_operations(run: Run, model: str, scratch: Path) -> float:
    """Operations of all predictions of a model, from one batch greedy and one sampled."""
    config, total = run.profile.predict, 0.0
    asked = {False: config.sets, True: config.of(model).sampled_sets}
    for sampled, datasets in asked.items():
        rows = [row for name in datasets for row in load_records(run.paths, name, "test")]
        if rows:
            predict = predictor(run, model, scratch)
            batch = rows[: config.batch_size]
            total += counted(lambda: predict(batch, sampled)) * len(rows) / len(batch)  # noqa: B023
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    run_paths = RunPaths.find(parser.parse_args().run)
    run = Run(run_paths, load_profile(run_paths.profile))
    rate, rows = matrix_rate(), []
    for stage in pipeline.stages(run.profile):
        record = read_record(run.paths.record(stage.name))
        if record is None or not record.seconds:
            continue
        row = {"stage": stage.name, "seconds": record.seconds}
        with tempfile.TemporaryDirectory() as scratch:
            if stage.name.startswith(("sft-", "grpo-")):
                operations = training_operations(run, stage.name, Path(scratch))
            elif stage.name.startswith(("predict-ci", "predict-qponder")):
                model = stage.name.removeprefix("predict-")
                operations = prediction_operations(run, model, Path(scratch))
            else:
                operations = None
        if operations is not None:
            row |= {"operations": operations, "limit_seconds": round(operations / rate, 1)}
        rows.append(row)
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        row["share"] = round(row["seconds"] / total, 3)
        limit = f"{row['limit_seconds']:7.0f} s" if "limit_seconds" in row else "        -"
        print(f"{row['stage']:22} {row['seconds']:7.0f} s  {row['share']:6.1%}  limit {limit}")
    print(f"{'in all':22} {total:7.0f} s; a {SIDE} x {SIDE} product makes {rate / 1e9:.0f} GFLOP/s")
    threads = torch.get_num_threads()
    result = {"run": run_paths.root.name, "threads": threads, "flops_per_s": rate, "stages": rows}
    print(write("stage_shares", about("torch", "transformers", "trl") | result))


if __name__ == "__main__":
    main()
