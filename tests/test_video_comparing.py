"""What is said of clips in time, and how models are scored and compared on ladders."""

import numpy as np
import pytest

from qponder_lib.artifacts import read_csv, write_jsonl
from qponder_lib.config import ClipsConfig
from qponder_lib.data import clips
from qponder_lib.data.images import load_records
from qponder_lib.data.scenes import PHOTOGRAPHS
from qponder_lib.evaluation.scoring import Predictions
from qponder_lib.paths import RunPaths
from qponder_lib.records import Distortion, ImageRecord, PredictionRecord
from qponder_lib.video import model
from qponder_lib.video.dataset import MEASURED, describe, still_gaps

LADDERS = ClipsConfig(size=64, n_ladders=2)


def bars(shifts, gains=None):
    """Frames of vertical bars that stand at the stated shifts, lit by the stated gains."""
    wave = 100 + 80 * np.sign(np.sin(np.arange(64) * np.pi / 8 + 0.1))
    frames = []
    for number, shift in enumerate(shifts):
        row = np.roll(wave, shift) * (1.0 if gains is None else gains[number])
        frames.append(np.repeat(np.repeat(row[None, :, None], 64, 0), 3, 2).astype(np.uint8))
    return frames


def test_an_image_that_stands_for_four_of_eight_gaps_is_held_for_half_of_the_time():
    still = still_gaps(bars([0, 1, 1, 1, 1, 1, 6, 7, 8]))
    assert still.tolist() == [False, *[True] * 4, *[False] * 3]


def test_stutter_dropped_frames_and_flicker_have_words_of_their_own():
    smooth = describe(bars(range(9)))[0]
    assert smooth == "Over time: smooth motion."
    frozen = describe(bars([0, 1, 1, 1, 1, 1, 6, 7, 8]))[0]
    assert frozen == "Over time: severe stutter."
    dropped = describe(bars([0, 0, 2, 2, 4, 5, 6, 7, 8]))[0]
    assert dropped == "Over time: noticeable dropped frames."
    lit = describe(bars(range(9), [1.0, 0.8] * 4 + [1.0]))[0]
    assert lit == "Over time: severe flicker."


def test_one_frame_alone_has_no_motion():
    assert describe(bars([0]))[0] == "Over time: no motion."
    assert still_gaps(bars([0])).tolist() == []


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    paths = RunPaths(tmp_path_factory.mktemp("ladders"))
    return paths, clips.build_ladders(LADDERS, paths, progress=False)[:22]


def test_a_ladder_shows_one_scene_clean_and_at_every_level_of_two_kinds(ladders):
    _, rows = ladders
    assert len(rows) == 2 * 11
    for scene in (rows[:11], rows[11:]):
        assert len({row.reference for row in scene}) == 1
        steps = [(one.name, one.level) for row in scene for one in row.distortions]
        assert steps == [(name, level) for name in clips.LADDERS for level in range(1, 6)]
        assert scene[0].distortions == ()
    assert rows[0].reference != rows[11].reference


def test_worse_steps_of_a_ladder_are_rated_lower_and_single_frames_stay_clean(ladders):
    _, rows = ladders
    for scene in (rows[:11], rows[11:]):
        mos = [row.mos for row in scene]
        assert mos[0] > mos[5] + 10  # stutter at level 5
        assert mos[0] > mos[10] + 10  # drops at level 5


def test_ladders_to_choose_by_film_validation_photographs_and_leave_the_others_as_they_are(
    ladders, tmp_path
):
    _, tested = ladders
    paths = RunPaths(tmp_path)
    settings = LADDERS.model_copy(update={"n_ladders": 1})
    rows = clips.build_ladders(settings, paths, progress=False)
    assert rows[:11] == tested[:11]
    assert load_records(paths, clips.VALIDATION_LADDERS, "validation") == rows[11:]
    assert rows[11].reference.split()[-1] in PHOTOGRAPHS["validation"]
    assert {row.dataset for row in rows[11:]} == {clips.VALIDATION_LADDERS}


def record(name, mos, kind=None, scene="s"):
    distorted = () if kind is None else (Distortion(name=kind, level=1),)
    return ImageRecord(
        image_id=name,
        image=f"{clips.LADDER_SET}/images/{name}.mp4",
        dataset=clips.LADDER_SET,
        split="test",
        mos=mos,
        distortions=distorted,
        sha256="0" * 64,
        reference=scene,
    )


