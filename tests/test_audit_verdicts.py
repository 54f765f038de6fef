"""A run is held against the papers' claims: direction at mini scale, numbers only at theirs."""

from pathlib import Path

import pytest
import yaml

from qponder_lib import artifacts
from qponder_lib.evaluation import DifferenceRow
from qponder_lib.paths import RunPaths
from qponder_lib.records import ScoreRow
from qponder_lib.report import audit
from qponder_lib.report.audit import load_claims, measured, statements, verdicts
from qponder_lib.report.audit.measured.outcomes import change, fifths, together

REFERENCE = Path(__file__).parents[1] / "papermill_runs" / "reference" / "mini"
PAPER = ["koniq", "spaq", "livew", "kadid", "csiq", "agiqa"]


def profile(source="embedded", sets=("mini-koniq",), model="builtin:mini") -> dict:
    train_set = "koniq" if source == "prepared" else "mini-koniq"
    return {
        "data": {"source": source, "train_set": train_set},
        "student": {"model": model},
        "predict": {"sets": list(sets)},
    }


MINI = profile()
FULL = profile("prepared", PAPER, "Qwen/Qwen2.5-VL-7B-Instruct")


@pytest.fixture
def run(tmp_path) -> RunPaths:
    """A run folder that holds nothing but its profile."""
    paths = RunPaths(tmp_path / "run")
    set_profile(paths, MINI)
    return paths


def set_profile(run: RunPaths, values: dict) -> None:
    artifacts.write_text_atomic(run.profile, yaml.safe_dump(values))


def difference(a, b, metric, low, high, dataset="mean", decoding="greedy") -> dict:
    return DifferenceRow(
        model_a=a,
        model_b=b,
        dataset=dataset,
        decoding=decoding,
        protocol="raw",
        metric=metric,
        value=(low + high) / 2,
        ci_low=low,
        ci_high=high,
        p_value=0.5,
        n=600,
        n_excluded=0,
    ).model_dump()


def write_differences(run: RunPaths, *rows: dict) -> None:
    artifacts.write_csv(run.differences, rows, list(DifferenceRow.model_fields))


def score(model, metric, low, high, dataset="mean") -> dict:
    return ScoreRow(
        model=model,
        dataset=dataset,
        decoding="greedy",
        metric=metric,
        protocol="raw",
        value=(low + high) / 2,
        ci_low=low,
        ci_high=high,
        n=600,
        n_unparsed=0,
    ).model_dump()


def write_judged(run: RunPaths, values: dict[tuple[str, str, str], float], half: float) -> None:
    rows = [
        {
            "judge": judge,
            "model": model,
            "dataset": "mean",
            "aspect": aspect,
            "value": value,
            "ci_low": value - half,
            "ci_high": value + half,
            "n": 100,
            "n_failed": 0,
            "reason": None,
        }
        for (judge, model, aspect), value in values.items()
    ]
    artifacts.write_csv(run.judged, rows, list(rows[0]))


def write_history(run: RunPaths, folder: Path, **columns: list[float]) -> None:
    n = len(next(iter(columns.values())))
    rows = [{"step": i + 1} | {k: v[i] for k, v in columns.items()} for i in range(n)]
    artifacts.write_csv(folder / "history.csv", rows, list(rows[0]))


def verdict(run: RunPaths, claim_id: str) -> audit.Verdict:
    return next(v for v in verdicts(run) if v.claim.id == claim_id)


# The list of claims


def test_every_claim_has_what_a_reader_needs():
    claims = load_claims()
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.paper in ("Q-Ponder", "PreResQ-R1")
        assert claim.quote
        assert claim.place
        assert claim.decided_by


def test_every_claim_is_checked_by_a_run_or_says_why_not():
    for claim in load_claims():
        assert bool(claim.run_check) != bool(claim.without_run), claim.id


def test_claims_name_checks_that_exist_and_no_check_is_left_over():
    claims = load_claims()
    assert {claim.run_check for claim in claims} - {""} == set(measured.CHECKS)
    assert {claim.printed_check for claim in claims} - {""} == set(statements.CHECKS)


def test_both_margins_of_preresq_are_said_to_be_ambiguous():
    claim = next(claim for claim in load_claims() if claim.id == "preresq-margins")
    assert "SRCC and PLCC on images" in claim.decided_by
    assert "images and video" in claim.decided_by
    answer = statements.printed_answer(claim, audit.paper_tables())
    assert answer.outcome == "not_decidable"


# What the paper's own tables say


