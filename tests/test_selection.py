"""The checkpoint that counts: the last, or the best on sets that are named."""

import shutil
import sys
from pathlib import Path

import pytest

from qponder_lib import artifacts, pipeline
from qponder_lib.artifacts import file_sha256, read_csv, read_record, verify_record
from qponder_lib.config import load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import filtering
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training import sft
from qponder_lib.training.launch import train
from qponder_lib.training.sft import CheckpointScore, mean_values, score_checkpoints

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import selection_optimism

SETS = ("mini-valid-kadid", "mini-valid-csiq")
OVERRIDES = {
    "data.n_train": 16,
    "data.n_validation": 4,
    "data.n_test": 4,
    "data.n_mirror": 4,
    "sft.variants": ["none"],
    "grpo.start_from": "none",
    "predict.models": ["ci-none", "qponder"],
    "predict.sampled_sets": [],
    "predict.max_new_tokens": 8,
    "sft.max_steps": 4,
    "sft.save_steps": 1,
    "sft.per_device_train_batch_size": 2,
    "sft.select_sets": SETS,
}


def score(step, name, srcc, plcc, n=10, n_unparsed=0):
    given = {"step": step, "set": name, "split": "test", "n": n, "n_unparsed": n_unparsed}
    return CheckpointScore(**given, srcc=srcc, plcc=plcc)


def test_a_sets_value_is_the_mean_of_both_correlations_over_all_images():
    assert score(1, "a", 0.5, 0.7).value == pytest.approx(0.6)
    assert score(1, "a", 0.5, 0.7, n_unparsed=4).value == pytest.approx(0.36)
    assert score(1, "a", None, None).value is None


def test_a_checkpoints_value_is_the_mean_over_the_sets_if_every_set_has_one():
    scores = [
        score(60, "a", 0.9, 0.9),
        score(60, "b", 0.1, 0.1),
        score(240, "a", 0.99, 0.99),
        score(240, "b", None, None),
    ]
    assert mean_values(scores) == {60: pytest.approx(0.5), 240: None}


