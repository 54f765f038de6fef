"""Figures show what their CSV holds, the same way every time."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from synthetic_run import write_run
from test_tables import filter_answers

from qponder_lib.data import distortions
from qponder_lib.evaluation.scoring import MEAN, evaluate_run
from qponder_lib.report import figures, tables, widgets
from qponder_lib.report.figures import (
    benchmark,
    compose,
    filtered,
    results,
    rewards,
    style,
    training,
)
from qponder_lib.report.figures.study import forest
from qponder_lib.report.figures.style import Drawing, new_figure, smooth
from qponder_lib.report.tables.sources import one, select

FIGURES = {
    "main_result",
    "fig4a_heatmap",
    "fig5_grpo",
    "grpo_diagnostics",
    "sft_loss",
    "filter_sweep",
    "filter_histogram",
    "reward_landscape",
    "scatter_models",
    "scatter_sets",
    "decoding",
    "mos_histograms",
    "contact_sheet",
    "breakdown",
    "calibration",
    "score_clustering",
}
PICTURE = np.full((16, 16, 3), 120, dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    few = {"predict.sets": ("mini-koniq", "mini-spaq", "mini-csiq")}
    run = write_run(tmp_path_factory.mktemp("runs") / "here", **few)
    evaluate_run(run)
    filter_answers(run)
    tables.filter_tables(run)
    tables.write_tables(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(style.HOUSE_STYLE, "savefig.dpi", 40)  # a quarter of the time
        figures.write_figures(run)
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
    first = compose.decoding(run).save(tmp_path / "a")
    second = compose.decoding(run).save(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_readers_own_settings_do_not_change_a_figure(run, tmp_path):
    import matplotlib as mpl

    first = compose.decoding(run).save(tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30}):
        second = compose.decoding(run).save(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_figures_leave_the_global_state_of_matplotlib_alone():
    code = (
        "import sys; import qponder_lib.report.figures; "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_model_has_its_own_colour_and_marker():
    assert len(set(style.MODEL_COLOURS.values())) == len(style.MODEL_COLOURS)
    assert len(set(style.MODEL_MARKERS.values())) == len(style.MODEL_MARKERS)
    assert set(style.MODEL_COLOURS) == set(style.MODEL_MARKERS) == set(tables.MODEL_LABELS)


def test_figures_name_the_run_they_are_from(run):
    drawing = compose.decoding(run).signed("Run here, profile synthetic, embedded sets.")
    assert drawing.figure.get_supxlabel().startswith("Run here")


# ---- results


def test_main_result_draws_the_scores_and_the_ceilings(run):
    data = drawn(run, "main_result")
    scores = tables.read_scores(run.paths)
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
            "reason": ["constant_scores", None],
        }
    ).astype({"value": float, "ci_low": float, "ci_high": float})
    assert results.srcc_dots(ax, data) is ax
    dots = [y for line in ax.lines if line.get_marker() == "X" for y in line.get_ydata()]
    assert np.isnan(dots).all()


def test_two_wrong_signs_do_not_make_a_right_cell(run):
    data = results.heatmap_data(run.paths)
    expected = np.where((data[["srcc", "plcc"]] < 0).any(axis=1), -1, 1)
    assert (np.sign(data["product"]) == expected).all()
    row = one(data, model="qponder", dataset="mini-spaq")
    assert row["product"] == pytest.approx(row["srcc"] * row["plcc"])


def test_scatter_keeps_unread_answers_in_its_numbers(run):
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
    data = training.grpo_data(run.paths)
    training.grpo_curve(ax, data, "validation_srcc")
    assert list(ax.lines[0].get_xdata()) == [50, 100, 150, 200]


def test_sft_curves_are_those_of_the_histories(run):
    data = select(drawn(run, "sft_loss"), variant="short")
    history = pd.read_csv(run.paths.sft("short") / "history.csv")
    assert data["loss"].tolist() == pytest.approx(history["loss"].tolist())


# ---- filter


def test_histogram_bars_add_up_to_all_answers(run, ax):
    data = pd.read_csv(run.paths.tables / "filter_histogram.csv")
    filtered.kept_histogram(ax, data)
    assert sum(bar.get_height() for bar in ax.patches) == data["n_all"].sum()


# ---- rewards


def test_reward_curve_is_one_over_e_at_an_error_of_alpha():
    data = rewards.reward_data([10.0])
    row = one(data, error=10.0)
    assert row["reward"] == pytest.approx(np.exp(-1.0))
    assert row["slope"] == pytest.approx(np.exp(-1.0) / 10.0)


@pytest.mark.parametrize("width", rewards.WIDTHS)
def test_best_answer_moves_from_the_mode_to_the_median(width):
    belief = rewards.belief(width)
    mode = rewards.GRID[belief.argmax()]
    median = rewards.median_of(belief)
    assert belief.sum() == pytest.approx(1.0)
    assert rewards.best_answer(belief, 0.5) == pytest.approx(mode, abs=0.75)
    assert rewards.best_answer(belief, 2000.0) == pytest.approx(median, abs=0.5)


def test_small_alpha_holds_an_unsure_model_near_the_mode():
    belief = rewards.belief(18.0)
    mode, median = rewards.GRID[belief.argmax()], rewards.median_of(belief)
    at_10, at_50 = (rewards.best_answer(belief, alpha) for alpha in (10.0, 50.0))
    assert abs(at_10 - mode) < 2.0 < 15.0 < abs(at_10 - median)
    assert median < at_50 < at_10


def test_landscape_compares_two_tolerances_even_if_the_profile_has_the_papers():
    data = compose.reward_landscape((10.0, 10.0)).data
    assert set(data.loc[data["panels"] == "cde", "alpha"]) == {10.0, 25.0}


def test_expected_reward_marks_the_best_score():
    stated = np.arange(0.0, 101.0)
    belief = np.where(stated == 30.0, 1.0, 0.0)
    figure = figures.expected_reward(stated, belief, {"alpha 10": np.exp(-abs(stated - 30) / 10)})
    dot = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.ravel(dot.get_xdata()).tolist() == [30.0]


# ---- pictures


def test_contact_sheet_gets_worse_with_the_level_where_levels_are_noise():
    data = select(benchmark.contact_data(benchmark.example_scene(48), ("noise",)), type="noise")
    assert data["psnr"].is_monotonic_decreasing


def test_contact_sheet_shows_every_type_and_level(run):
    data = drawn(run, "contact_sheet")
    assert len(data) == len(distortions.LEVELS) * distortions.N_LEVELS
    assert set(data.loc[~data["trained"], "type"]) == set(distortions.UNSEEN)


def test_mos_counts_add_up_and_the_best_image_is_in_the_last_bin():
    data = benchmark.mos_data({"a": [0.0, 5.0, 100.0]})
    assert data["n"].sum() == 3
    assert data["n"].iloc[-1] == 1


def test_image_grid_needs_a_caption_per_image():
    figure = figures.image_grid([PICTURE] * 3, ["a", "b", "c"], columns=2, title="three")
    assert len(figure.axes) == 4
    with pytest.raises(ValueError, match="caption"):
        figures.image_grid([PICTURE], ["a", "b"])


def test_notebook_calls_work_on_the_paths_of_a_run(run):
    for call in (
        figures.main_result,
        figures.filter_sweep,
        figures.filter_histogram,
        figures.sft_curves,
        figures.training_curves,
    ):
        assert call(run.paths).axes
    assert figures.mos_histograms({"a": [10.0, 20.0], "b": [30.0]}).axes
    assert figures.reward_landscape(alphas=(10.0, 25.0)).axes


# ---- study


def test_forest_draws_a_dot_per_seed_and_a_diamond_for_all(ax):
    data = pd.DataFrame(
        {
            "arm": "Q-Ponder − its cold start",
            "seed": ["0", "1", "all"],
            "n_runs": [1, 1, 2],
            "decoding": "greedy",
            "protocol": "raw",
            "dataset": "mini-koniq",
            "metric": "srcc",
            "value": [0.02, 0.04, 0.03],
            "ci_low": [0.0, 0.01, 0.01],
            "ci_high": [0.04, 0.07, 0.05],
        }
    )
    where = {"decoding": "greedy", "dataset": "mini-koniq"}
    assert forest(ax, data, metric="srcc", **where) is ax
    markers = [line.get_marker() for line in ax.lines]
    assert (markers.count("o"), markers.count("D")) == (2, 1)


def test_forest_without_such_numbers_says_so(ax):
    forest(ax, pd.DataFrame(), decoding="greedy", dataset="a", metric="srcc")
    assert ax.texts[0].get_text() == "not measured"


# ---- widgets


def test_reward_explorer_starts_where_it_is_told():
    widget = widgets.reward_explorer(mos=40.0, alpha=25.0)
    values = {child.description: child.value for child in widget.children[:3]}
    assert values["MOS"] == 40.0
    assert values["alpha"] == pytest.approx(25.0)


def test_reward_figure_marks_the_reward_of_the_stated_score():
    figure = widgets.reward_figure(mos=40.0, score=65.0, alpha=25.0)
    dot = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.ravel(dot.get_ydata())[0] == pytest.approx(np.exp(-1.0))


def test_distortion_explorer_offers_every_type_and_level():
    widget = widgets.distortion_explorer(PICTURE)
    menu = next(child for child in widget.children if child.description == "type")
    slider = next(child for child in widget.children if child.description == "level")
    assert set(menu.options) == set(distortions.LEVELS)
    assert (slider.min, slider.max) == (1, distortions.N_LEVELS)


def test_distortion_figure_shows_the_damage_itself():
    figure = widgets.distortion_figure(PICTURE, "noise", 3)
    shown = [np.asarray(panel.images[0].get_array()) for panel in figure.axes]
    assert np.array_equal(shown[0], PICTURE)
    expected = distortions.apply(PICTURE, "noise", 3, np.random.default_rng(0))
    assert np.array_equal(shown[1], expected)


def test_drawing_saves_missing_numbers_as_empty_cells(tmp_path, ax):
    drawing = Drawing("x", ax.figure, pd.DataFrame({"a": [1.0, np.nan]}))
    csv = drawing.save(tmp_path)[-1]
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
    tables.write_tables(run)
    assert one(results.heatmap_data(run.paths), model="base", dataset=MEAN)["product"] != 0.0
    base = next(
        line
        for line in (run.paths.tables / "table1.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| Base")
    )
    assert "too_few" in base
    assert base.endswith("| 0 | 24 |")
    for draw in (compose.main_result, compose.fig4a_heatmap):
        assert draw(run.paths).save(tmp_path / "figures")
    for draw in (compose.scatter_models, compose.scatter_sets, compose.decoding):
        assert draw(run).save(tmp_path / "figures")