@pytest.mark.parametrize(
    ("claim_id", "outcome", "part"),
    [
        # 0.792 / 0.744 = 1.0645
        ("srcc-gain", "holds", "6.45 % relative"),
        # 0.941 - 0.937, 0.940 - 0.926, 0.953 - 0.937, 0.941 - 0.926
        ("margin-of-0.01", "holds_in_part", "Q-Align PLCC 0.004, Q-Align SRCC 0.014"),
        ("only-exception", "does_not_hold", "LiveW SRCC (DeQA, 0.031)"),
        ("consistent-gain", "holds_in_part", "in 5 of 12 places"),
        ("csiq-agiqa", "holds_in_part", "not in AGIQA srcc (-0.011)"),
        ("beats-teacher", "holds", "in completeness in 0 of 6"),
        ("rl-gain", "holds_in_part", "not in SPAQ plcc (-0.004)"),
        ("best-descriptions", "holds", "in 54 of 54 places"),
        # (0.816 - 0.674 + 0.742 - 0.650) / 2 and (0.851 - 0.734 + 0.819 - 0.728) / 2
        ("longer-chains", "holds_in_part", "AGIQA and LiveW gain most (+0.117, +0.104"),
    ],
)
def test_printed_tables_decide_claims(claim_id, outcome, part):
    claim = next(claim for claim in load_claims() if claim.id == claim_id)
    answer = statements.printed_answer(claim, audit.paper_tables())
    assert answer.outcome == outcome
    assert part.lower() in answer.sentence.lower()


# Verdicts


def test_empty_run_has_run_nothing_and_says_which_file_is_missing(run):
    found = verdicts(run)
    assert [v.claim for v in found] == load_claims()
    assert {v.verdict for v in found} == {"not_run"}
    assert all(v.sentence.startswith("Not run, because ") and v.file is None for v in found)
    assert "eval/differences.csv is not there" in verdict(run, "rl-gain").sentence


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a run or a reference"):
        verdicts(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("low", "high", "holds"), [(0.01, 0.03, True), (-0.03, -0.01, False), (-0.01, 0.03, None)]
)
def test_direction_is_told_only_where_the_interval_leaves_no_doubt(run, low, high, holds):
    write_differences(
        run,
        difference("qponder", "ci-long", "srcc", low, high),
        difference("qponder", "ci-long", "plcc", low, high),
    )
    found = verdict(run, "rl-gain")
    assert (found.verdict, found.holds) == ("mini_scale_only", holds)
    assert found.file == Path("eval/differences.csv")
    assert f"[{low:.3f}, {high:.3f}]" in found.sentence


def test_mini_numbers_never_agree_even_if_they_equal_the_reported_ones(run):
    # Table 3: 0.821 - 0.800 and 0.845 - 0.834.
    write_differences(
        run,
        difference("qponder", "ci-long", "srcc", 0.020, 0.022),
        difference("qponder", "ci-long", "plcc", 0.010, 0.012),
    )
    assert verdict(run, "rl-gain").verdict == "mini_scale_only"
    set_profile(run, FULL)
    assert verdict(run, "rl-gain").verdict == "agrees_within_interval"


@pytest.mark.parametrize(
    "smaller",
    [
        profile("prepared", PAPER, "Qwen/Qwen2.5-VL-3B-Instruct"),
        profile("prepared", PAPER[:5], "Qwen/Qwen2.5-VL-7B-Instruct"),
        profile("embedded", PAPER, "Qwen/Qwen2.5-VL-7B-Instruct"),
        {},
    ],
)
def test_smaller_model_or_other_sets_are_mini_scale(run, smaller):
    set_profile(run, smaller)
    write_differences(
        run,
        difference("qponder", "ci-long", "srcc", 0.020, 0.022),
        difference("qponder", "ci-long", "plcc", 0.010, 0.012),
    )
    assert verdict(run, "rl-gain").verdict == "mini_scale_only"


def test_at_full_scale_a_reported_number_outside_the_interval_disagrees(run):
    set_profile(run, FULL)
    write_differences(
        run,
        difference("qponder", "ci-long", "srcc", 0.05, 0.06),
        difference("qponder", "ci-long", "plcc", 0.010, 0.012),
    )
    found = verdict(run, "rl-gain")
    # The direction holds, and yet the number is another one.
    assert (found.verdict, found.holds) == ("disagrees", True)


def test_mean_scores_at_full_scale_are_held_against_table_1(run):
    set_profile(run, FULL)
    write_differences(run, difference("qponder", "handcrafted", "srcc", 0.1, 0.2))
    for high, expected in ((0.83, "agrees_within_interval"), (0.82, "disagrees")):
        rows = [score("qponder", "srcc", 0.81, high), score("qponder", "plcc", 0.84, 0.85)]
        artifacts.write_csv(run.scores, rows, list(ScoreRow.model_fields))
        assert verdict(run, "sota-scores").verdict == expected


