"""A tiny video model: made, trained in both phases, measured, and asked about clip files."""

import json
import shutil
from itertools import pairwise
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from qponder_lib import artifacts, pipeline
from qponder_lib.artifacts import read_csv, read_jsonl
from qponder_lib.cli import app
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.data import check
from qponder_lib.data.clips import CLIP_SET, LADDER_SET, encode_clip
from qponder_lib.data.images import load_records
from qponder_lib.paths import MINI_WEIGHTS, RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import PredictionRecord
from qponder_lib.rewards import preresq
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form
from qponder_lib.training import grpo, sft
from qponder_lib.video import dataset, model, pretraining

SMALL = {
    "clips.n_train": 8,
    "clips.n_test": 12,
    "clips.n_ladders": 1,
    "clips.size": 64,
    "motion.steps": 2,
    "motion.word_steps": 1,
    "video.frames_only_share": 0.4,
    "video.sft_max_steps": 2,
    "video.sft_clips_per_step": 4,
    "video.grpo_max_steps": 1,
    "video.grpo_clips_per_step": 3,
    "video.grpo_num_generations": 3,
    "video.max_completion_length": 8,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose image model is the base weights; training from better ones is no other code."""
    root = tmp_path_factory.mktemp("runs") / "papermill_runs" / "small"
    run = Run(RunPaths(root), load_profile("smoke").with_overrides(SMALL))
    shutil.copytree(MINI_WEIGHTS, run.paths.grpo("qponder"))
    dataset.build(run.profile.clips, run.paths, progress=False)
    artifacts.write_text_atomic(run.paths.profile, dump_profile(run.profile))
    return run


@pytest.fixture(scope="module")
def trained(made):
    work = made.paths.root / "work"
    pretraining.train_motion(made, work / "motion")
    phases = model.trainings(made)
    sft.train(made, phases["sft"], work / "sft")
    grpo.train(made, phases["grpo"], work / "grpo")
    return made


def test_every_clip_has_a_mosaic_and_three_frames_and_a_record_of_them(made):
    found = dataset.load_packed(made.paths, CLIP_SET, "train")
    assert len(found) == 8
    for row in found.values():
        opened = dataset.open_images(made.paths, row)
        assert [one.size for one in opened] == [(128, 128), (64, 64), (64, 64), (64, 64)]
        assert row.mosaic == tuple(range(16))
        assert not row.truncated
        assert row.over_time.startswith("Over time: ")
        assert row.in_frames.startswith("Frames: ")
    test_rows = dataset.load_packed(made.paths, CLIP_SET, "test").values()
    assert {row.over_time for row in test_rows} == {None}


def test_clips_of_a_run_are_looked_through_for_leaks(made):
    counted, findings = check.leaks_in_run(made.paths, progress=False)
    assert counted[f"{CLIP_SET} (train)"] == 8
    assert counted[f"{LADDER_SET} (test)"] == 11
    assert findings == []


def test_rows_show_the_mosaic_or_single_frames_and_say_only_what_is_shown(made):
    found = dataset.training_rows(made.profile.video, made.paths)
    labels = {one.image_id: one.mos for one in load_records(made.paths, CLIP_SET, "train")}
    counts = {len(row["images"]) for row in found}
    assert counts == {3, 4}
    for row in found:
        text = row["completion"][0]["content"]
        blocks = row["prompt"][0]["content"]
        assert sum(block["type"] == "image" for block in blocks) == len(row["images"])
        assert ("Over time" in text) == (len(row["images"]) == 4)
        assert preresq.video_format_reward(text) == 1.0
        score = parse_answer(text, answer_form("video_short")).score
        assert score == pytest.approx(labels[row["image_id"]], abs=0.13)  # two decimals of 1 to 5
        assert row["mos"] == labels[row["image_id"]]


def test_both_phases_train_log_their_terms_and_are_recorded(trained):
    folders = {phase: trained.paths.video(phase) for phase in ("motion", "sft", "grpo")}
    histories = {phase: read_csv(folder / "history.csv") for phase, folder in folders.items()}
    steps = {phase: [int(row["step"]) for row in rows] for phase, rows in histories.items()}
    assert steps == {"motion": [2], "sft": [1, 2], "grpo": [1]}
    assert set(grpo.TERMS["preresq_video"]) < set(histories["grpo"][0])
    for phase, folder in folders.items():
        record = artifacts.read_record(folder)
        assert record.stage == f"video-{phase}"
        assert record.key == pipeline.stage_keys(trained.profile)[f"video-{phase}"]
        assert artifacts.verify_record(folder) == []
    assert model.trainings(trained)["grpo"].config.weight_accuracy == 1.0


def test_the_tower_is_changed_by_its_warm_up_alone(trained):
    folders = [trained.paths.grpo("qponder"), *map(trained.paths.video, ("motion", "sft", "grpo"))]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert weights[0].keys() == weights[1].keys() == weights[2].keys()
    for name, *four in ((name, *(one[name].float() for one in weights)) for name in weights[0]):
        same = [torch.equal(one, other) for one, other in pairwise(four)]
        if "visual" in name:
            assert same[1:] == [True, True], name
    names = [name for name in weights[0] if "visual" in name]
    assert not any(torch.equal(weights[0][name].float(), weights[1][name]) for name in names)
    last = "model.norm.weight"
    assert not torch.equal(weights[1][last], weights[2][last])


def test_a_checkpoint_of_other_settings_is_refused(trained):
    other = trained.profile.with_overrides({"video.sft_max_steps": 1})
    with pytest.raises(ValueError, match="another run"):
        sft.train(
            trained,
            model.trainings(Run(trained.paths, other))["sft"],
            trained.paths.root / "work" / "sft",
        )


def test_the_run_is_measured_with_and_without_the_mosaic(trained):
    files = model.measure_run(trained, trained.paths.root / "work" / "scores")
    assert all(file.is_file() for file in files)
    file = trained.paths.predictions("video-grpo-frames", LADDER_SET)
    said = read_jsonl(file, PredictionRecord)
    assert len(said) == 11
    scores = read_csv(trained.paths.root / "eval" / "video_scores.csv")
    assert {row["model"] for row in scores} == {
        f"video-{phase}{suffix}" for phase in ("sft", "grpo") for suffix in ("", "-frames")
    }
    assert all(int(row["n"]) + int(row["n_unparsed"]) in (12, 11) for row in scores)


def score(trained, *arguments):
    folder = trained.paths.video("grpo")
    return CliRunner().invoke(app, ["score", *map(str, arguments), "--model", str(folder)])


def clip_file(folder, n_frames=20):
    frames = np.random.default_rng(0).integers(0, 255, (n_frames, 32, 32, 3), np.uint8)
    path = folder / "clip.mp4"
    path.write_bytes(encode_clip(frames))
    return path


def test_a_clip_is_scored_from_the_command_line(trained, tmp_path):
    path = clip_file(tmp_path)
    result = score(trained, path, "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout.splitlines()[-1])
    assert row["clip"] == str(path)
    assert (row["shown"]["n_frames"], row["shown"]["truncated"]) == (20, False)
    assert len(row["shown"]["mosaic"]) == 16
    assert (row["score"] is None) == (row["parse_status"] != "ok")
    assert str(path) in score(trained, path).stdout


def test_a_clip_that_breaks_off_is_scored_and_said_to(trained, tmp_path):
    frames = np.random.default_rng(1).integers(0, 255, (20, 48, 64, 3), np.uint8)
    path = tmp_path / "cut.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = score(trained, path, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["shown"]["truncated"]
    assert "breaks off after" in score(trained, path).stdout


def test_a_file_without_a_frame_costs_its_own_row(trained, tmp_path):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    result = score(trained, sound, text, clip_file(tmp_path), "--json")
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["parse_status"] for row in rows[:2]] == ["no_video", "unreadable"]
    assert [row["text"] is None for row in rows] == [True, True, False]


def test_clips_and_images_are_not_scored_by_one_model(trained, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"")
    mixed = score(trained, clip_file(tmp_path), image)
    assert (mixed.exit_code, "score them apart" in mixed.stderr) == (2, True)
    wrong = score(trained, image)
    assert (wrong.exit_code, "is a model for clips" in wrong.stderr) == (2, True)


def test_without_a_video_model_the_message_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "qponder_lib.cli.models.paths", SimpleNamespace(runs_root=lambda: tmp_path / "none")
    )
    result = CliRunner().invoke(app, ["score", str(clip_file(tmp_path))])
    assert result.exit_code == 2
    assert "`qponder run video --run mini` trains one" in result.stderr
