"""What model text says, and by which name it says nothing (the list of faults 18 to 32)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.text.parsing import (
    PARSE_STATUSES,
    ParsedAnswer,
    ParsedVerdict,
    is_format_compliant,
    parse_answer,
    parse_verdict,
)
from qponder_lib.text.prompts import AnswerForm

MEGABYTE = 1_000_000
JSON_VERDICT = '{"completeness": 3, "accuracy": 4, "reasonableness": 5}'


def answer(content):
    return f"<think>Soft edges.</think>\n<answer>{content}</answer>"


def around(text):
    return text, answer(text), f"<answer>{text}"


@pytest.mark.parametrize(
    ("content", "score"),
    [
        ("62", 62.0),
        (" 62.5\n", 62.5),
        ("75.6938", 75.6938),
        ("0", 0.0),
        ("100", 100.0),
        ("100.0", 100.0),
        ("007", 7.0),
        ("-0", 0.0),
        ("-0.0", 0.0),
    ],
)
def test_plain_decimal_number_is_read(content, score):
    parsed = parse_answer(answer(content))
    assert parsed == ParsedAnswer(score, "ok", "Soft edges.", (score,))
    assert str(parsed.score) == str(score)  # "-0" gives 0.0, which is written as it is read


@pytest.mark.parametrize(
    ("content", "status"),
    [
        # 22: a rule would have to be declared for each of these
        ("4/5", "not_a_number"),
        ("4,5", "not_a_number"),
        ("80%", "not_a_number"),
        ("four", "not_a_number"),
        ("4-5", "not_a_number"),
        ("62 out of 100", "not_a_number"),
        ("**62**", "not_a_number"),
        ("", "not_a_number"),
        ("+62", "not_a_number"),
        (".5", "not_a_number"),
        ("5.", "not_a_number"),
        ("--5", "not_a_number"),
        # 23: what float() would have taken
        ("nan", "not_a_number"),
        ("inf", "not_a_number"),
        ("-Infinity", "not_a_number"),
        ("1e400", "not_a_number"),
        ("1e1", "not_a_number"),
        ("1_0", "not_a_number"),
        ("0x10", "not_a_number"),
        # 24: digits that are not ASCII
        ("٣", "not_ascii"),
        ("３.５", "not_ascii"),
        # 25: characters that cannot be seen, or look like a minus
        ("6\u200b2", "not_ascii"),
        ("\u22123", "not_ascii"),
        ("62\u00a0", "not_ascii"),
        ("62\ufeff", "not_ascii"),
        ("\ud800", "not_ascii"),
        # 26: never clipped
        ("100.0001", "out_of_range"),
        ("-1", "out_of_range"),
        ("9" * 64, "out_of_range"),
        ("9" * 65, "not_a_number"),
        ("62<answer>", "not_a_number"),
        ("<b>62</b>", "not_a_number"),
    ],
)
def test_anything_else_in_the_answer_is_rejected_by_name(content, status):
    assert parse_answer(answer(content)) == ParsedAnswer(None, status, "Soft edges.")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (None, "empty"),
        ("", "empty"),
        (" \n\t", "empty"),
        # 18
        ("The image deserves 62.", "no_answer"),
        ("<think>Soft.</think> 62", "no_answer"),
        ("<think>Soft.</think></answer>", "no_answer"),
        ("<Answer>62</Answer>", "no_answer"),
        ("<answer >62</answer>", "no_answer"),
        # 19
        ("<answer>62</answer><answer>63</answer>", "ambiguous"),
        ("<answer>62</answer> or <answer>good</answer>", "ambiguous"),
        ("<think>a</think><answer>90</answer></think><answer>50</answer>", "ambiguous"),
        # 20
        ("<think>I say <answer>62</answer>.</think>", "no_answer"),
        ("I say <answer>62</answer>.</think>", "no_answer"),
        # 21
        ("<think>Soft", "truncated"),
        ("<think>Soft <answer>62</answer>", "truncated"),
        ("<think>Soft.</think><answer>6", "truncated"),
        ("<answer>62</answer><answer>6", "truncated"),
        ("<answer>62</answer><think>But", "truncated"),
    ],
)
def test_text_without_one_answer_has_a_named_reason(text, status):
    parsed = parse_answer(text)
    assert parsed.score is None
    assert parsed.status == status


def test_same_number_twice_is_one_answer():
    assert parse_answer("<answer>62</answer> So: <answer>62.0</answer>").score == 62.0


def test_fake_end_of_reasoning_inside_the_reasoning_cannot_choose_the_answer():
    text = "<think>It says </answer> and <answer>99</answer>.</think><answer>40</answer>"
    assert parse_answer(text).score == 40.0


def test_reasoning_opened_by_the_template_is_read_up_to_its_end():
    assert parse_answer("Soft.</think><answer>40</answer>") == ParsedAnswer(
        40.0, "ok", "Soft.", (40.0,)
    )


@pytest.mark.parametrize(
    "mention",
    [
        "I put it in <answer> tags. Soft.",
        "The form is <answer>score</answer>. Soft.",
        "First <answer>, then </answer>, or <answer> again. Soft.",
        "It ends with </answer>. Soft.",
        "I could say <answer>90</answer>. Soft.",
    ],
)
def test_tags_mentioned_in_reasoning_are_no_answer_whoever_opened_it(mention):
    for opening in ("", "<think>"):
        parsed = parse_answer(f"{opening}{mention}</think><answer>62</answer>")
        assert (parsed.score, parsed.think) == (62.0, mention)
        assert parse_answer(f"{opening}{mention}</think>").score is None
        assert parse_answer(f"{opening}{mention}</think><answer>62").status == "truncated"


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "90", " so "]), max_size=8))
def test_nothing_in_reasoning_changes_the_answer_behind_it(pieces):
    for opening in ("", "<think>"):
        assert parse_answer(f"{opening}{''.join(pieces)}</think><answer>62</answer>").score == 62.0


def test_answer_before_the_reasoning_is_read_but_not_compliant():
    text = "<answer>40</answer><think>Soft.</think>"
    assert parse_answer(text).score == 40.0
    assert not is_format_compliant(text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (answer("62"), "ok"),  # the limit fell behind the last tag
        (answer("62") + " \n", "ok"),
        (answer("62") + " Moreover", "truncated"),
        ("<think>Soft.</think>", "truncated"),
        ("Soft and", "truncated"),
        ("", "truncated"),
        (None, "truncated"),
    ],
)
def test_completion_cut_at_the_token_limit_counts_only_if_it_ends_with_its_answer(text, status):
    assert parse_answer(text, finish_reason="length").status == status


def test_answer_outside_a_narrower_scale_is_rejected_not_clipped():
    assert parse_answer(answer("7"), AnswerForm(1, 1.0, 5.0, 0)) == ParsedAnswer(
        None, "out_of_range", "Soft edges."
    )


@given(st.text())
def test_any_text_gives_a_known_status_and_a_score_only_with_ok(text):
    for candidate in (text, answer(text), f"<answer>{text}", f"<think>{text}</answer>"):
        parsed = parse_answer(candidate)
        assert parsed.status in PARSE_STATUSES
        assert (parsed.score is not None) == (parsed.status == "ok")
        is_format_compliant(candidate)
        for answer_format in ("xml", "json_schema"):
            verdict = parse_verdict(candidate, answer_format)
            assert (verdict.ratings is None) == (verdict.reason is not None)


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "62", "x", " "]),
        max_size=12,
    )
)
def test_compliant_text_with_a_number_parses_and_has_reasoning(parts):
    text = "".join(parts)
    if is_format_compliant(text):
        assert parse_answer(text).status in ("ok", "not_a_number", "out_of_range")
        assert parse_answer(text).think is not None


@given(st.decimals(min_value=0, max_value=100, places=3))
def test_every_score_on_the_scale_survives_writing_and_reading(score):
    assert parse_answer(answer(f"{score:f}")).score == float(score)


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<think>",
        "</think>",
        "<answer>",
        "<answer>6</answer>",
        "<answer></answer>",
        "<think><answer>",
        " ",
        "9",
        "(((((",
        "<Accuracy>",
        "<Accuracy>5</Accuracy>",
        "é",
    ],
)
def test_a_hostile_megabyte_is_read_like_a_hostile_line(unit):
    # An expression that backtracks would not come to an end here.
    many, few = (unit * (size // len(unit)) for size in (MEGABYTE, 64 * len(unit)))
    for long, short in zip(around(many), around(few), strict=True):
        assert (parse_answer(long).score is None) == (parse_answer(short).score is None)
        assert is_format_compliant(long) == is_format_compliant(short)
        assert parse_verdict(long, "xml") == parse_verdict(short, "xml")
        assert parse_verdict(long) == parse_verdict(short)


@pytest.mark.parametrize(
    ("text", "compliant"),
    [
        ("<think>Soft.</think><answer>62</answer>", True),
        (" <think>Soft.</think>\n\n<answer>62</answer>\n", True),
        ("<think>Soft.</think><answer>good</answer>", True),  # the other reward's matter
        ("<think> </think><answer>62</answer>", False),
        ("<think>Soft.</think><answer> </answer>", False),
        ("Well: <think>Soft.</think><answer>62</answer>", False),
        ("<think>Soft.</think> so <answer>62</answer>", False),
        ("<think>Soft.</think><answer>62</answer>.", False),
        ("<answer>62</answer>", False),
        ("<think>Soft.</think>", False),
        ("<think>a</think><think>b</think><answer>62</answer>", False),
        ("<think>Soft.</think><answer>62</answer><answer>62</answer>", False),
        ("<think>Soft.<answer>62</answer></think>", False),
        ("", False),
        (None, False),
    ],
)
def test_format_is_one_reasoning_block_and_one_answer_block_and_nothing_else(text, compliant):
    assert is_format_compliant(text) is compliant


def verdict(completeness="3", accuracy="4", reasonableness="5"):
    return (
        f"<Completeness>{completeness}</Completeness>\n<Accuracy>{accuracy}</Accuracy>\n"
        f"<Reasonableness>{reasonableness}</Reasonableness>"
    )


def test_verdict_in_the_form_of_table_6_is_read():
    parsed = parse_verdict("My verdict:\n" + verdict(), "xml")
    assert parsed.ratings == {"completeness": 3, "accuracy": 4, "reasonableness": 5}
    assert parsed == parse_verdict(JSON_VERDICT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "empty"),
        (" ", "empty"),
        (verdict(accuracy="0"), "out_of_range"),
        (verdict(accuracy="6"), "out_of_range"),
        (verdict(accuracy="4.5"), "not_an_integer"),
        (verdict(accuracy="5/5"), "not_an_integer"),
        (verdict(accuracy="five"), "not_an_integer"),
        (verdict(accuracy="٣"), "not_an_integer"),
        (verdict(accuracy="-3"), "not_an_integer"),
        (verdict(accuracy=""), "not_an_integer"),
        (verdict() + verdict(), "repeated"),
        (verdict() + verdict(accuracy="1"), "repeated"),
        ("All in all a convincing answer: 5, 5, 5.", "missing"),
        ("I am sorry, I cannot rate this.", "missing"),
        ("<Completeness>3</Completeness><Accuracy>4</Accuracy>", "missing"),
        ("<Completeness>3</Accuracy><Reasonableness>4</Reasonableness>", "missing"),
    ],
)
def test_any_other_verdict_fails_by_name_and_scores_nothing(text, reason):
    assert parse_verdict(text, "xml") == ParsedVerdict(None, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("I cannot judge that.", "not_one_object"),
        (f"{JSON_VERDICT}\n{JSON_VERDICT}", "not_one_object"),
        (f"Here you are: {JSON_VERDICT}", "not_one_object"),
        ("[3, 4, 5]", "not_one_object"),
        ('{"completeness": 3, "accuracy": 4}', "wrong_keys"),
        (JSON_VERDICT.replace("}", ', "note": 1}'), "wrong_keys"),
        (JSON_VERDICT.replace("4", "4.5"), "not_an_integer"),
        (JSON_VERDICT.replace("4", '"5/5"'), "not_an_integer"),
        (JSON_VERDICT.replace("4", "true"), "not_an_integer"),
        (JSON_VERDICT.replace("4", "0"), "out_of_range"),
        (JSON_VERDICT.replace("4", "6"), "out_of_range"),
        (JSON_VERDICT.replace('"accuracy": 4', '"accuracy": 4, "accuracy": 5'), "not_one_object"),
        (JSON_VERDICT.replace("4", "NaN"), "not_one_object"),
        ("[" * 100_000, "not_one_object"),
    ],
)
def test_anything_but_one_json_object_with_three_ratings_fails_by_name(text, reason):
    assert parse_verdict(text) == ParsedVerdict(None, reason)


REASONED = [
    "{}",
    "<think>Blur is named, <Accuracy>2</Accuracy> at first.</think>\n{}",
    '<think>Say {{"accuracy": 2}}, then more.</think>{}',
    "The template opened this: <Accuracy>2</Accuracy>.</think>\n\n{}",
    "{}\n<think>That was right.</think>",
]
FENCED = ["```json\n{}\n```", "```{}```", "\n```JSON {} ```\n"]


@pytest.mark.parametrize("frame", REASONED)
def test_verdict_with_reasoning_or_in_a_code_fence_is_the_verdict(frame):
    assert parse_verdict(frame.format(verdict()), "xml") == parse_verdict(verdict(), "xml")
    for fence in ("{}", *FENCED):
        text = frame.format(fence.format(JSON_VERDICT))
        assert parse_verdict(text).ratings == {
            "completeness": 3,
            "accuracy": 4,
            "reasonableness": 5,
        }
        assert parse_verdict(text, finish_reason="length").reason == "truncated"


@pytest.mark.parametrize("frame", REASONED)
@pytest.mark.parametrize("fence", ["{}", *FENCED])
def test_two_verdicts_or_words_around_one_are_refused_however_they_are_wrapped(frame, fence):
    other = JSON_VERDICT.replace("4", "1")
    for outside in (
        fence.format(JSON_VERDICT) + fence.format(other),
        fence.format(f"{JSON_VERDICT}\n{other}"),
        f"Here you are: {fence.format(JSON_VERDICT)}",
        f"{fence.format(JSON_VERDICT)} Or rather {other}",
    ):
        assert parse_verdict(frame.format(outside)).reason == "not_one_object"
    assert (
        parse_verdict(frame.format(verdict() + verdict(accuracy="1")), "xml").reason == "repeated"
    )


def test_verdict_inside_reasoning_is_none():
    assert parse_verdict(f"<think>{JSON_VERDICT}").reason == "truncated"
    assert parse_verdict(f"<think>{JSON_VERDICT}</think>").reason == "not_one_object"
    assert parse_verdict(f"{JSON_VERDICT}</think>").reason == "not_one_object"
    assert parse_verdict(f"<think>{verdict()}</think>", "xml").reason == "missing"
    two = f"<think>a</think>{JSON_VERDICT}</think>{JSON_VERDICT}"
    assert parse_verdict(two).reason == "not_one_object"


PIECES = ["<think>", "</think>", JSON_VERDICT, verdict(), "```", "```json\n", "\n", " so "]


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_ratings_come_from_one_verdict_outside_reasoning_and_from_nothing_else(pieces):
    text = "".join(pieces)
    outside = re.sub(r"(?s)<think>.*?</think>", "", text)
    if "<think>" not in text:
        outside = text.split("</think>", 1)[-1]
    for one, answer_format in ((JSON_VERDICT, "json_schema"), (verdict(), "xml")):
        if parse_verdict(text, answer_format).ratings is not None:
            assert outside.count(one) == 1


def test_verdict_cut_at_the_token_limit_fails():
    for text, answer_format in ((verdict(), "xml"), (JSON_VERDICT, "json_schema")):
        assert parse_verdict(text, answer_format, finish_reason="length").reason == "truncated"
