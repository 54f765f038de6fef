"""The model that ships with the kit, and `qponder score` before anything is trained."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from package_model import package
from PIL import Image
from synthetic_run import image_row
from typer.testing import CliRunner

import qponder_lib
from qponder_lib import paths
from qponder_lib.artifacts import record_folder, write_jsonl
from qponder_lib.cli import app
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.student import assessment
from qponder_lib.student import model as student_model
from qponder_lib.student.generation import Completion

TEXT = "<think>Blur is visible.</think>\n<answer>62</answer>"
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
NUMBERS = """model,dataset,decoding,metric,protocol,value,ci_low,ci_high,n
qponder,biq2021,greedy,srcc,raw,0.65,0.62,0.68,2000
qponder,biq2021,greedy,srcc,logistic4,0.7,0.6,0.8,2000
ci-none,biq2021,greedy,srcc,raw,0.5,0.4,0.6,2000
"""


@pytest.fixture(autouse=True)
def saying(monkeypatch):
    """Let every model write TEXT."""

    def generate(student, images, prompt, **_):
        return [Completion(TEXT, 20, "stop") for _ in images]

    monkeypatch.setattr(assessment, "generate", generate)


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A packaged model, which is the base under another name, and a clone without runs."""
    folder, clone = tmp_path / "packaged", tmp_path / "clone"
    shutil.copytree(paths.MINI_WEIGHTS, folder)
    tiny = load_profile("mini").model_copy(update={"name": "tiny"})
    (folder / "profile.yaml").write_text(dump_profile(tiny), encoding="utf-8")
    (clone / "notebooks").mkdir(parents=True)
    shutil.copytree(paths.profiles_root(), clone / "papermill_runs" / "profiles")
    monkeypatch.setenv("QPONDER_ROOT", str(clone))
    placed(folder, monkeypatch)
    return folder


def placed(folder, monkeypatch):
    for module in (paths, student_model):
        monkeypatch.setattr(module, "PACKAGED", folder)


def test_without_a_trained_model_the_packaged_one_scores_and_says_what_it_is(
    packaged, monkeypatch, tmp_path
):
    model = qponder_lib.load()
    assert model.name == "packaged student (tiny), 5.0 million weights"
    assert model.name in str(model.score(PHOTO))
    assert qponder_lib.load("packaged").name == model.name
    monkeypatch.setenv("QPONDER_ROOT", str(tmp_path))  # no clone at all
    assert qponder_lib.load().name == model.name


def test_packaged_weights_that_changed_are_refused(packaged):
    (packaged / "SHA256").write_text("0" * 64, encoding="ascii")
    with pytest.raises(ValueError, match="expected 0000"):
        qponder_lib.load()


def test_without_a_packaged_model_the_command_that_trains_one_is_named(packaged, monkeypatch):
    placed(packaged / "gone", monkeypatch)
    with pytest.raises(FileNotFoundError, match="`qponder run mini` trains one"):
        qponder_lib.load()


def test_a_folder_is_scored_by_name_and_past_a_broken_file(packaged, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("b.png", "a.JPG"):
        PHOTO.save(photos / name)
    (photos / "aa.png").write_bytes(b"no image")
    (photos / "notes.txt").write_text("not an image", encoding="utf-8")
    done = CliRunner().invoke(app, ["score", str(photos), "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [Path(row["image_id"]).name for row in rows] == ["a.JPG", "aa.png", "b.png"]
    assert [row["parse_status"] for row in rows] == ["ok", "invalid_image", "ok"]
    done = CliRunner().invoke(app, ["score", str(tmp_path / "clone")])
    assert "no image in" in f"{done.output}{done.exception}"


def test_a_run_is_packaged_with_its_numbers_and_its_checksum(packaged, monkeypatch, tmp_path):
    run = RunPaths(tmp_path / "real")
    shutil.copytree(packaged, run.grpo("qponder"), ignore=shutil.ignore_patterns("SHA256"))
    record_folder(run.grpo("qponder"), stage="grpo-qponder", key="k", config={}, seconds=1.0)
    sets = {f"{section}.sets": ["biq2021"] for section in ("predict", "judge")}
    profile = load_profile("mini").with_overrides(
        sets | {"data.train_set": "biq2021", "predict.sampled_sets": []}
    )
    run.profile.write_text(dump_profile(profile), encoding="utf-8")
    for split in ("train", "test"):
        write_jsonl(run.split("biq2021", split), [image_row("biq2021", split, 0, 50.0)])
    run.images("biq2021").mkdir()
    PHOTO.save(run.images("biq2021") / "biq2021-test-00000.png")
    run.scores.parent.mkdir()
    run.scores.write_text(NUMBERS, encoding="utf-8")
    with pytest.raises(ValueError, match="expected a run on a prepared set"):
        package(run, "qponder", tmp_path / "made")
    profile = profile.with_overrides({"data.source": "prepared"})
    run.profile.write_text(dump_profile(profile), encoding="utf-8")
    package(run, "qponder", tmp_path / "made")
    placed(tmp_path / "made", monkeypatch)
    assert qponder_lib.load().name.startswith("packaged student (mini)")
    card = (tmp_path / "made" / "MODEL_CARD.md").read_text("utf-8")
    assert [line for line in card.splitlines() if line.startswith("| biq2021")] == [
        "| biq2021 | greedy | SRCC | 0.650 | 0.620 to 0.680 | 2,000 |"
    ]
    assert "BIQ2021, 1 training images; no licence file" in card
    assert "Of 1 test images of biq2021, 1 keep their score." in card
