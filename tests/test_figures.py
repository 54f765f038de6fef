"""Figures show what their CSV holds, the same way every time."""

import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from synthetic_run import write_run
from test_tables import filter_answers
from typer.testing import CliRunner

from qponder_lib.cli import app
from qponder_lib.data import distortions
from qponder_lib.evaluation.readouts import evaluate_readouts
from qponder_lib.evaluation.scoring import MEAN, evaluate_run
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report import filtering, gallery, outputs, results, rewards, style, training
from qponder_lib.report.render import MODELS, one, read_scores, select
from qponder_lib.report.style import new_figure
from qponder_lib.report.training import smooth

FIGURES = set(outputs.FIGURES) - {"fig4b_lines"}  # nobody has been judged
PICTURE = np.full((16, 16, 3), 120, dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    few = {"predict.sets": ("mini-koniq", "mini-spaq", "mini-csiq")}
    run = write_run(tmp_path_factory.mktemp("runs") / "here", **few)
    evaluate_run(run)
    evaluate_readouts(run)
    filter_answers(run)
    filtering.write_filter(run)
    outputs.write_tables(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 40)  # a quarter of the time
        outputs.write_figures(run)
    return run


@pytest.fixture
def ax():
    return new_figure(3.0, 3.0)[1][0, 0]  # outside the house style, so titles are centred


def drawn(run, name):
    return pd.read_csv(run.paths.figures / f"{name}.csv")


def test_every_figure_leaves_a_picture_a_vector_file_and_its_numbers(run):
    files = {path.name for path in run.paths.figures.iterdir()}
    assert files == {f"{name}.{end}" for name in FIGURES for end in ("png", "pdf", "csv")}
    for name in FIGURES:
        assert (run.paths.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (run.paths.figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert len(drawn(run, name)) > 0


def test_drawing_twice_gives_the_same_bytes(run, tmp_path):
    first = style.save(*results.fig4a_heatmap(run), tmp_path / "a" / "x")
    second = style.save(*results.fig4a_heatmap(run), tmp_path / "b" / "x")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_readers_own_settings_do_not_change_a_figure(run, tmp_path):
    import matplotlib as mpl

    first = style.save(*results.fig4a_heatmap(run), tmp_path / "a" / "x")
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30}):
        second = style.save(*results.fig4a_heatmap(run), tmp_path / "b" / "x")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_figures_leave_the_global_state_of_matplotlib_alone(run):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    results.main_result(run)
    results.fig4a_heatmap(run)
    assert dict(mpl.rcParams) == before
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []  # seaborn imports pyplot


def test_tables_alone_need_no_matplotlib():
    code = (
        "import sys; import qponder_lib.report.outputs; "
        "assert not {'matplotlib', 'seaborn', 'torch', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kept_run_is_drawn_again_from_its_csvs(run, tmp_path):
    for folder in ("eval", "tables", "figures", "sft", "grpo"):
        shutil.copytree(run.paths.root / folder, tmp_path / folder)
    shutil.rmtree(tmp_path / "eval" / "predictions")
    kept = Run(RunPaths(tmp_path), run.profile)
    for name in sorted(FIGURES):
        figure, data = outputs.FIGURES[name](kept)
        assert figure.axes, name
        csv = style.write_frame(tmp_path / "again.csv", data)
        assert csv.read_bytes() == (run.paths.figures / f"{name}.csv").read_bytes(), name


def test_every_model_has_its_own_colour_and_marker():
    drawn = [look for model, look in MODELS.items() if model != "ceiling"]
    assert len({look.colour for look in drawn}) == len(drawn)
    assert len({look.marker for look in drawn}) == len(drawn)


def test_measured_figures_say_what_their_intervals_are_and_which_run_they_are_from(run):
    for name in ("main_result", "filter_sweep"):
        told = " ".join(outputs.FIGURES[name](run)[0].get_supxlabel().split())
        assert "95% bootstrap intervals" in told, name
        assert "Run here, profile synthetic, embedded sets." in told, name


def called(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_figure_of_a_run_or_a_study_is_drawn_by_command(run, tmp_path):
    done = called("figure", "fig5", "--run", run.paths.root, "--out", tmp_path / "a.pdf")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    done = called("figure", "study", "--run", "reference/study", "--out", tmp_path / "b.png")
    assert done.exit_code == 0, done.stderr
    assert "main_result" in called("figure").stdout


def test_a_table_of_a_run_is_printed_by_command(run):
    done = called("table", "table3", "--latex", "--run", run.paths.root)
    assert done.exit_code == 0, done.stderr
    assert r"\toprule" in done.stdout
    assert "# Table 1" in called("table", "table1", "--run", run.paths.root).stdout


def test_an_unknown_name_is_answered_by_the_names_there_are():
    for command in ("figure", "table"):
        done = called(command, "nothing")
        assert done.exit_code == 2
        assert "expected one of" in done.stderr


# ---- results


def test_main_result_draws_the_scores_and_the_ceilings(run):
    data = drawn(run, "main_result")
    scores = read_scores(run.paths)
    where = {"model": "qponder", "dataset": MEAN, "metric": "srcc"}
    measured = one(scores, protocol="raw", decoding="greedy", **where)
    assert one(data, **where)["ci_low"] == pytest.approx(measured["ci_low"])
    assert one(data, model="ceiling", dataset="mini-csiq")["value"] == 0.97


def test_missing_score_is_not_drawn_as_zero(ax):
    data = pd.DataFrame(
        {
            "model": ["base", "qponder"],
            "dataset": ["a", "a"],
            "metric": "srcc",
            "value": [None, 0.8],
            "ci_low": [None, 0.7],
            "ci_high": [None, 0.9],
            "n": [0, 20],
        }
    ).astype({"value": float, "ci_low": float, "ci_high": float})
    assert results.srcc_dots(ax, data) is ax
    drawn = [points for points in ax.collections if not isinstance(points, LineCollection)]
    dots = [y for points in drawn for _, y in points.get_offsets()]
    assert [y for y in dots if y == 0.8] == [0.8]
    assert 0.0 not in dots


def test_two_wrong_signs_do_not_make_a_right_cell(run):
    data = results.product_of_correlations(run.paths)
    expected = np.where((data[["srcc", "plcc"]] < 0).any(axis=1), -1, 1)
    assert (np.sign(data["product"]) == expected).all()
    row = one(data, model="qponder", dataset="mini-spaq")
    assert row["product"] == pytest.approx(row["srcc"] * row["plcc"])


def test_scatter_keeps_unparsed_responses_in_its_numbers(run):
    data = select(drawn(run, "scatter_models"), model="base")
    assert len(data) == 40
    assert data["score"].isna().sum() == (data["parse_status"] != "ok").sum() > 0


def test_scatter_says_why_there_is_no_correlation(ax):
    data = pd.DataFrame({"mos": np.linspace(0.0, 100.0, 20), "score": 50.0})
    results.scatter(ax, data, title="flat")
    assert "no SRCC (constant_scores), n 20" in ax.get_title()


# ---- training


def test_smoothing_leaves_a_straight_line_as_it_is():
    line = pd.Series(np.arange(50.0))
    assert smooth(line, 5).iloc[2:-2].tolist() == line.iloc[2:-2].tolist()


def test_training_curve_that_was_not_logged_says_so(ax):
    data = pd.DataFrame({"step": [1, 2], "kl": [None, None]})
    training.grpo_curve(ax, data, "kl")
    assert [text.get_text() for text in ax.texts] == ["not logged"]


def test_validation_is_drawn_at_its_steps(run, ax):
    history = pd.read_csv(run.paths.grpo("qponder") / "history.csv")
    data = training.with_smoothed(history, training.CURVES)
    training.grpo_curve(ax, data, "validation_srcc")
    assert list(ax.lines[0].get_xdata()) == [50, 100, 150, 200]


def test_sft_curves_are_those_of_the_histories(run):
    data = select(drawn(run, "sft_loss"), variant="short")
    history = pd.read_csv(run.paths.sft("short") / "history.csv")
    assert data["loss"].tolist() == pytest.approx(history["loss"].tolist())


# ---- filter


def test_histogram_bars_add_up_to_all_responses(run):
    figure, data = filtering.histogram_figure(run)
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == data["n_all"].sum()


# ---- rewards


def test_expected_reward_marks_the_best_score():
    stated = np.arange(0.0, 101.0)
    belief = np.where(stated == 30.0, 1.0, 0.0)
    figure = rewards.expected_reward_figure(
        stated, belief, {"alpha 10": np.exp(-abs(stated - 30) / 10)}
    )
    dot = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.ravel(dot.get_xdata()).tolist() == [30.0]


# ---- pictures


def test_contact_sheet_gets_worse_with_the_level_where_levels_are_noise():
    data = select(gallery.contact_sheet(gallery.example_scene(48))[1], type="noise")
    assert data["psnr"].is_monotonic_decreasing


def test_contact_sheet_shows_every_type_and_level(run):
    data = drawn(run, "contact_sheet")
    assert len(data) == len(distortions.LEVELS) * distortions.N_LEVELS
    assert set(data.loc[~data["trained"], "type"]) == set(distortions.UNSEEN)


def test_mos_counts_add_up_and_the_best_image_is_in_the_last_bin():
    data = gallery.count_mos({"a": [0.0, 5.0, 100.0]})
    assert data["n"].sum() == 3
    assert data["n"].iloc[-1] == 1


def test_image_grid_needs_a_caption_per_image():
    figure = gallery.image_grid([PICTURE] * 3, ["a", "b", "c"], columns=2, title="three")
    assert len(figure.axes) == 4
    with pytest.raises(ValueError, match="caption"):
        gallery.image_grid([PICTURE], ["a", "b"])


# ---- widgets


def test_sliders_and_menus_start_at_what_is_drawn_first_and_wait_for_the_end_of_a_drag():
    draw = partial(gallery.distortion_figure, PICTURE, name="blur", level=4)
    widget = style.explore(draw, name=list(distortions.LEVELS), level=(1, 5), seed=(0, 9))
    found = {child.description: child for child in widget.children[:3]}
    assert {name: child.value for name, child in found.items()} == {
        "name": "blur",
        "level": 4,
        "seed": 0,
    }
    assert (found["level"].min, found["level"].max) == (1, 5)
    assert not found["level"].continuous_update


def test_reward_figure_marks_the_reward_of_the_stated_score():
    figure = rewards.reward_figure(mos=40.0, score=65.0, alpha=25.0)
    dot = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.ravel(dot.get_ydata())[0] == pytest.approx(np.exp(-1.0))


def test_distortion_figure_shows_the_distortion_itself():
    figure = gallery.distortion_figure(PICTURE, "noise", 3)
    shown = [np.asarray(panel.images[0].get_array()) for panel in figure.axes]
    assert np.array_equal(shown[0], PICTURE)
    expected = distortions.apply(PICTURE, "noise", 3, np.random.default_rng(0))
    assert np.array_equal(shown[1], expected)


def test_missing_numbers_are_saved_as_empty_cells(tmp_path, ax):
    csv = style.save(ax.figure, pd.DataFrame({"a": [1.0, np.nan]}), tmp_path / "x")[-1]
    assert csv.read_text(encoding="utf-8") == 'a\n1.0\n""\n'


def test_models_that_say_nothing_readable_are_drawn_as_missing(tmp_path, monkeypatch):
    import synthetic_run

    # Two models whose answers never parse, greedy or sampled, as after a few steps of training.
    spoken = synthetic_run.answers

    def mute(images, error, unparsed, rng, sample):
        silent = error > 100.0 or sample > 0
        return spoken(images, error, 1.1 if silent else unparsed, rng, sample)

    monkeypatch.setattr(synthetic_run, "answers", mute)
    few = {"predict.models": ("base", "ci-long", "qponder")}
    run = write_run(tmp_path, 12, **few, **{"predict.sets": ("mini-koniq", "mini-csiq")})
    evaluate_run(run)
    evaluate_readouts(run)
    outputs.write_tables(run)
    assert (
        one(results.product_of_correlations(run.paths), model="base", dataset=MEAN)["product"]
        != 0.0
    )
    base = next(
        line
        for line in (run.paths.tables / "table1.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| Base")
    )
    assert "too_few" in base
    assert base.endswith("| 0 | 24 |")
    for name in ("main_result", "fig4a_heatmap", "scatter_models", "scatter_sets"):
        assert outputs.FIGURES[name](run)[0].axes, name
