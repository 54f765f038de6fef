"""Scores and differences: nothing imputed, intervals by resampling images within sets."""

import numpy as np
import pytest
from synthetic_run import image_row, prediction, small_profile, write_run

from qponder_lib import artifacts, metrics
from qponder_lib.config import EvaluateConfig
from qponder_lib.evaluation import (
    MEAN,
    Answers,
    Comparison,
    compared_models,
    difference_rows,
    evaluate,
    model_rows,
)
from qponder_lib.evaluation.answers import mean_part, resampled

SETTINGS = EvaluateConfig(n_resamples=300)
N = 30


def images(dataset="mini-koniq"):
    return [image_row(dataset, "test", i, 2.0 * i) for i in range(N)]


def rows_of(errors, dataset="mini-koniq", sample=0):
    """Predictions that miss the MOS by the errors given; None is an answer that says nothing."""
    return [
        prediction(image, None if error is None else image.mos + error, sample)
        for image, error in zip(images(dataset), errors, strict=True)
    ]


def answers_of(errors, dataset="mini-koniq"):
    return Answers.of(rows_of(errors, dataset))


def noisy(scale, seed=0):
    return list(np.random.default_rng(seed).normal(0.0, scale, N))


def pick(rows, **names):
    found = [row for row in rows if all(getattr(row, k) == v for k, v in names.items())]
    assert len(found) == 1, f"{names}: {len(found)} rows"
    return found[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"))
    evaluate(run)
    return run


def test_unparsed_answers_are_counted_and_never_filled_in():
    errors = [4.0] * N
    errors[3] = errors[7] = None
    rows = model_rows("m", "greedy", {"mini-koniq": rows_of(errors)}, SETTINGS)
    mae = pick(rows, metric="mae")
    assert (mae.value, mae.n, mae.n_unparsed) == (4.0, N - 2, 2)
    assert pick(rows, metric="parse_rate").value == pytest.approx((N - 2) / N)


def test_mean_over_sets_is_the_plain_mean_with_all_images_counted():
    rows = model_rows(
        "m",
        "greedy",
        {"mini-koniq": rows_of([4.0] * N), "mini-spaq": rows_of([-8.0] * N, "mini-spaq")},
        SETTINGS,
    )
    mean = pick(rows, metric="mae", dataset=MEAN)
    assert (mean.value, mean.ci_low, mean.ci_high, mean.n) == (6.0, 6.0, 6.0, 2 * N)


def test_one_set_has_no_mean_row():
    rows = model_rows("m", "greedy", {"mini-koniq": rows_of([4.0] * N)}, SETTINGS)
    assert not [row for row in rows if row.dataset == MEAN]


def test_mean_is_missing_when_one_set_is_and_says_which():
    same = [prediction(image, 50.0) for image in images("mini-spaq")]
    sets = {"mini-koniq": rows_of(noisy(5.0)), "mini-spaq": same}
    rows = model_rows("m", "greedy", sets, SETTINGS)
    mean = pick(rows, metric="srcc", dataset=MEAN)
    assert mean.value is None
    assert mean.reason == "mini-spaq: constant_scores"
    assert pick(rows, metric="mae", dataset=MEAN).value is not None


def test_mean_of_independent_sets_is_known_better_than_a_set():
    sets = {name: rows_of(noisy(15.0, seed), name) for seed, name in enumerate("abcd")}
    rows = model_rows("m", "greedy", sets, SETTINGS)

    def width(dataset):
        row = pick(rows, metric="mae", dataset=dataset)
        return row.ci_high - row.ci_low

    assert width(MEAN) < 0.75 * np.mean([width(name) for name in "abcd"])


@pytest.mark.parametrize("metric", ["srcc", "krcc"])
def test_mean_over_sets_has_the_interval_that_independent_sets_give(metric):
    """Four sets alike: half the width of one, as far as four draws of noise are alike."""
    sets = {name: rows_of(noisy(15.0, seed), name) for seed, name in enumerate("abcd")}
    rows = model_rows("m", "greedy", sets, SETTINGS)
    widths = [pick(rows, metric=metric, protocol="raw", dataset=name) for name in (*"abcd", MEAN)]
    widths = [row.ci_high - row.ci_low for row in widths]
    assert 0.35 < widths[-1] / np.mean(widths[:-1]) < 0.65


def test_mean_difference_of_krcc_is_the_mean_of_the_differences_with_an_interval():
    sides = [
        {name: [answers_of(noisy(scale, seed + k), name)] for k, name in enumerate("xy")}
        for scale, seed in ((5.0, 0), (40.0, 10))
    ]
    rows = difference_rows(Comparison("a", "b", "greedy"), *sides, SETTINGS)
    x, y, mean = (pick(rows, metric="krcc", dataset=name) for name in ("x", "y", MEAN))
    assert mean.value == pytest.approx((x.value + y.value) / 2)
    half = [(row.ci_high - row.ci_low) / 2 for row in (x, y, mean)]
    assert half[2] == pytest.approx(np.hypot(*half[:2]) / 2)
    assert mean.p_value < min(x.p_value, y.p_value)


def test_sets_are_resampled_independently():
    statistic = metrics.mean_over_samples("mae", [noisy(9.0)], [0.0] * N, 10)
    parts = [resampled(statistic, N, SETTINGS, position) for position in (0, 1)]
    assert abs(np.corrcoef(parts[0].draws, parts[1].draws)[0, 1]) < 0.3
    assert mean_part(parts).draws == pytest.approx((parts[0].draws + parts[1].draws) / 2)


def test_errors_that_cancel_over_samples_vanish_in_the_mean_of_k():
    samples = [rows_of([sign * 6.0] * N, sample=k) for k, sign in enumerate((1, -1))]
    rows = model_rows("m", "sampled", {"mini-koniq": samples[0] + samples[1]}, SETTINGS)
    assert pick(rows, metric="mae", protocol="raw").value == 6.0
    assert pick(rows, metric="mae", protocol="mean_of_k").value == pytest.approx(0.0)


def test_mean_of_k_uses_the_samples_that_can_be_read():
    first, second = [6.0] * N, [6.0] * N
    first[0] = first[1] = second[1] = None
    samples = rows_of(first, sample=0) + rows_of(second, sample=1)
    rows = model_rows("m", "sampled", {"mini-koniq": samples}, SETTINGS)
    averaged = pick(rows, metric="mae", protocol="mean_of_k")
    assert (averaged.value, averaged.n, averaged.n_unparsed) == (pytest.approx(6.0), N - 1, 1)
    assert pick(rows, metric="mae", protocol="raw").n_unparsed == 3


def test_difference_is_taken_on_images_that_both_answered():
    first, second = [1.0] * N, [5.0] * N
    first[0] = second[1] = None
    first[1] = 90.0  # would count if the second model's silence did not exclude it
    rows = difference_rows(
        Comparison("a", "b", "greedy"),
        {"mini-koniq": [answers_of(first)]},
        {"mini-koniq": [answers_of(second)]},
        SETTINGS,
    )
    mae = pick(rows, metric="mae")
    assert (mae.value, mae.n, mae.n_excluded) == (-4.0, N - 2, 2)
    assert pick(rows, metric="parse_rate").n == N


def test_swapping_the_models_flips_the_difference():
    good, bad = {"s": [answers_of(noisy(5.0))]}, {"s": [answers_of(noisy(40.0, 1))]}
    for metric in ("srcc", "krcc", "mae"):
        forth = pick(
            difference_rows(Comparison("a", "b", "greedy"), good, bad, SETTINGS), metric=metric
        )
        back = pick(
            difference_rows(Comparison("b", "a", "greedy"), bad, good, SETTINGS), metric=metric
        )
        assert forth.value == pytest.approx(-back.value)
        assert forth.ci_low == pytest.approx(-back.ci_high)
        assert forth.p_value == pytest.approx(back.p_value)


def test_mean_difference_is_the_mean_of_the_differences():
    a = {"x": [answers_of([1.0] * N)], "y": [answers_of([2.0] * N)]}
    b = {"x": [answers_of([4.0] * N)], "y": [answers_of([12.0] * N)]}
    rows = difference_rows(Comparison("a", "b", "greedy"), a, b, SETTINGS)
    assert pick(rows, metric="mae", dataset=MEAN).value == pytest.approx((-3.0 - 10.0) / 2)


def test_models_scored_on_different_images_are_not_compared():
    other = Answers.of([prediction(image_row("o", "test", i, 50.0), 1.0) for i in range(N)])
    with pytest.raises(ValueError, match="different images"):
        difference_rows(
            Comparison("a", "b", "greedy"), {"s": [answers_of([1.0] * N)]}, {"s": [other]}, SETTINGS
        )


def test_several_runs_give_the_mean_of_their_paired_differences():
    first = [answers_of([3.0] * N), answers_of([9.0] * N)]
    silent = [1.0] * N
    silent[0] = None
    second = [answers_of([1.0] * N), answers_of(silent)]
    rows = difference_rows(Comparison("a", "b", "greedy"), {"s": first}, {"s": second}, SETTINGS)
    mae = pick(rows, metric="mae")
    assert (mae.value, mae.n, mae.n_excluded) == (pytest.approx((2.0 + 8.0) / 2), N, 0)
    rate = pick(rows, metric="parse_rate")
    assert rate.value == pytest.approx(0.5 / N)


def test_two_equal_runs_are_no_better_known_than_one():
    good, bad = answers_of(noisy(5.0)), answers_of(noisy(25.0, 1))
    names = Comparison("a", "b", "greedy")
    once = difference_rows(names, {"s": [good]}, {"s": [bad]}, SETTINGS)
    twice = difference_rows(names, {"s": [good] * 2}, {"s": [bad] * 2}, SETTINGS)
    assert pick(twice, metric="srcc") == pick(once, metric="srcc")
    ends = [(row.ci_low, row.ci_high) for row in (pick(r, metric="krcc") for r in (once, twice))]
    assert ends[0] == pytest.approx(ends[1])


def test_cold_start_that_training_began_from_is_compared_even_if_it_is_not_long():
    models = ["ci-short", "ci-long", "qponder"]
    assert compared_models(models, "short")[0] == ("qponder", "ci-short")
    assert ("qponder", "ci-long") in compared_models(models, "short")


def test_every_model_set_and_metric_has_a_row(run):
    rows = artifacts.read_csv(run.paths.scores)
    predict = run.profile.predict
    greedy = {(r["model"], r["dataset"]) for r in rows if r["decoding"] == "greedy"}
    assert greedy == {(m, s) for m in predict.models for s in (*predict.sets, MEAN)}
    sampled = {(r["model"], r["dataset"]) for r in rows if r["decoding"] == "sampled"}
    # Not every set is sampled on, so there is no mean over the sets.
    assert sampled == {(m, s) for m in predict.sampled_models for s in predict.sampled_sets}
    assert all(row["value"] or row["reason"] for row in rows)
    metric_names = {(r["metric"], r["protocol"]) for r in rows if r["dataset"] == MEAN}
    assert {("srcc", "raw"), ("plcc", "logistic4"), ("parse_rate", "raw")} <= metric_names


def test_scores_agree_with_the_metrics_on_the_files(run):
    found = artifacts.read_csv(run.paths.scores)
    row = next(
        r
        for r in found
        if (r["model"], r["dataset"], r["decoding"], r["metric"])
        == ("qponder", "mini-csiq", "greedy", "srcc")
    )
    from qponder_lib.records import PredictionRecord

    told = artifacts.read_jsonl(run.paths.predictions("qponder", "mini-csiq"), PredictionRecord)
    read = [p for p in told if p.score is not None]
    expected = metrics.srcc([p.score for p in read], [p.mos for p in read])
    assert float(row["value"]) == pytest.approx(expected)
    assert (int(row["n"]), int(row["n_unparsed"])) == (len(read), len(told) - len(read))


def test_evaluating_twice_gives_the_same_bytes(run):
    files = [run.paths.scores, run.paths.differences]
    before = [path.read_bytes() for path in files]
    evaluate(run)
    assert [path.read_bytes() for path in files] == before


def test_missing_predictions_name_the_notebook(tmp_path):
    from qponder_lib.paths import RunPaths
    from qponder_lib.pipeline import Run

    with pytest.raises(FileNotFoundError, match="notebook 07"):
        evaluate(Run(RunPaths(tmp_path), small_profile()))
