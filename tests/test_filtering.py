"""Eq. 1: what is kept, what is not and why, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.evaluation import filtering
from qponder_lib.records import ImageRecord, ResponseRecord


def response(image_id, text, finish_reason="stop", response_id=None):
    return ResponseRecord(
        response_id=response_id or f"r-{image_id}",
        image_id=image_id,
        teacher="test",
        prompt_id="teacher_expert",
        prompt_sha256="0" * 64,
        hinted=False,
        text=text,
        finish_reason=finish_reason,
        n_tokens=None,
        seconds=0.0,
    )


def scored(image_id, score, **fields):
    return response(image_id, f"<think>Soft.</think><answer>{score}</answer>", **fields)


def with_errors(errors):
    """Answers to images of MOS 0, so that the score is the error."""
    responses = [scored(image_id, error) for image_id, error in errors.items()]
    return responses, dict.fromkeys(errors, 0.0)


def names(rows):
    return [row.image_id for row in rows]


def about(mos):
    """Images with these MOS values, two of each photograph."""
    return {
        name: ImageRecord(
            image_id=name,
            image=f"{name}.png",
            dataset="s",
            split="train",
            mos=value,
            sha256="0" * 64,
            reference=f"photograph-{place // 2}",
        )
        for place, (name, value) in enumerate(mos.items())
    }


def test_four_of_five_are_kept_and_the_worst_is_not():
    result = filtering.filter_responses(
        *with_errors({"a": 5, "b": 50, "c": 1, "d": 3, "e": 4}), gamma=0.8
    )
    assert names(result.kept) == ["c", "d", "e", "a"]
    assert [row.rank for row in result.kept] == [1, 2, 3, 4]
    assert [(row.image_id, row.rank, row.reason) for row in result.rejected] == [
        ("b", 5, "beyond_gamma")
    ]


def test_rank_must_not_exceed_gamma_times_n():
    result = filtering.filter_responses(*with_errors({"a": 1, "b": 2, "c": 3}), gamma=0.5)
    assert names(result.kept) == ["a"]  # 0.5 * 3 = 1.5, and rank 2 is beyond it


@pytest.mark.parametrize(
    ("n", "gamma", "kept"),
    [(100, 0.29, 29), (100, 0.57, 57), (10, 0.7, 7), (3, 1.0, 3), (0, 0.8, 0)],
)
def test_gamma_is_read_as_the_decimal_it_is_written_as(n, gamma, kept):
    assert filtering.n_to_keep(n, gamma) == kept


@pytest.mark.parametrize("gamma", [0.0, -0.1, 1.1, float("nan")])
def test_gamma_outside_its_range_is_an_error(gamma):
    with pytest.raises(ValueError, match="gamma"):
        filtering.filter_responses(*with_errors({"a": 1}), gamma=gamma)


def test_ties_are_settled_by_image_id_whatever_the_order_of_rows():
    responses, mos = with_errors({"d": 7, "b": 7, "a": 7, "c": 7})
    for rows in (responses, responses[::-1]):
        assert names(filtering.filter_responses(rows, mos, 0.5).kept) == ["a", "b"]


def test_unreadable_answers_are_rejected_by_name_and_do_not_count_in_n():
    responses, mos = with_errors({f"i{k}": k for k in range(10)})
    responses += [
        response("u1", "No tags here: 50"),
        response("u2", "<think>Soft", finish_reason="length"),
        response("u3", None, finish_reason="rate_limited"),
        response("u4", "<answer>101</answer>"),
        scored("u5", 50),
    ]
    mos |= {"u1": 50.0, "u2": 50.0, "u3": 50.0, "u4": 50.0, "u5": None}
    result = filtering.filter_responses(responses, mos, 0.8)
    assert result.counts == {
        "beyond_gamma": 2,
        "kept": 8,
        "no_answer": 1,
        "no_mos": 1,
        "out_of_range": 1,
        "rate_limited": 1,
        "truncated": 1,
    }
    assert len(result.scored) == 10


def test_text_that_came_with_a_failure_is_not_read():
    rows = [scored("a", 50, finish_reason="content_filter")]
    assert filtering.filter_responses(rows, {"a": 50.0}, 1.0).counts == {"content_filter": 1}


def test_unknown_image_and_repeated_response_are_errors():
    with pytest.raises(ValueError, match="unknown image 'a'"):
        filtering.filter_responses([scored("a", 1)], {}, 0.8)
    with pytest.raises(ValueError, match="repeat"):
        filtering.filter_responses([scored("a", 1), scored("a", 2)], {"a": 0.0}, 0.8)


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 100)), max_size=30),
    st.floats(0.01, 1.0),
    st.randoms(use_true_random=False),
)
def test_two_parts_are_the_whole_and_every_kept_error_is_at_most_every_rejected(
    scores, gamma, random
):
    responses = [
        response(f"i{k}", "none") if score is None else scored(f"i{k}", score)
        for k, score in enumerate(scores)
    ]
    mos = {f"i{k}": 50.0 for k in range(len(scores))}
    result = filtering.filter_responses(responses, mos, gamma)
    assert sum(result.counts.values()) == len(responses)
    assert sorted(names(result.rows)) == sorted(mos)
    limit = max((row.abs_error for row in result.kept), default=0.0)
    assert all(row.abs_error is None or row.abs_error >= limit for row in result.rejected)
    shuffled = random.sample(responses, len(responses))
    assert filtering.filter_responses(shuffled, mos, gamma) == result


def test_smaller_gamma_keeps_a_part_of_what_a_larger_one_keeps():
    responses, mos = with_errors({f"i{k}": (k * 37) % 101 for k in range(50)})
    kept = [set(names(filtering.filter_responses(responses, mos, g).kept)) for g in (0.5, 0.8, 1.0)]
    assert kept[0] < kept[1] < kept[2]


def test_filtering_again_gives_the_same_ranks():
    result = filtering.filter_responses(*with_errors({"a": 5, "b": 50, "c": 1}), gamma=0.67)
    assert filtering.keep_best(result.rows, 0.67) == result


def test_random_control_keeps_as_many_rows_by_chance():
    responses, mos = with_errors({f"i{k}": k for k in range(50)})
    result = filtering.filter_responses(responses, mos, 0.8)
    chosen = filtering.random_keep(result.rows, 0.8, np.random.default_rng(1))
    again = filtering.random_keep(result.rows, 0.8, np.random.default_rng(1))
    assert len(chosen) == len(result.kept) == 40
    assert chosen == again
    assert set(names(chosen)) != set(names(result.kept))


def test_sweep_measures_the_filter_and_its_control_at_every_gamma():
    responses, mos = with_errors({f"i{k:02d}": k for k in range(24)})
    result = filtering.filter_responses(responses, mos, 0.8)
    rng = np.random.default_rng(0)
    table = filtering.sweep(result.rows, about(mos), [0.5, 1.0], rng)
    assert [(row["gamma"], row["selection"], row["n"]) for row in table] == [
        (0.5, "filtered", 12),
        (0.5, "random", 12),
        (1.0, "filtered", 24),
        (1.0, "random", 24),
    ]
    assert table[0]["mae"] == 5.5  # errors 0 to 11
    assert table[2]["mae"] == table[3]["mae"] == 11.5
    assert table[1]["mae"] > table[0]["mae"]
    assert [row["n_references"] for row in table[::2]] == [6, 12]
    assert table[2]["mae_low"] < 11.5 < table[2]["mae_high"]


def test_selections_are_compared_on_the_same_resamples():
    responses, mos = with_errors({f"i{k:02d}": k for k in range(24)})
    result = filtering.filter_responses(responses, mos, 0.5)
    selections = {"unfiltered": result.scored, "filtered": result.kept, "same": result.kept}
    pairs = (("filtered", "unfiltered"), ("filtered", "same"))
    table = filtering.selection_differences(selections, pairs, about(mos))
    found = {(row["second"], row["metric"]): row for row in table}
    gain = found["unfiltered", "mae"]
    assert gain["value"] == 5.5 - 11.5
    assert gain["ci_low"] < -6.0 < gain["ci_high"] < 0.0
    same = found["same", "mae"]
    assert (same["value"], same["ci_low"], same["ci_high"]) == (0.0, 0.0, 0.0)
    assert found["same", "srcc"]["reason"] == "constant_mos"


def test_histogram_shows_what_the_filter_throws_away():
    mos = {"low": 10.0, "mid": 50.0, "top": 100.0, "gone": 15.0}
    responses = [
        scored("low", 10),
        scored("mid", 50),
        scored("top", 100),
        scored("gone", 90),
    ]
    result = filtering.filter_responses(responses, mos, 0.75)
    bins = filtering.mos_histogram_shift(result, mos)
    assert [(b["low"], b["high"]) for b in bins] == [
        (0, 20),
        (20, 40),
        (40, 60),
        (60, 80),
        (80, 100),
    ]
    assert [b["n_all"] for b in bins] == [2, 0, 1, 0, 1]
    assert [b["n_kept"] for b in bins] == [1, 0, 1, 0, 1]
    assert [b["keep_rate"] for b in bins] == [0.5, None, 1.0, None, 1.0]
    assert sum(b["share_kept"] for b in bins) == pytest.approx(1.0)


def test_filter_of_nothing_is_nothing():
    result = filtering.filter_responses([], {}, 0.8)
    assert result.rows == ()
    assert [b["share_all"] for b in filtering.mos_histogram_shift(result, {})] == [None] * 5
