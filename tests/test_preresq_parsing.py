"""Several scores in one answer: all of them or none, and the two format rewards."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qponder_lib.rewards.preresq import image_format_reward, video_format_reward
from qponder_lib.text.parsing import has_numbers_format, parse_answer
from qponder_lib.text.prompts import FIVE_ASPECTS

FIVE = "3.10\n4\n2.5\n1\n5.00"
# The forms that the released code checks by a full match.
IMAGE_FORM = re.compile(
    r"<think>.*?</think>\s*<answer>(?:\s*\d+\.?\d*\s*\n){4}\s*\d+\.?\d*\s*</answer>",
    re.DOTALL | re.ASCII,
)
VIDEO_FORM = re.compile(
    r"<think>.*?</think>\s*<answer>(?:\s*\d+\.?\d*\s*\n){2}\s*</answer>", re.DOTALL | re.ASCII
)


def read(content):
    return parse_answer(f"<think>Soft.</think><answer>{content}</answer>", FIVE_ASPECTS)


def test_five_aspects_are_read_in_order_and_averaged():
    parsed = read(FIVE)
    assert parsed.scores == (3.1, 4.0, 2.5, 1.0, 5.0)
    assert parsed.score == pytest.approx(53.0)  # (3.12 - 1) / 4
    assert parsed.think == "Soft."


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("3.1\n4\n2.5\n1", "wrong_count"),
        ("3.1\n4\n2.5\n1\n5\n2", "wrong_count"),
        ("3.1\n4\n2.5\n1\n5.01", "out_of_range"),
        ("3.1\n4\n2.5\n1\n0.99", "out_of_range"),
        ("Saturation: 3.1\n4\n2.5\n1\n5", "not_a_number"),
        ("3,1\n4\n2,5\n1\n5", "not_a_number"),
        ("", "not_a_number"),
        ("３\n4\n2\n1\n5", "not_ascii"),
    ],
)
def test_anything_but_five_scores_on_the_scale_is_unparsed_and_nothing_is_filled_in(
    content, status
):
    parsed = read(content)
    assert (parsed.scores, parsed.score, parsed.status) == (None, None, status)


def test_numbers_of_the_reasoning_are_not_scores():
    text = "<think>3 of 5 tiles are soft, 4 are noisy</think>"
    assert parse_answer(text, FIVE_ASPECTS).status == "no_answer"


def test_an_answer_cut_at_the_token_limit_says_nothing():
    text = f"<think>Soft.</think><answer>{FIVE}"
    assert parse_answer(text, FIVE_ASPECTS).status == "truncated"
    assert parse_answer(None, FIVE_ASPECTS).status == "empty"


def test_two_answers_must_agree():
    same = f"<answer>{FIVE}</answer>"
    assert parse_answer(same + same, FIVE_ASPECTS).status == "ok"
    other = same.replace("2.5", "2.6")
    assert parse_answer(same + other, FIVE_ASPECTS).status == "ambiguous"


@pytest.mark.parametrize(
    ("content", "image", "video"),
    [
        (FIVE, 1.0, 0.0),
        ("\n" + FIVE + "\n", 1.0, 0.0),
        (FIVE.replace("\n", " "), 0.0, 0.0),
        (FIVE.replace("4", "-4"), 0.0, 0.0),
        ("3.\n4\n", 0.0, 1.0),
        ("3.\n4", 0.0, 0.0),
        ("3\n4\n5\n", 0.0, 0.0),
    ],
)
def test_format_rewards_of_one_number_per_line(content, image, video):
    text = f"<think>Soft.</think>\n<answer>{content}</answer>"
    assert image_format_reward(text) == image
    assert video_format_reward(text) == video


def test_format_rewards_want_the_whole_text():
    text = f"<think>Soft.</think><answer>{FIVE}</answer>"
    assert image_format_reward(text) == 1.0
    for changed in (text + ".", "So: " + text, text.replace("think>", "thought>"), None, ""):
        assert image_format_reward(changed) == 0.0


PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "3", "4.5", "2.", "\n", " ", "\t", "x", "-"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(PIECES, max_size=4),
    st.lists(st.sampled_from(["3", "4.", "\n", "\n", " "]), max_size=14),
)
def test_format_is_what_the_released_expression_matches(before, inside):
    text = f"<think>{''.join(before)}</think> <answer>{''.join(inside)}</answer>"
    assert has_numbers_format(text, 5) == bool(IMAGE_FORM.fullmatch(text))
    assert has_numbers_format(text, 2, last_line_ends=True) == bool(VIDEO_FORM.fullmatch(text))


def test_a_hostile_megabyte_is_read_at_once():
    text = "<think></think><answer>" + "1" * 500_000 + " \n" * 250_000 + "</answer>"
    assert image_format_reward(text) == 0.0
    assert read("1 " * 500_000).status == "not_a_number"
