"""What must be there before hours are spent is looked for, and the way to it is named."""

from collections import namedtuple

import pytest
from stub_openai_server import Reply, StubServer
from typer.testing import CliRunner

from qponder_lib.artifacts import write_json
from qponder_lib.cli import app
from qponder_lib.config import load_profile
from qponder_lib.gpu import ready
from qponder_lib.gpu.sizes import shape_of


def profile(**changes):
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return load_profile("full").with_overrides(named)


def test_a_model_lacks_each_shard_that_its_index_names(tmp_path):
    here = profile(student__model=str(tmp_path))
    for name in ("config.json", "tokenizer.json", "a.safetensors"):
        assert ready.check_model(here).verdict == "problem"
        (tmp_path / name).touch()
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    write_json(tmp_path / "model.safetensors.index.json", index)
    found = ready.check_model(here)
    assert "lacks b.safetensors and 0 more" in found.said
    assert found.remedy == "qponder fetch full"
    (tmp_path / "b.safetensors").touch()
    assert ready.check_model(here).verdict == "ok"


@pytest.mark.parametrize(
    ("stages", "models"),
    [
        (["sft-long", "grpo-qponder", "predict-qponder"], []),
        (["distill"], ["Qwen/Qwen2.5-VL-72B-Instruct"]),
        (["predict-teacher"], ["Qwen/Qwen2.5-VL-72B-Instruct"]),
        (["judge"], ["Qwen/Qwen2.5-VL-72B-Instruct", "OpenGVLab/InternVL3-78B"]),
    ],
)
def test_servers_are_looked_for_where_a_stage_asks_them(stages, models):
    assert sorted(one.name for one in ready.servers(profile(), stages)) == sorted(models)


def test_a_server_must_have_the_model_and_gets_its_key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    with StubServer(lambda request: Reply({"data": [{"id": "a"}]})) as server:
        assert ready.check_server("a", server.base_url, "SOME_KEY").verdict == "ok"
        other = ready.check_server("b", server.base_url, "SOME_KEY")
        assert server.requests[0].headers["authorization"] == "Bearer abc"
    assert f"{server.base_url} has a, b is asked for" in other.said
    assert "--generation-config vllm" in other.remedy  # no repetition penalty of the model's own
    assert "does not answer" in ready.check_server("a", server.base_url, "SOME_KEY").said


def test_disk_holds_three_checkpoints_and_every_model(monkeypatch, tmp_path):
    shape = shape_of("Qwen/Qwen2.5-VL-7B-Instruct")
    weights = 8_292_166_656
    assert ready.disk(profile(), shape) == weights * (3 * 16 + 4 * 4)
    chosen = profile(sft__select_sets=["koniq"])  # every one of the six is a candidate
    assert ready.disk(chosen, shape) == weights * (6 * 16 + 4 * 4)
    usage = namedtuple("usage", "free")
    for free, verdict in ((530e9, "problem"), (531e9, "ok")):
        monkeypatch.setattr(ready.shutil, "disk_usage", lambda _, free=free: usage(free))
        assert ready.check_disk(profile(), tmp_path / "new").verdict == verdict


def test_fetch_takes_the_pinned_commit_and_says_where_the_sets_are(monkeypatch):
    asked = []

    def snapshot_download(name, revision):
        asked.append((name, revision))
        return f"/cache/snapshots/{revision}"

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    said = CliRunner().invoke(app, ["fetch", "full"]).output
    assert asked == [("Qwen/Qwen2.5-VL-7B-Instruct", profile().student.revision)]
    assert "commit cc594898137f" in said
    assert "KonIQ-10k: https://database.mmsp-kn.de/" in said
    assert "qponder data prepare agiqa --root FOLDER --run full" in said
    assert "see its paper" not in said
    real = profile().with_overrides({"student.model": "builtin:mini", "data.train_set": "biq2021"})
    cloned = "BIQ2021: git clone --depth 1 https://github.com/nisarahmedrana/BIQ2021 (no licence"
    assert ready.fetch(real)[0].startswith(cloned)
    assert "mini needs nothing" in CliRunner().invoke(app, ["fetch", "mini"]).output


def test_a_gpus_memory_is_that_of_the_smallest(monkeypatch):
    monkeypatch.setattr(ready.shutil, "which", lambda name: name)
    done = namedtuple("done", "stdout")("81920\n40960\n")
    monkeypatch.setattr(ready.subprocess, "run", lambda *_, **__: done)
    assert ready.gpu_gib() == 40.0
    monkeypatch.setattr(ready.shutil, "which", lambda name: None)
    assert ready.gpu_gib() is None
