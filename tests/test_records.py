"""Rows refuse what they cannot mean."""

import pytest
from pydantic import ValidationError

from qponder_lib.records import (
    Distortion,
    FilteredResponse,
    ImageRecord,
    PredictionRecord,
    ResponseRecord,
)
from qponder_lib.scales import (
    SEVERITIES,
    LabelScale,
    distortion_tag,
    linear_rescale,
    severity_of,
)

HASH = "0" * 64
IMAGE = dict(image_id="a", image="s/images/a.png", dataset="s", split="test", mos=50.0, sha256=HASH)
RESPONSE = dict(
    response_id="r",
    image_id="a",
    teacher="t",
    prompt_id="p",
    prompt_sha256=HASH,
    hinted=False,
    seconds=0.1,
)


def test_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        ImageRecord(**IMAGE, colour="red")


def test_rows_are_frozen():
    row = ImageRecord(**IMAGE)
    with pytest.raises(ValidationError, match="frozen"):
        row.mos = 60.0


@pytest.mark.parametrize("mos", [-0.1, 100.1, float("nan"), float("inf")])
def test_mos_outside_0_to_100_is_refused(mos):
    with pytest.raises(ValidationError):
        ImageRecord(**{**IMAGE, "mos": mos})


@pytest.mark.parametrize("image", ["/etc/passwd", "../a.png", "s/../../a.png", "s\\a.png"])
def test_image_path_cannot_leave_the_data_folder(image):
    with pytest.raises(ValidationError, match="relative to the data folder"):
        ImageRecord(**{**IMAGE, "image": image})


@pytest.mark.parametrize("level", [0, 6])
def test_distortion_level_is_1_to_5(level):
    with pytest.raises(ValidationError):
        Distortion(name="blur", level=level)


def test_missing_text_needs_a_named_failure():
    with pytest.raises(ValidationError, match="needs a text"):
        ResponseRecord(**RESPONSE, text=None, finish_reason="stop")
    assert ResponseRecord(**RESPONSE, text=None, finish_reason="timeout").text is None


def test_unknown_finish_reason_is_refused():
    with pytest.raises(ValidationError):
        ResponseRecord(**RESPONSE, text="x", finish_reason="done")


def test_half_surrogate_pair_becomes_its_escape():
    row = ResponseRecord(**RESPONSE, text="a\ud800b", finish_reason="stop")
    assert row.text == "a\\ud800b"


def test_kept_row_needs_score_and_rank():
    common = dict(**RESPONSE, text="x", finish_reason="stop")
    with pytest.raises(ValidationError, match="kept"):
        FilteredResponse(**common, score=None, abs_error=None, rank=None, reason="kept")
    with pytest.raises(ValidationError, match="no_answer"):
        FilteredResponse(**common, score=1.0, abs_error=1.0, rank=1, reason="no_answer")


def test_missing_score_needs_a_status_and_a_score_is_ok():
    with pytest.raises(ValidationError, match="parse_status"):
        PredictionRecord(image_id="a", text="x", score=None, parse_status="ok", mos=None)
    with pytest.raises(ValidationError, match="parse_status"):
        PredictionRecord(image_id="a", text="x", score=3.0, parse_status="no_answer", mos=None)


# ---- scales


def test_five_severities_split_the_range_equally():
    middles = [10.0, 30.0, 50.0, 70.0, 90.0]
    assert tuple(severity_of(mos) for mos in middles) == SEVERITIES
    assert SEVERITIES == ("extreme", "severe", "noticeable", "moderate", "slight")


def test_severity_never_gets_worse_as_mos_rises():
    order = [SEVERITIES.index(severity_of(mos / 10)) for mos in range(1001)]
    assert order == sorted(order)


def test_tag_joins_severity_and_name():
    assert distortion_tag(30.0, "blur") == "Severe_Blur"


@pytest.mark.parametrize("value", [0.99, 5.01, float("nan")])
def test_label_outside_declared_range_is_rejected_not_clipped(value):
    with pytest.raises(ValueError, match="declared range 1"):
        LabelScale(low=1.0, high=5.0).to_mos(value)


def test_flipped_scale_reverses_the_order_and_keeps_the_spread():
    dmos = LabelScale(low=0.0, high=100.0, higher_is_better=False)
    assert dmos.to_mos(0.0) == 100.0
    assert dmos.to_mos(100.0) == 0.0
    assert dmos.std_to_mos(7.0) == 7.0


def test_rescaling_there_and_back_is_the_identity():
    there = linear_rescale(2.2, (1.0, 5.0))
    assert linear_rescale(there, (0.0, 100.0), (1.0, 5.0)) == pytest.approx(2.2)
