"""Scores and differences: nothing imputed, intervals by resampling images within sets."""

import numpy as np
import pytest
from synthetic_run import image_row, prediction, small_profile, write_run

from qponder_lib import artifacts
from qponder_lib.evaluation import scoring
from qponder_lib.evaluation.scoring import (
    COMPARED,
    MEAN,
    SCORED,
    SINGLE,
    Predictions,
    compare,
    compared_models,
    evaluate_run,
    score,
    with_mean,
)
from qponder_lib.metrics import bootstrap, statistics
from qponder_lib.records import PredictionRecord

N = 30


def images(dataset="mini-koniq"):
    return [image_row(dataset, "test", i, 2.0 * i) for i in range(N)]


def rows_of(errors, dataset="mini-koniq", sample=0):
    """Predictions that miss the MOS by the errors given; None is an answer that says nothing."""
    return [
        prediction(image, None if error is None else image.mos + error, sample)
        for image, error in zip(images(dataset), errors, strict=True)
    ]


def answers_of(errors, dataset="mini-koniq", references=None):
    return Predictions.of_rows(rows_of(errors, dataset), references)


def noisy(scale, seed=0):
    return list(np.random.default_rng(seed).normal(0.0, scale, N))


def scored(sets, wanted=SINGLE):
    """Score one model on several sets, given as the errors it makes on each."""
    found = {name: score(one, wanted, seed=k) for k, (name, one) in enumerate(sets.items())}
    return with_mean(found)


def gaps(first, second, **options):
    """Compare two models on several sets, each given by its runs."""
    found = {
        name: compare(first[name], second[name], seed=k, **options) for k, name in enumerate(first)
    }
    return with_mean(found)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"))
    evaluate_run(run)
    return run


# ---- prediction rows


def row_of(image_id, score, sample=0, mos=None):
    status = "ok" if score is not None else "no_answer"
    target = float(image_id[1:]) if mos is None else mos
    return PredictionRecord(
        image_id=image_id, text="", score=score, parse_status=status, mos=target, sample=sample
    )


def test_greedy_answers_are_measured_by_every_metric_and_protocol():
    rows = [row_of(f"i{k}", None if k == 3 else k + 1.0) for k in range(20)]
    found = score(Predictions.of_rows(rows[::-1]), SCORED["greedy"])
    assert [metric for metric, _ in found][:6] == [
        "plcc",
        "srcc",
        "krcc",
        "mae",
        "rmse",
        "parse_rate",
    ]
    assert {("plcc", "logistic4"), ("plcc", "logistic5")} < set(found)
    assert found["srcc", "raw"].value == pytest.approx(1.0)
    assert found["mae", "raw"].value == pytest.approx(1.0)
    assert found["parse_rate", "raw"].value == pytest.approx(0.95)
    assert all((one.n, one.n_unparsed) == (19, 1) for one in found.values())


def test_sampled_answers_average_over_samples_and_have_no_fit():
    rows = [row_of(f"i{k}", k + 1.0 + s, sample=s) for k in range(20) for s in range(3)]
    found = score(Predictions.of_rows(rows), SCORED["sampled"])
    assert found["mae", "raw"].value == pytest.approx(2.0)  # errors 1, 2, 3
    assert {protocol for _, protocol in found} == {"raw", "mean_of_k"}


def test_a_model_that_never_parses_has_no_value_and_a_reason():
    found = score(Predictions.of_rows([row_of(f"i{k}", None) for k in range(20)]))
    assert (found["srcc", "raw"].value, found["srcc", "raw"].reason) == (None, "too_few")
    assert found["parse_rate", "raw"].value == 0.0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (row_of("i3", 3.0), "answered twice"),
        (row_of("i3", 3.0, sample=1), "lacks images"),
        (row_of("i3", 3.0, sample=1, mos=99.0), "two mos values"),
    ],
)
def test_predictions_that_do_not_fit_together_are_errors(extra, message):
    rows = [row_of(f"i{k}", float(k)) for k in range(20)]
    with pytest.raises(ValueError, match=message):
        Predictions.of_rows([*rows, extra])


# ---- scores


