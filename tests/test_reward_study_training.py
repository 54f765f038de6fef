"""The study of rewards at smoke size, every reward trained, and notebook 12 over its runs."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from qponder_lib import artifacts, config, pipeline
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.filtering import filter_responses
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.rewards.batch import PUBLISHED_WEIGHTS
from qponder_lib.runner import study
from qponder_lib.runs import reuse_stages
from qponder_lib.student.prediction import predict_model
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training import grpo
from qponder_lib.training.launch import train
from qponder_lib.training.reward_functions import weights_note

ROOT = Path(__file__).parents[1]

TINY = {
    "student.prompt_id": "preresq_image",
    "data.n_train": 12,
    "data.n_validation": 4,
    "data.n_test": 4,
    "sft.variants": ["long"],
    "sft.max_steps": 2,
    "sft.per_device_train_batch_size": 4,
    "grpo.reward": "preresq",
    "grpo.exploration_steps": 1,
    "grpo.weight_accuracy": 1.0,
    "grpo.start_from": "long",
    "grpo.max_steps": 2,
    "grpo.save_steps": 1,
    "grpo.num_generations": 3,
    "grpo.images_per_step": 3,
    "grpo.n_validation": 2,
    "grpo.max_completion_length": 8,
    "predict.models": ["ci-long", "qponder"],
    "predict.sets": ["mini-koniq"],
    "predict.sampled_sets": [],
    "predict.max_new_tokens": 8,
}
ONE_STAGE = {"grpo.exploration_steps": 0}


def bring(run):
    """Do what the notebooks of a run do, stage by stage, as far as nothing is taken over."""
    profile, paths = run.profile, run.paths

    def distilled(stage):
        images = load_records(paths, profile.data.train_set, "train")
        distill(images, open_teacher(profile.distill), profile.distill, paths)
        stage.outputs(paths.raw_responses)

    def filtered(stage):
        images = load_records(paths, profile.data.train_set, "train")
        found = current_responses(images, profile.distill, paths)
        kept = filter_responses(found, {one.image_id: one.mos for one in images}, 0.8).kept
        artifacts.write_jsonl(paths.kept, kept)
        stage.outputs(paths.kept)

    def made_data(stage):
        benchmark.build(profile.data, paths, progress=False)
        stage.outputs(paths.data)

    def evaluated(stage):
        files = scoring.evaluate_run(run)
        stage.outputs(*files)

    work = {
        "data": made_data,
        "distill": distilled,
        "filter": filtered,
        **{
            name: lambda stage, name=name: stage.outputs(train(run, name, stage.work))
            for name in ("sft-long", *(one.stage for one in grpo.trainings(run)))
        },
        **{
            f"predict-{model}": lambda stage, model=model: stage.outputs(
                *predict_model(run, model, stage.work)
            )
            for model in run.profile.predict.models
        },
        "evaluate": evaluated,
    }
    for name, do in work.items():
        with pipeline.stage_run(run, name) as stage:
            if not stage.done:
                do(stage)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A repository whose study of rewards is trained for two steps a run."""
    root = tmp_path_factory.mktemp("clone")
    profiles = root / "papermill_runs" / "profiles"
    profiles.mkdir(parents=True)
    (root / "notebooks").symlink_to(ROOT / "notebooks")
    base = config.load_profile("smoke").with_overrides(TINY).model_copy(update={"name": "tiny"})
    (profiles / "tiny.yaml").write_text(config.dump_profile(base), encoding="utf-8")
    runs = {"preresq": {}, "preresq-shuffled": {"grpo.shuffle_rewards": True}}
    for name in ("qponder", "threshold", "fidelity", "gaussian"):
        weights = {"grpo.weight_accuracy": PUBLISHED_WEIGHTS[name][0]}
        runs[name] = {"grpo.reward": name, **ONE_STAGE, **weights}
    plan = config.Study(name="rewards", description="d", base="tiny", runs=runs, notebook="12")
    text = plan.model_dump_json()  # JSON is YAML
    (profiles / "rewards.yaml").write_text(text, encoding="utf-8")
    folders = [RunPaths(root / "papermill_runs" / "rewards" / name) for name in plan.runs]
    shared = {}
    for name, paths in zip(plan.runs, folders, strict=True):
        profile = base.with_overrides(plan.runs[name])
        shared[name] = reuse_stages(profile, paths, folders)
        if name == "threshold":  # asks the cold start itself
            paths.record("predict-ci-long").unlink()
        bring(Run(paths, profile))
    return root, plan, shared


