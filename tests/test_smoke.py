"""The smoke profile goes through the real runner, and reaches no other machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qponder_lib import artifacts, config, pipeline
from qponder_lib.paths import RunPaths

ROOT = Path(__file__).parents[1]
NUMBERS = {stage.notebook for stage in pipeline.stages(config.load_profile("smoke"))}
MISSING = sorted(n for n in NUMBERS if not list((ROOT / "notebooks").glob(f"{n}_*.ipynb")))

written = pytest.mark.skipif(bool(MISSING), reason=f"notebooks {MISSING} are not written yet")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Make a repository that shares notebooks and profiles with this one, but no runs."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "papermill_runs").mkdir()
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "papermill_runs" / "profiles").symlink_to(ROOT / "papermill_runs" / "profiles")
    return folder


def qponder(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "QPONDER_ROOT": str(root),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "no_network"), str(ROOT)]),
        "NO_NETWORK_LOG": str(root / "network.log"),
    }
    return subprocess.run(
        [sys.executable, "-m", "qponder_lib.cli", *words],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )


def test_guard_refuses_other_machines_and_notes_it(root, tmp_path):
    code = "import urllib.request as r; r.urlopen('https://example.org')"
    log = tmp_path / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests" / "no_network"),
        "NO_NETWORK_LOG": str(log),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode != 0
    assert log.read_text().strip() == "example.org"


@pytest.mark.slow
@written
def test_smoke_runs_every_notebook_and_opens_no_connection(root):
    done = qponder(root, "run", "smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert not (root / "network.log").exists(), (root / "network.log").read_text()
    run = RunPaths(root / "papermill_runs" / "smoke")
    manifest = artifacts.read_json(run.manifest)
    assert manifest["exit_state"] == "complete"
    assert all(stage["done"] for stage in manifest["stages"])
    assert {path.name[:2] for path in run.executed.glob("*.ipynb")} == NUMBERS


@pytest.mark.slow
@written
def test_second_smoke_run_does_nothing(root):
    done = qponder(root, "run", "smoke")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout


@pytest.mark.slow
@written
def test_executed_copies_name_no_folder_of_this_machine(root):
    run = RunPaths(root / "papermill_runs" / "smoke")
    for path in [*run.executed.glob("*.ipynb"), run.manifest]:
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text, path.name
        assert str(root) not in text, path.name
