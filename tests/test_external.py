"""Files of others: reading, measuring and comparing them; the two commands."""

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from qponder_lib import artifacts
from qponder_lib.cli import app
from qponder_lib.data.tabular import TableError
from qponder_lib.evaluation import external, scoring
from qponder_lib.evaluation.external import read_labels, read_scores
from qponder_lib.records import ImageRecord, PredictionRecord

SHARED = Path(__file__).parents[2] / "shared" / "data"
RAW = [(metric, "raw") for metric in external.METRICS]
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


def row(image_id, score, sample=0, mos=50.0):
    status = "no_answer" if score is None else "ok"
    return PredictionRecord(
        image_id=image_id, text="", score=score, parse_status=status, mos=mos, sample=sample
    )


@pytest.fixture
def files(tmp_path):
    scores, mos = noisy()
    predictions = table(tmp_path / "p.csv", image=ids(), score=scores)
    labels = table(tmp_path / "l.csv", image=ids(), mos=mos)
    return predictions, labels


@pytest.fixture
def file(tmp_path):
    def write(content, name="predictions"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


def by_id(scores):
    """Score by image id of each sample, None where there is none."""
    return [
        {i: None if math.isnan(s) else s for i, s in zip(scores.ids, sample, strict=True)}
        for sample in scores.samples.tolist()
    ]


def measured(predictions, labels=None, **options):
    return external.evaluate(predictions, labels, **options).numbers


def invoke(*arguments):
    return runner.invoke(app, list(map(str, arguments)))


# ---- reading


def test_qbench_scores_are_logit_differences(file):
    rows = [
        {"img_path": "a", "gt_score": "4.5", "logit_good": 12.0, "logit_poor": 10.0},
        {"img_path": "b", "gt_score": "1.5", "logit_good": 9.0, "logit_poor": None},
    ]
    found = read_scores(file("".join(json.dumps(one) for one in rows)))
    assert by_id(found) == [{"a": 2.0, "b": None}]
    assert found.logits
    assert found.labels.mos.tolist() == [4.5, 1.5]
    assert found.states == {"ok": 1, "no_logit": 1}
    assert found.examples == ("row 2, logit_poor: 'None' is missing",)


def test_softmax_of_two_logits_keeps_the_ranks_and_has_another_plcc(tmp_path):
    scores, mos = noisy()
    columns = dict(img_path=ids(), logit_good=scores, logit_poor=[2.0] * 60, gt_score=mos)
    found = measured(table(tmp_path / "q.csv", **columns), protocols=True)
    share = 1.0 / (1.0 + np.exp(2.0 - scores))
    assert found["plcc", "softmax"].value == pytest.approx(stats.pearsonr(share, mos).statistic)
    assert found["mae", "raw"].reason == "other_scale"  # logits, wherever they happen to lie


def test_metas_with_a_score_added_are_read_by_image_not_by_their_id(file):
    one = {"id": "a.jpg->3.4", "image": "KONIQ/images/a.jpg", "gt_score": 3.4, "gt_score_norm": 3.9}
    rows = [one | {"score": 3.0}, one | {"image": "KONIQ/images/b.jpg", "score": 2.0}]
    found = read_scores(file(json.dumps(rows)))
    assert by_id(found) == [{"KONIQ/images/a.jpg": 3.0, "KONIQ/images/b.jpg": 2.0}]
    assert found.labels.column == "gt_score"
    assert read_scores(file(json.dumps(rows)), mos="gt_score_norm").labels.mos[0] == 3.9


def test_our_own_rows_come_with_samples_and_parse_states(tmp_path):
    path = tmp_path / "predictions.jsonl"
    rows = [row("a", 40.0, 0), row("b", None, 0), row("b", 60.0, 1), row("a", 41.0, 1)]
    artifacts.write_jsonl(path, rows)
    found = read_scores(path)
    assert by_id(found) == [{"a": 40.0, "b": None}, {"a": 41.0, "b": 60.0}]
    assert found.states == {"ok": 3, "no_answer": 1}
    assert (found.labels.ids, found.labels.mos.tolist()) == (("a", "b"), [50.0, 50.0])
    artifacts.write_jsonl(path, rows[:3])
    with pytest.raises(TableError, match="sample 1 lacks images"):
        read_scores(path)
    artifacts.write_jsonl(path, [*rows, rows[0]])
    with pytest.raises(TableError, match="'a' is answered twice in sample 0"):
        read_scores(path)
    artifacts.write_jsonl(path, [row("a", 1.0), row("a", 1.0, 1, mos=2.0)])
    with pytest.raises(TableError, match="two mos values"):
        read_scores(path)


@pytest.mark.parametrize("kind", ["image", "clip"])
def test_what_the_command_score_prints_is_read(tmp_path, kind):
    """Rows of `qponder score --json`: the file, and a prediction without a MOS."""
    scores, mos = noisy()
    rows = [
        {kind: f"/photos/{name}", **row(f"/photos/{name}", score, mos=None).model_dump()}
        for name, score in zip(ids(), scores.tolist(), strict=True)
    ]
    path = tmp_path / "sc.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    found = external.evaluate(path, table(tmp_path / "l.csv", image=ids(), mos=mos))
    expected = stats.spearmanr(scores, mos).statistic
    assert found.numbers["srcc", "raw"].value == pytest.approx(expected)
    assert found.joined.by == {"path ending": 60}


def test_test_images_of_a_run_are_labels_with_references(tmp_path):
    scores, mos = noisy()
    images = [
        ImageRecord(
            image_id=f"s-test-{k:05d}",
            image=f"s/images/s-test-{k:05d}.png",
            dataset="s",
            split="test",
            mos=20.0 * value,
            mos_raw=value,
            sha256="0" * 64,
            reference=f"photograph-{k % 7}",
        )
        for k, value in enumerate(mos.tolist())
    ]
    artifacts.write_jsonl(tmp_path / "test.jsonl", images)
    rows = [row(one.image_id, 20.0 * s, mos=one.mos) for one, s in zip(images, scores.tolist())]
    artifacts.write_jsonl(tmp_path / "p.jsonl", rows)
    found = external.evaluate(tmp_path / "p.jsonl", tmp_path / "test.jsonl")
    assert found.joined.labels.column == "mos"
    assert {one.n_references for one in found.numbers.values()} == {7}
    answers = scoring.Predictions.of_rows(rows, {one.image_id: one.photograph for one in images})
    own = scoring.score(answers, RAW)
    assert found.numbers == own  # a run's own numbers are those of `qponder evaluate`


def test_labels_may_call_their_column_score_and_keep_references(file):
    labels = read_labels(
        file(
            "dis_img_path,dis_type,ref_img_path,score\nd/a.png,jpeg,r/1.png,0.2\nd/b.png,jpeg,r/1.png,\n"
        )
    )
    assert (labels.ids, labels.mos.tolist()) == (("d/a.png",), [0.2])
    assert labels.references == ("r/1.png",)
    assert labels.states == {"ok": 1, "missing": 1}
    assert labels.examples == ("row 3, score: '' is missing",)


def test_labels_prefer_a_column_that_says_it_is_one(file):
    assert read_labels(file("image,score,mos\na,1,5\n")).mos.tolist() == [5.0]
    with pytest.raises(TableError, match=r"which column is the mos\? several"):
        read_labels(file("image,mos,dmos\na,1,5\n"))
    with pytest.raises(TableError, match="say --mos"):
        read_labels(file("image,value\na,1\n"))
    with pytest.raises(TableError, match="say --labels-id"):
        read_labels(file("image,file,mos\na,b,1\n"))
    with pytest.raises(TableError, match="not one label in 'mos' is a number: 1 not_a_number"):
        read_labels(file("image,mos\na,good\n"))


def test_data_frames_are_read_like_files(files):
    predictions, labels = (pd.read_csv(path) for path in files)
    expected = measured(*files)
    assert measured(predictions, labels) == expected
    assert measured(predictions.set_index("image"), labels) == expected
    assert external.evaluate(*files).table().equals(external.evaluate(predictions, labels).table())
    predictions.loc[3, "score"] = np.nan
    assert measured(predictions, labels)["srcc", "raw"].n == 59
    with pytest.raises(TableError, match="data frame: no rows"):
        read_scores(predictions[:0])


# ---- measuring


def test_numbers_equal_scipys_and_missing_ones_are_left_out_and_counted(tmp_path):
    scores, mos = noisy()
    cells = ["" if k < 5 else score for k, score in enumerate(scores)]
    found = measured(table(tmp_path / "p.csv", image=ids(), score=cells, mos=mos), protocols=True)
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
    assert {(one.n, one.n_unparsed) for one in found.values()} == {(55, 5)}
    assert found["srcc", "raw"].ci_low < expected["srcc"] < found["srcc", "raw"].ci_high
    assert found["plcc", "logistic4"].value >= expected["plcc"] - 1e-6
    assert found["rmse", "logistic5"].value <= expected["rmse"]


def test_images_of_one_reference_are_drawn_together(tmp_path):
    scores, mos = (np.repeat(values, 10) for values in noisy(12))
    columns = dict(image=ids(120), score=scores, mos=mos)
    alone = measured(table(tmp_path / "a.csv", **columns))["srcc", "raw"]
    references = [f"r{k // 10}" for k in range(120)]
    together = measured(table(tmp_path / "b.csv", **columns, reference=references))["srcc", "raw"]
    assert (alone.n_references, together.n_references) == (120, 12)
    assert together.value == alone.value
    widths = [one.ci_high - one.ci_low for one in (alone, together)]
    assert widths[1] > 1.5 * widths[0]


def test_samples_of_our_own_rows_are_measured_one_by_one_and_averaged(tmp_path):
    (first, mos), (second, _) = noisy(noise=0.3), noisy(noise=1.5)
    rows = [
        row(i, s, k, mos=m)
        for k, scores in enumerate((first, second))
        for i, s, m in zip(ids(), scores, mos, strict=True)
    ]
    artifacts.write_jsonl(tmp_path / "predictions.jsonl", rows)
    found = measured(tmp_path / "predictions.jsonl", protocols=True)
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
    path = table(tmp_path / "p.csv", image=ids(), score=scores, mos=noisy()[1])
    found = measured(path, protocols=True)
    for metric in ("srcc", "plcc", "krcc"):
        one = found[metric, "raw"]
        assert (one.value, one.ci_low, one.reason) == (None, None, reason)
    assert found["plcc", "logistic4"].reason == reason
    if reason == "too_few":
        assert invoke("evaluate", path).exit_code == 1  # not one number


@pytest.mark.parametrize(
    ("scores", "mos", "same"),
    [
        (lambda m: 20.0 * m, lambda m: m, False),  # 20 to 100 beside 1 to 5
        (lambda m: m, lambda m: 20.0 * m, False),
        (lambda m: m, lambda m: 25.0 * (m - 1.0), False),  # 1 to 5 lie inside 0 to 100
        (lambda m: (m - 1.0) / 4.0, lambda m: 25.0 * (m - 1.0), False),
        (lambda m: m, lambda m: m, True),
        (lambda m: 3.0 + (m - 3.0) / 8.0, lambda m: m, True),  # timid, but on the scale
    ],
)
def test_errors_have_a_value_only_on_the_labels_scale(tmp_path, scores, mos, same):
    stated, labels = noisy(200)
    path = table(tmp_path / "p.csv", image=ids(200), score=scores(stated), mos=mos(labels))
    found = measured(path, protocols=True)
    for metric in ("mae", "rmse"):
        assert found[metric, "raw"].reason == (None if same else "other_scale")
    assert found["rmse", "logistic4"].value < 0.3 * np.ptp(mos(labels))
    assert found["srcc", "raw"].reason is None


@pytest.mark.parametrize(("top", "same"), [(100.0, True), (5.0, False)])
def test_our_own_rows_are_known_to_be_on_0_to_100(tmp_path, top, same):
    """However far a poor model misses, its errors count; on labels of 1 to 5 they do not."""
    artifacts.write_jsonl(tmp_path / "p.jsonl", [row(i, 5.0 + k % 7) for k, i in enumerate(ids())])
    labels = table(tmp_path / "l.csv", image=ids(), mos=np.linspace(0.6, 1.0, 60) * top)
    found = measured(tmp_path / "p.jsonl", labels)
    assert (found["mae", "raw"].value is not None) == same


# ---- comparing


def test_a_file_compared_with_itself_differs_by_nothing(files):
    found = external.compare(files[0], files[0], files[1])
    for key, one in found.numbers.items():
        assert one.value == 0.0
        if key[0] != "krcc":
            assert (one.ci_low, one.ci_high, one.p_value) == (0.0, 0.0, 1.0)


def test_comparison_uses_the_images_both_answer_and_names_the_others(tmp_path):
    (good, mos), (bad, _) = noisy(noise=0.3), noisy(noise=1.5, seed=0)
    first = table(tmp_path / "a.csv", image=ids(), score=["", *good[1:]], mos=mos)
    second = table(
        tmp_path / "b.csv",
        image=["x.png", *ids()[:-1]],
        score=[2.0, *bad[:-1]],
        mos=[3.0, *mos[:-1]],
    )
    found = external.compare(first, second)
    srcc = found.numbers["srcc", "raw"]
    assert (srcc.n, srcc.n_excluded, srcc.n_references) == (58, 1, 58)
    single = [stats.spearmanr(v[1:59], mos[1:59]).statistic for v in (good, bad)]
    assert [side["srcc", "raw"].value for side in (found.first, found.second)] == pytest.approx(
        single
    )
    assert srcc.value == pytest.approx(single[0] - single[1])
    assert srcc.ci_low > 0.0
    assert found.numbers["mae", "raw"].ci_high < 0.0
    assert found.only == (("i059.png",), ())
    assert found.joined[1].without_label == {"no such name": ("x.png",)}
    assert list(found.table()["metric"]) == list(external.METRICS)


def test_files_from_two_machines_are_compared_as_each_is_evaluated(tmp_path, files):
    scores, _ = noisy(noise=1.0)
    linux = table(tmp_path / "a.csv", image=[f"/home/u/data/{i}" for i in ids()], score=scores)
    windows = table(
        tmp_path / "b.csv", image=[f"D:\\iqa\\{i.upper()}" for i in ids()], score=scores
    )
    found = external.compare(linux, windows, files[1])
    assert found.numbers["srcc", "raw"].n == 60
    assert [joined.by for joined in found.joined] == [{"path ending": 60}, {"case": 60}]


def test_files_with_different_labels_are_not_compared(tmp_path):
    scores, mos = noisy()
    first = table(tmp_path / "a.csv", image=ids(), score=scores, mos=mos)
    second = table(tmp_path / "b.csv", image=ids(), score=scores, mos=mos / 5.0)
    with pytest.raises(TableError, match=r"image 'i000.png' has the labels"):
        external.compare(first, second)
    assert external.compare(first, second, first).numbers["srcc", "raw"].n == 60
    halves = [
        table(tmp_path / f"{part.start}.csv", image=ids()[part], score=scores[part])
        for part in (slice(0, 30), slice(30, 60))
    ]
    with pytest.raises(TableError, match=r"no image with a label is in .*30\.csv too"):
        external.compare(*halves, first)


def test_one_file_may_hold_the_labels_of_both(tmp_path, files):
    scores, mos = noisy()
    labelled = table(tmp_path / "a.csv", image=ids(), score=scores, mos=mos)
    assert external.compare(files[0], labelled).numbers["srcc", "raw"].n == 60


# ---- the commands


def test_the_command_prints_the_same_numbers_as_text_and_as_json(files):
    words = ("evaluate", files[0], "--labels", files[1])
    done = invoke(*words, "--protocols")
    assert done.exit_code == 0, done.output
    told = json.loads(invoke(*words, "--protocols", "--json").stdout)
    srcc = next(one for one in told["files"][0]["measured"] if one["metric"] == "srcc")
    assert f"{srcc['value']:.3f} [{srcc['ci_low']:.3f}, {srcc['ci_high']:.3f}]" in done.output
    assert told["resampling"] == {"confidence": 0.95, "n_resamples": 300, "seed": 0}
    assert told["files"][0]["join"]["n_joined"] == 60
    assert "logistic4" in done.output
    assert "logistic4" not in invoke(*words).output


def test_one_bad_file_of_several_costs_that_file_alone(tmp_path, files):
    (tmp_path / "empty.json").write_text("")
    both = [files[0], tmp_path / "empty.json", files[0]]
    done = invoke("evaluate", *both, "--labels", files[1], "--json")
    assert done.exit_code == 1
    assert "qponder: " in done.stderr
    assert "empty.json: no rows" in done.stderr
    results = json.loads(done.stdout)["files"]
    assert ["error" in one for one in results] == [False, True, False]
    assert results[0]["measured"] == results[2]["measured"]
    assert invoke("evaluate", tmp_path / "empty.json", tmp_path / "empty.json").exit_code == 2


def test_the_command_reads_bad_files_without_a_traceback(tmp_path, files):
    wrong = table(tmp_path / "w.csv", image=ids(), value=range(60))
    for arguments in (["evaluate", wrong], ["compare", files[0], wrong]):
        done = invoke(*arguments)
        assert done.exit_code == 2
        assert "qponder: " in done.output
        assert "--score" in done.output
        assert "Traceback" not in done.output


def test_what_is_printed_is_true_of_what_was_read(tmp_path, files):
    """The range is that of the label file, the hash that of what came through a pipe."""
    scores, _ = noisy()
    some = table(tmp_path / "some.csv", image=ids()[:20], score=scores[:20])
    mos = pd.read_csv(files[1])["mos"]
    assert (
        f"as published: {mos.min():g} to {mos.max():g};"
        in invoke("evaluate", some, "--labels", files[1]).output
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(files[0].read_bytes()))
    writer.start()
    done = invoke("evaluate", pipe, "--labels", files[1], "--json")
    writer.join()
    assert json.loads(done.stdout)["files"][0]["sha256"] == artifacts.file_sha256(files[0])


def test_rows_that_fell_out_are_named_on_both_sides_with_the_reason(tmp_path):
    scores, mos = noisy()
    names = [f"i{k:03d}.jpg" if k < 8 else name for k, name in enumerate(ids())]
    predictions = table(tmp_path / "p.csv", image=names, score=scores)
    labels = table(tmp_path / "l.csv", image=ids(), mos=mos)
    printed = invoke("evaluate", predictions, "--labels", labels).output
    assert "joined by id: 52 of 60 predictions and 60 labels" in printed
    assert "8 x prediction without label (another extension): i000.jpg, i001.jpg" in printed
    assert "8 x label without prediction (another extension): i000.png" in printed
    assert "i004.png and 3 more" in printed


def test_the_command_compares(tmp_path, files):
    other = table(tmp_path / "o.csv", image=ids(), score=noisy(noise=1.5)[0])
    words = ("compare", files[0], other, "--labels", files[1])
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    srcc = json.loads(invoke(*words, "--json").stdout)["differences"][0]
    assert srcc["value"] == pytest.approx(srcc["first"] - srcc["second"])
    assert f"= {srcc['value']:+.4f} [{srcc['ci_low']:+.4f}, {srcc['ci_high']:+.4f}]" in done.output


def test_predictions_and_labels_have_options_of_their_own(tmp_path, files):
    scores, mos = noisy()
    odd = table(tmp_path / "odd.csv", what=ids(), how=scores, other=ids())
    two = table(tmp_path / "two.csv", who=ids(), mos=mos, dmos=100.0 - mos)
    mine = ["--id", "what", "--score", "how", "--labels", two, "--labels-id", "who"]
    assert "say --mos COLUMN" in " ".join(invoke("evaluate", odd, *mine).output.split())
    assert invoke("evaluate", odd, *mine, "--mos", "mos").exit_code == 0
    done = invoke("compare", odd, odd, *mine, "--mos", "dmos")
    assert done.exit_code == 0, done.output
    done = invoke("evaluate", odd, *mine, "--mos", "dmos")
    assert "SRCC is negative" in done.output


def test_evaluating_imports_neither_matplotlib_nor_torch(files):
    arguments = ["evaluate", str(files[0]), "--labels", str(files[1])]
    code = (
        "import sys; from qponder_lib.cli import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'matplotlib', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


# ---- real files


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real predictions in ../shared/data")
@pytest.mark.parametrize(
    ("name", "n", "srcc", "plcc", "softmax"),
    [
        ("koniq", 10073, 0.470, 0.546, 0.443),
        ("livec", 1169, 0.504, 0.532, 0.458),
        ("agi", 2982, 0.617, 0.686, 0.625),
        ("kadid", 10125, 0.486, 0.486, 0.489),
    ],
)
def test_published_numbers_of_a_real_model_come_out(name, n, srcc, plcc, softmax):
    """The published PLCC is that of the logits' difference; that of the softmax is another."""
    path = SHARED / "predictions" / "qbench_qwen-vl" / f"{name}.json"
    found = measured(path, protocols=True)
    assert found["srcc", "raw"].n == n
    rounded = [round(found[key].value, 3) for key in (("srcc", "raw"), ("plcc", "raw"))]
    assert rounded == [srcc, plcc]
    assert round(found["plcc", "softmax"].value, 3) == softmax
    for one in found.values():
        assert one.ci_low is None or one.ci_low < one.value < one.ci_high


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real labels in ../shared/data")
def test_a_label_file_brings_the_references_that_widen_the_interval():
    path = SHARED / "predictions" / "qbench_qwen-vl" / "kadid.json"
    found = external.evaluate(path, SHARED / "labels" / "KADID-10k.txt")
    joined = found.joined
    assert (joined.by, len(joined.label_ids)) == ({"path ending": 10125}, 10125)
    together = found.numbers["srcc", "raw"]
    assert together.n_references == 81
    key = ("srcc", "raw")
    alone = scoring.score(replace(joined.predictions, clusters=None), [key])[key]
    assert together.value == pytest.approx(alone.value, abs=0.001)
    assert together.ci_high - together.ci_low > 1.2 * (alone.ci_high - alone.ci_low)
    named = external.join(found.joined.scores)
    assert named.named_as == "KADID-10k"
    stems = {Path(one).stem for one in joined.predictions.clusters}
    assert set(named.predictions.clusters) == stems
