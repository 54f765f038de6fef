"""How much a checkpoint chosen by the test sets is flattered by them.

For each seed: the mini benchmark of that seed, the cold start on it, and every checkpoint scored
on the test sets out of domain (the paper's way to choose), on their mirrors (the held-out way) and
on a fresh draw of the test sets, which chose nothing: other crops, damage and raters, the same
photographs. Continues where it was stopped. Prints a table, writes JSON.

    PYTHONPATH=. python tests/benchmarks/selection_optimism.py papermill_runs/selection
    PYTHONPATH=. python tests/benchmarks/selection_optimism.py DIR --profile smoke --seeds 0,1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from measuring import about, write

from qponder_lib import artifacts, pipeline
from qponder_lib.config import Profile, load_profile
from qponder_lib.config.sections import Variant
from qponder_lib.data import benchmark
from qponder_lib.data.benchmark import MIXTURES, mirror_of
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import filtering
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training.launch import train
from qponder_lib.training.sft import mean_values, score_checkpoints

FRESH = 1000
"""Added to the seed of the data for the fresh draw."""
BY_STEP = Mapping[int, float | None]


@dataclass(frozen=True)
class Outcome:
    """What choosing did in one seed; values are means of SRCC and PLCC over the sets.

    Attributes:
        seed: Of data, teacher and training.
        by_test: Step that the test sets choose.
        by_held_out: Step that the mirrors choose.
        last: The last step.
        flattery_test: How much better the choice of the test sets does there than on fresh images,
            less what all candidates do better there on average (the one draw is easier).
        flattery_held_out: The same for the choice of the mirrors.
        gain_test: How much better than the last step the test sets' choice is, on fresh images.
        gain_held_out: The same for the mirrors' choice.
    """

    seed: int
    by_test: int
    by_held_out: int
    last: int
    flattery_test: float
    flattery_held_out: float
    gain_test: float
    gain_held_out: float


def outcome(seed: int, test: BY_STEP, held_out: BY_STEP, fresh: BY_STEP) -> Outcome:
    """Compare the choices of one seed.

    Args:
        seed: Of the run.
        test: Value of each step on the test sets.
        held_out: The same on the mirrors.
        fresh: The same on the fresh draw.

    Raises:
        ValueError: If fewer than two steps have a value everywhere.
    """
    steps = [s for s in test if None not in (test[s], held_out[s], fresh[s])]
    if len(steps) < 2:
        raise ValueError(f"seed {seed}: {len(steps)} checkpoints have a value on every set")
    gaps = {step: test[step] - fresh[step] for step in steps}
    easier = fmean(gaps.values())
    by_test, by_held_out = (max(steps, key=lambda s: (by[s], s)) for by in (test, held_out))
    last = max(steps)
    return Outcome(
        seed,
        by_test,
        by_held_out,
        last,
        gaps[by_test] - easier,
        gaps[by_held_out] - easier,
        fresh[by_test] - fresh[last],
        fresh[by_held_out] - fresh[last],
    )


def measure(profile: Profile, seed: int, root: Path, variant: Variant) -> Outcome:
    """Train with one seed and score all checkpoints three times; done parts are not done again."""
    settings = {
        **{f"{section}.seed": seed for section in ("data", "sft")},
        "data.n_mirror": profile.data.n_test,
        "sft.variants": [variant],
        "sft.save_steps": max(profile.sft.max_steps // 8, 1),
        "sft.select_sets": _mirrors(profile),
        "grpo.start_from": variant,
        "predict.models": [f"ci-{variant}", "qponder"],
        "predict.sampled_sets": [],
        "judge.models": [f"ci-{variant}"],
    }
    run = Run(RunPaths(root / f"seed-{seed}"), profile.with_overrides(settings))
    _prepare(run)
    result = run.paths.root / "values.json"
    with pipeline.stage_run(run, f"sft-{variant}") as stage:
        if not stage.done:
            folder = train(run, f"sft-{variant}", stage.work)
            artifacts.write_json(result, _values(run, stage.work))
            stage.outputs(folder, result)
    values = artifacts.read_json(result)
    test, held_out, fresh = (
        {int(step): value for step, value in values[name].items()}
        for name in ("test", "held_out", "fresh")
    )
    return outcome(seed, test, held_out, fresh)


def _prepare(run: Run) -> None:
    paths, profile = run.paths, run.profile
    with pipeline.stage_run(run, "data") as stage:
        if not stage.done:
            benchmark.build(profile.data, paths)
            small = {"seed": profile.data.seed + FRESH, "n_train": 1, "n_validation": 1}
            small["n_mirror"] = 0
            benchmark.build(profile.data.model_copy(update=small), _fresh(run))
            stage.outputs(paths.data, _fresh(run).data)
    records = load_records(paths, profile.data.train_set, "train")
    with pipeline.stage_run(run, "distill") as stage:
        if not stage.done:
            distill(records, open_teacher(profile.distill), profile.distill, paths)
            stage.outputs(paths.raw_responses)
    with pipeline.stage_run(run, "filter") as stage:
        if not stage.done:
            responses = current_responses(records, profile.distill, paths)
            mos = {one.image_id: one.mos for one in records}
            kept = filtering.filter_responses(responses, mos, profile.filter.gamma).kept
            artifacts.write_jsonl(paths.kept, kept)
            stage.outputs(paths.kept)


def _mirrors(profile: Profile) -> list[str]:
    return [mirror_of(one.name) for one in MIXTURES if one.name != profile.data.train_set]


def _fresh(run: Run) -> RunPaths:
    return RunPaths(run.paths.root / "fresh")


def _values(run: Run, work: Path) -> dict[str, dict[str, float | None]]:
    train_set = run.profile.data.train_set
    tests = [one.name for one in MIXTURES if one.name != train_set]
    values = {}
    for name, paths, sets in (
        ("test", run.paths, tests),
        ("held_out", run.paths, _mirrors(run.profile)),
        ("fresh", _fresh(run), tests),
    ):
        scores = score_checkpoints(Run(paths, run.profile), work, sets, work / f"{name}.jsonl")
        values[name] = {str(step): value for step, value in mean_values(scores).items()}
    return values


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Return mean, least and greatest of each difference over the seeds."""
    names = ("flattery_test", "flattery_held_out", "gain_test", "gain_held_out")
    found = {name: [getattr(one, name) for one in outcomes] for name in names}
    return {
        name: {"mean": fmean(values), "least": min(values), "greatest": max(values)}
        for name, values in found.items()
    }


