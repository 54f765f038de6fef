"""Comparing a run with a reference: what is equal, within, drifted, missing and new, by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from qponder_lib import artifacts
from qponder_lib.cli import app
from qponder_lib.paths import RunPaths
from qponder_lib.report import reproduction

COLUMNS = ["model", "dataset", "decoding", "metric", "protocol"]
COLUMNS += ["value", "ci_low", "ci_high", "n", "n_unparsed", "reason"]
PAIRED = ["model_a", "model_b", "dataset", "decoding", "protocol", "metric", "value"]
SETS = tuple("abcdef")


def row(model="qponder", value=0.6, low=0.5, high=0.7, metric="srcc", reason=None, dataset="s"):
    names = {"model": model, "dataset": dataset, "decoding": "greedy", "metric": metric}
    numbers = {"value": value, "ci_low": low, "ci_high": high, "n": 40, "n_unparsed": 0}
    return names | {"protocol": "raw"} | numbers | {"reason": reason}


def folder(tmp_path, name, rows, steps=None, **log):
    paths = RunPaths(tmp_path / name)
    artifacts.write_csv(paths.scores, rows, COLUMNS)
    if steps is not None:
        history = pd.DataFrame({"step": range(1, steps + 1), "reward": 1.5} | log)
        paths.grpo("qponder").mkdir(parents=True)
        history.to_csv(paths.grpo("qponder") / "history.csv", index=False)
    return paths


def states(tmp_path, run_rows, reference_rows, spread=None):
    sides = folder(tmp_path, "run", run_rows), folder(tmp_path, "ref", reference_rows)
    return list(reproduction.compare(*sides, spread)["state"])


# ---- without a measured spread


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.6 + 1e-7, "equal"), (0.5, "within"), (0.7, "within"), (0.71, "drifted"), (0.49, "drifted")],
)
def test_number_of_a_trained_model_is_held_against_the_references_interval(
    tmp_path, value, expected
):
    assert states(tmp_path, [row(value=value)], [row()]) == [expected]


@pytest.mark.parametrize("model", ["base", "teacher", "handcrafted"])
@pytest.mark.parametrize(("value", "expected"), [(0.615, "within"), (0.63, "drifted")])
def test_what_is_not_trained_is_held_against_its_declared_tolerance(
    tmp_path, model, value, expected
):
    assert states(tmp_path, [row(model, value)], [row(model)]) == [expected]


def test_errors_in_mos_units_have_a_tolerance_of_their_own(tmp_path):
    there = row(value=12.0, low=None, high=None, metric="mae")
    assert states(tmp_path, [there | {"value": 12.4}], [there]) == ["within"]
    assert states(tmp_path, [there | {"value": 12.6}], [there]) == ["drifted"]


def test_row_or_value_on_one_side_is_missing_or_new_and_not_drifted(tmp_path):
    assert states(tmp_path, [row("b")], [row("a")]) == ["missing", "new"]
    gone = row(value=None, low=None, high=None, reason="too_few")
    assert states(tmp_path, [gone], [row()]) == ["missing"]
    assert states(tmp_path, [gone], [gone]) == ["equal"]


def test_second_row_of_one_name_is_refused_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.csv, line 3: a second row for qponder"):
        states(tmp_path, [row(), row()], [row()])


def test_text_where_a_number_is_expected_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.csv: expected numbers in column 'value'.*high"):
        states(tmp_path, [row(value="high")], [row()])


def test_folder_without_any_compared_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has none of eval/scores\.csv"):
        reproduction.compare(RunPaths(tmp_path / "empty"), folder(tmp_path, "ref", [row()]))


def test_table_without_rows_has_no_numbers(tmp_path):
    run = folder(tmp_path, "run", [row()])
    artifacts.write_csv(run.differences, [], PAIRED)
    assert len(reproduction.read_numbers(run)) == 1


def test_breakdown_is_compared_on_all_sets_together(tmp_path):
    file = tmp_path / "run" / "tables" / "breakdown.csv"
    names = {"model": "qponder", "kind": "type", "group": "blur", "metric": "mae", "value": 9.0}
    rows = [names | {"dataset": "all sets"}, names | {"dataset": "s"}]
    rows += [names | {"dataset": "all sets", "kind": "type and level"}]
    artifacts.write_csv(file, rows, list(rows[0]))
    found = reproduction.read_numbers(RunPaths(tmp_path / "run"))
    assert list(found.index) == [("tables/breakdown.csv", "qponder, all sets, type, blur, mae")]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_run_is_always_equal_to_itself(tmp_path_factory, values):
    rows = [row(f"m{i}", value, value - 0.1, value + 0.1) for i, value in enumerate(values)]
    run = folder(tmp_path_factory.mktemp("same"), "run", rows)
    assert set(reproduction.compare(run, run)["state"]) == {"equal"}


# ---- the measured spread of training


def spread_of(tmp_path, *runs, rounding=()):
    """Measure the spread over runs whose scores are given by model and set."""
    seeds = [folder(tmp_path, f"seed-{k}", rows) for k, rows in enumerate(runs)]
    others = [folder(tmp_path, f"rounding-{k}", rows) for k, rows in enumerate(rounding)]
    return reproduction.training_spread("p", seeds, others)


def test_spread_is_the_standard_deviation_over_runs_with_its_n(tmp_path):
    found = spread_of(
        tmp_path, *([row(value=v)] for v in (0.5, 0.6, 0.7)), rounding=[[row(value=0.6)]] * 2
    )
    (one,) = found.to_dict("records")
    assert (one["sd_seeds"], one["n_seeds"]) == (pytest.approx(0.1), 3)
    assert (one["sd_rounding"], one["n_rounding"], one["profile"]) == (0.0, 2, "p")
    assert (one["sd"], one["dimensions"]) == (pytest.approx(0.1), pytest.approx(1.0))


def test_spread_is_not_less_than_that_of_the_metric_over_all_sets_nor_than_a_floor(tmp_path):
    quiet, loud = ([row(value=0.6, dataset="a"), row(value=v, dataset="b")] for v in (0.5, 0.7))
    found = spread_of(tmp_path, quiet, loud).set_index("dataset")["sd"]
    assert found["a"] == pytest.approx(0.1)  # variances 0 and 0.02: sqrt of 0.01
    assert found["b"] == pytest.approx(np.sqrt(0.02))
    still = spread_of(tmp_path / "still", [row()], [row()])["sd"]
    assert list(still) == [pytest.approx(0.002)]  # a tenth of 0.02


def test_models_without_runs_of_their_own_borrow_and_untrained_ones_have_no_spread(tmp_path):
    seeds = [[row("ci-short", v), row("qponder", 2 * v)] for v in (0.30, 0.34)]
    seeds[0] += [row("ci-none", 0.2), row("teacher", 0.5)]
    found = spread_of(tmp_path, *seeds).set_index("model")
    assert set(found.index) == {"ci-short", "qponder", "ci-none"}
    assert found.loc["ci-none", "borrowed_from"] == "ci-short"
    assert found.loc["ci-none", "sd"] == found.loc["ci-short", "sd"]
    assert found.loc[["ci-short", "qponder"], "borrowed_from"].isna().all()


def test_difference_without_runs_borrows_the_scores_of_both_sides(tmp_path):
    seeds = [
        folder(
            tmp_path, f"seed-{k}", [row("qponder", 0.5 + 0.3 * k), row("ci-short", 0.1 + 0.4 * k)]
        )
        for k in (0, 1)
    ]
    names = dict(
        zip(PAIRED, ("qponder", "ci-short", "s", "greedy", "raw", "srcc", 0.4), strict=True)
    )
    rows = [names, names | {"model_b": "teacher"}]
    artifacts.write_csv(seeds[0].differences, rows, PAIRED)
    found = reproduction.training_spread("p", seeds).set_index(["file", "model_b"])
    found = found.loc["eval/differences.csv"]
    assert found.loc["ci-short", "sd"] == pytest.approx(0.5 / np.sqrt(2))  # 3, 4, 5
    assert found.loc["teacher", "sd"] == pytest.approx(0.3 / np.sqrt(2))
    assert set(found["borrowed_from"]) == {"scores of both models"}


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([[1, -1, 0], [2, -2, 0]], 1.0),  # one follows the other
        ([[1, 1, -1, -1], [1, -1, 1, -1]], 2.0),  # equal variances, no correlation
        ([[2, 2, -2, -2], [1, -1, 1, -1]], 25 / 17),  # (4 + 1)^2 / (16 + 1)
        ([[1, 1, -1, -1], [1, None, 1, -1]], 1.0),  # a number that one run lacks is left out
        ([[0, 0], [0, 0]], 1.0),
    ],
)
def test_correlated_numbers_are_worth_fewer_independent_ones(runs, expected):
    assert reproduction.independent(pd.DataFrame(runs, dtype=float)) == pytest.approx(expected)


def seeds_of(rng, sd=0.01, n=5):
    """Make runs of one setting: a shift common to all sets, and one of each set."""
    return [
        [
            row("qponder", 0.7 + sd * (shift + rng.normal()), dataset=name)
            for shift in [rng.normal()]
            for name in SETS
        ]
        for _ in range(n)
    ]


def test_one_number_is_held_against_students_t_of_two_runs(tmp_path):
    spread = spread_of(tmp_path, *([row(value=v)] for v in (0.6, 0.62, 0.58)))  # sd 0.02, n 3
    # One file of one number: F of half of 5 % decides first; its limit, 1 and 2 degrees.
    gate = np.sqrt(2 * stats.f.isf(0.025, 1, 2)) * 0.02
    assert gate == pytest.approx(np.sqrt(2) * stats.t.isf(0.0125, 2) * 0.02)
    for gap, expected in ((0.99 * gate, "within"), (1.01 * gate, "drifted")):
        found = states(tmp_path / f"{gap:.4f}", [row(value=0.6 + gap)], [row()], spread)
        assert found == [expected]


def test_all_sets_a_little_off_is_a_drift_though_no_set_alone_is(tmp_path):
    spread = spread_of(tmp_path, *seeds_of(np.random.default_rng(0)))
    reference = [row(value=0.7, dataset=name) for name in SETS]
    off = [one | {"value": 0.7 + 0.06} for one in reference]
    assert set(states(tmp_path / "all", off, reference, spread)) == {"drifted"}
    assert set(states(tmp_path / "one", [*off[:1], *reference[1:]], reference, spread)) == {
        "within",
        "equal",
    }


def test_judged_text_that_no_study_run_has_varies_in_proportion_to_the_scores(tmp_path):
    # Scores: over training 0.02, over images 0.01; so a rating varies by twice its image error.
    ends = {"low": 0.6 - 0.0196, "high": 0.6 + 0.0196}
    spread = spread_of(tmp_path, *([row(value=v, **ends)] for v in (0.6, 0.62, 0.58)))
    limit = 2 * 0.05 * np.sqrt(2 * stats.f.isf(0.025 / 1, 1, 2))  # image error 0.05
    names = {"judge": "r", "model": "qponder", "dataset": "s", "aspect": "accuracy"}
    for gap, expected in ((0.99 * limit, "within"), (1.01 * limit, "drifted")):
        sides = [folder(tmp_path / f"{gap:.3f}", name, []) for name in ("run", "ref")]
        for side, value in zip(sides, (4.0 + gap, 4.0), strict=True):
            rated = names | {"value": value, "ci_low": 4.0 - 0.098, "ci_high": 4.0 + 0.098}
            artifacts.write_csv(side.judged, [rated], list(rated))
        assert list(reproduction.compare(*sides, spread)["state"]) == [expected]


def test_two_runs_of_one_setting_drift_in_at_most_one_of_twenty_comparisons(tmp_path):
    rng = np.random.default_rng(1)
    alarms = 0
    for k in range(20):
        *seeds, new = seeds_of(rng, n=6)
        spread = spread_of(tmp_path / str(k), *seeds)
        alarms += "drifted" in states(tmp_path / str(k), new, seeds[0], spread)
    assert alarms <= 3  # 1 expected; 4 or more in one of sixty such tests


def test_interval_of_one_run_is_widened_by_the_spread_where_it_is_known(tmp_path):
    spread = spread_of(tmp_path, *([row(value=v)] for v in (0.6, 0.62, 0.58)))  # sd 0.02, n 3
    rows = pd.DataFrame([row(low=0.6 - 0.0196, high=0.6 + 0.0196), row("ci-none")])  # 0.01
    found = reproduction.over_training(rows, "eval/scores.csv", spread)
    # Variance 0.0001 + 0.0004; 0.0005^2 / (0.0004^2 / 2) = 3.125 degrees of freedom.
    half = stats.t.isf(0.025, 3.125) * np.sqrt(0.0005)
    assert list(found["model"]) == ["qponder"]
    assert found["ci_low"].iloc[0] == pytest.approx(0.6 - half, abs=1e-4)
    assert found["ci_high"].iloc[0] == pytest.approx(0.6 + half, abs=1e-4)
    assert reproduction.over_training(rows, "eval/scores.csv", None).empty


# ---- the command


def reference_with_spread(tmp_path, **log):
    """Keep a reference whose study has five runs of 20 steps beside it."""
    rng = np.random.default_rng(2)
    study = tmp_path / "study"
    logs = [log | {"reward_accuracy": 0.6 + 0.004 * k} for k in range(5)]
    seeds = [
        folder(study, f"seed-{k}", rows, 20, **one)
        for k, (rows, one) in enumerate(zip(seeds_of(rng), logs, strict=True))
    ]
    spread = reproduction.training_spread("small", seeds)
    (study / "tables").mkdir()
    spread.to_csv(study / "tables" / reproduction.SPREAD, index=False)
    reference = folder(tmp_path, "ref", seeds_of(rng)[0], 20, reward_accuracy=0.6)
    return with_profile(reference)


def with_profile(run, gamma=0.8):
    artifacts.write_text_atomic(run.profile, f"name: small\nfilter: {{gamma: {gamma}}}\n")
    return run


def test_same_setting_exits_with_0_and_a_wrong_reward_or_fewer_steps_with_1(tmp_path):
    reference = reference_with_spread(tmp_path)
    rows = seeds_of(np.random.default_rng(3))[0]
    runs = {
        "again": folder(tmp_path, "again", rows, 20, reward_accuracy=0.61),
        "reward": folder(tmp_path, "reward", rows, 20, reward_accuracy=0.75),
        "steps": folder(tmp_path, "steps", rows, 19, reward_accuracy=0.61),
    }
    found = {name: diff(run, reference) for name, run in runs.items()}
    assert [one.exit_code for one in found.values()] == [0, 1, 1]
    assert (
        found["again"].stdout.splitlines()[-1].startswith("Reproduced: 2 numbers are equal, 7 lie")
    )
    assert "Not reproduced: 1 of 9 numbers drifted" in found["steps"].stdout


def test_wrong_gamma_is_named_and_the_count_of_the_filter_drifts(tmp_path):
    sides = []
    for name, gamma, n in (("run", 0.7, 70), ("ref", 0.8, 80)):
        sides.append(with_profile(folder(tmp_path, name, [row()]), gamma))
        kept = {"selection": "filtered", "n": n, "plcc": 0.9, "srcc": 0.9, "mae": 8.0}
        artifacts.write_csv(sides[-1].filter_table, [kept], list(kept))
    found = diff(*sides)
    assert found.exit_code == 1
    assert "setting filter.gamma: 0.7, there 0.8" in found.stdout
    assert "drifted and 0 are missing (tables/filter.csv)" in found.stdout


def diff(run, reference, *words):
    return CliRunner().invoke(app, ["diff", str(run.root), str(reference.root), *words])


def test_command_names_machines_counts_states_and_ends_with_one_sentence(tmp_path):
    reference = folder(tmp_path, "ref", [row()])
    more = folder(tmp_path, "more", [row(value=0.6), row("new")])
    machine = {"cpu": "CPU X", "instruction_set": "AVX2", "threads": 2, "architecture": "x86_64"}
    artifacts.write_json(more.manifest, {"machine": machine})
    fine = diff(more, reference)
    first, *_, last = fine.stdout.splitlines()
    assert fine.exit_code == 0
    assert first.endswith("(machine not recorded)")
    assert "(CPU X, AVX2, 2 threads)" in first
    assert last == "Reproduced: all 1 numbers are equal to rounding."
    moved = folder(tmp_path, "moved", [row(value=0.9)])
    off = diff(moved, reference, "--json")
    found = json.loads(off.stdout)
    assert off.exit_code == 1
    assert found["models"]["qponder"]["drifted"] == 1
    (number,) = found["numbers"]
    assert (number["state"], number["run"], number["reference"]) == ("drifted", 0.9, 0.6)
    assert "qponder, s, greedy, srcc, raw" in diff(moved, reference, "--all").stdout


def test_unknown_run_is_a_usage_error(tmp_path):
    done = CliRunner().invoke(app, ["diff", "no-such-run", str(tmp_path)])
    assert done.exit_code == 2
    assert "Traceback" not in done.output
