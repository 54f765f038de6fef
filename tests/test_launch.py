"""Several processes train what one would; the launcher's command, files, log and interrupt."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from pydantic import ValidationError
from safetensors.numpy import load_file
from test_training import prepared  # noqa: F401
from two_processes import GROUP, IMAGES, TEXTS, fidelity, seeded_by_image

from qponder_lib import artifacts, pipeline
from qponder_lib.artifacts import read_csv, read_json
from qponder_lib.config import LaunchConfig, dump_profile, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.training import launch

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "papermill_runs" / "accelerate").glob("*.yaml"))
# The order of float32 sums is all that differs; Adam enlarges it where a gradient is nearly zero.
CLOSE = {"loss": 1e-5, "grad_norm": 1e-3, "kl": 1e-2, "reward": 1e-6}
UPDATE_CLOSE = 0.02
GRPO = {
    "grpo.start_from": "long",
    "grpo.max_steps": 2,
    "grpo.warmup_steps": 0,
    "grpo.learning_rate": 1e-4,
}


def beside(run, folder, overrides):
    """A run with the same images and answers, and other settings."""
    folder.mkdir()
    for name in ("data", "distill"):
        (folder / name).symlink_to(run.paths.root / name)
    made = Run(RunPaths(folder), run.profile.with_overrides(overrides))
    artifacts.write_text_atomic(made.paths.profile, dump_profile(made.profile))
    return made


@pytest.fixture(scope="module")
def both(prepared, tmp_path_factory):  # noqa: F811
    """The same two trainings by one process and by two, with the same images in each step."""
    folder = tmp_path_factory.mktemp("both")
    alone = beside(prepared, folder / "alone", GRPO)
    (alone.paths.root / "sft").symlink_to(prepared.paths.root / "sft")  # trained by one process
    shared = {"launch.processes": 2, "sft.per_device_train_batch_size": 2}
    several = beside(prepared, folder / "several", {**GRPO, **shared})
    script = Path(__file__).with_name("two_processes.py")
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    starter += ["--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.Popen([*starter, str(several.paths.root), str(folder)], env=environment)
    rewards, sampling = seeded_by_image()
    with rewards, sampling:
        launch.train(alone, "grpo-qponder", alone.paths.work("grpo-qponder"))
    assert done.wait() == 0
    return alone, several, [read_json(folder / f"{rank}.json") for rank in (0, 1)]


def test_two_processes_hold_the_same_weights_after_sft_and_grpo(both):
    first, second = both[2]
    assert first["processes"] == 2
    assert first["sft-long"] == second["sft-long"]
    assert first["grpo-qponder"] == second["grpo-qponder"]
    assert first["sft-long"] != first["grpo-qponder"]


@pytest.mark.parametrize("stage", ["sft/long", "grpo/qponder"])
def test_two_processes_log_and_learn_what_one_does(both, stage):
    alone, several, _ = both
    rows = [read_csv(run.paths.root / stage / "history.csv") for run in (alone, several)]
    assert len(rows[0]) == len(rows[1])
    for one, two in zip(*rows, strict=True):
        for name in set(CLOSE) & set(one):
            assert float(two[name]) == pytest.approx(float(one[name]), rel=CLOSE[name], abs=1e-6)
    start = load_file(alone.paths.sft("long") / "model.safetensors")
    if stage == "sft/long":
        start = load_file(ROOT / "qponder_lib/student/weights/mini/model.safetensors")
    ends = [load_file(run.paths.root / stage / "model.safetensors") for run in (alone, several)]
    moved, apart = (
        np.sqrt(sum(np.square(a[name] - b[name], dtype=np.float64).sum() for name in ends[0]))
        for a, b in ((ends[0], start), (*ends,))
    )
    assert moved > 0
    assert apart < UPDATE_CLOSE * moved


def test_rewards_that_compare_images_see_those_of_all_processes(both, tmp_path):
    rows = list(zip(TEXTS, IMAGES, strict=True))
    whole = fidelity(rows, tmp_path)
    assert [one["fidelity"] for one in both[2]] == [whole[:GROUP], whole[GROUP:]]
    assert fidelity(rows[:GROUP], tmp_path) != whole[:GROUP]


def test_one_process_alone_writes_what_is_left_behind(both):
    _, several, _ = both
    for folder in (several.paths.sft("long"), several.paths.grpo("qponder")):
        assert artifacts.verify_record(folder) == []
    lines = (several.paths.grpo("qponder") / "completions.jsonl").read_text().splitlines()
    assert len(lines) == 2 * several.profile.grpo.num_generations
    (checkpoint,) = several.paths.work("grpo-qponder").glob("checkpoint-*")
    assert artifacts.verify_record(checkpoint) == []
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {file.name for file in checkpoint.iterdir()}


def test_a_run_of_two_processes_is_not_resumed_by_one(both):
    _, several, _ = both
    one = several.profile.with_overrides({"launch.processes": 1})
    with pytest.raises(ValueError, match="of another run: processes 2 -> 1"):
        launch.train(Run(several.paths, one), "sft-long", several.paths.work("sft-long"))


def test_a_profile_for_two_processes_is_not_trained_by_one_in_silence(both, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # as if a launcher had started one
    with pytest.raises(ValueError, match=r"launch\.processes is 2, but .* started is 1"):
        launch.train(both[1], "sft-long", tmp_path)


def test_the_command_hands_over_completes_the_stage_and_shows_and_keeps_the_log(
    prepared,  # noqa: F811
    tmp_path,
    capsys,
    monkeypatch,
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    steps = {"sft.max_steps": 1, "sft.save_steps": 1, "sft.per_device_train_batch_size": 2}
    run = beside(prepared, tmp_path / "run", {**steps, "launch.processes": 2})
    for stage in ("data", "distill", "filter"):
        with pipeline.stage_run(run, stage) as made:
            made.outputs(run.paths.profile)
    given = ["sft-long", "--config", str(run.paths.profile), "--run-dir", str(run.paths.root)]
    assert launch.main(given) == 0
    said = capsys.readouterr().out
    log = (run.paths.logs / "sft-long.log").read_text()
    assert log.splitlines()[0] == said.splitlines()[0]
    started = "torch.distributed.run --standalone --nproc_per_node 2 -m qponder_lib.training.launch"
    assert f"{started} sft-long" in log
    assert said.count("sft-long: step 1/1") == 1
    assert artifacts.read_record(run.paths.record("sft-long")).config["launch"] == {"processes": 2}
    assert launch.main(given) == 0
    assert "was complete" in capsys.readouterr().out


def test_what_fails_in_the_processes_is_told_and_kept(tmp_path, monkeypatch):
    run = Run(RunPaths(tmp_path), load_profile("smoke").with_overrides({"launch.processes": 2}))
    failing = [sys.executable, "-c", "print('begun'); raise ValueError('no row to train on')"]
    monkeypatch.setattr(launch, "launch_command", lambda *_: failing)
    said = (
        r"sft-long in 2 processes ended with exit code 1; log: .*\nValueError: no row to train on$"
    )
    with pytest.raises(ChildProcessError, match=said):
        launch.train(run, "sft-long", tmp_path / "work")
    assert "begun" in (run.paths.logs / "sft-long.log").read_text()


def test_an_interrupt_reaches_the_processes_and_ends_them_first(tmp_path):
    pid_file = tmp_path / "pid"
    waiting = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        "print('waiting', flush=True)\n"
        "time.sleep(600)"
    )
    lines = []

    def interrupt():
        while not lines:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            launch.follow([sys.executable, "-c", waiting], lines.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert lines[0] == "waiting"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_exit_code_and_every_line_come_back():
    lines = []
    code = launch.follow(
        [sys.executable, "-c", "print('a\\nb'); raise SystemExit(3)"], lines.append
    )
    assert (code, lines) == (3, ["a", "b"])


def test_the_number_of_processes_is_in_the_keys_of_training_and_how_they_share_is_not():
    mini = load_profile("mini")
    keys = [
        pipeline.stage_keys(mini.with_overrides(changed))
        for changed in (
            {},
            {"launch.processes": 2},
            {"launch.processes": 2, "launch.accelerate": "fsdp2"},
        )
    ]
    assert keys[0]["sft-long"] != keys[1]["sft-long"] == keys[2]["sft-long"]
    assert keys[0]["grpo-qponder"] != keys[1]["grpo-qponder"]
    assert keys[0]["filter"] == keys[1]["filter"]


def test_one_process_with_a_file_for_accelerate_is_refused():
    with pytest.raises(ValidationError, match=r"launch\.processes is 1: nothing is shared out"):
        LaunchConfig(accelerate="fsdp2")


def test_a_missing_file_for_accelerate_names_those_there_are():
    with pytest.raises(FileNotFoundError, match="did you mean 'fsdp2'"):
        launch.launch_command(LaunchConfig(processes=2, accelerate="fsdp3"), [])


@pytest.mark.parametrize("arguments", [["grpo-qponder", "maxi"], ["grpo-preresq", "mini"]])
def test_a_wrong_profile_or_stage_is_a_usage_error(arguments, capsys):
    stage, profile = arguments
    assert launch.main([stage, "--config", profile]) == 2
    assert capsys.readouterr().err.startswith("qponder: no ")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_files_hold_only_names_that_accelerate_knows(file):
    known = vars(launch_command_parser().parse_args(["script.py"]))
    loaded = load_config_from_file(str(file))  # refuses unknown names at the top
    sections = {**loaded.fsdp_config, **loaded.deepspeed_config}
    assert sections
    prefixes = ("", "fsdp_")
    for name in sections:
        assert any(prefix + name in known for prefix in prefixes), name
    assert loaded.distributed_type.value in ("FSDP", "DEEPSPEED")
    assert set(yaml.safe_load(file.read_text())) <= set(vars(loaded))
    assert (loaded.mixed_precision, loaded.num_machines) == ("bf16", 1)


def test_both_ways_to_share_out_are_shipped_and_write_whole_weights():
    fsdp, zero = (load_config_from_file(str(file)) for file in SHIPPED)
    assert fsdp.fsdp_config["fsdp_version"] == 2
    assert fsdp.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    assert zero.deepspeed_config["zero_stage"] == 3
    assert zero.deepspeed_config["zero3_save_16bit_model"] is True


def test_the_full_profile_starts_eight_processes_by_accelerate():
    full = load_profile("full").launch
    made = launch.launch_command(full, ["grpo-qponder", "--config", "full"])
    assert made[1:3] == ["-m", "accelerate.commands.launch"]
    read = launch_command_parser().parse_args(made[3:])
    assert (read.num_processes, read.module, read.training_script) == (
        8,
        True,
        "qponder_lib.training.launch",
    )
    assert Path(read.config_file).name == "zero3.yaml"
    assert read.training_script_args == ["grpo-qponder", "--config", "full"]
