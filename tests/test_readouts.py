"""Readouts beside the greedy score, and the headroom of samples, worked out by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import write_run

from qponder_lib.evaluation.readouts import (
    best_of_k,
    coverage,
    evaluate_readouts,
    measure_headroom,
)
from qponder_lib.evaluation.scoring import Predictions, read_predictions, score


@pytest.mark.parametrize(
    ("k", "best", "spans"),
    [
        (1, (2 + 4 + 9) / 3, 0.0),
        (2, (2 + 2 + 4) / 3, 2 / 3),  # pairs -2 4, -2 9, 4 9
        (3, 2.0, 1.0),
    ],
)
def test_best_of_k_and_coverage_are_exact_means_over_choices(k, best, spans):
    gaps = np.array([[4.0], [-2.0], [9.0]])
    assert best_of_k(np.abs(gaps), k) == pytest.approx([best])
    assert coverage(gaps, k) == pytest.approx([spans])


def test_a_sample_that_states_the_mos_spans_it_alone():
    assert coverage(np.array([[0.0], [5.0]]), 1) == pytest.approx([0.5])


def test_unparsed_samples_span_nothing_and_have_no_error():
    gaps = np.array([[4.0], [-2.0], [np.nan]])
    assert coverage(gaps, 2) == pytest.approx([1 / 3])
    assert best_of_k(np.abs(gaps), 1) == pytest.approx([3.0])
    assert best_of_k(np.abs(gaps), 2) == pytest.approx([(2 + 4 + 2) / 3])


GAPS = st.one_of(st.none(), st.integers(-3, 3))


@given(st.lists(GAPS, min_size=1, max_size=6).filter(lambda g: any(x is not None for x in g)))
def test_both_agree_with_listing_every_choice(gaps):
    column = np.array(gaps, dtype=np.float64)[:, None]
    for k in range(1, len(gaps) + 1):
        chosen = [[g for g in some if g is not None] for some in combinations(gaps, k)]
        spans = [min(c) <= 0 <= max(c) for c in chosen if c]
        assert coverage(column, k) == pytest.approx([sum(spans) / len(chosen)])
        best = [min(map(abs, c)) for c in chosen if c]
        assert best_of_k(np.abs(column), k) == pytest.approx([np.mean(best)])


def test_headroom_is_the_greedy_error_minus_the_best_of_k():
    ids, mos = tuple(map(str, range(12))), np.full(12, 50.0)
    samples = Predictions(ids, mos, np.array([[40.0] * 12, [56.0] * 12]))
    greedy = Predictions(ids, mos, np.full((1, 12), 41.0))
    rows = {(r["k"], r["measure"]): r["value"] for r in measure_headroom(samples, greedy)}
    assert rows[1, "headroom"] == pytest.approx(9.0 - 8.0)
    assert rows[2, "headroom"] == pytest.approx(9.0 - 6.0)
    assert (rows[1, "coverage"], rows[2, "coverage"]) == (0.0, 1.0)
    assert max(k for k, _ in rows) == 2


def test_the_median_of_an_images_parsed_samples():
    samples = np.array([[10.0, np.nan], [90.0, np.nan], [20.0, np.nan]])
    many = Predictions(
        tuple(map(str, range(24))), np.tile([20.0, 7.0], 12), np.tile(samples, (1, 12))
    )
    found = score(many, [("mae", "median_of_k")])["mae", "median_of_k"]
    assert (found.value, found.n, found.n_unparsed) == (0.0, 12, 12)


def test_readouts_of_a_run_are_compared_with_greedy_scores_on_the_same_images(tmp_path):
    run = write_run(tmp_path)
    files = evaluate_readouts(run)
    assert [file.name for file in files] == ["readouts.csv", "headroom.csv"]
    rows = pd.read_csv(files[0]).set_index(["model", "dataset", "readout", "metric"])
    dataset = run.profile.predict.sets[0]
    greedy, other = (
        score(read_predictions(run.paths, "qponder", dataset, readout=name))["mae", "raw"]
        for name in ("score", "expectation")
    )
    row = rows.loc["qponder", dataset, "expectation", "mae"]
    assert (row["score"], row["greedy"]) == pytest.approx((other.value, greedy.value))
    assert row["value"] == pytest.approx(other.value - greedy.value)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert rows.loc["qponder", "mean", "expectation", "srcc"]["value"] == pytest.approx(0.0)
    headroom = pd.read_csv(files[1])
    assert set(headroom["model"]) == set(run.profile.predict.sampled_models)
    assert set(headroom["k"]) == {1, 2}  # of three samples
