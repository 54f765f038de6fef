"""The runner believes files, not exit codes. One small notebook per behaviour."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import torch
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from qponder_lib import artifacts, config, pipeline
from qponder_lib.cli import run as run_commands
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import latest_model
from qponder_lib.runner import notebooks, runner, study

ROOT = Path(__file__).parents[1]
PARAMETERS = (
    'profile: str = "mini"  # name or path\nrun_dir: str = "papermill_runs/mini"  # folder\n'
)
OPEN = "from qponder_lib import pipeline, runs\nrun = runs.open_run(globals())"
STAGE = """
with pipeline.stage_run(run, "{stage}") as stage:
    if not stage.done:
        file = run.paths.root / "{stage}.txt"
        file.write_text(str(run.profile.{stage}.{field}))
        stage.outputs(file)
"""
NAMES = {"data": "01_data.ipynb", "distill": "02_distill.ipynb"}
FIELDS = {"data": "n_raters", "distill": "max_tokens"}


def write_notebook(root: Path, stage: str, *before: str, parameters: str = PARAMETERS) -> Path:
    """Write a notebook that does one stage after some other cells."""
    cells = [new_markdown_cell("# Title?"), new_code_cell(parameters)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [
        new_code_cell(code)
        for code in (OPEN, *before, STAGE.format(stage=stage, field=FIELDS[stage]).strip())
    ]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["language_info"] = {"name": "python"}
    path = root / "notebooks" / NAMES[stage]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Make a repository with the real profiles and no notebooks, and a graph of two stages."""
    folder = tmp_path / "a folder"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "papermill_runs").mkdir()
    (folder / "papermill_runs" / "profiles").symlink_to(ROOT / "papermill_runs" / "profiles")
    monkeypatch.setenv("QPONDER_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    whole = pipeline.stages
    monkeypatch.setattr(
        pipeline, "stages", lambda profile: tuple(s for s in whole(profile) if s.name in NAMES)
    )
    return folder


def job(**overrides: object) -> tuple[config.Profile, RunPaths]:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    return config.load_profile("mini").with_overrides(names), RunPaths.named("mini")


def states(*of: object) -> list[str]:
    return [entry.state for entry in pipeline.plan(*of)]


@pytest.fixture
def foreign_kernel(tmp_path, monkeypatch):
    """Let another kernel be called python3, one that starts nothing."""
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    content = {"argv": ["false"], "display_name": "Python 3", "language": "python"}
    artifacts.write_json(spec, content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def test_run_does_all_then_nothing_then_only_what_is_outdated(root, capsys, foreign_kernel):
    for stage in NAMES:
        write_notebook(root, stage)
    first, folder = job()
    assert runner.run(first, folder) == runner.EXIT_OK
    assert states(first, folder) == ["complete", "complete"]
    copy = artifacts.read_json(folder.executed / "01_data.ipynb")
    assert copy["metadata"]["papermill"]["parameters"]["run_dir"] == "papermill_runs/mini"
    assert str(root) not in json.dumps(copy)
    manifest = artifacts.read_json(folder.manifest)
    assert manifest["exit_state"] == "complete"
    assert [entry["done"] for entry in manifest["stages"]] == [True, True]
    machine = manifest["machine"]  # what rounding depends on
    assert machine["cpu"]
    assert machine["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert machine["threads"] == torch.get_num_threads()

    assert runner.run(first, folder) == runner.EXIT_OK
    assert "nothing to do" in capsys.readouterr().out

    second, _ = job(distill__max_tokens=5)
    assert states(second, folder) == ["complete", "outdated"]
    before = (folder.executed / "01_data.ipynb").stat().st_mtime_ns
    assert runner.run(second, folder) == runner.EXIT_OK
    assert (folder.root / "distill.txt").read_text() == "5"
    assert (folder.executed / "01_data.ipynb").stat().st_mtime_ns == before
    assert "distill.max_tokens 1536 -> 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "dead kernel"),
        ("import sys; sys.exit(0)", "stopped early"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_notebook_that_does_not_reach_its_end_has_failed(root, capsys, cell, expected):
    write_notebook(root, "data", cell)
    write_notebook(root, "distill")
    assert runner.run(*job()) == runner.EXIT_FAILED
    assert expected in capsys.readouterr().err
    paths = job()[1]
    assert not (paths.executed / "01_data.ipynb").exists()
    assert (paths.logs / "01_data.failed.ipynb").exists()
    assert artifacts.read_json(paths.manifest)["exit_state"] == "failed"
    assert not (paths.root / "distill.txt").exists()


def test_notebook_that_completes_nothing_has_failed(root, capsys):
    write_notebook(root, "data")
    path = root / "notebooks" / NAMES["data"]
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].source = "print('all is well')"
    nbformat.write(notebook, path)
    write_notebook(root, "distill")
    assert runner.run(*job()) == runner.EXIT_FAILED
    assert "it left data undone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ('profile: str = "mini"  # name\n', "unknown parameters"),
        (PARAMETERS + "data_n_trian: int = 5  # images\n", "no field of data"),
    ],
)
def test_mistyped_parameter_fails_before_anything_runs(root, capsys, parameters, message):
    write_notebook(root, "data", parameters=parameters)
    write_notebook(root, "distill")
    assert runner.run(*job()) == runner.EXIT_FAILED
    assert message in capsys.readouterr().err


def test_declared_settings_are_passed_and_no_others(root):
    path = write_notebook(root, "data", parameters=PARAMETERS + "data_n_train: int = 1  # images\n")
    got = notebooks.parameters_of(path, config.load_profile("mini"), profile_file="p", run_dir="r")
    n_train = config.load_profile("mini").data.n_train
    assert got == {"profile": "p", "run_dir": "r", "data_n_train": n_train}


def test_no_widget_is_shown_where_nobody_can_move_it(root):
    declared = PARAMETERS + "interactive: bool = True  # show widgets\n"
    path = write_notebook(root, "data", parameters=declared)
    got = notebooks.parameters_of(path, config.load_profile("mini"), profile_file="p", run_dir="r")
    assert got["interactive"] is False


@pytest.mark.parametrize(
    "parameters",
    [
        {"hf_token": "x"},
        {"distill.api_key": "x"},
        {"note": "hf_abcdefghijkl"},
        {"base_url": "https://user:word@host/v1"},
    ],
)
def test_secret_looking_parameter_is_refused(parameters):
    with pytest.raises(ValueError, match="looks like a secret"):
        notebooks.refuse_secrets(parameters)


def test_second_runner_on_one_folder_is_locked_out_and_told_by_whom(root, capsys):
    paths = job()[1]
    paths.root.mkdir()
    artifacts.write_json(
        paths.lock.with_suffix(".owner.lock"),
        {"pid": 4711, "host": "elsewhere", "started": "today"},
    )
    with FileLock(paths.lock):
        assert runner.run(*job()) == runner.EXIT_LOCKED
    assert "locked by process 4711 on elsewhere" in capsys.readouterr().err


def test_killed_runner_takes_its_notebook_along_and_the_same_command_goes_on(root):
    waiting = (
        "import os, time\n"
        "marker = run.paths.root / 'attempt.txt'\n"
        "first = not marker.exists()\n"
        "marker.write_text(str(os.getpid()))\n"
        "time.sleep(600 if first else 0)"
    )
    write_notebook(root, "data")
    write_notebook(root, "distill", waiting)
    script = (
        "import sys; from qponder_lib import config, pipeline\n"
        "from qponder_lib.runner import runner\n"
        "from qponder_lib.paths import RunPaths\n"
        "whole = pipeline.stages\n"
        "pipeline.stages = lambda p: tuple(s for s in whole(p) if s.name in ('data', 'distill'))\n"
        "sys.exit(runner.run(config.load_profile('mini'), RunPaths.named('mini')))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    marker = job()[1].root / "attempt.txt"
    deadline = time.monotonic() + 120
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel = int(marker.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()

    while is_running(kernel) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(kernel)
    assert states(*job()) == ["complete", "missing"]
    assert runner.run(*job()) == runner.EXIT_OK
    assert states(*job()) == ["complete", "complete"]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[:1]


def test_notebook_without_a_stage_is_done_when_its_copy_is_there(root, monkeypatch):
    overview = pipeline.Stage("overview", "00", only_shows=True)
    monkeypatch.setattr(pipeline, "stages", lambda profile: (overview,))
    path = write_notebook(root, "data")
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].source = "print('hello')"
    nbformat.write(notebook, root / "notebooks" / "00_overview.ipynb")
    assert runner.run(*job()) == runner.EXIT_OK
    assert states(*job()) == ["complete"]
    (job()[1].executed / "00_overview.ipynb").unlink()
    assert states(*job()) == ["outdated"]


@pytest.mark.parametrize("code", [-9, -15, 143])
def test_stopped_process_is_interrupted_not_completed(tmp_path, code):
    assert notebooks.failure_of(code, tmp_path / "none.ipynb").startswith("interrupted")


def test_missing_notebook_is_named(root, capsys):
    write_notebook(root, "data")
    assert runner.run(*job()) == runner.EXIT_FAILED
    assert "02_*.ipynb" in capsys.readouterr().err


def test_links_of_a_copy_lead_where_the_notebooks_do_from_any_depth(tmp_path):
    links = "[a](../docs/a.md#d1) [b](PAPER_INDEX.md) [c](01_next.ipynb) [d](https://e.org/../f)"
    for place in ("papermill_runs/mini/executed", "papermill_runs/reference/mini/executed"):
        copy = tmp_path / place / "00.ipynb"
        copy.parent.mkdir(parents=True)
        nbformat.write(new_notebook(cells=[new_markdown_cell(links)]), copy)
        up = "../" * (place.count("/") + 1)
        for _ in range(2):  # a copy of a copy
            notebooks.relink(copy, tmp_path)
            assert nbformat.read(copy, 4).cells[0].source == (
                f"[a]({up}docs/a.md#d1) [b]({up}notebooks/PAPER_INDEX.md) [c](01_next.ipynb) "
                "[d](https://e.org/../f)"
            )


# ---- studies, commands


def test_the_latest_model_passes_over_a_damaged_one(root):
    for run, created in (("old", "2026-01-01"), ("new", "2026-01-02")):
        folder = RunPaths.named(run).grpo("qponder")
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(run)
        record = artifacts.record_folder(folder, stage="grpo", key="k", config={}, seconds=0.0)
        artifacts.write_json(
            folder / artifacts.RECORD_NAME, record.model_copy(update={"created": created})
        )
    below = root / "papermill_runs"
    assert latest_model(below) == RunPaths.named("new").grpo("qponder")
    (RunPaths.named("new").grpo("qponder") / "model.safetensors").write_text("torn")
    assert latest_model(below) == RunPaths.named("old").grpo("qponder")


def test_a_warmed_up_video_model_is_not_asked_about_clips(root):
    paths = RunPaths.named("one")
    for phase, stage in (("motion", "video-motion"), ("sft", "video-sft")):
        folder = paths.video(phase)
        folder.mkdir(parents=True)
        if phase == "sft":
            with pytest.raises(FileNotFoundError, match="qponder run video"):
                latest_model(root / "papermill_runs", ("video",))
        (folder / "model.safetensors").write_text(phase)
        artifacts.record_folder(folder, stage=stage, key="k", config={}, seconds=0.0)
    assert latest_model(root / "papermill_runs", ("video",)) == paths.video("sft")


def test_no_model_says_how_to_get_one(root):
    with pytest.raises(FileNotFoundError, match="qponder run mini"):
        latest_model(root / "papermill_runs")


def test_setting_without_a_value_is_refused():
    with pytest.raises(ValueError, match=r"section\.field=value"):
        run_commands.parse_settings(["filter.gamma"])


def test_of_a_study_only_the_named_runs_are_brought_up_to_date(monkeypatch):
    done = []
    monkeypatch.setattr(
        study.runner, "run", lambda profile, folder, copies: done.append(folder.root.name) or 0
    )
    monkeypatch.setattr(study, "summarise", lambda given: [])
    monkeypatch.setattr(study, "reuse_stages", lambda *given: [])
    given = config.load_profile_or_study("study")
    assert study.run_study(given, ["seed-2", "gamma-0.5"]) == 0
    assert done == ["seed-2", "gamma-0.5"]
    with pytest.raises(ValueError, match="no run 'seed-9'; did you mean"):
        study.run_study(given, ["seed-9"])


def test_a_run_ends_and_begins_with_the_notebook_of_a_stage(root):
    for stage in NAMES:
        write_notebook(root, stage)
    profile, folder = job()
    assert runner.run(profile, folder, last="data") == runner.EXIT_OK
    assert states(profile, folder) == ["complete", "missing"]
    assert artifacts.read_json(folder.manifest)["exit_state"] == "partial:  to data"
    (folder.executed / "01_data.ipynb").unlink()  # its copy alone would be made again
    assert runner.run(profile, folder, first="distill") == runner.EXIT_OK
    assert states(profile, folder) == ["complete", "complete"]
    assert not (folder.executed / "01_data.ipynb").exists()


def test_what_a_stage_needs_is_looked_for_before_hours_are_spent(root, capsys):
    for stage in NAMES:
        write_notebook(root, stage)
    address = "http://127.0.0.1:9/v1"
    served = {"teacher": "server", "teacher_model": "org/teacher", "base_url": address}
    profile, folder = job(**{f"distill__{name}": value for name, value in served.items()})
    assert runner.run(profile, folder) == runner.EXIT_FAILED
    said = capsys.readouterr().err
    assert f"server: {address}/models does not answer for org/teacher" in said
    assert "do: vllm serve org/teacher --port 9 --tensor-parallel-size 4" in said
    assert states(profile, folder) == ["complete", "missing"]  # the data need no server


def test_offline_is_the_default_and_the_users_choice(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert notebooks.child_environment(ROOT, tmp_path)["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert notebooks.child_environment(ROOT, tmp_path)["HF_HUB_OFFLINE"] == "0"
