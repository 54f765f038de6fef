"""Claims are decided by printed tables and by runs, and a verdict never claims too much."""

from pathlib import Path

import pytest

from qponder_lib import artifacts
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ASPECTS
from qponder_lib.report import reproduction
from qponder_lib.report.audit import paper_tables
from qponder_lib.report.claims import load_claims, printed_verdicts
from qponder_lib.report.verdicts import (
    PAPER_SETS,
    Verdict,
    smaller_than_the_paper,
    together,
    verdicts,
)
from qponder_lib.rewards.qponder import accuracy_reward, group_advantages
from qponder_lib.text.prompts import JUDGE_TASKS

REFERENCE = Path(__file__).parents[1] / "papermill_runs" / "reference" / "mini"
CLAIMS = {claim.id: claim for claim in load_claims()}


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunPaths:
    """A run folder that holds nothing but its profile, far from the published spread."""
    monkeypatch.setattr(reproduction, "runs_root", lambda: tmp_path / "none")
    paths = RunPaths(tmp_path / "run")
    set_profile(paths)
    return paths


def set_profile(run: RunPaths, profile="mini", **overrides) -> None:
    values = {name.replace("__", "."): value for name, value in overrides.items()}
    profile = load_profile(profile).with_overrides(values)
    artifacts.write_text_atomic(run.profile, dump_profile(profile))


def with_seeds(run: RunPaths, *seeds: int) -> list[RunPaths]:
    """Runs beside it, as of a study, that differ in training seeds alone."""
    made = [RunPaths(run.root.parent / "study" / f"seed-{seed}") for seed in seeds]
    for paths, seed in zip(made, seeds, strict=True):
        few = {"sft__variants": ["short"], "judge__models": ["ci-short", "qponder"]}
        set_profile(paths, sft__seed=seed, grpo__seed=seed, **few)
    return made


def estimate(low: float, high: float) -> dict:
    return {"value": (low + high) / 2, "ci_low": low, "ci_high": high, "n": 600, "reason": None}


def difference(a, b, metric, low, high, dataset="mean", decoding="greedy") -> dict:
    names = {"model_a": a, "model_b": b, "dataset": dataset, "decoding": decoding}
    return names | {"protocol": "raw", "metric": metric} | estimate(low, high)


def write_differences(run: RunPaths, *rows: dict) -> None:
    artifacts.write_csv(run.differences, rows, list(rows[0]))


def write_scores(run: RunPaths, **ends: tuple[float, float]) -> None:
    names = {"model": "qponder", "dataset": "mean", "decoding": "greedy", "protocol": "raw"}
    rows = [names | {"metric": metric} | estimate(*ends[metric]) for metric in ends]
    artifacts.write_csv(run.scores, rows, list(rows[0]))


def write_judged(run: RunPaths, values: dict[tuple[str, str, str], float], half=0.1) -> None:
    rows = [
        {
            "judge": judge,
            "model": model,
            "dataset": "mean",
            "aspect": aspect,
        }
        | estimate(value - half, value + half)
        for (judge, model, aspect), value in values.items()
    ]
    artifacts.write_csv(run.judged, rows, list(rows[0]))


def write_history(run: RunPaths, folder: Path, **columns: list[float]) -> None:
    n = len(next(iter(columns.values())))
    rows = [{"step": i + 1} | {k: v[i] for k, v in columns.items()} for i in range(n)]
    artifacts.write_csv(folder / "history.csv", rows, list(rows[0]))


def verdict(run: RunPaths, claim_id: str) -> Verdict:
    return next(v for v in verdicts(run) if v.claim.id == claim_id)


def write_rl(run: RunPaths, srcc: tuple[float, float], plcc: tuple[float, float], start="ci-short"):
    """Write what RL changed."""
    ends = {"srcc": srcc, "plcc": plcc}
    write_differences(run, *(difference("qponder", start, m, *ends[m]) for m in ends))


# The list of claims


