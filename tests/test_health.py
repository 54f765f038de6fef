"""Every alarm fires on its own fault, on no healthy run, and never on what was not logged."""

import json

import pytest
from typer.testing import CliRunner

from qponder_lib.artifacts import write_csv
from qponder_lib.cli import app
from qponder_lib.evaluation import monitoring as rl_health
from qponder_lib.report import training

LAST = 30


def row(step, **fault):
    """One step of a run that learns: the reward rises from 1.01 to 1.30."""
    return {
        "step": step,
        "reward": 1.0 + 0.01 * step,
        "reward_accuracy": 0.4,
        "reward_format": 0.9,
        "parse_rate": 0.9,
        "zero_variance_share": 0.1,
        "distinct_scores": 5.0,
        "modal_share": 0.1,
        "completion_length": 100.0,
        "clipped_ratio": 0.02,
        "kl": 0.01,
        "entropy": 0.4,
        "validation_srcc": 0.6 if step % 10 == 0 else None,
    } | fault


def history(**fault):
    """Healthy for 20 steps, then with the fault."""
    return [row(step, **(fault if step > 20 else {})) for step in range(1, LAST + 1)]


FAULTS = {
    "reward": {"reward": 1.0},
    "reward_format": {"reward_format": 0.0},
    "parse_rate": {"parse_rate": 0.49},
    "zero_variance_share": {"zero_variance_share": 0.51},
    "distinct_scores": {"distinct_scores": 1.4},
    "modal_share": {"modal_share": 0.51},
    "completion_length": {"completion_length": 49.0},
    "clipped_ratio": {"clipped_ratio": 0.31},
    "kl": {"kl": 0.51},
    "validation_srcc": {"validation_srcc": 0.54},
}


def put(root, rows, phase="qponder"):
    write_csv(root / "grpo" / phase / "history.csv", rows, list(rows[0]))


def called(*arguments):
    return CliRunner().invoke(app, ["health", *map(str, arguments)])


def test_a_healthy_run_has_no_alarm_and_every_watched_column():
    assert rl_health.alarms(history()) == []
    assert rl_health.missing(history()) == []
    assert set(FAULTS) == set(rl_health.WATCHED)


@pytest.mark.parametrize("column", FAULTS)
def test_each_fault_raises_its_own_alarm_only_with_cause_and_remedy(column):
    (found,) = rl_health.alarms(history(**FAULTS[column]))
    assert found.column == column
    assert found.cause
    assert found.remedy
    assert str(found) == f"{found.said}; cause: {found.cause}; remedy: {found.remedy}"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("zero_variance_share", 0.5),
        ("modal_share", 0.5),
        ("parse_rate", 0.5),
        ("kl", 0.5),
        ("distinct_scores", 1.5),
        ("completion_length", 50.0),
    ],
)
def test_a_value_at_its_limit_is_no_alarm(column, value):
    assert rl_health.alarms(history(**{column: value})) == []


def test_an_alarm_says_which_steps_it_was_read_from():
    (level,) = rl_health.alarms(history(modal_share=0.9))
    (flat,) = rl_health.alarms(history(reward=1.0))
    (lost,) = rl_health.alarms(history(validation_srcc=0.5))
    assert (level.first_step, level.last_step) == (21, 30)
    assert (flat.first_step, flat.last_step) == (1, 30)
    assert (lost.first_step, lost.last_step) == (10, 30)


def test_the_lost_rank_correlation_is_told_with_whole_steps():
    rows = [one | {"step": float(one["step"])} for one in history(validation_srcc=0.5)]
    (lost,) = rl_health.alarms(rows)
    assert lost.said == "the validation SRCC fell from 0.600 at step 10 to 0.500"


def test_trouble_that_passed_is_no_alarm():
    rows = [row(step, modal_share=0.9 if step <= 20 else 0.1) for step in range(1, LAST + 1)]
    assert rl_health.alarms(rows) == []


