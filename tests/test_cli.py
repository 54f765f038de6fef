"""The command: one line for what is wrong, the nearest name, JSON where it is asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import qponder_lib
from qponder_lib import artifacts, config, pipeline
from qponder_lib.cli import app
from qponder_lib.paths import RunPaths

ROOT = Path(__file__).parents[1]


def ask(*words: str) -> object:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Make a repository with this one's profiles and a run `mine` whose first stage is done."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "papermill_runs").mkdir()
    (tmp_path / "papermill_runs/profiles").symlink_to(ROOT / "papermill_runs/profiles")
    monkeypatch.setenv("QPONDER_ROOT", str(tmp_path))
    paths, profile = RunPaths(tmp_path / "papermill_runs/mine"), config.load_profile("smoke")
    artifacts.write_text_atomic(paths.profile, config.dump_profile(profile))
    with pipeline.stage_run(pipeline.Run(paths, profile), "data") as stage:
        artifacts.write_text_atomic(paths.data / "a.txt", "a")
        stage.outputs(paths.data)
    return tmp_path


def test_version_and_the_names_of_all_profiles_are_told(root):
    assert ask("--version").stdout == f"qponder {qponder_lib.__version__}\n"
    said = ask("run", "--help").stdout
    for name in ("smoke", "mini", "study", "full-24gb", "preresq"):
        assert name in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "minni"], "no profile 'minni'; did you mean 'mini'?"),
        (["run", "mini", "--set", "filter.gama=1"], "did you mean 'filter.gamma'?"),
        (["run", "mini", "--redo", "filtre"], "no stage 'filtre' in profile 'mini'; did you mean"),
        (["run", "study", "--only", "sed-1"], "study has no run 'sed-1'; did you mean 'seed-1'"),
        (["run", "mini", "--only", "x"], "mini is not a study"),
        (["run", "study", "--redo", "data"], "a study states its runs itself"),
        (["status", "mne"], "no run 'mne'; did you mean 'mine'?"),
        (["report", "mne"], "no run 'mne'; did you mean 'mine'?"),
        (["health", "mne"], "no run 'mne'; did you mean 'mine'?"),
        (["status", "notebooks"], "it is no run folder"),
        (["diff", "mine", "mine"], "mine has none of eval/scores.csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_nearest_name(root, words, said):
    done = ask(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith("qponder: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_status_shows_states_and_json_has_the_same(root):
    text = ask("status", "mine").stdout
    assert "data                 01  complete" in text
    assert "distill              02  missing   not done yet" in text
    found = json.loads(ask("status", "mine", "--json").stdout)["papermill_runs/mine"]
    states = {one["stage"]: one["state"] for one in found}
    assert (states["data"], states["predict-base"]) == ("complete", "missing")
    assert "papermill_runs/study/seed-0: 0 of" in ask("status", "study").stdout
    assert "missing" in ask("status", "full").stdout  # a profile that has no run yet


def test_a_published_run_is_complete_or_of_another_version_by_its_manifest(root):
    profile = config.load_profile("smoke")
    keys = pipeline.stage_keys(profile) | {"filter": "older"}
    folder = RunPaths(root / "papermill_runs/reference/mine")
    artifacts.write_text_atomic(folder.profile, config.dump_profile(profile))
    stages = [{"name": name, "key": key} for name, key in keys.items()]
    ended = {"exit_state": "complete", "written": "today", "stages": stages}
    artifacts.write_json(folder.manifest, ended)
    text = ask("status", "reference/mine").stdout
    assert "data                 01  complete  published" in text
    assert "filter               03  outdated  made by another version of the kit" in text


def command(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "PYTHONPATH": str(ROOT), "QPONDER_ROOT": str(root), **environment}
    call = [sys.executable, "-m", "qponder_lib.cli", *words]
    return subprocess.run(call, env=given, capture_output=True, text=True, cwd=root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_line(root):
    (root / "papermill_runs").chmod(0o555)
    done = command(root, "run", "smoke")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "smoke: Permission denied" in done.stderr


def test_a_file_in_the_place_of_a_run_folder_is_one_line(root):
    (root / "papermill_runs" / "smoke").write_text("")
    done = command(root, "run", "smoke")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "smoke: File exists" in done.stderr


def test_a_full_disk_is_one_line(root, monkeypatch):
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device", "profile.yaml")

    (root / "notebooks").rmdir()
    (root / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.setattr(artifacts, "write_text_atomic", full)
    done = ask("run", "smoke", "--run", "other")
    assert (done.exit_code, done.stderr) == (1, "qponder: profile.yaml: No space left on device\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(root):
    folder = root / "papermill_runs" / "图"
    folder.mkdir()
    done = command(root, "status", str(folder), PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "\\u56fe: it is no run folder" in done.stderr


def test_a_traceback_is_shown_where_it_is_asked_for(root):
    assert "Traceback" in command(root, "status", "mne", QPONDER_TRACEBACK="1").stderr
