"""The plan follows from keys, and a record is written only when a stage is whole."""

import pytest

from qponder_lib import artifacts, config, pipeline, runs
from qponder_lib.config import Profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run


@pytest.fixture
def mini() -> Profile:
    return config.load_profile("mini")


@pytest.fixture
def run(mini, tmp_path) -> Run:
    return Run(RunPaths(tmp_path), mini)


def do(run: Run, stage: str, text: str = "x") -> bool:
    """Do a stage with one small file; return whether it was done already."""
    with pipeline.stage_run(run, stage) as current:
        if not current.done:
            file = run.paths.root / stage / "file.txt"
            artifacts.write_text_atomic(file, text)
            current.outputs(file)
        return current.done


def actions(run: Run) -> dict[str, str]:
    return {entry.stage.name: entry.state for entry in pipeline.plan(run.profile, run.paths)}


def changed(before: Profile, **overrides: object) -> set[str]:
    """Name the stages whose keys differ after `section__field=value`."""
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    old = pipeline.stage_keys(before)
    new = pipeline.stage_keys(before.with_overrides(names))
    return {name for name in old if old[name] != new[name]}


def test_every_stage_comes_after_its_inputs(mini):
    seen = set()
    for stage in pipeline.stages(mini):
        assert set(stage.inputs) <= seen
        seen.add(stage.name)


def test_new_gamma_touches_the_filter_and_what_follows_only(mini):
    trained = {"sft-none", "sft-short", "sft-long", "grpo-qponder"}
    predicted = {"predict-ci-none", "predict-ci-short", "predict-ci-long", "predict-qponder"}
    after = {"evaluate", "judge", "tables", "cases"}
    assert changed(mini, filter__gamma=0.5) == {"filter"} | trained | predicted | after


def test_new_learning_rate_of_grpo_leaves_sft_and_its_predictions_alone(mini):
    expected = {"rewards", "grpo-qponder", "predict-qponder", "evaluate", "judge", "tables"}
    assert changed(mini, grpo__learning_rate=1e-5) == expected | {"cases"}


def test_new_settings_of_sampling_touch_the_models_that_are_sampled_only(mini):
    sampled = {f"predict-{name}" for name in ("ci-none", "ci-short", "ci-long", "qponder")}
    read_on = {"evaluate", "judge", "cases", "tables"}
    assert changed(mini, predict__sampled_sets=["mini-csiq"]) == sampled | read_on


def test_the_teachers_settings_are_in_the_key_of_its_predictions(mini):
    assert "predict-teacher" in changed(mini, distill__temperature=0.1)


def test_a_dropped_variant_leaves_the_others_alone(mini):
    old = pipeline.stage_keys(mini)
    fewer = mini.with_overrides(
        {"sft.variants": ["none", "short"], "predict.models": ["base", "ci-short", "qponder"]}
    )
    new = pipeline.stage_keys(fewer)
    assert new["sft-short"] == old["sft-short"]
    assert "sft-long" not in new


def test_a_setting_at_its_default_is_in_no_key_and_any_other_value_is(mini):
    stage = pipeline.stage_named("filter", mini)
    keys = {"data": "d", "distill": "t"}
    stated = {"stage": "filter", "config": {"filter": {}}, "inputs": keys}
    assert stage.key(keys) == artifacts.digest(stated)
    half = pipeline.stage_named("filter", mini.with_overrides({"filter.gamma": 0.5}))
    stated["config"]["filter"] = {"gamma": 0.5}
    assert half.key(keys) == artifacts.digest(stated)


def test_a_default_that_changed_since_makes_a_stage_outdated(run):
    """Its key is the same, since keys leave defaults out; its record says what it ran with."""
    do(run, "data")
    record = artifacts.read_record(run.paths.record("data"))
    config = {"data": {**record.config["data"], "n_train": 7}, "gone": {"setting": 1}}
    artifacts.write_json(run.paths.record("data"), record.model_copy(update={"config": config}))
    entry = next(e for e in pipeline.plan(run.profile, run.paths) if e.stage.name == "data")
    assert (entry.state, entry.why) == ("outdated", "data.n_train 7 -> 12000")


def test_a_stage_of_another_version_says_so(run):
    do(run, "data")
    record = artifacts.read_record(run.paths.record("data"))
    artifacts.write_json(run.paths.record("data"), record.model_copy(update={"key": "old"}))
    entry = next(e for e in pipeline.plan(run.profile, run.paths) if e.stage.name == "data")
    assert (entry.state, entry.why) == ("outdated", "made by another version of the kit")


def test_number_of_requests_in_flight_changes_nothing(mini):
    assert changed(mini, distill__concurrency=1) == set()


def test_profile_name_is_in_no_key(mini):
    other = mini.model_copy(update={"name": "other"})
    assert pipeline.stage_keys(other) == pipeline.stage_keys(mini)


def test_with_dependants_is_everything_downstream(mini):
    assert pipeline.with_dependants(["evaluate"], mini) == ["evaluate", "tables"]
    assert pipeline.with_dependants(["data"], mini)[:3] == ["data", "distill", "filter"]


