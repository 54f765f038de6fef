"""The checkpoint that counts: chosen by sets that are not tested on, or aloud by those that are."""

import shutil
import sys
from pathlib import Path

import pytest

from qponder_lib import artifacts, pipeline
from qponder_lib.artifacts import file_sha256, read_csv, read_seal, verify_seal
from qponder_lib.config import Profile, load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import ImageError, load_records
from qponder_lib.evaluation import filtering
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training import selection, sft
from qponder_lib.training.candidates import SetScore, best, mean_values, score_candidates

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import selection_optimism

OVERRIDES = {
    "data.n_train": 16,
    "data.n_validation": 4,
    "data.n_test": 4,
    "data.n_mirror": 4,
    "sft.variants": ["none"],
    "grpo.start_from": "none",
    "predict.models": ["ci-none", "qponder"],
    "predict.sampled_models": [],
    "predict.max_new_tokens": 8,
    "sft.max_steps": 4,
    "sft.save_steps": 1,
    "sft.per_device_batch_size": 2,
    "sft.select": "held_out",
    "sft.select_sets": ["mini-valid-kadid", "mini-valid-csiq"],
}


def score(step, dataset, srcc, plcc, n=10, n_unparsed=0):
    given = {"step": step, "dataset": dataset, "split": "test", "n": n, "n_unparsed": n_unparsed}
    return SetScore(**given, srcc=srcc, plcc=plcc)


@pytest.fixture
def mini():
    return load_profile("mini")


def test_a_sets_value_is_the_mean_of_both_correlations_over_all_images():
    assert score(1, "a", 0.5, 0.7).value == pytest.approx(0.6)
    assert score(1, "a", 0.5, 0.7, n_unparsed=4).value == pytest.approx(0.36)
    assert score(1, "a", None, None).value is None


def test_the_best_mean_over_the_sets_wins_and_of_equals_the_later():
    scores = [
        score(60, "a", 0.9, 0.9),
        score(60, "b", 0.1, 0.1),
        score(120, "a", 0.6, 0.6),
        score(120, "b", 0.6, 0.6),
        score(180, "a", 0.6, 0.6),
        score(180, "b", 0.6, 0.6),
        score(240, "a", 0.99, 0.99),
        score(240, "b", None, None),
    ]
    assert mean_values(scores) == pytest.approx({60: 0.5, 120: 0.6, 180: 0.6, 240: None})
    assert best(scores).step == 180


def test_without_any_correlation_nothing_is_chosen():
    with pytest.raises(ValueError, match="no checkpoint has a correlation on every set"):
        best([score(60, "a", None, None)])


def test_choosing_is_in_the_key_and_keeps_every_checkpoint(mini):
    assert sft.trainer_arguments(mini.sft, None).save_total_limit == 2
    held_out = mini.with_overrides({"sft.select": "held_out", "data.n_mirror": 300})
    old, new = pipeline.stage_keys(mini), pipeline.stage_keys(held_out)
    assert old["sft-long"] != new["sft-long"]
    assert sft.trainer_arguments(held_out.sft, None).save_total_limit is None


def test_mirrors_out_of_the_domain_choose_without_names(mini):
    held_out = mini.with_overrides({"sft.select": "held_out", "data.n_mirror": 300})
    names = ("spaq", "livew", "kadid", "csiq", "agiqa")
    assert selection.choosing_sets(held_out) == tuple((f"mini-valid-{n}", "test") for n in names)


def test_a_prepared_run_chooses_by_its_validation_part_or_by_sets_it_names():
    full = load_profile("full").with_overrides({"sft.select": "held_out"})
    assert selection.choosing_sets(full) == (("koniq", "validation"),)
    named = full.with_overrides({"sft.select_sets": ["koniq", "live"]})
    assert selection.choosing_sets(named) == (("koniq", "validation"), ("live", "test"))


