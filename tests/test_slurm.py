"""The files for a scheduler, by a stub of it that kills one task and queues it again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "papermill_runs" / "slurm"
RUNS = ["gamma-0.5", "seed-0", "seed-1"]
QPONDER = """
import json, pathlib, signal, sys, time
place = pathlib.Path(__file__).parent.parent
def end(*_):
    raise SystemExit(130)
signal.signal(signal.SIGTERM, end)
if sys.argv[1] == "status":
    print(json.dumps({f"papermill_runs/study/{name}": [] for name in RUNS}))
elif "--only" in sys.argv:
    file = place / f"{sys.argv[sys.argv.index('--only') + 1]}.txt"
    for step in range(len(file.read_text()) if file.exists() else 0, 5):
        time.sleep(0.2 if step == 3 else 0.0)
        with file.open("a") as out:
            out.write(str(step))
else:
    print("gathered", *sorted(one.stem for one in place.glob("*.txt")))
""".replace("RUNS", str(RUNS))
SCONTROL = 'echo "$@" >> "$SLURM_SUBMIT_DIR/requeued"'


@pytest.fixture
def place(tmp_path):
    """A folder to submit from, with stubs of the two commands that the files call."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    texts = {"qponder": f"#!{sys.executable}\n{QPONDER}", "scontrol": f"#!/bin/sh\n{SCONTROL}\n"}
    for name, text in texts.items():
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    (bin_ / "python").symlink_to(sys.executable)
    return tmp_path


def submit(place, file, **stated):
    told = {"SLURM_SUBMIT_DIR": str(place), "STUDY": "study", "SLURM_ARRAY_JOB_ID": "7", **stated}
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    command = ["bash", str(FOLDER / file)]
    return subprocess.Popen(
        command, env={**os.environ, "PATH": path, **told}, stdout=subprocess.PIPE, text=True
    )


def test_a_task_that_is_killed_is_queued_again_and_ends_as_the_others(place):
    tasks = [submit(place, "array.sbatch", SLURM_ARRAY_TASK_ID=str(n)) for n in range(len(RUNS))]
    half = place / "seed-0.txt"
    while not (half.exists() and len(half.read_text()) == 3):
        time.sleep(0.01)
    tasks[1].send_signal(signal.SIGTERM)
    assert [task.wait() for task in tasks] == [0, 0, 0]
    assert (place / "requeued").read_text() == "requeue 7_1\n"
    assert half.read_text() == "012"
    assert submit(place, "array.sbatch", SLURM_ARRAY_TASK_ID="1").wait() == 0
    assert [(place / f"{name}.txt").read_text() for name in RUNS] == ["01234"] * 3
    gathered = submit(place, "gather.sbatch")
    assert gathered.communicate()[0] == f"gathered {' '.join(RUNS)}\n"


def test_a_task_that_fails_fails_and_is_not_queued_again(place):
    (place / "bin" / "qponder").write_text(
        "#!/bin/sh\n[ $1 = status ] && echo '{\"a\": []}'\nexit 3"
    )
    assert submit(place, "array.sbatch", SLURM_ARRAY_TASK_ID="0").wait() != 0
    assert not (place / "requeued").exists()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.sbatch")), ids=lambda file: file.name)
def test_every_file_is_shell_and_none_names_a_cluster(file):
    assert subprocess.run(["bash", "-n", str(file)]).returncode == 0
    assert not {"--partition", "--account"} & set(file.read_text().replace("=", " ").split())