def test_every_claim_has_what_a_reader_needs():
    assert len(CLAIMS) == len(load_claims())
    for claim in CLAIMS.values():
        assert claim.paper in ("Q-Ponder", "PreResQ-R1")
        assert claim.quote
        assert claim.place
        assert claim.decided_by
        assert set(filter(None, claim.needs.split(";"))) <= {"competitors", "runs", "every place"}


def test_every_claim_is_compared_or_says_why_not():
    for claim in CLAIMS.values():
        by_run = any(one.file for one in claim.comparisons)
        assert by_run + bool(claim.without_run) <= 1, claim.id
        assert by_run or claim.without_run or "competitors" in claim.needs, claim.id


def test_every_comparison_belongs_to_a_claim_and_compares_something():
    text = (Path(__file__).parents[1] / "qponder_lib/reported/comparisons.csv").read_text("utf-8")
    listed = sum(len(claim.comparisons) for claim in CLAIMS.values())
    assert listed == len(text.splitlines()) - 1
    for claim in CLAIMS.values():
        assert len({one.label for one in claim.comparisons}) == len(claim.comparisons), claim.id
        for one in claim.comparisons:
            assert one.table or one.file, one
            assert one.label
            assert one.direction in (-1, 0, 1)


def test_both_margins_of_preresq_are_said_to_be_ambiguous():
    claim = CLAIMS["preresq-margins"]
    assert "SRCC and PLCC on images" in claim.decided_by
    assert "images and video" in claim.decided_by
    assert printed_verdicts()[claim.id].outcome == "not_decidable"


def test_what_the_text_is_said_to_contradict_is_so():
    rewards = [0.0, 1.0, 2.0, 3.0]
    assert max(group_advantages(rewards, baseline="max")) <= 0 < max(group_advantages(rewards))
    assert accuracy_reward(60.0, 60.0) == 1.0
    assert "[1–5]" in str(JUDGE_TASKS)
    assert CLAIMS["distinct-sets"].printed == "holds"
    tables = paper_tables()
    assert not {"KonIQ"} & {*tables["table2"]["dataset"], *tables["table4"]["dataset"]}


# What the paper's own tables say


@pytest.mark.parametrize(
    ("claim_id", "outcome", "part"),
    [
        # 0.792 / 0.744 = 1.0645
        ("srcc-gain", "holds", "6.45 % relative"),
        # 0.941 - 0.937, 0.940 - 0.926, 0.953 - 0.937, 0.941 - 0.926
        (
            "margin-of-0.01",
            "holds_in_part",
            "KonIQ PLCC -0.004 (Q-Align), KonIQ SRCC -0.014 (Q-Align)",
        ),
        ("only-exception", "does_not_hold", "LiveW SRCC -0.031 (DeQA)"),
        ("consistent-gain", "holds_in_part", "in 5 of 12 places"),
        ("csiq-agiqa", "holds_in_part", "AGIQA SRCC -0.011"),
        ("beats-teacher", "holds", "in completeness: higher in 0 of 6 places"),
        ("rl-gain", "holds_in_part", "from SPAQ PLCC -0.004"),
        ("best-descriptions", "holds", "in 54 of 54 places"),
        # (0.816 - 0.674 + 0.742 - 0.650) / 2 is 0.117; of the other sets CSIQ gains most:
        # (0.806 - 0.778 + 0.775 - 0.739) / 2 is 0.032.
        ("longer-chains", "holds_in_part", "any other set: AGIQA +0.085, LiveW +0.072"),
        ("beats-teacher", "holds", "Qwen2.5VL-72B is printed alike on KADID and LIVE"),
        ("ood-generalization", "holds", "mean SRCC +0.013 (DeQA)"),
        ("judge-scale", "does_not_hold", "asks for 1 to 5"),
    ],
)
def test_printed_tables_decide_claims(claim_id, outcome, part):
    answer = printed_verdicts()[claim_id]
    assert answer.outcome == outcome
    assert part.lower() in answer.sentence.lower()


