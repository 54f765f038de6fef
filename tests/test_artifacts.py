"""Files are whole or absent, whatever kills the writer."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from qponder_lib import artifacts
from qponder_lib.artifacts import ArtifactError, JsonlAppender
from qponder_lib.records import Distortion

ROOT = Path(__file__).parents[1]
BLUR, NOISE = Distortion(name="blur", level=1), Distortion(name="noise", level=5)


def kill_while_running(code: str, path: Path, after: float) -> None:
    """Run code that writes to a path for ever, and kill it without warning."""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_json_is_the_same_for_any_order_of_keys():
    assert artifacts.to_json({"b": 1, "a": 2}) == artifacts.to_json({"a": 2, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_never_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.write_json(tmp_path / "a.json", {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1, "a": 2}', '{"a": 1e400}', '{"a": 1'])
def test_loose_json_is_refused_with_the_file_named(tmp_path, text):
    path = tmp_path / "loose.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"loose\.json"):
        artifacts.read_json(path)


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    artifacts.write_text_atomic(path, "old")

    def disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        artifacts.write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("after", [0.0, 0.07, 0.2])
def test_kill_during_atomic_writes_leaves_a_whole_file(tmp_path, after):
    path = tmp_path / "whole.txt"
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from qponder_lib.artifacts import write_text_atomic\n"
        "for n in itertools.count(): write_text_atomic(Path(sys.argv[1]), str(n % 10) * 200_000)\n"
    )
    kill_while_running(code, path, after)
    text = path.read_text()
    assert len(text) == 200_000
    assert len(set(text)) == 1


@pytest.mark.parametrize("after", [0.0, 0.07, 0.2])
def test_kill_during_appends_loses_no_whole_row_and_doubles_none(tmp_path, after):
    path = tmp_path / "rows.jsonl"
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from qponder_lib.artifacts import JsonlAppender\n"
        "from qponder_lib.records import Distortion\n"
        "store = JsonlAppender(Path(sys.argv[1]), Distortion)\n"
        "for n in itertools.count():\n"
        "    store.append(Distortion(name=f'{n}' + 'x' * 5000, level=1))\n"
    )
    kill_while_running(code, path, after)
    with JsonlAppender(path, Distortion) as store:
        numbers = [int(row.name.rstrip("x")) for row in store.rows]
        store.append(BLUR)
    assert numbers == list(range(len(numbers)))
    assert artifacts.read_jsonl(path, Distortion)[-1] == BLUR


def test_rows_survive_the_way_to_disk_and_back(tmp_path):
    rows = [Distortion(name="line\u2028separator\n", level=1), NOISE]
    artifacts.write_jsonl(tmp_path / "a.jsonl", rows)
    assert artifacts.read_jsonl(tmp_path / "a.jsonl", Distortion) == rows


@pytest.mark.parametrize("tail", [b'{"level": 5, "na', b"\0\0\0\0"])
def test_torn_last_line_is_cut_off_on_opening(tmp_path, tail, caplog):
    path = tmp_path / "a.jsonl"
    artifacts.write_jsonl(path, [BLUR])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with JsonlAppender(path, Distortion) as store:
        assert store.rows == [BLUR]
    assert path.read_bytes() == whole
    assert f"torn last line of {len(tail)} bytes" in caplog.text


def test_torn_last_line_is_an_error_when_only_reading(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"level": 1, "name": "blur"}\n{"level": 5, "na')
    with pytest.raises(ArtifactError, match="line 2: the file ends inside"):
        artifacts.read_jsonl(path, Distortion)


@pytest.mark.parametrize("middle", ['{"level": 5, "na', "", '{"level": "5", "name": "noise"}'])
def test_bad_middle_line_is_an_error_that_names_it(tmp_path, middle):
    path = tmp_path / "a.jsonl"
    good = '{"level": 1, "name": "blur"}'
    path.write_text(f"{good}\n{middle}\n{good}\n")
    with pytest.raises(ArtifactError, match=r"a\.jsonl, line 2"):
        JsonlAppender(path, Distortion)


def test_second_appender_is_refused_and_told_process_and_host_of_the_first(tmp_path):
    path = tmp_path / "a.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from qponder_lib.artifacts import JsonlAppender\n"
        "from qponder_lib.records import Distortion\n"
        "store = JsonlAppender(Path(sys.argv[1]), Distortion)\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        told = rf"a\.jsonl: another process .* {holder.pid} on {re.escape(socket.gethostname())},"
        with pytest.raises(ArtifactError, match=told):
            JsonlAppender(path, Distortion)
        holder.kill()
    JsonlAppender(path, Distortion).close()  # the system frees what a dead process held
    assert [file.name for file in tmp_path.iterdir() if "owner" in file.name] == []


def test_a_lock_whose_holder_has_not_signed_yet_is_refused_all_the_same(tmp_path):
    with (
        FileLock(tmp_path / "a.jsonl.lock"),
        pytest.raises(ArtifactError, match="process unknown on unknown host"),
    ):
        JsonlAppender(tmp_path / "a.jsonl", Distortion)


def test_a_record_lists_no_lock_and_no_holder(tmp_path):
    (tmp_path / "kept.txt").write_text("x")
    with artifacts.OwnedLock(tmp_path / "a.lock"):
        assert list(artifacts.hash_outputs(tmp_path, [tmp_path])) == ["kept.txt"]


def test_csv_keeps_column_order_and_missing_cells(tmp_path):
    path = tmp_path / "a.csv"
    artifacts.write_csv(path, [{"b": 1.5, "a": None}, {"a": "x,y", "b": 2}], ["b", "a"])
    assert path.read_text() == 'b,a\n1.5,\n2,"x,y"\n'
    assert artifacts.read_csv(path) == [{"b": "1.5", "a": None}, {"b": "2", "a": "x,y"}]


def test_csv_refuses_nan_and_unknown_columns(tmp_path):
    with pytest.raises(ValueError, match="None with a reason"):
        artifacts.write_csv(tmp_path / "a.csv", [{"a": float("nan")}], ["a"])
    with pytest.raises(ValueError, match=r"unknown columns \['b'\]"):
        artifacts.write_csv(tmp_path / "a.csv", [{"a": 1, "b": 2}], ["a"])


def recorded(folder: Path) -> artifacts.StageRecord:
    return artifacts.record_folder(folder, stage="s", key="k", config={"a": 1}, seconds=1.0)


def test_recorded_folder_is_as_it_was_recorded(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(b"weights")
    assert set(recorded(tmp_path).outputs) == {"deep/w.bin"}
    assert artifacts.read_record(tmp_path).config == {"a": 1}
    assert artifacts.verify_record(tmp_path) == []


def test_one_changed_byte_of_the_same_size_breaks_the_record(tmp_path):
    file = tmp_path / "w.bin"
    file.write_bytes(b"weights")
    recorded(tmp_path)
    file.write_bytes(b"weightz")
    assert artifacts.verify_record(tmp_path) == ["w.bin: changed since it was recorded"]


def test_missing_file_breaks_the_record(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"weights")
    recorded(tmp_path)
    (tmp_path / "w.bin").unlink()
    assert artifacts.verify_record(tmp_path) == ["w.bin: missing"]


def test_torn_record_is_no_record(tmp_path):
    (tmp_path / artifacts.RECORD_NAME).write_text('{"stage": "s"')
    assert artifacts.read_record(tmp_path) is None


def test_empty_or_missing_output_cannot_be_recorded(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot record"):
        artifacts.hash_outputs(tmp_path, [tmp_path / "nothing"])


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_recorded_weights_are_readable_as_the_users_umask_says(tmp_path, umask):
    weights, shared = tmp_path / "model.safetensors", tmp_path / "a.txt"
    weights.write_text("w")
    shared.write_text("s")
    weights.chmod(0o600)  # as safetensors writes them
    shared.chmod(0o640)
    before = os.umask(umask)
    try:
        recorded(tmp_path)
    finally:
        os.umask(before)
    assert weights.stat().st_mode & 0o777 == 0o666 & ~umask
    assert shared.stat().st_mode & 0o777 == 0o640


def test_what_is_wrong_with_a_row_is_one_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"level": 9, "nam": "blur"}\n')
    with pytest.raises(
        ArtifactError, match=r"line 1: not a Distortion: name: .*; level: "
    ) as found:
        artifacts.read_jsonl(tmp_path / "a.jsonl", Distortion)
    assert "\n" not in str(found.value)
    assert "https" not in str(found.value)