def test_unparsed_answers_are_counted_and_never_filled_in():
    errors = [4.0] * N
    errors[3] = errors[7] = None
    found = score(answers_of(errors))
    mae = found["mae", "raw"]
    assert (mae.value, mae.n, mae.n_unparsed) == (4.0, N - 2, 2)
    assert found["parse_rate", "raw"].value == pytest.approx((N - 2) / N)


def test_mean_over_sets_is_the_plain_mean_with_all_images_counted():
    sets = {"a": answers_of([4.0] * N), "b": answers_of([-8.0] * N, "b")}
    mean = scored(sets)[MEAN]["mae", "raw"]
    assert (mean.value, mean.ci_low, mean.ci_high, mean.n) == (6.0, 6.0, 6.0, 2 * N)
    assert mean.n_references == 2 * N


def test_one_set_has_no_mean():
    assert MEAN not in scored({"a": answers_of([4.0] * N)})


def test_mean_is_missing_when_one_set_is_and_says_which():
    same = Predictions.of_rows([prediction(image, 50.0) for image in images("b")])
    mean = scored({"a": answers_of(noisy(5.0)), "b": same})[MEAN]
    assert (mean["srcc", "raw"].value, mean["srcc", "raw"].reason) == (None, "b: constant_scores")
    assert mean["mae", "raw"].value is not None
    assert mean["krcc", "raw"].reason == "b: constant_scores"


def test_mean_has_no_interval_when_one_set_has_none_and_says_which():
    one = {image.image_id: "p" for image in images("b")}
    sets = {"a": answers_of(noisy(5.0)), "b": answers_of(noisy(5.0), "b", one)}
    mean = scored(sets)[MEAN]["mae", "raw"]
    assert (mean.ci_low, mean.reason) == (None, "b: one_reference")
    assert mean.value is not None


def test_mean_over_sets_has_the_interval_that_independent_sets_give():
    """Four sets alike: half the width of one, as far as four draws of noise are alike."""
    sets = {name: answers_of(noisy(15.0, seed), name) for seed, name in enumerate("abcd")}
    found = scored(sets)
    for metric in ("srcc", "mae"):
        numbers = [found[name][metric, "raw"] for name in (*"abcd", MEAN)]
        widths = [one.ci_high - one.ci_low for one in numbers]
        assert 0.35 < widths[-1] / np.mean(widths[:-1]) < 0.65


def test_sets_are_resampled_independently():
    found = scored({name: answers_of(noisy(9.0), name) for name in "ab"})
    draws = [found[name]["mae", "raw"].draws for name in ("a", "b", MEAN)]
    assert abs(np.corrcoef(draws[0], draws[1])[0, 1]) < 0.3
    assert draws[2] == pytest.approx((draws[0] + draws[1]) / 2)


def test_errors_that_cancel_over_samples_vanish_in_the_mean_of_k():
    rows = [row for k, sign in enumerate((1, -1)) for row in rows_of([sign * 6.0] * N, sample=k)]
    found = score(Predictions.of_rows(rows), SCORED["sampled"])
    assert found["mae", "raw"].value == 6.0
    assert found["mae", "mean_of_k"].value == pytest.approx(0.0)


def test_mean_of_k_uses_the_samples_that_can_be_read():
    first, second = [6.0] * N, [6.0] * N
    first[0] = first[1] = second[1] = None
    samples = rows_of(first, sample=0) + rows_of(second, sample=1)
    found = score(Predictions.of_rows(samples), SCORED["sampled"])
    mean = found["mae", "mean_of_k"]
    assert (mean.value, mean.n, mean.n_unparsed) == (pytest.approx(6.0), N - 1, 1)
    assert found["mae", "raw"].n_unparsed == 3


# ---- differences


def test_difference_is_taken_on_images_that_both_answered():
    first, second = [1.0] * N, [5.0] * N
    first[0] = second[1] = None
    first[1] = 90.0  # would count if the second model's silence did not exclude it
    found = compare(answers_of(first), answers_of(second))
    mae = found["mae", "raw"]
    assert (mae.value, mae.n, mae.n_excluded, mae.n_runs) == (-4.0, N - 2, 2, 1)
    assert found["parse_rate", "raw"].n == N