def test_only_claims_that_say_so_are_told_that_significance_is_not_decidable():
    for claim in CLAIMS.values():
        answer = printed_verdicts().get(claim.id)
        if answer and not claim.printed:
            told = "no interval or test is printed" in answer.sentence
            assert told == ("significant" in claim.quote), claim.id


# Verdicts


def test_empty_run_has_run_nothing_and_says_which_file_is_missing(run):
    found = verdicts(run)
    assert [v.claim for v in found] == load_claims()
    assert {v.outcome for v in found} == {"not_run", "not_decidable"}
    assert all(v.why and not v.files and not v.numbers for v in found)
    assert "eval/differences.csv is not there" in verdict(run, "rl-gain").why


def test_folder_without_profile_has_run_nothing(tmp_path):
    assert verdict(RunPaths(tmp_path), "rl-gain").why == "the run has no profile"


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a run or a reference"):
        verdicts(RunPaths(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("low", "high", "holds", "label"),
    [
        (0.01, 0.03, True, "one run: shows"),
        (-0.03, -0.01, False, "one run: does not show"),
        (-0.01, 0.03, None, "one run: undecided"),
    ],
)
def test_one_run_tells_the_direction_of_a_method_and_no_more(run, low, high, holds, label):
    write_rl(run, (low, high), (low, high))
    found = verdict(run, "rl-gain")
    assert (found.outcome, found.holds, found.label) == ("few_runs", holds, label)
    assert found.files == ["eval/differences.csv"]
    assert f"[{low:.3f}, {high:.3f}]" in found.numbers[0]


@pytest.mark.parametrize(
    ("other", "outcome"), [((0.01, 0.03), "shows"), ((-0.03, -0.01), "undecided")]
)
def test_three_training_seeds_decide_if_they_agree(run, other, outcome):
    write_rl(run, (0.01, 0.03), (0.01, 0.03))
    second, third = with_seeds(run, 1, 2)
    write_rl(second, (0.01, 0.03), (0.01, 0.03))
    assert verdict(run, "rl-gain").label == "2 runs: shows"
    write_rl(third, other, (0.01, 0.03))
    found = verdict(run, "rl-gain")
    assert (found.outcome, found.n_runs) == (outcome, 3)
    # Over photographs a standard error of 0.01 / 1.96; over training the deviation of the three.
    mean = (0.02 + 0.02 + sum(other) / 2) / 3
    assert f"{mean:.3f} [" in found.numbers[0]
    assert f"(runs 0.020, 0.020, {sum(other) / 2:.3f})" in found.numbers[0]
    assert "3 runs, intervals of their mean over photographs and training" in found.why


def test_several_runs_that_agree_only_by_photographs_do_not_decide(run):
    values = [(0.01, 0.03), (0.04, 0.06), (0.10, 0.12)]  # 0.02, 0.05, 0.11: mean 0.06, sd 0.0458
    for paths, ends in zip([run, *with_seeds(run, 1, 2)], values, strict=True):
        write_rl(paths, ends, ends)
    found = verdict(run, "rl-gain")
    # Variance 0.0051^2 + 0.0458^2 / 3 = 0.000726; 2.15 degrees of freedom, quantile 4.02.
    assert found.outcome == "undecided"
    assert "0.060 [-0.048, 0.168]" in found.numbers[0]
    assert found.why.endswith("shows, shows, shows")


def test_one_run_borrows_the_measured_spread_of_training(run):
    write_rl(run, (0.01, 0.03), (0.01, 0.03))
    assert "one run, intervals over photographs, for these weights" in verdict(run, "rl-gain").why
    name = "qponder, ci-short, mean, greedy, raw, {}"
    rows = [
        {"profile": "mini", "file": "eval/differences.csv", "name": name.format(metric)}
        | {"model_b": "ci-short", "sd_seeds": 0.02, "n_seeds": 5, "sd": 0.03, "borrowed_from": None}
        for metric in ("srcc", "plcc")
    ]
    tables = run.root.parent / "study" / "tables"
    artifacts.write_csv(tables / "training_spread.csv", rows, list(rows[0]))
    found = verdict(run, "rl-gain")
    assert found.label == "one run: undecided"
    assert "intervals over photographs and the measured spread of training" in found.why
    # Variance 0.0051^2 + 0.02^2 = 0.000426; 4.54 degrees of freedom, quantile 2.65.
    assert "0.020 [-0.035, 0.075]" in found.numbers[0]


def test_runs_with_other_settings_or_the_same_seeds_do_not_count(run):
    write_rl(run, (0.01, 0.03), (0.01, 0.03))
    twin, other, broken = (RunPaths(run.root.parent / name) for name in ("twin", "other", "broken"))
    set_profile(twin)
    set_profile(other, sft__seed=1, filter__gamma=0.5)
    for paths in (twin, other):
        write_rl(paths, (0.01, 0.03), (0.01, 0.03))
    artifacts.write_text_atomic(broken.profile, "name: of another version\n")
    assert verdict(run, "rl-gain").n_runs == 1


def test_state_of_the_art_is_not_decidable_without_the_compared_models(run):
    write_scores(run, srcc=(0.81, 0.83), plcc=(0.81, 0.83))
    write_differences(run, difference("qponder", "handcrafted", "srcc", 0.1, 0.2))
    found = verdict(run, "sota-scores")
    assert found.outcome == "not_decidable"
    assert "the compared models are not run" in found.why
    assert "SRCC 0.150 [0.100, 0.200]" in found.numbers[1]
    # Below ridge regression on image statistics it is refuted all the same.
    write_differences(run, difference("qponder", "handcrafted", "srcc", -0.2, -0.1))
    assert verdict(run, "sota-scores").label == "one run: does not show"


@pytest.mark.parametrize(
    ("accuracy", "holds"), [(3.0, False), (3.4, None), (4.0, True), (None, None)]
)
def test_fewer_hallucinations_need_smaller_errors_and_better_judged_text(run, accuracy, holds):
    write_differences(run, difference("qponder", "ci-short", "mae", -4.5, -3.4))
    if accuracy is not None:
        means = {"qponder": accuracy, "ci-short": 3.5}
        write_judged(run, {("j", m, a): v for m, v in means.items() for a in ASPECTS})
    found = verdict(run, "fewer-hallucinations")
    assert found.holds is holds
    assert ("eval/judged.csv is not there" in found.why) == (accuracy is None)


def test_another_reward_or_shuffled_rewards_decide_nothing_about_the_paper_s(run):
    write_rl(run, (0.01, 0.03), (0.01, 0.03))
    set_profile(run, grpo__shuffle_rewards=True)
    assert verdict(run, "rl-gain").why == "this run's RL is with shuffled rewards"
    set_profile(run, "preresq")
    assert verdict(run, "rl-gain").why == "this run's RL is with the reward preresq"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({}, []),
        ({"student__model": "Qwen/Qwen2.5-VL-3B"}, ["model Qwen/Qwen2.5-VL-3B"]),
        ({"predict__sets": sorted(PAPER_SETS)[1:]}, ["other image sets"]),
    ],
)
def test_a_smaller_model_or_other_sets_are_not_the_papers_setting(run, overrides, told):
    set_profile(run, "full", **overrides)
    assert smaller_than_the_paper(Run(run, load_profile(run.profile))) == told