def main(
    root: Annotated[Path, typer.Argument(help="folder of the runs; gone on with if it is there")],
    profile: Annotated[str, typer.Option(help="embedded profile to train")] = "mini",
    seeds: Annotated[str, typer.Option(help="parted by commas")] = "0,1,2,3,4",
    variant: Annotated[Variant, typer.Option(help="reasoning in the answers")] = "long",
    n_test: Annotated[
        int | None, typer.Option(help="images in each set, in place of its own")
    ] = None,
    save: Annotated[bool, typer.Option(help="write tests/benchmarks/results")] = True,
) -> None:
    """Measure every seed, print and keep what choosing did."""
    base = load_profile(profile)
    if n_test is not None:
        base = base.with_overrides({"data.n_test": n_test})
    machine = about("torch", "transformers", "trl")
    outcomes = []
    for seed in (int(one) for one in seeds.split(",")):
        outcomes.append(measure(base, seed, root, variant))
        one = outcomes[-1]
        print(
            f"seed {seed}: test sets choose {one.by_test}, mirrors {one.by_held_out} of "
            f"{one.last}; flattered by {one.flattery_test:+.4f} and {one.flattery_held_out:+.4f}; "
            f"better than the last by {one.gain_test:+.4f} and {one.gain_held_out:+.4f}",
            flush=True,
        )
    found = summary(outcomes)
    for name, row in found.items():
        print(f"{name:<18}" + "  ".join(f"{key} {value:+.4f}" for key, value in row.items()))
    if save:
        rows = [asdict(one) for one in outcomes]
        settings = {"profile": profile, "variant": variant, "n_test": base.data.n_test}
        write("selection_optimism", {**machine, **settings, "seeds": rows, **found})


if __name__ == "__main__":
    typer.run(main)
