"""What one run takes over from another is what it would have made itself, and nothing else."""

from pathlib import Path

import pytest

from qponder_lib import artifacts, config, paths, pipeline, runs
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
    assert runs.reuse_stages(profile_b, b, [a, b]) == ["data"]
    assert [e.state for e in pipeline.plan(profile_b, b)] == ["complete", "missing"]
    assert (b.root / "data.png").samefile(a.root / "data.png")


def test_broken_stage_is_not_shared(two_stages):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    record_all(MINI, a)
    (a.root / "data.png").write_text("changed")
    assert runs.reuse_stages(MINI, b, [a]) == ["distill"]


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
        ({"predict.sampled_sets": ()}, {"base", "handcrafted", "teacher"}),
        ({"data.seed": 1}, set()),
        ({"predict.max_new_tokens": 100}, set()),
    ],
)
def test_predictions_come_from_a_run_with_the_same_model_images_and_decoding(changed, models):
    a, b = RunPaths.named("a"), RunPaths.named("b")
    record_all(MINI, a)
    shared = runs.reuse_stages(MINI.with_overrides(changed), b, [a, b])
    assert {name for name in shared if name.startswith("predict-")} >= {
        f"predict-{name}" for name in models
    }
    for asked in ("qponder", *models):
        assert (b.root / f"predict-{asked}.png").is_file() == (asked in models)


def opened(run_dir: str, notebook: str = "02", **parameters: object) -> pipeline.Run:
    place = {"profile": "mini", "run_dir": run_dir}
    return runs.open_run(place | parameters, notebook)


@pytest.mark.parametrize("profile_is_written", [True, False])
def test_what_if_leaves_the_run_alone_and_shares_what_is_equal(
    two_stages, root, capsys, profile_is_written
):
    main = RunPaths.named("mini")
    record_all(MINI, main)
    if profile_is_written:
        main.profile.write_text(config.dump_profile(MINI))
    before = {file: file.read_bytes() for file in main.root.rglob("*.json")}
    run = opened("papermill_runs/mini", distill_temperature=0.1)
    said = capsys.readouterr().out
    assert "distill.temperature 0.7 -> 0.1" in said
    assert "would be outdated: distill." in said
    assert run.paths.root.parent == main.root.parent
    assert run.paths.root.name.startswith("mini-whatif-")
    assert config.load_profile(run.paths.profile) == run.profile
    assert [e.state for e in pipeline.plan(run.profile, run.paths)] == ["complete", "missing"]
    assert {file: file.read_bytes() for file in main.root.rglob("*.json")} == before
    again = opened("papermill_runs/mini", distill_temperature=0.1)
    back = opened(paths.shown(run.paths.root), profile=paths.shown(run.paths.profile))
    assert again == run == back


def test_a_run_as_it_was_made_is_no_what_if(two_stages, root):
    """Nor is one in a folder that the reader names, or with settings that change no stage."""
    record_all(MINI, RunPaths.named("mini"))
    assert opened("papermill_runs/mini").paths == RunPaths.named("mini")
    assert opened("papermill_runs/mini", predict_batch_size=1).paths == RunPaths.named("mini")
    mine = opened("papermill_runs/mine", "01", distill_temperature=0.1)
    assert mine.paths == RunPaths.named("mine")


def test_what_if_in_a_run_of_its_own_settings_starts_from_these(two_stages, root):
    made, mine = MINI.with_overrides({"distill.temperature": 0.1}), RunPaths.named("mine")
    record_all(made, mine)
    mine.profile.write_text(config.dump_profile(made))
    file = "papermill_runs/mine/profile.yaml"
    assert opened("papermill_runs/mine", profile=file).paths == mine
    other = opened("papermill_runs/mine", profile=file, distill_temperature=0.2)
    assert other.paths.root.name.startswith("mine-whatif-")