def test_the_papers_way_takes_test_images_even_of_the_training_set(mini):
    paper = mini.with_overrides(
        {"sft.select": "test_sets", "sft.select_sets": ["mini-koniq", "mini-spaq"]}
    )
    assert selection.choosing_sets(paper) == (("mini-koniq", "test"), ("mini-spaq", "test"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sft.select": "held_out"}, "set data.n_mirror"),
        ({"sft.select": "held_out", "sft.select_sets": ["mini-csiq"]}, "predict.sets tests on"),
        (
            {
                "sft.select": "held_out",
                "data.n_mirror": 9,
                "predict.sets": ["mini-koniq", "mini-valid-csiq"],
            },
            "predict.sets tests on",
        ),
        ({"sft.select": "test_sets"}, "must name them"),
        ({"sft.select": "test_sets", "sft.select_sets": ["mini-valid-csiq"]}, "must name them"),
    ],
)
def test_choosing_by_test_sets_is_never_by_accident(mini, overrides, message):
    with pytest.raises(ValueError, match=message):
        mini.with_overrides(overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    profile = load_profile("smoke").with_overrides(OVERRIDES)
    run = Run(RunPaths(tmp_path_factory.mktemp("run")), profile)
    benchmark.build(run.profile.data, run.paths, progress=False)
    records = load_records(run.paths, "mini-koniq", "train")
    distill(records, open_teacher(profile.distill), profile.distill, run.paths, progress=False)
    responses = current_responses(records, profile.distill, run.paths)
    mos = {one.image_id: one.mos for one in records}
    artifacts.write_jsonl(run.paths.kept, filtering.filter_responses(responses, mos, 1.0).kept)
    work = run.paths.work("sft-none")
    sft.train(run, "none", work)
    return run, work


def test_every_checkpoint_of_a_training_that_chooses_is_a_candidate(trained):
    _, work = trained
    assert list(selection.candidates_in(work)) == [1, 2, 3, 4]


def test_candidates_are_scored_once_however_often_it_is_interrupted(trained, tmp_path):
    run, work = trained
    places = selection.choosing_sets(run.profile)
    candidates = selection.candidates_in(work)
    first = {step: candidates[step] for step in (1,)}
    early = score_candidates(run, first, places[:1], tmp_path / "scores.jsonl", progress=False)
    both = {step: candidates[step] for step in (1, 4)}
    scores = score_candidates(run, both, places, tmp_path / "scores.jsonl", progress=False)
    assert scores[0] == early[0]
    assert [(one.step, one.dataset) for one in scores] == [
        (step, name) for step in (1, 4) for name in ("mini-valid-kadid", "mini-valid-csiq")
    ]
    assert all(one.n == 4 for one in scores)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 4


def test_the_chosen_weights_lie_in_the_model_folder_with_all_scores_beside_them(trained):
    run, work = trained
    known = {1: 0.2, 2: 0.6, 3: 0.5, 4: 0.4}
    rows = [
        score(step, name, value, value, n=4)
        for step, value in known.items()
        for name in run.profile.sft.select_sets
    ]
    artifacts.write_jsonl(work / "selection.jsonl", rows)
    choice = selection.choose(run, "none", work, progress=False)
    folder = run.paths.sft("none")
    assert choice.step == 2
    weights = "model.safetensors"
    assert file_sha256(folder / weights) == file_sha256(work / "checkpoint-2" / weights)
    assert file_sha256(folder / weights) != file_sha256(work / "checkpoint-4" / weights)
    table = read_csv(folder / "selection.csv")
    assert len(table) == 4 * 2 + 4
    chosen = [row for row in table if row["chosen"] == "1"]
    assert [(row["set"], row["step"]) for row in chosen] == [
        ("mini-valid-kadid", "2"),
        ("mini-valid-csiq", "2"),
        ("mean", "2"),
    ]
    assert "selection.csv" in read_seal(folder).outputs
    assert not verify_seal(folder / artifacts.SEAL_NAME, folder)


def test_a_damaged_checkpoint_is_no_candidate(trained, tmp_path):
    _, work = trained
    shutil.copytree(work / "checkpoint-1", tmp_path / "checkpoint-1")
    with (tmp_path / "checkpoint-1" / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="cannot be a candidate"):
        selection.candidates_in(tmp_path)
    (tmp_path / "checkpoint-1" / "SEALED.json").unlink()
    with pytest.raises(ValueError, match="it has no seal"):
        selection.candidates_in(tmp_path)


def test_a_set_that_chooses_must_be_there_and_unchanged(trained, tmp_path):
    run, work = trained
    one = {1: selection.candidates_in(work)[1]}
    with pytest.raises(FileNotFoundError, match=r"data\.n_mirror"):
        score_candidates(run, one, (("absent", "test"),), tmp_path / "a.jsonl", progress=False)
    record = load_records(run.paths, "mini-valid-agiqa", "test")[0]
    (run.paths.data / record.image).write_bytes(b"changed")
    with pytest.raises(ImageError, match="has changed"):
        score_candidates(
            run, one, (("mini-valid-agiqa", "test"),), tmp_path / "b.jsonl", progress=False
        )


def test_the_last_checkpoint_stays_where_nothing_is_to_be_chosen(tmp_path):
    run = Run(RunPaths(tmp_path), Profile(name="p", description="d"))
    assert selection.choose(run, "long", tmp_path) is None
    assert not any(tmp_path.iterdir())


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