@pytest.mark.parametrize("column", FAULTS)
def test_what_was_not_logged_is_named_and_never_an_alarm(column):
    empty = [{**one, column: None} for one in history()]
    absent = [{name: one[name] for name in one if name != column} for one in history()]
    for rows in (empty, absent):
        assert rl_health.alarms(rows) == []
        assert rl_health.missing(rows) == [column]


def test_a_run_too_short_for_two_windows_is_not_judged(tmp_path):
    rows = history(modal_share=0.9)[-19:]
    assert rl_health.alarms(rows) == []
    put(tmp_path, rows)
    assert "too few logged rows" in called(tmp_path).stdout


def test_the_figure_shows_the_alarm_at_its_steps():
    rows = history(modal_share=0.9)
    _, drawn = training.health_figure(rows, rl_health.alarms(rows))
    assert drawn["modal_share"].tolist() == [0.1] * 20 + [0.9] * 10
    assert drawn.loc[drawn["alarms"] == "modal_share", "step"].tolist() == list(range(21, 31))
    assert drawn["validation_srcc"].count() == 3


def test_marked_panels_are_those_with_an_alarm():
    rows = history(modal_share=0.9, kl=2.0)
    figure, _ = training.health_figure(rows, rl_health.alarms(rows))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    marked = [title.replace("\n", " ") for title in titles if "alarm" in title]
    assert [title.split(" (")[0] for title in marked] == ["Commonest score", "KL to the start"]
    assert [title[-7:] for title in marked] == ["alarm 1", "alarm 2"]


def test_terms_of_a_reward_share_one_panel(tmp_path):
    rows = [one | {"term_balance": 0.2, "term_pairwise": 0.3} for one in history()]
    figure, _ = training.health_figure(rows, [])
    legend = figure.axes[-1].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["balance", "pairwise"]


def test_every_phase_is_judged_under_its_name(tmp_path):
    put(tmp_path, history(), "first")
    put(tmp_path, history(kl=2.0), "second")
    done = called(tmp_path, "--json")
    phases = json.loads(done.stdout)["phases"]
    assert [(one["phase"], len(one["alarms"])) for one in phases] == [("first", 0), ("second", 1)]
    assert done.exit_code == 1


def test_the_command_exits_0_without_and_1_with_alarms_and_prints_strict_json(tmp_path):
    put(tmp_path, history())
    done = called(tmp_path)
    assert (done.exit_code, "no alarm" in done.stdout) == (0, True)
    rows = [{name: one[name] for name in one if name != "kl"} for one in history(parse_rate=0.1)]
    put(tmp_path, rows)
    done = called(tmp_path, "--json")
    (phase,) = json.loads(done.stdout)["phases"]
    assert done.exit_code == 1
    assert phase["missing"] == ["kl"]
    assert phase["alarms"][0]["column"] == "parse_rate"
    assert "not logged, so not judged: kl" in called(tmp_path).stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,kl\n1,high\n", "line 2: expected a number in column kl, got 'high'"),
        ("step,kl\n1,nan\n", "line 2: expected a number in column kl, got 'nan'"),
        ("step,kl\n1\n", "line 2: expected 2 cells, got 1"),
        ("step,kl\n", "no logged row"),
        ("kl\n0.1\n", "expected a number in column step, got none"),
    ],
)
def test_an_unreadable_history_is_a_usage_error_that_names_the_place(tmp_path, text, said):
    file = tmp_path / "grpo" / "qponder" / "history.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    done = called(tmp_path)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_run_without_reinforcement_learning_is_a_usage_error(tmp_path):
    done = called(tmp_path)
    assert done.exit_code == 2
    assert "no grpo/<phase>/history.csv" in done.stderr
    assert called("no-such-run").exit_code == 2


def test_the_reference_run_is_judged():
    done = called("reference/mini", "--json")
    (phase,) = json.loads(done.stdout)["phases"]
    assert done.exit_code == bool(phase["alarms"])
    assert (phase["rows"], phase["missing"]) == (120, [])