def test_swapping_the_models_flips_the_difference():
    good, bad = answers_of(noisy(5.0)), answers_of(noisy(40.0, 1))
    forth, back = compare(good, bad), compare(bad, good)
    for key in (("srcc", "raw"), ("mae", "raw")):
        assert forth[key].value == pytest.approx(-back[key].value)
        assert forth[key].ci_low == pytest.approx(-back[key].ci_high)
        assert forth[key].p_value == pytest.approx(back[key].p_value)
    assert forth["krcc", "raw"].value == pytest.approx(-back["krcc", "raw"].value)
    assert (forth["krcc", "raw"].p_value, forth["krcc", "raw"].reason) == (None, "no_interval")


def test_mean_difference_is_the_mean_of_the_differences():
    a = {"x": answers_of([1.0] * N), "y": answers_of([2.0] * N)}
    b = {"x": answers_of([4.0] * N), "y": answers_of([12.0] * N)}
    mean = gaps(a, b)[MEAN]["mae", "raw"]
    assert (mean.value, mean.n) == (pytest.approx((-3.0 - 10.0) / 2), 2 * N)


def test_models_scored_on_different_images_are_not_compared():
    other = Predictions.of_rows(
        [prediction(image_row("o", "test", i, 50.0), 1.0) for i in range(N)]
    )
    with pytest.raises(ValueError, match="different images"):
        compare(answers_of([1.0] * N), other)


def test_several_runs_give_the_mean_of_their_paired_differences():
    silent = [1.0] * N
    silent[0] = None
    first = [answers_of([3.0] * N), answers_of([9.0] * N)]
    second = [answers_of([1.0] * N), answers_of(silent)]
    found = compare(first, second)
    mae = found["mae", "raw"]
    assert (mae.value, mae.n, mae.n_excluded) == (pytest.approx((2.0 + 8.0) / 2), N, 0)
    assert mae.n_runs == 2
    assert found["parse_rate", "raw"].value == pytest.approx(0.5 / N)
    with pytest.raises(ValueError, match="as many runs"):
        compare(first, second[:1])


def test_two_equal_runs_are_no_better_known_than_one():
    good, bad = answers_of(noisy(5.0)), answers_of(noisy(25.0, 1))
    once, twice = compare(good, bad), compare([good] * 2, [bad] * 2)
    for name in ("value", "ci_low", "ci_high", "p_value", "n"):
        assert getattr(twice["srcc", "raw"], name) == getattr(once["srcc", "raw"], name)


# ---- training runs as a second level


def method(spread, n_runs=5, seed=0):
    """Runs of a method whose error has a part of its own in each run."""
    rng = np.random.default_rng(seed)
    return [
        answers_of(abs(rng.normal(6.0, 3.0, N)) + rng.normal(0.0, spread)) for _ in range(n_runs)
    ]


def test_runs_that_are_alike_add_nothing_to_the_interval():
    good, bad = answers_of(noisy(5.0)), answers_of(noisy(25.0, 1))
    fixed, drawn = (compare([good] * 4, [bad] * 4, runs=runs) for runs in ("fixed", "resampled"))
    for key in (("srcc", "raw"), ("mae", "raw")):
        for name in ("value", "ci_low", "ci_high", "p_value"):
            assert getattr(drawn[key], name) == pytest.approx(getattr(fixed[key], name))
        assert drawn[key].n_runs == 4


def test_runs_that_differ_widen_the_interval_and_leave_the_value():
    first, second = method(4.0), method(0.0, seed=1)
    fixed, drawn = (
        compare(first, second, runs=runs)["mae", "raw"] for runs in ("fixed", "resampled")
    )
    assert drawn.value == fixed.value
    assert drawn.ci_high - drawn.ci_low > 1.5 * (fixed.ci_high - fixed.ci_low)


def test_a_run_is_drawn_for_all_sets_at_once():
    """With the same shift of each run in both sets the mean is no better known than one set."""
    first = {name: method(6.0) for name in "ab"}
    second = {name: [answers_of([5.0] * N)] * 5 for name in "ab"}
    found = gaps(first, second, runs="resampled")
    numbers = [found[name]["mae", "raw"] for name in ("a", MEAN)]
    widths = [one.ci_high - one.ci_low for one in numbers]
    assert widths[1] > 0.9 * widths[0]


