"""What one run takes over from another is what it would have made itself, and nothing else."""

from pathlib import Path

import pytest

from qponder_lib import artifacts, config, pipeline
from qponder_lib.config import Study
from qponder_lib.paths import RunPaths
from qponder_lib.runner import study

MINI = config.load_profile("mini")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "papermill_runs").mkdir()
    profiles = Path(__file__).parents[1] / "papermill_runs" / "profiles"
    (tmp_path / "papermill_runs" / "profiles").symlink_to(profiles)
    monkeypatch.setenv("QPONDER_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def two_stages(monkeypatch):
    whole = pipeline.stages
    names = ("data", "distill")
    monkeypatch.setattr(
        pipeline, "stages", lambda profile: tuple(s for s in whole(profile) if s.name in names)
    )


def record_all(profile: config.Profile, folder: RunPaths) -> None:
    """Record every stage over a file of its own."""
    for stage in pipeline.stages(profile):
        with pipeline.stage_run(pipeline.Run(folder, profile), stage.name) as current:
            file = folder.root / f"{stage.name}.png"
            artifacts.write_text_atomic(file, f"{folder.root.name} {file.name}")
            current.outputs(file)


def test_runs_of_a_study_share_what_is_equal_and_nothing_else(two_stages):
    plan = Study(
        name="s",
        description="d",
        base="mini",
        runs={"a": {}, "b": {"distill.temperature": 0.1}},
    )
    (profile_a, a), (profile_b, b) = study.study_runs(plan)
    record_all(profile_a, a)
    assert study.reuse_stages(profile_b, b, [a, b]) == ["data"]
    assert [e.state for e in pipeline.plan(profile_b, b)] == ["complete", "missing"]
    assert (b.root / "data.png").samefile(a.root / "data.png")


def test_broken_stage_is_not_shared(two_stages):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    record_all(MINI, a)
    (a.root / "data.png").write_text("changed")
    assert study.reuse_stages(MINI, b, [a]) == ["distill"]


def test_runs_that_may_give_stages_are_those_below_the_folder_of_all_runs(root):
    runs = root / "papermill_runs"
    for name in ("mini", "study/seed-0", "study/seed-1"):
        (runs / name / "seals").mkdir(parents=True)
    first = RunPaths(runs / "study" / "seed-1")
    found = [folder.root for folder in study.all_runs([first])]
    assert found == [first.root, runs / "mini", runs / "study" / "seed-0"]


@pytest.mark.parametrize(
    ("changed", "models"),
    [
        ({"grpo.reward": "gaussian"}, {"base", "ci-none", "ci-short", "ci-long", "handcrafted"}),
        ({"predict.models": ("ci-long", "qponder"), "grpo.seed": 1}, {"ci-long"}),
        ({"sft.seed": 1}, {"base", "handcrafted", "teacher"}),
        ({"distill.teacher_model": "expert-v2"}, {"base", "handcrafted"}),
        ({"predict.sampled_sets": ()}, {"base", "ci-none", "ci-short"}),
        ({"data.seed": 1}, set()),
        ({"predict.max_new_tokens": 100}, set()),
    ],
)
def test_predictions_come_from_a_run_with_the_same_model_images_and_decoding(changed, models):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    record_all(MINI, a)
    shared = study.reuse_stages(MINI.with_overrides(changed), b, [a, b])
    assert {name for name in shared if name.startswith("predict-")} >= {
        f"predict-{name}" for name in models
    }
    for asked in ("qponder", *models):
        assert (b.root / f"predict-{asked}.png").is_file() == (asked in models)
