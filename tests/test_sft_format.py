"""Training rows: what the student reads and writes, and that the trainer takes them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.records import ImageRecord, ResponseRecord
from qponder_lib.rewards.batch import TITLES, form_reward, reward_batch
from qponder_lib.text.parsing import is_format_compliant, parse_answer
from qponder_lib.text.prompts import STUDENT_PROMPTS, answer_form, student_messages
from qponder_lib.text.sft_format import (
    SftFormat,
    answer_text,
    completion_text,
    grpo_rows,
    names_defect,
    replace_score,
    sft_rows,
    shorten,
)

REASONING = """(1) The exposure is balanced. The edges are severely blurred. There is no noise. \
Contrast is good. Slight block artefacts appear in flat areas. Colours are natural.
(2) The subject is a boat. It stands in the centre. The mood is calm.
(3) Overall, blur dominates and the quality is poor. A faster shutter would help."""
TEACHER_TEXT = f"<think>\n{REASONING}\n</think>\n<answer>41</answer>"


def image(image_id="a", mos=62.4):
    return ImageRecord(
        image_id=image_id,
        image=f"set/images/{image_id}.png",
        dataset="set",
        split="train",
        mos=mos,
        sha256="0" * 64,
    )


def response(image_id="a", text=TEACHER_TEXT):
    return ResponseRecord(
        response_id=f"r-{image_id}",
        image_id=image_id,
        teacher="test",
        prompt_id="teacher_expert",
        prompt_sha256="0" * 64,
        hinted=False,
        text=text,
        finish_reason="stop",
        seconds=0.0,
    )


def rows_of(responses, images, **fields):
    return sft_rows(responses, images, lambda record: record.image, SftFormat(**fields))


@pytest.mark.parametrize(
    ("mos", "decimals", "text"),
    [
        (73.26, 0, "73"),
        (73.26, 1, "73.3"),
        (73.26, 4, "73.2600"),
        (100, 1, "100.0"),
        (-0.0, 0, "0"),
    ],
)
def test_ground_truth_is_rounded_to_the_decimals_of_the_format(mos, decimals, text):
    assert answer_text(mos, SftFormat(answer_decimals=decimals)) == text


@pytest.mark.parametrize(("mos", "decimals"), [(100.1, 0), (-0.1, 0), (float("nan"), 0), (50, 5)])
def test_score_off_the_scale_or_with_too_many_decimals_is_refused(mos, decimals):
    with pytest.raises(ValueError, match="expected"):
        answer_text(mos, SftFormat(answer_decimals=decimals))


def test_long_completion_keeps_the_reasoning_and_replaces_the_score():
    text = replace_score(TEACHER_TEXT, 62.4, SftFormat("long"))
    assert text == f"<think>{REASONING}</think>\n<answer>62</answer>"


def test_short_completion_keeps_the_defects_and_the_summary():
    assert shorten(REASONING) == (
        "The edges are severely blurred. Slight block artefacts appear in flat areas. "
        "Overall, blur dominates and the quality is poor."
    )


def test_short_reasoning_has_at_most_a_third_of_the_sentences_but_two():
    many = " ".join(f"Noise covers part {k}." for k in range(20))
    text = f"(1) {many}\n(2) A boat.\n(3) Overall poor. Try again."
    assert shorten(text).count(".") == 8  # ceil(23 / 3)
    assert shorten("(1) Noise. Blur.\n(2) Boat.\n(3) Poor.") == "Noise. Poor."


def test_short_reasoning_of_a_flawless_picture_is_its_first_sentence_and_the_summary():
    text = "(1) Light is even. There is no noise.\n(2) A boat.\n(3) Overall excellent. Print it."
    assert shorten(text) == "Light is even. Overall excellent."


@pytest.mark.parametrize("mark", ["({}) ", "{}. ", "{}) "])
def test_sections_are_found_however_they_are_numbered(mark):
    text = "\n\n".join(
        mark.format(k) + s for k, s in enumerate(["Blur. Fine.", "Boat.", "Poor. Retry."], 1)
    )
    assert shorten(text) == "Blur. Poor."


def test_sections_may_follow_each_other_on_one_line_and_be_referred_to():
    text = "(1) Blur. Fine. (2) See (1) for the boat. (3) Poor, as in (2) above. Retry."
    assert shorten(text) == "Blur. Poor, as in (2) above."


def test_text_without_sections_keeps_its_last_sentence_as_the_summary():
    assert shorten("It is blurred. A boat. It is sad. Poor.") == "It is blurred. Poor."
    assert shorten("Poor.") == "Poor."


@given(st.text(min_size=1).filter(str.strip), st.floats(0.05, 1.0))
def test_shortening_only_leaves_out_and_never_empties(text, share):
    short = shorten(text, share)
    assert short.strip()
    assert len(short) <= len(text)


@pytest.mark.parametrize(
    ("sentence", "defective"),
    [
        ("The picture is blurred.", True),
        ("Strong JPEG artifacts are visible.", True),
        ("Highlights are clipped, and there is no detail.", True),
        ("There is no noise.", False),
        ("The image is free of blur and without noise.", False),
        ("Exposure is balanced.", False),
        ("No noise is seen, although edges are soft.", True),
    ],
)
def test_denied_defect_is_no_defect(sentence, defective):
    assert names_defect(sentence) is defective


def test_no_reasoning_variant_is_an_answer_alone():
    text = replace_score(TEACHER_TEXT, 62.4, SftFormat("none", answer_decimals=1))
    assert text == "<answer>62.4</answer>"
    assert replace_score("no tags at all", 62.4, SftFormat("none")) == "<answer>62</answer>"


@given(
    st.floats(0.0, 100.0),
    st.integers(0, 4),
    st.sampled_from(["none", "short", "long"]),
)
def test_what_is_written_for_training_is_read_back(mos, decimals, variant):
    form = SftFormat(variant, answer_decimals=decimals)
    text = replace_score(TEACHER_TEXT, mos, form)
    assert parse_answer(text).score == float(answer_text(mos, form))
    assert abs(parse_answer(text).score - mos) <= 0.5 * 10.0**-decimals + 1e-9
    assert is_format_compliant(text) == (variant != "none")


@pytest.mark.parametrize("prompt_id", STUDENT_PROMPTS)
def test_a_prompt_asks_for_the_scale_and_the_tags_that_are_read(prompt_id):
    prompt = "\n".join(one["content"] for one in student_messages(prompt_id))
    form = answer_form(prompt_id)
    ranges = re.findall(r"(?:between|from) (\d+) (?:and|to) (\d+)", prompt)
    assert [(float(low), float(high)) for low, high in ranges] == [(form.low, form.high)]
    tags = list(dict.fromkeys(re.findall(r"<([a-z]+)>[^<]*</\1>", prompt)))
    assert tags in ([], ["think", "answer"])
    example = completion_text("Sharp.", answer_text(73.0, SftFormat(prompt_id=prompt_id)))
    assert parse_answer(example, form).score == pytest.approx(73.0)
    assert form_reward(example, form) == 1.0


@pytest.mark.parametrize("prompt_id", STUDENT_PROMPTS)
@pytest.mark.parametrize("reward", TITLES)
def test_the_right_score_earns_the_most_with_every_prompt_and_reward(prompt_id, reward):
    labels, form = [0.0, 25.0, 50.0, 100.0], answer_form(prompt_id)
    stated = [[mos + by if mos < 50.0 else mos - by for by in (0, 10, 20, 30)] for mos in labels]
    texts = [[answer_text(one, SftFormat(prompt_id=prompt_id)) for one in row] for row in stated]
    read = [[parse_answer(completion_text("Fair.", t), form).score for t in row] for row in texts]
    scores = np.array(read)[..., None].repeat(form.n_scores, axis=2)
    rewards, _ = reward_batch(scores, labels, reward)
    assert (rewards[:, :1] > rewards[:, 1:]).all()
    if reward in ("qponder", "threshold", "gaussian"):  # the others compare images
        assert rewards[:, 0] == pytest.approx(1.0)


def test_variants_differ_in_the_reasoning_alone():
    variants = [rows_of([response()], {"a": image()}, variant=v)[0][0] for v in ("none", "long")]
    assert variants[0]["prompt"] == variants[1]["prompt"]
    assert variants[0]["image"] == variants[1]["image"] == "set/images/a.png"


def test_control_tokens_do_not_reach_the_template():
    text = "<think>Sharp<|im_end|>.</think><answer>9</answer>"
    (row,), _ = rows_of([response(text=text)], {"a": image()})
    assert "<|" not in row["completion"][0]["content"]


def test_responses_without_reasoning_or_label_are_skipped_and_counted():
    responses = [
        response("a"),
        response("b", "<answer>50</answer>"),
        response("c"),
        response("d", "<think>One <answer>5</answer> inside.</think><answer>50</answer>"),
    ]
    images = {name: image(name, None if name == "c" else 50.0) for name in "abcd"}
    rows, skipped = rows_of(responses, images)
    assert [row["image_id"] for row in rows] == ["a"]
    assert skipped == {
        "r-b": "no_reasoning",
        "r-c": "no_mos",
        "r-d": "no_reasoning",
    }
    assert len(rows_of(responses, images, variant="none")[0]) == 3


def test_reasoning_with_tags_of_its_own_is_refused():
    with pytest.raises(ValueError, match="tags of its own"):
        completion_text("a</think>b", "5")
    with pytest.raises(ValueError, match="no closed reasoning"):
        replace_score("<answer>5</answer>", 5.0, SftFormat("long"))


def test_unknown_names_are_errors():
    with pytest.raises(ValueError, match="medium"):
        replace_score(TEACHER_TEXT, 5.0, SftFormat("medium"))
    with pytest.raises(ValueError, match="unknown image 'a'"):
        rows_of([response()], {})
    with pytest.raises(ValueError, match="student_x"):
        rows_of([response()], {"a": image()}, prompt_id="student_x")


def test_grpo_rows_carry_the_label_and_have_no_completion():
    (row,) = grpo_rows([image()], lambda record: record.image)
    assert row["mos"] == 62.4
    assert set(row) == {"prompt", "image", "mos", "image_id"}
    assert row["prompt"][-1]["role"] == "user"
    with pytest.raises(ValueError, match="no mos"):
        grpo_rows([image(mos=None)], lambda record: record.image)


@pytest.mark.parametrize("prompt_id", ["student_short", "student_expert"])
def test_trl_takes_the_rows_and_puts_the_picture_before_the_text(prompt_id):
    data_utils = pytest.importorskip("trl.data_utils")
    (sft_row,), _ = rows_of([response()], {"a": image()}, prompt_id=prompt_id)
    (grpo_row,) = grpo_rows([image()], lambda record: record.image, prompt_id)
    picture = object()
    for row in (sft_row, grpo_row):
        assert data_utils.is_conversational(row)
        prompt = data_utils.prepare_multimodal_messages(row["prompt"], images=[picture])
        blocks = next(m["content"] for m in prompt if m["role"] == "user")
        assert [block["type"] for block in blocks] == ["image", "text"]
        assert blocks[0]["image"] is picture
    completion = data_utils.prepare_multimodal_messages(sft_row["completion"])
    assert [m["role"] for m in completion] == ["assistant"]