def test_stage_is_complete_once_recorded(run):
    assert do(run, "data") is False
    assert do(run, "data") is True
    assert actions(run)["data"] == "complete"
    assert actions(run)["distill"] == "missing"


def test_stage_that_fails_has_no_record(run):
    with pytest.raises(ZeroDivisionError), pipeline.stage_run(run, "data") as stage:
        stage.outputs(run.paths.root)
        _ = 1 / 0
    assert not run.paths.record("data").exists()


def test_stage_that_names_no_outputs_has_no_record(run):
    with pytest.raises(ValueError, match="named no outputs"), pipeline.stage_run(run, "data"):
        pass
    assert not run.paths.record("data").exists()


def test_failed_stage_drops_the_record_of_an_older_one(run, mini):
    do(run, "data")
    other = Run(run.paths, mini.with_overrides({"data.n_train": 10}))
    with pytest.raises(ZeroDivisionError), pipeline.stage_run(other, "data"):
        _ = 1 / 0
    assert actions(run)["data"] == "missing"


def test_changed_setting_is_stale_and_says_which(run, mini):
    do(run, "data")
    other = Run(run.paths, mini.with_overrides({"data.n_train": 10}))
    entry = next(e for e in pipeline.plan(other.profile, other.paths) if e.stage.name == "data")
    assert (entry.state, entry.why) == ("outdated", f"data.n_train {mini.data.n_train} -> 10")


def test_changed_file_is_stale_and_says_which(run):
    do(run, "data")
    (run.paths.root / "data" / "file.txt").write_text("y")
    entry = next(e for e in pipeline.plan(run.profile, run.paths) if e.stage.name == "data")
    assert entry.state == "outdated"
    assert entry.why == "data/file.txt: changed since it was recorded"


def test_missing_upstream_names_the_notebook_to_run(run):
    with (
        pytest.raises(pipeline.NotReady, match="notebook 01"),
        pipeline.stage_run(run, "distill"),
    ):
        pass


def test_killed_stage_finds_its_own_scratch_folder_but_not_that_of_other_settings(run, mini):
    with pytest.raises(KeyboardInterrupt), pipeline.stage_run(run, "data") as stage:
        (stage.work / "checkpoint").write_text("half")
        raise KeyboardInterrupt
    with pipeline.stage_run(run, "data") as again:
        assert (again.work / "checkpoint").exists()
        again.outputs(again.work / "checkpoint")
    assert not run.paths.work("data").exists()
    other = Run(run.paths, mini.with_overrides({"data.n_train": 10}))
    with pytest.raises(KeyboardInterrupt), pipeline.stage_run(other, "data") as stage:
        assert list(stage.work.iterdir()) == []
        raise KeyboardInterrupt


def test_notebook_parameters_win_over_the_profile(tmp_path):
    namespace = {"profile": "mini", "run_dir": str(tmp_path), "filter_gamma": 0.5, "other": 1}
    opened = runs.open_run(namespace)
    assert opened.profile.filter.gamma == 0.5
    assert opened.paths.root == tmp_path


def test_a_parameter_at_its_default_leaves_what_the_profile_says(tmp_path):
    namespace = {"profile": "full", "run_dir": str(tmp_path), "grpo_alpha": 30.0}
    assert runs.open_run(namespace).profile.grpo.alpha == 10.0
    assert runs.open_run(namespace | {"grpo_alpha": 25.0}).profile.grpo.alpha == 25.0


def test_a_notebook_opened_too_early_says_which_to_run_first_and_no_traceback(run):
    namespace = {"profile": "mini", "run_dir": str(run.paths.root)}
    assert runs.open_run(namespace, "01").paths == run.paths
    with pytest.raises(pipeline.NotReady, match="run notebook 01 first") as caught:
        runs.open_run(namespace, "02")
    assert caught.value._render_traceback_() == [f"Not ready: {caught.value}"]


def test_a_folder_that_cannot_be_written_is_named(run):
    run.paths.work("data").parent.write_text("in the way")
    with pytest.raises(pipeline.NotReady, match="cannot be written"):
        do(run, "data")


def test_a_reused_stage_says_since_when_it_is_complete(run, capsys):
    do(run, "data")
    do(run, "data")
    created = artifacts.read_record(run.paths.record("data")).created
    assert capsys.readouterr().out == f"data: complete since {created}, reused\n"


def test_notebook_with_mini_values_has_the_keys_of_the_mini_profile(mini, tmp_path):
    namespace = {"profile": "mini", "run_dir": str(tmp_path), "filter_gamma": 0.8}
    assert pipeline.stage_keys(runs.open_run(namespace).profile) == pipeline.stage_keys(mini)


def test_made_again_stage_does_not_write_into_a_linked_copy(run, tmp_path):
    do(run, "data", "first")
    copy = tmp_path / "copy.txt"
    file = run.paths.root / "data" / "file.txt"
    copy.hardlink_to(file)
    run.paths.record("data").write_text(
        run.paths.record("data")
        .read_text()
        .replace(pipeline.stage_keys(run.profile)["data"], "old")
    )
    with pipeline.stage_run(run, "data") as stage:
        assert not file.exists()
        file.write_text("second")
        stage.outputs(file)
    assert copy.read_text() == "first"