def test_pairs_are_of_one_scene_and_one_kind_and_clearly_apart():
    rows = [
        record("clean", 90.0),
        record("s1", 86.0, "stutter"),
        record("s5", 40.0, "stutter"),
        record("d5", 60.0, "frame_drops"),
        record("other", 10.0, "stutter", scene="t"),
    ]
    # clean and s1 are 4 apart, s5 and d5 differ in kind, the other scene has one clip
    assert model.ordered_pairs(rows) == [("clean", "s5"), ("clean", "d5"), ("s1", "s5")]


def test_an_order_is_right_wrong_half_for_equal_scores_and_none_without_one():
    rows = [
        record("a", 90.0),
        record("b", 70.0, "stutter"),
        record("c", 50.0, "frame_drops"),
        record("d", 10.0, "stutter"),
    ]

    def share(*scores):
        said = Predictions(tuple("abcd"), np.ones(4), np.array([scores], dtype=float))
        (found,) = model.share_in_order(rows, said)
        return found.value, found.n, found.n_unparsed, found.reason

    # the pairs are a-b, a-c, a-d and b-d
    assert share(60, 50, 60, 70) == ((1 + 0.5 + 0 + 0) / 4, 4, 0, "one_reference")
    assert share(60, 50, 60, None) == ((1 + 0.5) / 2, 2, 1, "one_reference")
    assert share(None, 50, 60, None) == (None, 0, 2, "no_pairs")


def write_run(paths, blind=False):
    """Twelve scenes of a ladder of three; with the mosaic the truth is seen, or nothing is."""
    ladder, plain = [], []
    for scene in range(12):
        for step, mos in enumerate((90.0, 60.0, 30.0)):
            kind = None if step == 0 else "stutter"
            ladder.append(record(f"{scene}-{step}", mos + scene / 10, kind, f"s{scene}"))
        plain.append(
            ladder[-1].model_copy(update={"dataset": clips.CLIP_SET, "mos": 20.0 + 5 * scene})
        )
    rows_of = {clips.CLIP_SET: plain, clips.LADDER_SET: ladder, clips.VALIDATION_LADDERS: ladder}
    for dataset, split in MEASURED:
        update = {"dataset": dataset, "split": split}
        rows = [row.model_copy(update=update) for row in rows_of[dataset]]
        write_jsonl(paths.split(dataset, split), rows)
        for name in model.MODELS:
            sees = not name.endswith(model.FRAMES) and not blind
            said = [
                PredictionRecord(
                    image_id=row.image_id,
                    text="",
                    score=row.mos if sees else 50.0 + number % 2,
                    parse_status="ok",
                    mos=row.mos,
                )
                for number, row in enumerate(rows)
            ]
            write_jsonl(paths.predictions(name, dataset), said)


def differences(paths):
    _, file = model.write_tables(paths)
    return {
        (row["first"], row["second"], row["dataset"], row["metric"]): row for row in read_csv(file)
    }


def test_a_model_that_sees_distortions_in_the_mosaic_alone_is_told_by_a_paired_interval(tmp_path):
    paths = RunPaths(tmp_path)
    write_run(paths)
    found = differences(paths)
    row = found["video-grpo", "video-grpo-frames", clips.LADDER_SET, "order"]
    assert float(row["n"]) == 36  # three pairs in each of twelve scenes
    assert float(row["value"]) == pytest.approx(0.5, abs=0.2)
    assert float(row["ci_low"]) > 0.0
    assert float(found["video-grpo", "video-grpo-frames", clips.LADDER_SET, "srcc"]["ci_low"]) > 0
    same = found["video-grpo", "video-sft", clips.LADDER_SET, "order"]
    assert (float(same["value"]), float(same["ci_low"]), float(same["ci_high"])) == (0, 0, 0)
    scores = read_csv(paths.root / "eval" / "video_scores.csv")
    best = next(r for r in scores if (r["model"], r["metric"]) == ("video-grpo", "srcc"))
    assert float(best["value"]) == pytest.approx(1.0)
    order = {r["model"]: r for r in scores if r["metric"] == "order"}
    assert [float(order["video-grpo"][end]) for end in ("value", "ci_low", "ci_high")] == [1, 1, 1]
    assert order["video-grpo"]["n"] == "36"
    blind = float(order["video-grpo-frames"]["value"])
    assert 1.0 - blind == pytest.approx(float(row["value"]))


def test_a_model_that_sees_nothing_gains_nothing(tmp_path):
    paths = RunPaths(tmp_path)
    write_run(paths, blind=True)
    row = differences(paths)["video-grpo", "video-grpo-frames", clips.LADDER_SET, "order"]
    assert (float(row["value"]), float(row["ci_low"]), float(row["ci_high"])) == (0, 0, 0)
