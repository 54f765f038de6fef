"""What one run takes over from another is what it would have made itself, and nothing else."""

from pathlib import Path

import pytest

from qponder_lib import artifacts, config, pipeline
from qponder_lib.config import Study
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import graph
from qponder_lib.runner import sharing, study

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
    whole = graph.stages
    names = ("data", "distill")
    monkeypatch.setattr(
        graph, "stages", lambda profile: tuple(s for s in whole(profile) if s.name in names)
    )


def seal_all(profile: config.Profile, folder: RunPaths) -> None:
    """Seal every stage over a file of its own; `predict` over all files of answers."""
    for stage in graph.stages(profile):
        with pipeline.stage_run(pipeline.Run(folder, profile), stage.name) as current:
            files = [folder.root / f"{stage.name}.png"]
            if stage.name == "predict":
                files = [answers(folder, asked) for asked in profile.predict.files()]
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
                artifacts.write_text_atomic(file, f"{folder.root.name} {file.name}")
            current.outputs(*files)


def answers(folder, asked):
    return folder.predictions(asked.model, asked.dataset, sampled=asked.sampled)


def test_runs_of_a_study_share_what_is_equal_and_nothing_else(two_stages):
    plan = Study(
        name="s",
        description="d",
        base="mini",
        runs=[{"name": "a"}, {"name": "b", "overrides": {"distill.seed": 1}}],
    )
    (profile_a, a), (profile_b, b) = study.study_runs(plan)
    seal_all(profile_a, a)
    assert sharing.share_stages(profile_b, b, [a, b]) == ["data"]
    assert [e.action for e in pipeline.plan(profile_b, b)] == ["skip", "run"]
    assert (b.root / "data.png").samefile(a.root / "data.png")


def test_broken_stage_is_not_shared(two_stages):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    seal_all(MINI, a)
    (a.root / "data.png").write_text("changed")
    assert sharing.share_stages(MINI, b, [a]) == ["distill"]


def test_runs_that_may_give_stages_are_those_below_the_folder_of_all_runs(root):
    runs = root / "papermill_runs"
    for name in ("mini", "study/seed-0", "study/seed-1"):
        (runs / name / "seals").mkdir(parents=True)
    found = sharing.other_runs([RunPaths(runs / "study" / "seed-1")])
    assert [folder.root for folder in found] == [runs / "mini", runs / "study" / "seed-0"]


COLD_STARTS = ["ci-none", "ci-short", "ci-long"]


@pytest.mark.parametrize(
    ("changed", "models"),
    [
        ({"grpo.reward": "gaussian"}, COLD_STARTS),
        ({"predict.models": ("ci-long", "qponder"), "grpo.seed": 1}, ["ci-long"]),
        ({"evaluate.seed": 1, "predict.sampled_models": ()}, [*COLD_STARTS, "qponder"]),
        ({"sft.seed": 1}, []),
        ({"data.seed": 1}, []),
        ({"predict.max_new_tokens": 100}, []),
        ({"student.prompt_id": "preresq_image"}, []),
    ],
)
def test_answers_come_from_a_run_with_the_same_model_images_and_decoding(changed, models):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    seal_all(MINI, a)
    profile = MINI.with_overrides(changed)
    assert sharing.share_predictions(profile, b, [a, b]) == models
    work = b.work("predict") / pipeline.stage_keys(profile)["predict"][:12]
    for asked in profile.predict.files():
        there = answers(b, asked).is_file()
        assert there == (asked.model in models) == (work / asked.mark).is_file(), asked
        assert not there or answers(b, asked).read_text() == f"a {answers(a, asked).name}"


def test_answers_that_were_changed_or_are_there_already_are_not_taken_over():
    a, b = RunPaths.named("a"), RunPaths.named("b")
    profile = MINI.with_overrides({"grpo.seed": 1})
    seal_all(MINI, a)
    seal_all(profile, b)
    assert sharing.share_predictions(profile, b, [a]) == []
    assert answers(b, profile.predict.files()[0]).read_text().startswith("b ")
    answers(a, MINI.predict.files()[0]).write_text("changed")
    assert sharing.share_predictions(profile, RunPaths.named("c"), [a]) == []