def test_one_run_cannot_be_resampled_and_says_why():
    with pytest.raises(ValueError, match="one training run does not say"):
        compare(answers_of([1.0] * N), answers_of([2.0] * N), runs="resampled")


def test_two_level_intervals_hold_the_true_gain_of_a_method_and_others_do_not():
    """Gains of 1 that scatter by 1 from run to run and by 1 from image to image, 8 runs.

    400 simulations scatter the share by 1.4 %; the quantiles of 8 runs alone would give 91 %.
    """
    rng, held = np.random.default_rng(0), {"fixed": 0, "resampled": 0}
    for _ in range(400):
        gains = rng.normal(1.0, 1.0, (8, 1)) + rng.normal(0.0, 1.0, (8, N))
        means = {k: statistics.mean_statistic(one) for k, one in enumerate([np.zeros(N), *gains])}
        found = bootstrap.estimates(means, N)
        by_run = [bootstrap.difference(found[k], found[0]) for k in range(1, 9)]
        for runs in held:
            mean = bootstrap.mean_over_runs(by_run, runs)
            held[runs] += mean.ci_low <= 1.0 <= mean.ci_high
    assert 0.87 < held["resampled"] / 400 < 0.97
    assert held["fixed"] / 400 < 0.4


# ---- a run


def test_cold_start_that_training_began_from_is_compared_even_if_it_is_not_long():
    models = ["ci-short", "ci-long", "qponder"]
    assert compared_models(models, "short")[0] == ("qponder", "ci-short")
    assert ("qponder", "ci-long") in compared_models(models, "short")
    assert ("qponder", "ci-short") in compared_models(models)


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
    # The synthetic test images are made of seven photographs a set.
    one_set = [row for row in rows if row["dataset"] != MEAN and row["metric"] == "srcc"]
    assert {row["n_references"] for row in one_set} == {"7"}


def test_scores_agree_with_the_metrics_on_the_files(run):
    found = artifacts.read_csv(run.paths.scores)
    row = next(
        r
        for r in found
        if (r["model"], r["dataset"], r["decoding"], r["metric"])
        == ("qponder", "mini-csiq", "greedy", "srcc")
    )
    told = artifacts.read_jsonl(run.paths.predictions("qponder", "mini-csiq"), PredictionRecord)
    read = [p for p in told if p.score is not None]
    expected = statistics.srcc([p.score for p in read], [p.mos for p in read])
    assert float(row["value"]) == pytest.approx(expected)
    assert (int(row["n"]), int(row["n_unparsed"])) == (len(read), len(told) - len(read))


def test_images_of_a_run_are_drawn_by_photograph(run):
    answers = scoring.read_predictions(run.paths, "qponder", "mini-csiq")
    assert set(answers.clusters) == {f"photograph-{k}" for k in range(7)}
    place = run.profile.predict.sets.index("mini-csiq")
    expected = score(answers, [("srcc", "raw")], seed=place)["srcc", "raw"]
    rows = artifacts.read_csv(run.paths.scores)
    names = {"model": "qponder", "dataset": "mini-csiq", "decoding": "greedy", "metric": "srcc"}
    row = next(r for r in rows if names.items() <= r.items())
    assert float(row["ci_low"]) == pytest.approx(expected.ci_low)


def test_differences_of_a_run_have_every_pair_and_metric(run):
    rows = artifacts.read_csv(run.paths.differences)
    pairs = {(r["model_a"], r["model_b"]) for r in rows if r["decoding"] == "greedy"}
    assert pairs == set(compared_models(run.profile.predict.models))
    metrics = {(r["metric"], r["protocol"]) for r in rows if r["decoding"] == "greedy"}
    assert metrics == set(COMPARED["greedy"])
    assert set(bootstrap.DIFFERENCE_COLUMNS) < set(rows[0])


def test_evaluating_twice_gives_the_same_bytes(run):
    files = [run.paths.scores, run.paths.differences]
    before = [path.read_bytes() for path in files]
    evaluate_run(run)
    assert [path.read_bytes() for path in files] == before


def test_missing_predictions_name_the_notebook(tmp_path):
    from qponder_lib.paths import RunPaths
    from qponder_lib.pipeline import Run

    with pytest.raises(FileNotFoundError, match="notebook 07"):
        evaluate_run(Run(RunPaths(tmp_path), small_profile()))
