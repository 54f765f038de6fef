"""The warm-up of the mini student on fresh mosaics."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from qponder_lib import pipeline
from qponder_lib.config import load_profile
from qponder_lib.data.scenes import varied_scene
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.student.model import load_student
from qponder_lib.video import pretraining

CELLS = 4
PEAK = 1e-3
SHORT = replace(pretraining.SEE, steps=3, batch_size=4, save_steps=1, warmup_steps=1, seed=0)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(pretraining, "N_SINGLE", 2)
    monkeypatch.setattr(pretraining, "N_HELD_OUT", 20)


@pytest.fixture(scope="module")
def tower():
    return load_student(load_profile("smoke").student).model.get_submodule("model.visual")


def test_a_flag_says_that_a_cell_shows_the_frame_of_the_cell_before():
    rng = np.random.default_rng(0)
    scene = varied_scene(256, rng)
    changes = {0: [], 1: []}
    for _ in range(40):
        mosaic, flags = pretraining.film_mosaic(scene, CELLS, rng, cuts=True)
        assert mosaic.shape == (128, 128, 3)
        assert flags[0] == 0
        cells = pretraining.cells_of(mosaic, CELLS).astype(float)
        plain = cells - cells.mean(axis=(1, 2, 3), keepdims=True)  # flicker is no motion
        for flag, change in zip(flags[1:], np.abs(np.diff(plain, axis=0)), strict=True):
            changes[int(flag)].append(change.mean())
    assert np.median(changes[1]) < 0.5 * np.median(changes[0])
    assert len(changes[1]) > 100


def test_the_camera_takes_over_from_the_cuts_and_every_step_is_drawn_anew():
    begun, same, next_one = (pretraining.mosaics_to_see(step, CELLS, SHORT) for step in (1, 1, 2))
    for first, second in zip(begun, same, strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(begun[0], next_one[0])
    assert [one.shape for one in begun] == [(4, 128, 128, 3), (4, 16), (2, 128, 128, 3)]
    held = pretraining.held_out_mosaics(CELLS, np.random.default_rng(1))
    assert len(held[0]) == len(held[1]) == pretraining.N_HELD_OUT


def test_the_head_reads_each_cell_from_its_own_tokens():
    torch.manual_seed(0)
    head = pretraining.RepeatHead(2)  # 4 x 4 tokens: 4 in each of the 4 cells
    tokens = torch.randn(1, 16, 256)
    before = head(tokens)
    tokens[0, 2 * 4 + 1] += 1.0  # third row, second column: the lower left cell
    assert (head(tokens) != before).tolist() == [[False, False, True, False]]


def test_a_step_trains_the_tower_and_begins_with_unchanged_single_images(tower, tmp_path):
    trained = copy.deepcopy(tower)
    one = replace(SHORT, steps=1)
    rows = pretraining.learn_to_see(trained, CELLS, PEAK, one, tmp_path)
    assert rows[0]["stills"] == 0.0
    assert rows[0]["step"] == 1
    assert 0.0 <= rows[0]["held_out_auc"] <= 1.0
    pairs = zip(tower.parameters(), trained.parameters(), strict=True)
    assert not any(torch.equal(old, new) for old, new in pairs)


def test_a_killed_warm_up_goes_on_to_the_weights_of_an_uninterrupted_one(
    tower, tmp_path, monkeypatch
):
    whole, killed, resumed = (copy.deepcopy(tower) for _ in range(3))

    def see(tower, name):
        return pretraining.learn_to_see(tower, CELLS, PEAK, SHORT, tmp_path / name)

    expected = see(whole, "whole")
    step = pretraining._see_losses
    taken = []

    def dies_in_the_third_step(*given):
        taken.append(given)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "_see_losses", dies_in_the_third_step)
        with pytest.raises(KeyboardInterrupt):
            see(killed, "killed")
    assert see(resumed, "killed") == expected
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"student.model": "Qwen/Qwen2.5-VL-7B-Instruct"}, "set motion.steps to 0"),
        ({"clips.rows": 2}, "as many rows as columns"),
        ({"clips.rows": 3, "clips.columns": 3}, "whole tokens"),
    ],
)
def test_what_cannot_be_warmed_up_is_refused(changes, said, tmp_path):
    profile = load_profile("video").with_overrides(changes)
    with pytest.raises(ValueError, match=said):
        pretraining.train_motion(Run(RunPaths(tmp_path), profile), tmp_path)


def test_without_steps_the_video_model_starts_from_the_image_model():
    video = load_profile("video")
    assert pipeline.stage_named("video-sft", video).inputs == ("clips", "video-motion")
    without = video.with_overrides({"motion.steps": 0})
    assert pipeline.stage_named("video-sft", without).inputs == ("clips", "grpo-qponder")


def test_the_sentence_says_what_is_known_of_the_cells():
    still = np.zeros((1, 128, 128, 3), np.uint8) + 90
    held = np.zeros((1, 16), np.float32)
    assert pretraining.captions(still, held, 4) == ["Over time: smooth motion."]
    held[0, 1:] = np.tile([1, 0, 0], 5)
    assert pretraining.captions(still, held, 4) == ["Over time: noticeable dropped frames."]
    held[0, 4:14] = 1
    assert pretraining.captions(still, held, 4) == ["Over time: extreme stutter."]
    bright = still.copy()
    bright[:, :, 32:64] += 40
    bright[:, :, 96:] += 40
    assert "flicker" in pretraining.captions(bright, held * 0, 4)[0]


def test_words_are_learnt_by_the_language_model_alone_on_the_sentence_alone(tmp_path):
    profile = load_profile("smoke")
    student = load_student(profile.student)
    before = {name: one.clone() for name, one in student.model.state_dict().items()}
    rows = pretraining.learn_to_say(student, CELLS, replace(SHORT, steps=2), tmp_path)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0.0 <= row["held_out_tokens"] <= 1.0 for row in rows)
    for name, weight in student.model.state_dict().items():
        assert torch.equal(weight, before[name]) == ("visual" in name), name
    pixels, flags = pretraining.fresh_mosaics(3, CELLS, 0.0, np.random.default_rng(0))
    said = pretraining.captions(pixels, flags, 4)
    batch = pretraining.caption_batch(student, pixels, said)
    for labels, sentence in zip(batch["labels"], said, strict=True):
        words = student.processor.tokenizer.decode(labels[labels != -100])
        assert words == f"<think>{sentence}"


def test_words_taught_by_a_killed_run_are_those_of_an_uninterrupted_one(tmp_path, monkeypatch):
    profile = load_profile("smoke")
    whole, killed, resumed = (load_student(profile.student) for _ in range(3))
    monkeypatch.setattr(pretraining, "N_HELD_OUT", 4)

    def teach(student, name):
        return pretraining.learn_to_say(student, CELLS, replace(SHORT, steps=2), tmp_path / name)

    expected = teach(whole, "whole")
    update = pretraining._say_losses
    taken = []

    def dies_in_the_second_step(*given):
        taken.append(given)
        if len(taken) == 2:
            raise KeyboardInterrupt
        return update(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "_say_losses", dies_in_the_second_step)
        with pytest.raises(KeyboardInterrupt):
            teach(killed, "killed")
    assert teach(resumed, "killed") == expected
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