def test_where_sets_choose_every_checkpoint_stays_and_the_key_is_another():
    mini = load_profile("mini")
    assert sft.trainer_arguments(mini.sft, Path("work")).save_total_limit == 2
    chosen = mini.with_overrides({"sft.select_sets": ["mini-valid-spaq"]})
    assert sft.trainer_arguments(chosen.sft, Path("work")).save_total_limit is None
    keys = [pipeline.stage_keys(one)["sft-long"] for one in (mini, chosen)]
    assert keys[0] != keys[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    profile = load_profile("smoke").with_overrides(OVERRIDES)
    run = Run(RunPaths(tmp_path_factory.mktemp("run")), profile)
    benchmark.build(run.profile.data, run.paths, progress=False)
    records = load_records(run.paths, "mini-koniq", "train")
    distill(records, open_teacher(profile.distill), profile.distill, run.paths)
    responses = current_responses(records, profile.distill, run.paths)
    mos = {one.image_id: one.mos for one in records}
    artifacts.write_jsonl(run.paths.kept, filtering.filter_responses(responses, mos, 1.0).kept)
    work = run.paths.work("sft-none")
    work.mkdir(parents=True)
    known = {1: 0.2, 2: 0.6, 3: 0.5, 4: 0.4}  # as if a call before had scored all checkpoints
    made = [score(step, name, v, v, n=4) for step, v in known.items() for name in SETS]
    artifacts.write_jsonl(work / "selection.jsonl", made)
    train(run, "sft-none", work)
    return run, work


def test_the_best_checkpoints_weights_lie_in_the_model_folder_with_all_scores_beside_them(trained):
    run, work = trained
    folder, weights = run.paths.sft("none"), "model.safetensors"
    assert file_sha256(folder / weights) == file_sha256(work / "checkpoint-2" / weights)
    assert file_sha256(folder / weights) != file_sha256(work / "checkpoint-4" / weights)
    table = read_csv(folder / "selection.csv")
    assert [(row["set"], row["step"]) for row in table if row["chosen"] == "1"] == [
        (name, "2") for name in SETS
    ]
    assert len(table) == 4 * 2
    assert "selection.csv" in read_record(folder).outputs
    assert not verify_record(folder / artifacts.RECORD_NAME, folder)


def test_of_equal_checkpoints_the_later_is_chosen_and_without_any_value_none(trained, tmp_path):
    run, work = trained
    for name in ("checkpoint-1", "checkpoint-3"):
        shutil.copytree(work / name, tmp_path / name)
    (training,) = sft.trainings(run)
    for values, expected in (((0.5, 0.5), "checkpoint-3"), ((0.5, None), "checkpoint-1")):
        made = [score(s, n, v, v) for s, v in zip((1, 3), values, strict=True) for n in SETS]
        artifacts.write_jsonl(tmp_path / "selection.jsonl", made)
        sft.choose_checkpoint(run, training, tmp_path)
        found, wanted = (f / "model.safetensors" for f in (training.folder, tmp_path / expected))
        assert file_sha256(found) == file_sha256(wanted)
    artifacts.write_jsonl(
        tmp_path / "selection.jsonl", [score(s, n, None, None) for s in (1, 3) for n in SETS]
    )
    with pytest.raises(ValueError, match="no checkpoint has a correlation on every set"):
        sft.choose_checkpoint(run, training, tmp_path)


def test_checkpoints_are_scored_once_however_often_it_is_interrupted(trained, tmp_path):
    run, work = trained
    for step in (1, 4):
        shutil.copytree(work / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    file = tmp_path / "scores.jsonl"
    early = score_checkpoints(run, tmp_path, SETS[:1], file)
    scores = score_checkpoints(run, tmp_path, SETS, file)
    assert scores[0] == early[0]
    assert [(one.step, one.set) for one in scores] == [(s, name) for s in (1, 4) for name in SETS]
    assert all(one.n == 4 for one in scores)
    assert len(file.read_text().splitlines()) == 4
    (own,) = score_checkpoints(run, tmp_path, ["mini-koniq"], file)[:1]
    assert own.split == "validation"  # of the set that is trained on


def test_test_sets_choose_aloud(trained, capsys):
    run, work = trained
    both = run.profile.with_overrides({"predict.sets": ["mini-koniq", SETS[0]]})
    sft.choose_checkpoint(Run(run.paths, both), sft.trainings(run)[0], work)
    assert f"results on ['{SETS[0]}'] are optimistic" in capsys.readouterr().out


def test_a_damaged_checkpoint_and_a_set_that_is_not_there_are_refused(trained, tmp_path):
    run, work = trained
    shutil.copytree(work / "checkpoint-1", tmp_path / "checkpoint-1")
    with pytest.raises(FileNotFoundError, match="absent"):
        score_checkpoints(run, tmp_path, ["absent"], tmp_path / "a.jsonl")
    with (tmp_path / "checkpoint-1" / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="cannot be chosen: it is damaged"):
        score_checkpoints(run, tmp_path, SETS, tmp_path / "b.jsonl")
    (tmp_path / "checkpoint-1" / "SEALED.json").unlink()
    with pytest.raises(ValueError, match="it has no record"):
        score_checkpoints(run, tmp_path, SETS, tmp_path / "b.jsonl")


def test_flattery_is_what_the_choice_gains_on_the_images_that_chose_it():
    # The test draw is easier by 0.02 on average; step 2 owes it 0.03 more, step 3 0.03 less.
    test = {1: 0.52, 2: 0.65, 3: 0.60}
    fresh = {1: 0.50, 2: 0.60, 3: 0.61}
    held_out = {1: 0.50, 2: 0.58, 3: 0.59}
    found = selection_optimism.outcome(7, test, held_out, fresh)
    assert (found.by_test, found.by_held_out, found.last) == (2, 3, 3)
    assert found.flattery_test == pytest.approx(0.03)
    assert found.flattery_held_out == pytest.approx(-0.03)
    assert found.gain_test == pytest.approx(-0.01)
    assert found.gain_held_out == 0.0
    again = selection_optimism.summary([found, found])
    assert again["flattery_test"]["mean"] == pytest.approx(0.03)


def test_a_checkpoint_without_a_value_is_no_candidate_of_the_measurement():
    test = {1: 0.5, 2: None, 3: 0.6}
    with pytest.raises(ValueError, match="1 checkpoints have a value"):
        selection_optimism.outcome(0, test, {1: None, 2: 0.1, 3: 0.1}, test)