def test_missing_value_is_not_run_with_the_reason_of_the_file(run):
    row = difference("qponder", "ci-short", "mae", 0, 1)
    row |= {"value": None, "ci_low": None, "ci_high": None, "reason": "every set: too_few"}
    write_differences(run, row)
    found = verdict(run, "fewer-hallucinations")
    assert found.outcome == "not_run"
    assert "every set: too_few" in found.why


def test_two_rows_for_one_number_are_an_error(run):
    row = difference("qponder", "ci-short", "mae", -1, 0)
    write_differences(run, row, row)
    with pytest.raises(artifacts.ArtifactError, match="several rows"):
        verdicts(run)


def test_longer_chains_fail_if_one_step_goes_down(run):
    write_differences(
        run,
        difference("ci-short", "ci-none", "srcc", 0.01, 0.02),
        difference("ci-long", "ci-short", "srcc", -0.02, -0.01),
        difference("ci-long", "ci-none", "srcc", 0.01, 0.02),
    )
    assert verdict(run, "longer-chains").holds is False


def test_format_is_compared_on_sampled_completions(run):
    write_differences(
        run,
        difference("qponder", "ci-short", "parse_rate", -0.1, 0.0, "mini-koniq"),
        difference("qponder", "ci-short", "parse_rate", 0.01, 0.1, "mini-koniq", "sampled"),
    )
    assert verdict(run, "format-errors").holds is True


