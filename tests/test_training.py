"""Training: a killed run ends with the very weights of an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

from qponder_lib import artifacts
from qponder_lib.artifacts import file_sha256, read_csv
from qponder_lib.config import load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.monitoring import alarms
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.training import grpo
from qponder_lib.training.callbacks import RecordCheckpoints, StopAtNonsense
from qponder_lib.training.checkpoints import check_finite, last_checkpoint
from qponder_lib.training.launch import train
from qponder_lib.training.reward_functions import RewardFunctions, health, score_rollouts

OVERRIDES = {
    "data.n_train": 24,
    "data.n_validation": 8,
    "data.n_test": 4,
    "sft.max_steps": 4,
    "sft.save_steps": 2,
    "sft.per_device_train_batch_size": 4,
    "grpo.start_from": "long",
    "grpo.max_steps": 4,
    "grpo.save_steps": 2,
    "grpo.n_validation": 4,
    "grpo.max_completion_length": 24,
}
GOOD = "<think>Sharp and clean.</think>\n<answer>60</answer>"
BAD = "no tags at all"
STEP = """
import sys
from tests.test_training import run_at
from qponder_lib.training.launch import train
from pathlib import Path
train(run_at(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
"""


def run_at(folder):
    return Run(RunPaths(folder), load_profile("smoke").with_overrides(OVERRIDES))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    run = run_at(tmp_path_factory.mktemp("run"))
    benchmark.build(run.profile.data, run.paths, progress=False)
    records = load_records(run.paths, "mini-koniq", "train")
    teacher = open_teacher(run.profile.distill)
    distill(records, teacher, run.profile.distill, run.paths)
    responses = current_responses(records, run.profile.distill, run.paths)
    mos = {one.image_id: one.mos for one in records}
    kept = filtering.filter_responses(responses, mos, run.profile.filter.gamma).kept
    artifacts.write_jsonl(run.paths.kept, kept)
    train(run, "sft-long", run.paths.root / "work" / "whole-sft")
    return run


def start(run, stage, work):
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", STEP, str(run.paths.root), stage, str(work)]
    return subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.DEVNULL)


def kill_after_first_checkpoint(process, work):
    record = work / "checkpoint-2" / "SEALED.json"
    deadline = time.monotonic() + 240
    while not record.exists():
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stage", ["sft-long", "grpo-qponder"])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(prepared, stage):
    folder = prepared.paths.sft("long")
    if stage == "grpo-qponder":
        folder = train(prepared, stage, prepared.paths.root / "work" / "whole-grpo")
    whole = file_sha256(folder / "model.safetensors")
    history = [row["loss"] for row in read_csv(folder / "history.csv")]
    work = prepared.paths.root / "work" / f"killed-{stage}"
    kill_after_first_checkpoint(start(prepared, stage, work), work)
    assert last_checkpoint(work) == work / "checkpoint-2"
    assert start(prepared, stage, work).wait() == 0
    assert file_sha256(folder / "model.safetensors") == whole
    assert [row["loss"] for row in read_csv(folder / "history.csv")] == history


def test_a_damaged_or_incomplete_checkpoint_is_passed_over_aloud(tmp_path, caplog):
    for step in (2, 4, 6):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_text(f"weights of step {step}")
        if step < 6:
            artifacts.record_folder(
                folder, stage="checkpoint", key=str(step), config={}, seconds=0.0
            )
    (tmp_path / "checkpoint-4" / "weights").write_text("flipped")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert "no record" in caplog.text
    assert "damaged" in caplog.text


def test_a_checkpoint_of_other_settings_data_or_processes_is_refused_by_name(tmp_path):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "weights").write_text("w")
    was = {"training.learning_rate": 1e-3, "data": "abc", "processes": 1}
    artifacts.record_folder(folder, stage="c", key="2", config=was, seconds=0.0)
    assert last_checkpoint(tmp_path, was) == folder
    for name, value in (("training.learning_rate", 2e-3), ("data", "abd"), ("processes", 2)):
        with pytest.raises(ValueError, match=f"another run: {name}"):
            last_checkpoint(tmp_path, {**was, name: value})


def test_another_number_of_threads_is_warned_of_and_goes_on(tmp_path, caplog):
    arguments = types.SimpleNamespace(output_dir=str(tmp_path))
    state = types.SimpleNamespace(global_step=2, is_world_process_zero=True)
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "weights").write_text("w")
    RecordCheckpoints({"data": "abc"}).on_save(arguments, state, None)
    assert last_checkpoint(tmp_path, {"data": "abc"}) == folder
    assert caplog.text == ""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert last_checkpoint(tmp_path, {"data": "abc"}) == folder
    finally:
        torch.set_num_threads(threads)
    assert f"was written with {threads} threads and goes on with {threads + 1}" in caplog.text


def test_a_weight_that_is_not_a_number_completes_no_checkpoint():
    layer = torch.nn.Linear(2, 2)
    check_finite(layer, 3)
    layer.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="weight is not finite after step 3"):
        check_finite(layer, 3)


@pytest.mark.parametrize("name", ["loss", "grad_norm", "reward"])
def test_a_logged_number_that_is_none_stops_the_run(name):
    class State:
        global_step = 7

    StopAtNonsense().on_log(None, State(), None, logs={name: 0.5})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"{name} is {value} at step 7: lower learning_rate"):
            StopAtNonsense().on_log(None, State(), None, logs={name: value})


def test_completions_cut_off_by_a_length_limit_stop_sft_before_its_first_step(prepared, tmp_path):
    profile = prepared.profile.with_overrides({"sft.max_length": 60})
    with pytest.raises(
        ValueError, match=r"lose the end of their completion: sft\.max_length is 60"
    ):
        train(Run(prepared.paths, profile), "sft-long", tmp_path)


def test_fewer_images_than_a_step_takes_is_an_error_not_a_run_of_zero_steps(prepared, tmp_path):
    profile = prepared.profile.with_overrides({"grpo.images_per_step": 64})
    with pytest.raises(ValueError, match="no step would run"):
        train(Run(prepared.paths, profile), "grpo-qponder", tmp_path)


def test_rollouts_earn_what_the_equations_say():
    config = load_profile("smoke").with_overrides({"grpo.num_generations": 2}).grpo
    (good, bad), _ = score_rollouts([GOOD, BAD], [60.0, 60.0], ["a", "a"], config)
    assert (good.reward_accuracy, good.reward_format, good.reward) == (1.0, 1.0, 3.0)
    assert (bad.reward_accuracy, bad.reward_format, bad.reward) == (0.0, 0.0, 0.0)
    assert good.advantage == pytest.approx(-bad.advantage)
    assert good.advantage == pytest.approx(0.7071, abs=1e-3)


def test_health_counts_parsed_distinct_and_commonest_scores():
    config = load_profile("smoke").with_overrides({"grpo.num_generations": 4}).grpo
    texts = [GOOD, GOOD, GOOD.replace("60", "70"), BAD]
    rollouts, _ = score_rollouts(texts, [60.0] * 4, ["a"] * 4, config)
    found = health(rollouts, 4)
    assert found == {
        "parse_rate": 0.75,
        "distinct_scores": 2.0,
        "modal_share": pytest.approx(2 / 3),
    }


def test_the_control_shuffles_both_rewards_alike_and_keeps_their_sum(tmp_path):
    class State:
        global_step = 3

    config = load_profile("smoke").grpo.model_copy(update={"num_generations": 4})
    control = config.model_copy(update={"shuffle_rewards": True})
    texts = [GOOD, BAD, GOOD.replace("60", "0"), BAD] * 4
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    given = {"mos": [60.0] * 16, "image_id": ["a"] * 16, "trainer_state": State()}
    metrics = {"log_metric": lambda name, value: None}
    plain = RewardFunctions(config, tmp_path / "plain.jsonl")
    mixed = RewardFunctions(control, tmp_path / "mixed.jsonl")
    first = plain.accuracy(completions, **given, **metrics)
    second = mixed.accuracy(completions, **given, **metrics)
    assert first != second
    assert sorted(first) == sorted(second)
    shapes = mixed.format(completions, **given)
    assert all((value > 0) == (shape > 0) for value, shape in zip(second, shapes, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rewards/format/mean": 0.0}, "format reward is 0"),
        ({"frac_reward_zero_std": 0.9}, "teach nothing"),
        ({"modal_share": 0.8}, "collapsed"),
        ({"reward": 1.0}, "nothing is learnt"),
    ],
)
def test_each_trouble_raises_its_alarm_and_a_healthy_run_none(change, said):
    def row(step):
        return {
            "step": step,
            "reward": 1.0 + 0.01 * step,
            "rewards/format/mean": 0.9,
            "frac_reward_zero_std": 0.1,
            "modal_share": 0.1,
        }

    healthy = [row(step) for step in range(40)]
    assert alarms(healthy, grpo.LOGGED) == []
    sick = [{**one, **change} for one in healthy]
    assert any(said in str(line) for line in alarms(sick, grpo.LOGGED))


def test_history_has_one_row_per_step_and_validation_where_it_ran(prepared):
    train(prepared, "grpo-qponder", prepared.paths.root / "work" / "history")
    rows = read_csv(prepared.paths.grpo("qponder") / "history.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert [bool(row["validation_parse_rate"]) for row in rows] == [False, True, False, True]
    lines = (prepared.paths.grpo("qponder") / "completions.jsonl").read_text().splitlines()
    assert len(lines) == 4 * prepared.profile.grpo.num_generations


def test_a_trained_folder_is_complete_and_can_be_found_for_scoring(prepared):
    folder = prepared.paths.sft("long")
    assert artifacts.verify_record(folder) == []
    assert "model.safetensors" in artifacts.read_record(folder).outputs