def test_missing_value_is_not_run_with_the_reason_of_the_file(run):
    row = difference("qponder", "ci-long", "mae", 0, 1)
    row |= {"value": None, "ci_low": None, "ci_high": None, "reason": "every set: too_few"}
    write_differences(run, row)
    found = verdict(run, "fewer-hallucinations")
    assert found.verdict == "not_run"
    assert "every set: too_few" in found.sentence


def test_two_rows_for_one_number_are_an_error(run):
    row = difference("qponder", "ci-long", "mae", -1, 0)
    write_differences(run, row, row)
    with pytest.raises(artifacts.ArtifactError, match="2 rows"):
        verdicts(run)


def test_smaller_errors_after_rl_hold(run):
    write_differences(run, difference("qponder", "ci-long", "mae", -2, -1))
    assert verdict(run, "fewer-hallucinations").holds is True


def test_longer_chains_fail_if_one_step_goes_down(run):
    write_differences(
        run,
        difference("ci-short", "ci-none", "srcc", 0.01, 0.02),
        difference("ci-long", "ci-short", "srcc", -0.02, -0.01),
        difference("ci-long", "ci-none", "srcc", 0.01, 0.02),
    )
    assert verdict(run, "longer-chains").holds is False


def test_format_is_compared_on_sampled_answers(run):
    write_differences(
        run,
        difference("qponder", "ci-long", "parse_rate", -0.1, 0.0, "mini-koniq"),
        difference("qponder", "ci-long", "parse_rate", 0.01, 0.1, "mini-koniq", "sampled"),
    )
    assert verdict(run, "format-errors").holds is True


def test_accuracy_for_completeness_needs_both_directions(run):
    values = {
        ("j", model, aspect): value
        for model, row in {"qponder": (3, 4, 4), "ci-long": (4, 3, 3), "teacher": (4, 3, 3)}.items()
        for aspect, value in zip(("completeness", "accuracy", "reasonableness"), row, strict=True)
    }
    write_judged(run, values, half=0.1)
    assert verdict(run, "accuracy-for-completeness").holds is True
    assert verdict(run, "beats-teacher").holds is True
    write_judged(run, values | {("j", "qponder", "completeness"): 5.0}, half=0.1)
    assert verdict(run, "accuracy-for-completeness").holds is False


def test_judged_means_whose_intervals_meet_decide_nothing(run):
    values = {
        ("j", model, aspect): value
        for model, value in (("qponder", 3.1), ("teacher", 3.0))
        for aspect in ("accuracy", "reasonableness")
    }
    write_judged(run, values, half=0.1)
    assert verdict(run, "beats-teacher").holds is None


def test_one_judge_alone_does_not_lift_the_papers_limitation(run):
    values = {("one", m, "accuracy"): v for m, v in (("a", 3.0), ("b", 2.0))}
    write_judged(run, values, half=0.1)
    assert "only one judge was asked: one" in verdict(run, "single-judge").sentence
    other = {("two", m, "accuracy"): v for m, v in (("a", 3.0), ("b", 4.0))}
    write_judged(run, values | other, half=0.1)
    assert verdict(run, "single-judge").holds is False


def test_reward_that_rises_and_then_stays_is_a_plateau(run):
    wobble = [0.01 * (-1) ** i for i in range(50)]
    rising = [min(i / 20, 1.0) + w for i, w in zip(range(50), wobble, strict=True)]
    write_history(run, run.grpo("qponder"), reward_accuracy=rising, completion_length=rising)
    assert verdict(run, "reward-plateau").holds is True
    assert verdict(run, "length-declines").holds is False
    assert verdict(run, "length-recovers").holds is None
    assert "the run has 50 steps" in verdict(run, "calm-after-800").sentence
    write_history(run, run.grpo("qponder"), reward_accuracy=wobble, completion_length=wobble)
    assert verdict(run, "reward-plateau").holds is None


def test_loss_that_still_falls_has_not_settled(run):
    write_history(run, run.sft("long"), loss=[10.0 - i for i in range(9)])
    assert verdict(run, "cold-start-steps").holds is False
    write_history(run, run.sft("long"), loss=[10.0, 1.0, *[0.2] * 7])
    assert verdict(run, "cold-start-steps").holds is True


def test_both_branches_of_preresq_must_rise(run):
    terms = ("balance", "truth_rank", "pairwise", "triplet")
    rising = {f"term_{name}": [0.1 * i for i in range(20)] for name in terms}
    columns = rising | {"distinct_scores": [6.0 - 0.1 * i for i in range(20)]}
    validated = {"validation_srcc": [0.4, 0.5] * 10, "validation_mae": [20.0, 15.0] * 10}
    write_history(run, run.grpo("preresq"), **columns, **validated)
    assert verdict(run, "preresq-dual-branch").holds is True
    assert verdict(run, "preresq-reasoning").holds is True
    assert verdict(run, "preresq-unifies").holds is True
    falling = {"term_triplet": [-0.1 * i for i in range(20)]}
    write_history(run, run.grpo("preresq"), **(columns | falling), **validated)
    assert verdict(run, "preresq-dual-branch").holds is False
    assert "preference branch, triplet" in verdict(run, "preresq-dual-branch").sentence