def test_accuracy_for_completeness_needs_both_directions(run):
    rows = {"qponder": (3, 4, 4), "ci-short": (4, 3, 3), "teacher": (4, 3, 3)}
    values = {
        ("j", model, aspect): value
        for model, row in rows.items()
        for aspect, value in zip(ASPECTS, row, strict=True)
    }
    write_judged(run, values)
    assert verdict(run, "accuracy-for-completeness").holds is True
    assert verdict(run, "beats-teacher").outcome == "not_decidable"  # the other models are not run
    write_judged(run, values | {("j", "qponder", "completeness"): 5.0})
    assert verdict(run, "accuracy-for-completeness").holds is False


def test_judged_means_whose_intervals_meet_decide_nothing(run):
    means = {"qponder": 3.1, "teacher": 3.0}
    write_judged(run, {("j", m, a): v for m, v in means.items() for a in ASPECTS})
    assert verdict(run, "beats-teacher").holds is None


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ("one,,,,,0,0,one_judge", "not_run"),
        ("one,two,0.5,0.4,0.6,90,0,", "shows"),
        ("one,two,0.0,-0.1,0.1,90,0,", "undecided"),
    ],
)
def test_one_judge_alone_does_not_lift_the_papers_limitation(run, row, outcome):
    head = "statistic,aspect,judge_a,judge_b,value,ci_low,ci_high,n,n_failed,reason\n"
    path = run.tables / "judge_agreement.csv"
    artifacts.write_text_atomic(path, f"{head}srcc,accuracy,{row}\nsrcc,completeness,{row}\n")
    found = verdict(run, "single-judge")
    assert found.outcome == outcome
    assert ("one_judge" in found.why) == (outcome == "not_run")


def test_reward_that_rises_and_then_stays_is_a_plateau(run):
    wobble = [0.01 * (-1) ** i for i in range(50)]
    rising = [min(i / 20, 1.0) + w for i, w in zip(range(50), wobble, strict=True)]
    write_history(run, run.grpo("qponder"), reward_accuracy=rising, completion_length=rising)
    assert verdict(run, "reward-plateau").holds is True
    assert verdict(run, "length-declines").holds is False
    assert verdict(run, "length-recovers").holds is None
    write_history(run, run.grpo("qponder"), reward_accuracy=wobble, completion_length=wobble)
    assert verdict(run, "reward-plateau").holds is None


def test_loss_that_still_falls_has_not_settled(run):
    write_history(run, run.sft("long"), loss=[20.0 - i for i in range(20)])
    assert verdict(run, "cold-start-steps").holds is False
    write_history(run, run.sft("long"), loss=[5.0, 4.5, 4.0, *[0.2] * 12])
    assert verdict(run, "cold-start-steps").holds is True
    # What falls after step 300 does not count.
    write_history(run, run.sft("long"), loss=[5.0 - i / 100 for i in range(300)] + [0.1] * 100)
    assert verdict(run, "cold-start-steps").holds is False