def test_every_reward_trains_from_the_cold_start_of_the_first_run(smoke):
    root, plan, shared = smoke
    assert shared["preresq"] == []
    for name in plan.runs:
        if name != "preresq":
            assert {"data", "distill", "filter", "sft-long"} <= set(shared[name]), name
        run = RunPaths(root / "papermill_runs" / "rewards" / name)
        assert run.scores.is_file()
        steps = [len(pd.read_csv(one)) for one in run.root.glob("grpo/*/history.csv")]
        assert sum(steps) == 2


def test_predictions_that_are_reused_are_those_that_the_run_would_have_made(smoke):
    root, plan, shared = smoke
    assert {name: "predict-ci-long" in found for name, found in shared.items()} == {
        name: name != "preresq" for name in plan.runs
    }
    assert not any("predict-qponder" in found for found in shared.values())
    runs = [RunPaths(root / "papermill_runs" / "rewards" / name) for name in plan.runs]
    start = {run.predictions("ci-long", "mini-koniq").read_text("utf-8") for run in runs}
    assert len(start) == 1


def test_study_is_summarised_and_shown_by_its_notebook(smoke, monkeypatch):
    root, plan, _ = smoke
    monkeypatch.setenv("QPONDER_ROOT", str(root))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    written = {path.name for path in study.summarise(plan)}
    assert {"reward_scores.csv", "reward_differences.md", "reward_comparison.png"} <= written
    assert "study_runs.csv" not in written
    assert study.show(plan) == 0
    folder = root / "papermill_runs" / "rewards"
    text = (folder / "executed" / "12_rewards_compared.ipynb").read_text(encoding="utf-8")
    assert "6 of 6 runs are there" in text
    assert "PreResQ-R1, rewards shuffled" in text
    assert str(root) not in text


def test_notebook_without_a_run_says_which_are_missing(tmp_path):
    root = tmp_path / "clone"
    (root / "papermill_runs").mkdir(parents=True)
    (root / "notebooks").symlink_to(ROOT / "notebooks")
    (root / "papermill_runs" / "profiles").symlink_to(ROOT / "papermill_runs" / "profiles")
    assert execute_notebook(root, tmp_path / "12.ipynb") == 0, told(tmp_path)
    text = (tmp_path / "12.ipynb").read_text(encoding="utf-8")
    assert "0 of 21 runs are there. Missing: preresq-seed-0, qponder-seed-0, " in text
    assert "one-score-seed-2 (not started)." in text
    assert "Nothing to compare yet." in text


def told(folder):
    return (folder / "log").read_text(encoding="utf-8")[-3000:]


def execute_notebook(root, copy):
    """Run notebook 12 in a repository of its own; what it printed lies beside the copy."""
    environment = {**os.environ, "QPONDER_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    environment["OMP_NUM_THREADS"] = "1"
    environment.pop("MPLBACKEND", None)
    command = [sys.executable, "-m", "papermill", "notebooks/12_rewards_compared.ipynb", str(copy)]
    options = ["--start-timeout", "600"]
    with (copy.parent / "log").open("w") as log:
        return subprocess.call(
            [*command, *options], cwd=root, env=environment, stdout=log, stderr=log
        )


def test_weights_that_are_not_the_sources_are_said():
    mini = config.load_profile("mini")
    assert weights_note(mini.grpo) is None
    changed = mini.with_overrides({"grpo.reward": "fidelity"})
    assert "2 and 1; the source of fidelity has 1 and 1" in weights_note(changed.grpo)