def test_the_course_of_preresq_begins_with_its_exploration(run):
    later = {"validation_srcc": [0.5, 0.49], "validation_mae": [15.0, 15.1]}
    write_history(run, run.grpo("preresq"), **later)
    assert verdict(run, "preresq-unifies").holds is False
    first = {"validation_srcc": [0.4, 0.5], "validation_mae": [20.0, 15.0]}
    write_history(run, run.grpo("preresq-explore"), **first)
    assert verdict(run, "preresq-unifies").holds is True


def test_groups_without_feedback_are_counted_on_the_same_rollouts(run):
    rows = [
        {"step": step, "image_id": "i", "mos": 50.0, "score": score, "reward_accuracy": reward}
        for step in range(20)
        # All answers are 20 and 30 points off: no threshold tells them apart, Eq. 5 does.
        for score, reward in ((70.0, 0.5), (80.0, 0.3))
    ]
    text = "".join(artifacts.to_json(row) + "\n" for row in rows)
    artifacts.write_text_atomic(run.grpo("qponder") / "completions.jsonl", text)
    found = verdict(run, "dense-reward")
    assert found.holds is True
    assert "100.0 % would get no feedback" in found.sentence


def test_judged_accuracy_is_held_against_the_error_of_the_same_answer(run):
    head = "judge,model,value,ci_low,ci_high,n,n_failed,reason\n"
    row = "rubric-v1,qponder,0.3,0.1,0.5,39,1,\nrubric-v1,teacher,-0.3,-0.5,-0.1,39,1,\n"
    artifacts.write_text_atomic(run.judge_nearness, head + row)
    found = verdict(run, "precision-follows-score")
    assert found.holds is True
    assert "rubric-v1: 0.300 [0.100, 0.500] over 39 answers" in found.sentence
    artifacts.write_text_atomic(run.judge_nearness, head + "j,qponder,,,,3,0,too_few\n")
    assert "too_few" in verdict(run, "precision-follows-score").sentence
    artifacts.write_text_atomic(run.judge_nearness, head)
    assert "no row for qponder" in verdict(run, "precision-follows-score").sentence


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="there is no reference run")
def test_reference_run_has_a_verdict_for_every_claim_with_a_file_that_is_there():
    found = verdicts(REFERENCE)
    assert len(found) == len(load_claims())
    assert {v.verdict for v in found} == {"mini_scale_only", "not_run"}
    for v in found:
        assert v.sentence.endswith(".")
        assert "\n" not in v.sentence
        assert (v.file is None) == (v.verdict == "not_run")
        assert v.file is None or (REFERENCE / v.file).is_file()


# Small parts


def test_one_direction_against_decides_and_one_in_doubt_leaves_it_open():
    assert together([True, True]) is True
    assert together([None, True]) is None
    assert together([None, False]) is False
    assert together([]) is True


def test_history_is_cut_in_fifths_and_nothing_is_lost():
    parts = fifths(list(range(12)))
    assert [len(part) for part in parts] == [2, 2, 2, 2, 4]
    assert [value for part in parts for value in part] == list(range(12))


def test_change_of_noise_about_the_same_mean_is_in_doubt():
    assert change([1.0, 3.0], [1.0, 3.0]).above_zero is None


@pytest.mark.parametrize(
    ("accuracy", "holds"), [((0.02, 0.10), None), ((-0.10, -0.02), False), ((-0.01, 0.02), None)]
)
def test_an_aspect_at_the_end_of_its_scale_shows_no_direction(run, accuracy, holds):
    gaps = {"completeness": (0.0, 0.0), "accuracy": accuracy, "reasonableness": (0.01, 0.03)}
    rows = [
        {
            "judge": "rubric-v1",
            "selection": "filtered - unfiltered",
            "aspect": aspect,
            "value": (low + high) / 2,
            "ci_low": low,
            "ci_high": high,
            "reason": None,
        }
        for aspect, (low, high) in gaps.items()
    ]
    artifacts.write_csv(run.tables / "filter_judged.csv", rows, list(rows[0]))
    found = verdict(run, "filter-reasoning")
    assert (found.verdict, found.holds) == ("mini_scale_only", holds)
    assert "completeness 0.000 [0.000, 0.000]" in found.sentence