def test_both_branches_of_preresq_must_rise(run):
    set_profile(run, "preresq")
    terms = ("balance", "truth_rank", "pairwise", "triplet")
    rising = {f"term_{name}": [0.1 * i for i in range(20)] for name in terms}
    write_history(run, run.grpo("preresq"), **rising)
    assert verdict(run, "preresq-dual-branch").holds is True
    falling = {"term_triplet": [-0.1 * i for i in range(20)]}
    write_history(run, run.grpo("preresq"), **(rising | falling))
    assert verdict(run, "preresq-dual-branch").holds is False
    assert "preference branch" in verdict(run, "preresq-dual-branch").numbers[1]


def test_one_policy_must_gain_in_order_and_in_error_under_the_reward_of_preresq(run):
    gains = [difference("qponder", "ci-long", "srcc", 0.01, 0.03)]
    write_differences(run, *gains, difference("qponder", "ci-long", "mae", -2, -1))
    assert verdict(run, "preresq-unifies").why == "this run's RL is with the reward qponder"
    set_profile(run, "preresq")
    assert verdict(run, "preresq-unifies").holds is True
    write_differences(run, *gains, difference("qponder", "ci-long", "mae", 1, 2))
    assert verdict(run, "preresq-unifies").holds is False


def test_the_history_of_preresq_begins_with_its_exploration(run):
    set_profile(run, "preresq")
    write_history(run, run.grpo("preresq"), distinct_scores=[2.0, 2.1] * 5)
    assert verdict(run, "preresq-reasoning").numbers[0].endswith("0.000 [-0.139, 0.139]")
    write_history(run, run.grpo("preresq-explore"), distinct_scores=[6.0, 6.1] * 5)
    found = verdict(run, "preresq-reasoning")
    assert "-4.000 [" in found.numbers[0]
    assert found.holds is None  # its other part, judged text, is missing
    assert "eval/judged.csv is not there" in found.why


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
    assert "20 groups, 100.0 % without feedback under a threshold" in found.numbers[0]


def test_judged_accuracy_is_held_against_the_error_of_the_same_answer(run):
    head = "judge,model,value,ci_low,ci_high,n,n_failed,reason\n"
    row = "rubric-v1,qponder,0.3,0.1,0.5,39,1,\nrubric-v1,teacher,-0.3,-0.5,-0.1,39,1,\n"
    artifacts.write_text_atomic(run.judge_nearness, head + row)
    found = verdict(run, "precision-follows-score")
    assert found.holds is True
    assert "rubric-v1 0.300 [0.100, 0.500]" in found.numbers[0]
    artifacts.write_text_atomic(run.judge_nearness, head + "j,qponder,,,,3,0,too_few\n")
    assert "too_few" in verdict(run, "precision-follows-score").why
    artifacts.write_text_atomic(run.judge_nearness, head + "j,teacher,0.3,0.1,0.5,39,1,\n")
    assert "no row for model qponder" in verdict(run, "precision-follows-score").why


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="there is no reference run")
def test_reference_run_has_a_verdict_for_every_claim_with_files_that_are_there():
    found = verdicts(RunPaths(REFERENCE))
    assert len(found) == len(CLAIMS)
    for v in found:
        assert bool(v.files) == bool(v.numbers)
        assert all((REFERENCE / name).is_file() for name in v.files)
        assert "\n" not in "".join([v.why, *v.numbers])
    assert {v.claim.id: v.outcome for v in found}["sota-scores"] == "not_decidable"
    fewer = next(v for v in found if v.claim.id == "fewer-hallucinations")
    assert fewer.label == "one run: undecided"


# Small parts


def test_one_direction_against_decides_and_one_in_doubt_leaves_it_open():
    assert together([True, True]) is True
    assert together([None, True]) is None
    assert together([None, False]) is False
    assert together([]) is None


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
        }
        | estimate(low, high)
        for aspect, (low, high) in gaps.items()
    ]
    artifacts.write_csv(run.tables / "filter_judged.csv", rows, list(rows[0]))
    found = verdict(run, "filter-reasoning")
    assert found.outcome == {None: "undecided", False: "does_not_show"}[holds]
    assert "completeness 0.000 [0.000, 0.000]" in found.numbers[0]
