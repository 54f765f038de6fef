"""Joining, measuring and comparing files; the two commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from qponder_lib import artifacts, metrics
from qponder_lib.cli import app
from qponder_lib.data.catalog import named_references
from qponder_lib.evaluation import external as submissions
from qponder_lib.evaluation.external import TableError
from qponder_lib.evaluation.external.protocols import isotonic_fit
from qponder_lib.metrics import Resampling
from qponder_lib.records import PredictionRecord

PLAN = Resampling(200)
SHARED = Path(__file__).parents[2] / "shared" / "data"
runner = CliRunner()


def noisy(n=60, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    mos = rng.uniform(1.0, 5.0, n)
    return np.clip(mos + rng.normal(0.0, noise, n), 1.0, 5.0), mos


def table(path, **columns):
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def ids(n=60):
    return [f"i{k:03d}.png" for k in range(n)]


@pytest.fixture
def files(tmp_path):
    scores, mos = noisy()
    predictions = table(tmp_path / "p.csv", image=ids(), score=scores)
    labels = table(tmp_path / "l.csv", image=ids(), mos=mos)
    return predictions, labels


def joined(predictions, labels=None):
    human = None if labels is None else submissions.read_labels(labels)
    return submissions.join(submissions.read_submission(predictions), human)


def test_rows_in_another_order_join_the_same(tmp_path, files):
    _, mos = noisy()
    turned = table(tmp_path / "t.csv", image=ids()[::-1], mos=mos[::-1])
    assert joined(files[0], turned) == joined(files[0], files[1])
    assert joined(files[0], turned).mos == tuple(mos)


def test_what_does_not_join_is_counted_and_shown(tmp_path):
    scores, mos = noisy()
    predictions = table(tmp_path / "p.csv", image=["x.png", *ids()[1:]], score=scores)
    labels = table(tmp_path / "l.csv", image=ids()[:-2], mos=mos[:-2])
    report = joined(predictions, labels).report
    assert (report.n_predictions, report.n_labels, report.n_joined) == (60, 58, 57)
    assert report.without_label == ("i058.png", "i059.png", "x.png")
    assert report.without_prediction == ("i000.png",)


def test_file_names_join_only_where_no_id_does_and_none_is_there_twice(tmp_path, files):
    _, mos = noisy()
    deep = table(tmp_path / "d.csv", image=[f"SET/images/{i}" for i in ids()], mos=mos)
    assert joined(files[0], deep).report.by == "file name"
    assert joined(files[0], deep).mos == joined(files[0], files[1]).mos
    one = table(tmp_path / "o.csv", image=[ids()[0], *(f"a/{i}" for i in ids()[1:])], mos=mos)
    assert joined(files[0], one).report.n_joined == 1
    twice = table(tmp_path / "w.csv", image=[f"{k}/i000.png" for k in range(60)], mos=mos)
    with pytest.raises(TableError, match=r"no id is in .*w\.csv too: \('i000.png'"):
        joined(files[0], twice)


def test_predictions_without_labels_ask_for_them(files):
    with pytest.raises(TableError, match="say --labels FILE"):
        joined(files[0])


def test_numbers_equal_scipys_and_missing_ones_are_left_out_and_counted(tmp_path):
    scores, mos = noisy()
    cells = ["" if k < 5 else score for k, score in enumerate(scores)]
    path = table(tmp_path / "p.csv", image=ids(), score=cells, mos=mos)
    rows = submissions.measure(joined(path), PLAN)
    found = {(row.metric, row.protocol): row for row in rows}
    x, y = scores[5:], mos[5:]
    expected = {
        "srcc": stats.spearmanr(x, y).statistic,
        "plcc": stats.pearsonr(x, y).statistic,
        "krcc": stats.kendalltau(x, y).statistic,
        "rmse": np.sqrt(np.mean((x - y) ** 2)),
        "mae": np.mean(np.abs(x - y)),
    }
    for metric, value in expected.items():
        assert found[metric, "raw"].value == pytest.approx(value)
    assert {(row.n, row.n_unparsed) for row in rows} == {(55, 5)}
    assert found["srcc", "raw"].ci_low < expected["srcc"] < found["srcc", "raw"].ci_high
    assert found["plcc", "logistic4"].value >= expected["plcc"] - 1e-6
    assert found["rmse", "logistic5"].value <= expected["rmse"]


def test_shared_resamples_give_the_interval_that_a_metric_has_alone(files):
    met = joined(*files)
    alone = metrics.estimate("srcc", met.samples[0], met.mos, resampling=PLAN)
    together = submissions.measure(met, PLAN)[0]
    assert (together.ci_low, together.ci_high) == (alone.ci_low, alone.ci_high)


def test_images_of_one_reference_are_drawn_together(tmp_path):
    scores, mos = (np.repeat(values, 10) for values in noisy(12))
    references = [f"r{k // 10}" for k in range(120)]
    columns = dict(image=ids(120), score=scores, mos=mos)
    alone = submissions.measure(joined(table(tmp_path / "a.csv", **columns)), PLAN)
    path = table(tmp_path / "b.csv", **columns, reference=references)
    met = joined(path)
    assert len(set(met.clusters)) == 12
    together = submissions.measure(met, PLAN)
    for k in (0, -1):  # SRCC, whose interval is resampled, and KRCC, whose is not
        assert together[k].value == alone[k].value
        widths = [row.ci_high - row.ci_low for row in (alone[k], together[k])]
        assert widths[1] > 1.5 * widths[0]


def test_samples_of_our_own_rows_are_measured_one_by_one_and_averaged(tmp_path):
    (first, mos), (second, _) = noisy(noise=0.3), noisy(noise=1.5)
    rows = [
        PredictionRecord(image_id=i, text="", score=s, parse_status="ok", mos=m, sample=k)
        for k, scores in enumerate((first, second))
        for i, s, m in zip(ids(), scores, mos, strict=True)
    ]
    path = tmp_path / "predictions.jsonl"
    artifacts.write_jsonl(path, rows)
    found = {(row.metric, row.protocol): row for row in submissions.measure(joined(path), PLAN)}
    single = [stats.spearmanr(scores, mos).statistic for scores in (first, second)]
    assert found["srcc", "raw"].value == pytest.approx(np.mean(single))
    assert {protocol for _, protocol in found} == {"raw"}


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([3.0] * 60, "constant_scores"),
        (["inf"] * 60, "too_few"),
        (["", *["x"] * 59], "too_few"),
        ([3.0] * 9 + [""] * 51, "too_few"),
    ],
)
def test_degenerate_predictions_have_no_value_but_a_reason(tmp_path, scores, reason):
    met = joined(table(tmp_path / "p.csv", image=ids(), score=scores, mos=noisy()[1]))
    for row in submissions.measure(met, PLAN):
        if row.metric in ("srcc", "plcc", "krcc"):
            assert (row.value, row.ci_low, row.reason) == (None, None, reason)
    assert {row.reason for row in submissions.protocols(met)} == {reason}


def test_errors_on_another_scale_have_no_value(tmp_path):
    scores, mos = noisy()
    met = joined(table(tmp_path / "p.csv", image=ids(), score=20.0 * scores, mos=mos))
    found = {(row.metric, row.protocol): row for row in submissions.measure(met, PLAN)}
    assert (found["mae", "raw"].value, found["mae", "raw"].reason) == (None, "other_scale")
    assert found["rmse", "logistic4"].value < 1.0  # after the fit it is on the labels' scale
    assert found["srcc", "raw"].reason is None


def test_isotonic_fit_by_hand():
    """Scores 2 and 2 share the mean 3; with the 5 before them they pool to (5 + 2 + 4) / 3."""
    x, y = np.array([1.0, 2.0, 2.0, 9.0]), np.array([5.0, 2.0, 4.0, 8.0])
    assert isotonic_fit(x, y).tolist() == pytest.approx([11 / 3, 11 / 3, 11 / 3, 8.0])
    assert isotonic_fit(-x, y).tolist() == pytest.approx([11 / 3, 11 / 3, 11 / 3, 8.0])


def test_protocols_move_the_number_as_they_must(tmp_path):
    scores, mos = noisy(200, noise=1.5)
    columns = dict(image=ids(200), score=-np.round(scores), mos=mos)
    rows = submissions.protocols(joined(table(tmp_path / "p.csv", **columns)))
    found = {row.protocol: row for row in rows}
    raw = found["raw"]
    assert raw.srcc < 0.0
    assert (raw.srcc_moved, raw.plcc_moved) == (0.0, 0.0)
    assert found["absolute"].srcc == -raw.srcc
    assert found["absolute"].srcc_moved == pytest.approx(-2.0 * raw.srcc)
    assert found["isotonic"].plcc > abs(raw.plcc)  # the best of all monotone maps of either sign
    assert found["logistic4"].plcc <= found["isotonic"].plcc + 1e-9
    assert abs(found["ties ignored"].srcc - raw.srcc) > 1e-3
    assert found["ties ignored"].plcc_moved == 0.0


def test_filling_unread_answers_moves_the_number_and_is_shown_only_where_there_are_some(tmp_path):
    scores, mos = noisy()
    cells = ["" if k < 20 else score for k, score in enumerate(scores)]
    met = joined(table(tmp_path / "p.csv", image=ids(), score=cells, mos=mos))
    rows = {row.protocol: row for row in submissions.protocols(met)}
    middle = (mos.min() + mos.max()) / 2.0
    filled = np.where(np.arange(60) < 20, middle, scores)
    assert rows["filled"].srcc == pytest.approx(stats.spearmanr(filled, mos).statistic)
    assert rows["filled"].srcc < rows["raw"].srcc
    whole = joined(table(tmp_path / "w.csv", image=ids(), score=scores, mos=mos))
    assert "filled" not in {row.protocol for row in submissions.protocols(whole)}
    far = [cell and 50.0 * cell for cell in cells]
    met = joined(table(tmp_path / "f.csv", image=ids(), score=far, mos=mos))
    assert submissions.protocols(met)[-1].reason == "other_scale"


def test_monotone_curves_do_not_move_the_srcc_of_untied_scores(tmp_path):
    scores, mos = noisy(200)
    rows = submissions.protocols(
        joined(table(tmp_path / "p.csv", image=ids(200), score=np.exp(scores), mos=mos))
    )
    found = {row.protocol: row for row in rows}
    assert found["logistic4"].srcc_moved == pytest.approx(0.0, abs=1e-3)
    assert found["ties ignored"].srcc_moved == pytest.approx(0.0, abs=1e-3)
    assert found["logistic4"].plcc_moved > 0.02


def test_a_file_compared_with_itself_differs_by_nothing_and_has_no_textbook_test(tmp_path, files):
    both = [submissions.read_submission(files[0])] * 2
    found = submissions.compare(*both, submissions.read_labels(files[1]), PLAN)
    assert all(
        (g.value, g.ci_low, g.ci_high, g.p_value) == (0.0, 0.0, 0.0, 1.0) for g in found.gaps
    )
    assert {gap.steiger_z for gap in found.gaps} == {None}


def test_comparison_uses_the_images_both_answer_and_names_the_others(tmp_path):
    (good, mos), (bad, _) = noisy(noise=0.3), noisy(noise=1.5, seed=0)
    first = table(tmp_path / "a.csv", image=ids(), score=["", *good[1:]], mos=mos)
    second = table(
        tmp_path / "b.csv",
        image=["x.png", *ids()[:-1]],
        score=[2.0, *bad[:-1]],
        mos=[3.0, *mos[:-1]],
    )
    sides = [submissions.read_submission(path) for path in (first, second)]
    found = submissions.compare(*sides, plan=PLAN)
    assert (found.n, found.n_excluded, found.n_only) == (58, 1, (1, 1))
    assert (found.only_first, found.only_second) == (("i059.png",), ("x.png",))
    gap = {gap.metric: gap for gap in found.gaps}
    single = [stats.spearmanr(v[1:59], mos[1:59]).statistic for v in (good, bad)]
    assert (gap["srcc"].first, gap["srcc"].second) == pytest.approx(single)
    assert gap["srcc"].value == pytest.approx(single[0] - single[1])
    assert gap["srcc"].ci_low > 0.0
    assert gap["plcc"].steiger_z > 2.0
    assert gap["plcc"].zou_low > 0.0
    assert gap["mae"].ci_high < 0.0
    assert gap["mae"].steiger_z is None


def test_files_with_different_labels_are_not_compared(tmp_path):
    scores, mos = noisy()
    first = table(tmp_path / "a.csv", image=ids(), score=scores, mos=mos)
    second = table(tmp_path / "b.csv", image=ids(), score=scores, mos=mos / 5.0)
    sides = [submissions.read_submission(path) for path in (first, second)]
    with pytest.raises(TableError, match=r"image 'i000.png' has the labels"):
        submissions.compare(*sides, plan=PLAN)
    found = submissions.compare(*sides, submissions.read_labels(first), PLAN)
    assert found.n == 60


def test_the_command_prints_and_writes_the_same_numbers(tmp_path, files):
    out = tmp_path / "out.json"
    done = runner.invoke(
        app, ["evaluate", str(files[0]), "--labels", str(files[1]), "--json", str(out)]
    )
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    srcc = next(row for row in written["files"][0]["measured"] if row["metric"] == "srcc")
    assert f"{srcc['value']:.3f} [{srcc['ci_low']:.3f}, {srcc['ci_high']:.3f}]" in done.output
    assert written["resampling"]["n_resamples"] == 10_000
    assert written["files"][0]["join"]["n_joined"] == 60
    assert "isotonic" in done.output


def test_the_command_reads_bad_files_without_a_traceback(tmp_path, files):
    wrong = table(tmp_path / "w.csv", image=ids(), value=range(60))
    for arguments in (["evaluate", str(wrong)], ["compare", str(files[0]), str(wrong)]):
        done = runner.invoke(app, arguments)
        assert done.exit_code == 2
        assert "qponder: " in done.output
        assert "--score" in done.output
        assert "Traceback" not in done.output


def test_the_command_compares(tmp_path, files):
    other = table(tmp_path / "o.csv", image=ids(), score=noisy(noise=1.5)[0])
    out = tmp_path / "out.json"
    done = runner.invoke(
        app, ["compare", str(files[0]), str(other), "--labels", str(files[1]), "--json", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "check: Steiger Z +" in done.output
    assert json.loads(out.read_text())["gaps"][0]["value"] > 0.0


def test_declared_label_column_is_that_of_the_label_file(tmp_path, files):
    _, mos = noisy()
    two = table(tmp_path / "two.csv", image=ids(), mos=mos, dmos=100.0 - mos)
    arguments = ["compare", str(files[0]), str(files[0]), "--labels", str(two)]
    assert "say --mos COLUMN" in " ".join(runner.invoke(app, arguments).output.split())
    assert runner.invoke(app, [*arguments, "--mos", "dmos"]).exit_code == 0
    done = runner.invoke(app, ["evaluate", *arguments[2:], "--mos", "dmos"])
    assert "SRCC is negative" in done.output


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real predictions in ../shared/data")
@pytest.mark.parametrize(
    ("name", "n", "srcc", "plcc"),
    [
        ("koniq", 10073, 0.470, 0.546),
        ("livec", 1169, 0.504, 0.532),
        ("agi", 2982, 0.617, 0.686),
        ("kadid", 10125, 0.486, 0.486),
    ],
)
def test_published_numbers_of_a_real_model_come_out(name, n, srcc, plcc):
    """The published PLCC is that of the logits' difference; that of the softmax is another."""
    met = joined(SHARED / "predictions" / "qbench_qwen-vl" / f"{name}.json")
    found = {(row.metric, row.protocol): row for row in submissions.measure(met, PLAN)}
    assert found["srcc", "raw"].n == n
    assert round(found["srcc", "raw"].value, 3) == srcc
    assert round(found["plcc", "raw"].value, 3) == plcc
    softmax = {"koniq": 0.443, "livec": 0.458, "agi": 0.625, "kadid": 0.489}[name]
    assert round(found["plcc", "softmax"].value, 3) == softmax
    for row in found.values():
        assert row.ci_low is None or row.ci_low < row.value < row.ci_high


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real labels in ../shared/data")
def test_a_label_file_brings_the_references_that_widen_the_interval():
    path = SHARED / "predictions" / "qbench_qwen-vl" / "kadid.json"
    labels = SHARED / "labels" / "KADID-10k.txt"
    met = joined(path, labels)
    assert (met.report.by, met.report.n_joined) == ("file name", 10125)
    assert len(set(met.clusters)) == 81
    together = submissions.measure(met, PLAN)[0]
    alone = submissions.measure(replace(met, clusters=None), PLAN)[0]
    assert together.value == pytest.approx(alone.value, abs=0.001)
    assert together.ci_high - together.ci_low > 1.2 * (alone.ci_high - alone.ci_low)
    named = joined(path)
    assert named.named_as == "KADID-10k"
    assert {a[:3] for a in named.clusters} == {Path(a).stem for a in met.clusters}


@pytest.mark.parametrize(
    ("ids", "title", "references"),
    [
        (["a/i01_02_3.bmp", "a/I02_24_5.bmp"], "TID2013", ["I01", "I02"]),
        (["1600.AWGN.1.png", "sunset.BLUR.5.png"], "CSIQ", ["1600", "sunset"]),
        (["final01_d1_l1.bmp"], "CID:IQ", ["final01"]),
        (["I01_02_03.png", "i.png"], None, []),
        (["I01_26_01.png"], None, []),  # KADID has 25 types
        (["photo.a.1.png"], None, []),
        ([f"{k}.jpg" for k in range(20)], None, []),
    ],
)
def test_references_are_read_off_names_only_if_all_have_one_public_sets_form(
    ids, title, references
):
    found, mine = named_references(ids)
    assert mine == references
    assert found == title or (title and found.startswith(title))
