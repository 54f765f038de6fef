"""Frames of real encoded clips: chosen by time, upright, and defined for odd files."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.video.frames import (
    VideoProblem,
    mosaic,
    on_screen,
    pack_video,
    read_frames,
    read_timeline,
)


def frame_of(number, width=64, height=48):
    """A flat grey that says which frame it is, and a white upper left corner."""
    pixels = np.full((height, width, 3), 40 + 4 * number, np.uint8)
    pixels[: height // 4, : width // 4] = 255
    return pixels


def write_clip(path, frames, *, times=None, rotation=None, options=None):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5", "g": "5"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = 40 * number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def number_of(image):
    return round((float(np.asarray(image)[-4:, -4:].mean()) - 40) / 4)


def cells_of(image, rows=4, columns=4):
    pixels = np.asarray(image)
    return [number_of(cell) for row in np.vsplit(pixels, rows) for cell in np.hsplit(row, columns)]


def test_a_clip_of_32_frames_shows_the_middle_of_each_sixteenth(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [frame_of(n) for n in range(32)])
    packed = pack_video(path)
    # parts of two frames: the second is on the screen from the middle on
    assert packed.mosaic == tuple(range(1, 32, 2))
    assert packed.local == (5, 16, 26)  # middles at 5.33, 16 and 26.67 frames
    assert cells_of(packed.images[0]) == list(range(1, 32, 2))
    assert [number_of(one) for one in packed.images[1:]] == [5, 16, 26]
    record = packed.record()
    assert (record["n_frames"], record["truncated"], record["variable_rate"]) == (32, False, False)
    assert record["seconds"] == pytest.approx(32 * 0.04)
    assert record["local_seconds"] == pytest.approx([0.2, 0.64, 1.04])


def test_frames_of_a_variable_rate_are_chosen_by_time_not_by_number(tmp_path):
    # ten frames in the first 0.1 s, then one every 0.3 s
    times = [10 * n for n in range(10)] + [400 + 300 * n for n in range(3)]
    path = write_clip(tmp_path / "clip.mp4", [frame_of(n) for n in range(13)], times=times)
    timeline = read_timeline(path)
    assert timeline.variable_rate
    assert timeline.times == pytest.approx([time / 1000 for time in times])
    packed = pack_video(path)
    assert packed.local[1:] == (10, 11)
    shown = [timeline.times[place] for place in packed.mosaic]
    assert shown == sorted(shown)
    assert packed.mosaic.count(9) > 3  # it stayed on the screen for 0.3 s


def test_a_portrait_clip_stays_upright_in_every_cell(tmp_path):
    path = write_clip(tmp_path / "tall.mp4", [frame_of(n, 48, 64) for n in range(16)])
    packed = pack_video(path)
    assert packed.images[0].size == (4 * 48, 4 * 64)
    assert (packed.timeline.width, packed.timeline.height) == (48, 64)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_turned_clip_is_shown_upright(tmp_path, rotation):
    frames = [frame_of(n) for n in range(4)]
    stored = [np.ascontiguousarray(np.rot90(one, k=-rotation // 90)) for one in frames]
    path = write_clip(tmp_path / "turned.mp4", stored, rotation=rotation)
    packed = pack_video(path)
    assert (packed.timeline.width, packed.timeline.height) == (64, 48)
    image = np.asarray(packed.images[1])
    assert image.shape == (48, 64, 3)
    assert image[2:8, 2:12].mean() > 240
    assert image[-8:, -12:].mean() < 100


def test_a_clip_of_one_frame_shows_it_in_every_place(tmp_path):
    packed = pack_video(write_clip(tmp_path / "one.mp4", [frame_of(7)]))
    assert (packed.mosaic, packed.local) == ((0,) * 16, (0,) * 3)
    assert packed.record()["repeated"] == 15
    assert cells_of(packed.images[0]) == [7] * 16


def test_a_very_short_clip_repeats_frames_in_order_and_says_so(tmp_path):
    packed = pack_video(write_clip(tmp_path / "short.mp4", [frame_of(n) for n in range(3)]))
    assert list(packed.mosaic) == sorted(packed.mosaic)
    assert set(packed.mosaic) == {0, 1, 2}
    assert packed.record()["repeated"] == 13
    assert packed.local == (0, 1, 2)


def test_a_file_cut_off_behind_its_index_shows_what_is_left_and_says_so(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4",
        [np.random.default_rng(n).integers(0, 255, (48, 64, 3), np.uint8) for n in range(20)],
        options={"movflags": "faststart"},
    )
    content = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) // 2])
    packed = pack_video(cut)
    assert packed.timeline.truncated
    assert 1 <= len(packed.timeline.times) < 20
    assert not pack_video(whole).timeline.truncated


def test_a_file_without_its_index_is_unreadable(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", [frame_of(n) for n in range(20)])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(VideoProblem, match="no video container") as caught:
        pack_video(cut)
    assert caught.value.kind == "unreadable"
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(VideoProblem):
        pack_video(text)


def test_a_file_of_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 44100, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoProblem, match="no video stream") as caught:
        pack_video(path)
    assert caught.value.kind == "no_video"


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
        pack_video(tmp_path / "gone.mp4")


def test_frames_that_are_not_there_are_an_error(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [frame_of(n) for n in range(3)])
    with pytest.raises(IndexError, match=r"\[7\]"):
        read_frames(path, [1, 7])


def test_a_mosaic_is_made_smaller_to_fit_and_needs_whole_rows():
    frames = [np.full((100, 200, 3), 10 * n, np.uint8) for n in range(4)]
    assert mosaic(frames, 2, long_side=200).size == (200, 100)
    with pytest.raises(ValueError, match="whole rows"):
        mosaic(frames[:3], 2, long_side=200)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60), st.integers(1, 20))
def test_choice_is_in_time_order_and_inside_the_clip(gaps, parts):
    times = [0.0, *np.cumsum(gaps)[:-1].tolist()]
    places = on_screen(times, float(np.sum(gaps)), parts)
    assert list(places) == sorted(places)
    assert 0 <= places[0] <= places[-1] < len(times)


def test_equal_gaps_with_a_part_per_frame_show_every_frame_once():
    times = [0.04 * n for n in range(16)]
    assert on_screen(times, 0.64, 16) == tuple(range(16))
