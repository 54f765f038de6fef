"""Clips of filmed photographs: split by photograph, distorted as stated, rated in order."""

import numpy as np
import pytest

from qponder_lib import artifacts
from qponder_lib.config import ClipsConfig
from qponder_lib.data import clips
from qponder_lib.data.images import load_records
from qponder_lib.data.scenes import PHOTOGRAPHS
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion
from qponder_lib.video.frames import read_timeline

SETTINGS = ClipsConfig(n_train=6, n_test=6, size=64)


def rng(seed=0):
    return np.random.default_rng(seed)


def filmed(seed=0, n_frames=24):
    return clips.film("train", 64, n_frames, rng(seed))[0]


def quality(name, level, seed=0):
    frames = filmed(seed)
    recipe = (Distortion(name=name, level=level),)
    shown = clips.shown_at(len(frames), recipe, rng(1))
    spoiled = clips.distort_frames(frames[shown], recipe, rng(2))
    codec = level if name == "compression" else None
    seen = clips.decode_clip(clips.encode_clip(spoiled, level=codec))
    return clips.clip_quality(frames, seen, shown)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    paths = RunPaths(tmp_path_factory.mktemp("clips"))
    return paths, clips.build_clips(SETTINGS, paths, progress=False)


def test_the_camera_moves_evenly_and_stays_on_one_photograph():
    frames = filmed()
    changes = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert frames.shape == (24, 64, 64, 3)
    assert changes.min() > 0.5
    assert changes.max() < 3 * changes.min()


def test_no_photograph_serves_two_splits(made):
    _, rows = made
    used = {split: {row.reference for row in some} for split, some in rows.items()}
    for split, names in used.items():
        assert names <= set(PHOTOGRAPHS[split])
    assert not used["train"] & used["test"]


def test_rows_name_clips_that_play(made):
    paths, rows = made
    assert [len(some) for some in rows.values()] == [6, 6]
    for split, some in rows.items():
        assert load_records(paths, clips.CLIP_SET, split) == some
        for row in some:
            assert artifacts.file_sha256(paths.data / row.image) == row.sha256
            timeline = read_timeline(paths.data / row.image)
            assert len(timeline.times) == 16
            assert not timeline.variable_rate
            assert not timeline.truncated


def test_the_same_seed_gives_the_same_files_and_another_seed_others(made, tmp_path):
    _, rows = made
    few = SETTINGS.model_copy(update={"n_train": 2, "n_test": 1})
    again = clips.build_clips(few, RunPaths(tmp_path / "again"), progress=False)
    assert [row.sha256 for row in again["train"]] == [row.sha256 for row in rows["train"][:2]]
    other = few.model_copy(update={"n_train": 1, "seed": 1})
    changed = clips.build_clips(other, RunPaths(tmp_path / "other"), progress=False)
    assert changed["train"][0].sha256 != rows["train"][0].sha256


@pytest.mark.parametrize("name", ["stutter", "frame_drops"])
@pytest.mark.parametrize("level", [1, 5])
def test_stutter_and_drops_show_filmed_frames_only_and_keep_the_length(name, level):
    shown = clips.shown_at(48, (Distortion(name=name, level=level),), rng())
    assert shown.shape == (48,)
    assert shown[0] == 0
    assert (np.diff(shown) >= 0).all()
    assert (shown <= np.arange(48)).all()
    assert len(set(shown.tolist())) < 48
    frames = filmed(n_frames=48)
    recipe = (Distortion(name=name, level=level),)
    assert (clips.distort_frames(frames[shown], recipe, rng()) == frames[shown]).all()


def test_drops_of_level_three_lose_about_a_third_of_the_frames():
    shown = clips.shown_at(41, (Distortion(name="frame_drops", level=3),), rng())
    assert 41 - len(set(shown.tolist())) == 14  # 0.35 of 40


@pytest.mark.parametrize("name", [*clips.TEMPORAL, "blur", "noise", "compression"])
def test_worse_distortions_are_rated_lower_over_several_clips(name):
    mild, severe = (np.mean([quality(name, level, seed) for seed in range(3)]) for level in (1, 5))
    assert severe < mild - 5.0


def test_a_frozen_clip_has_clean_frames_and_a_lower_rating():
    frames = filmed()
    smooth = clips.motion_similarity(frames, frames)
    frozen = clips.shown_at(24, (Distortion(name="stutter", level=4),), rng())
    assert smooth == 1.0
    assert clips.motion_similarity(frames, frames[frozen]) < 0.9
    assert clips.clip_quality(frames, frames, np.arange(24)) == pytest.approx(100.0)


def test_motion_similarity_by_hand():
    # changes of 0 and 4 grey levels against 4 and 4: (4 / 20 + 36 / 36) / 2
    still = np.stack([np.full((4, 4, 3), one, np.uint8) for one in (10, 10, 14)])
    moving = np.stack([np.full((4, 4, 3), one, np.uint8) for one in (10, 14, 18)])
    assert clips.motion_similarity(moving, still) == pytest.approx((4 / 20 + 1) / 2)
    with pytest.raises(ValueError, match="one shape"):
        clips.motion_similarity(moving, still[:2])


def test_distortions_of_the_lens_are_the_same_in_every_frame_and_noise_is_not():
    frames = np.stack([filmed()[0]] * 3)
    cast = clips.distort_frames(frames, (Distortion(name="color_cast", level=4),), rng())
    noise = clips.distort_frames(frames, (Distortion(name="noise", level=4),), rng())
    assert (cast[0] == cast[1]).all()
    assert (noise[0] != noise[1]).any()


def test_recipes_cover_every_distortion_and_at_most_one_of_each_kind():
    drawn = [clips.draw_recipe(rng(seed)) for seed in range(400)]
    names = {one.name for recipe in drawn for one in recipe}
    assert names == {*clips.SPATIAL, *clips.TEMPORAL, "compression"}
    for recipe in drawn:
        assert sum(one.name in clips.TEMPORAL for one in recipe) <= 1
        assert len(recipe) <= 2


@pytest.mark.parametrize(("size", "n_frames"), [(63, 10), (8, 10), (64, 1)])
def test_clips_that_cannot_be_encoded_are_refused(size, n_frames):
    with pytest.raises(ValueError, match="even size"):
        clips.film("train", size, n_frames, rng())
