"""A run folder without a model in it: every file that tables and figures read, made from noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qponder_lib import artifacts, config
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import Distortion, ImageRecord, PredictionRecord, ResponseRecord
from qponder_lib.scales import severity_of

SETS = config.PredictConfig().sets
STANDS_FOR = ("KonIQ-10k", "SPAQ", "LIVE-in-the-Wild", "KADID-10k", "CSIQ", "AGIQA-3K")
# Standard deviation of a model's error, MOS units; sampled answers err more.
ERROR = {
    "base": 300.0,
    "ci-none": 17.0,
    "ci-short": 16.0,
    "ci-long": 15.0,
    "qponder": 11.0,
    "teacher": 14.0,
    "handcrafted": 19.0,
}
NO_SHA = "0" * 64


def small_profile(**overrides: object) -> config.Profile:
    values = {"predict.n_samples": 3, **overrides}
    return config.Profile(name="synthetic", description="made from noise").with_overrides(values)


def image_row(dataset: str, split: str, number: int, mos: float) -> ImageRecord:
    image_id = f"{dataset}-{split}-{number:05d}"
    return ImageRecord(
        image_id=image_id,
        image=f"{dataset}/images/{image_id}.png",
        dataset=dataset,
        split=split,
        mos=mos,
        mos_raw=mos,
        mos_std=5.0,
        severity=severity_of(mos),
        distortions=(Distortion(name="blur", level=1 + number % 5),),
        sha256=NO_SHA,
        reference=f"photograph-{number % 7}",
    )


def prediction(image: ImageRecord, score: float | None, sample: int = 0) -> PredictionRecord:
    return PredictionRecord(
        image_id=image.image_id,
        text=None if score is None else f"<think>So.</think><answer>{score}</answer>",
        score=score,
        parse_status="no_answer" if score is None else "ok",
        mos=image.mos,
        n_tokens=40,
        sample=sample,
        expectation=0.9 * score + 5.0 if score is not None and 0.0 <= score <= 100.0 else None,
    )


def write_images(paths: RunPaths, n: int, rng: np.random.Generator) -> dict[str, list[ImageRecord]]:
    tests = {}
    for dataset in SETS:
        mos = 100.0 * rng.beta(1.6, 1.4, n)
        tests[dataset] = [image_row(dataset, "test", i, float(m)) for i, m in enumerate(mos)]
        artifacts.write_jsonl(paths.split(dataset, "test"), tests[dataset])
    train = [
        image_row("mini-koniq", "train", i, float(m))
        for i, m in enumerate(100.0 * rng.beta(1.6, 1.4, 4 * n))
    ]
    artifacts.write_jsonl(paths.split("mini-koniq", "train"), train)
    rows = [
        {
            "set": dataset,
            "stands_for": STANDS_FOR[SETS.index(dataset)],
            "split": "test",
            "n": n,
            "n_references": 7,
            "mos_mean": 53.0,
            "mos_std": 25.0,
            "rater_std": 5.0,
            "ceiling_srcc": 0.97,
            "ceiling_plcc": 0.975,
        }
        for dataset in SETS
    ]
    artifacts.write_csv(paths.tables / "benchmark.csv", rows, list(rows[0]))
    return tests | {"train": train}


def answers(
    images: list[ImageRecord], error: float, unparsed: float, rng: np.random.Generator, sample: int
) -> list[PredictionRecord]:
    rows = []
    for image in images:
        score = float(np.round(np.clip(image.mos + rng.normal(0.0, error), 0.0, 100.0), 1))
        if error > 100.0:
            score = float(np.round(rng.normal(60.0, 8.0), 1))
        rows.append(prediction(image, None if rng.random() < unparsed else score, sample))
    return rows


def write_predictions(
    run: Run, tests: dict[str, list[ImageRecord]], rng: np.random.Generator, gain: float = 0.0
) -> None:
    """`gain` is taken off the error of the model called qponder."""
    predict = run.profile.predict
    for model in predict.models:
        for position, dataset in enumerate(predict.sets):
            error = ERROR[model] + 2.0 * position - gain * (model == "qponder")
            rows = answers(tests[dataset], error, 0.2 if model == "base" else 0.005, rng, 0)
            artifacts.write_jsonl(run.paths.predictions(model, dataset), rows)
    for model in predict.sampled_models:
        for dataset in predict.sampled_sets:
            unparsed = 0.05 if model == "qponder" else 0.3
            samples = [
                answers(tests[dataset], 1.7 * ERROR[model], unparsed, rng, sample)
                for sample in range(predict.n_samples)
            ]
            rows = [row for sample in samples for row in sample]
            artifacts.write_jsonl(run.paths.predictions(model, dataset, sampled=True), rows)


def responses(train: list[ImageRecord], rng: np.random.Generator) -> list[ResponseRecord]:
    rows = []
    for image in train:
        # The teacher is worst on bad images, as real ones are.
        error = rng.normal(0.0, 8.0 + 0.25 * (100.0 - image.mos))
        score = np.clip(image.mos + error, 0.0, 100.0)
        silent = rng.random() < 0.03
        rows.append(
            ResponseRecord(
                response_id=f"r-{image.image_id}",
                image_id=image.image_id,
                teacher="expert-v1",
                prompt_id="expert",
                prompt_sha256=NO_SHA,
                hinted=True,
                text="No idea." if silent else f"Soft. <answer>{score:.1f}</answer>",
                finish_reason="stop",
                n_tokens=80,
                seconds=0.01,
            )
        )
    return rows


def write_histories(run: Run, rng: np.random.Generator, steps: int = 200) -> None:
    for variant in run.profile.sft.variants:
        rows = [
            {
                "step": step,
                "loss": 0.6 + 2.5 * np.exp(-step / 40) + rng.normal(0, 0.04),
                "learning_rate": 8e-4,
                "grad_norm": 1.0,
                "mean_token_accuracy": 0.8,
                "epoch": step / 90,
                "seconds": 2.0 * step,
            }
            for step in range(5, 301, 5)
        ]
        artifacts.write_csv(run.paths.sft(variant) / "history.csv", rows, list(rows[0]))
    rows = []
    for step in range(1, steps + 1):
        gone = 1.0 - np.exp(-step / 60)
        validated = step % 50 == 0
        rows.append(
            {
                "step": step,
                "reward": 1.3 + 0.4 * gone + rng.normal(0, 0.05),
                "reward_std": 0.4,
                "reward_accuracy": 0.42 + 0.12 * gone + rng.normal(0, 0.04),
                "reward_format": np.clip(0.68 + 0.27 * gone + rng.normal(0, 0.05), 0, 1),
                "parse_rate": np.clip(0.7 + 0.28 * gone + rng.normal(0, 0.04), 0, 1),
                "zero_variance_share": np.clip(rng.normal(0.02, 0.03), 0, 1),
                "distinct_scores": 6.5 - gone + rng.normal(0, 0.3),
                "modal_share": 0.3,
                "completion_length": 88 - 14 * gone + rng.normal(0, 2),
                "clipped_ratio": 0.01,
                "kl": 0.02 * gone + abs(rng.normal(0, 0.002)),
                "entropy": 0.8,
                "loss": 0.0,
                "grad_norm": 1.0,
                "learning_rate": 6e-5,
                "seconds": 2.6 * step,
                "validation_srcc": 0.66 + 0.1 * gone if validated else None,
                "validation_plcc": 0.67 + 0.1 * gone if validated else None,
                "validation_mae": 12.0 if validated else None,
                "validation_parse_rate": 1.0 if validated else None,
            }
        )
    artifacts.write_csv(run.paths.grpo("qponder") / "history.csv", rows, list(rows[0]))


def write_run(root: Path, n: int = 40, *, seed: int = 0, gain: float = 0.0, **overrides) -> Run:
    """Write data, predictions, teacher's answers and histories; test images do not depend on seed.

    Args:
        root: The run folder.
        n: Images in each test set; four times as many to train on.
        seed: Of the answers.
        gain: Taken off the error of the model called qponder, MOS units.
        overrides: `section.field` values of the profile.
    """
    run = Run(RunPaths(root), small_profile(**overrides))
    artifacts.write_text_atomic(run.paths.profile, config.dump_profile(run.profile))
    tests = write_images(run.paths, n, np.random.default_rng(100))
    rng = np.random.default_rng(seed)
    write_predictions(run, tests, rng, gain)
    artifacts.write_jsonl(run.paths.raw_responses, responses(tests["train"], rng))
    write_histories(run, rng)
    return run
