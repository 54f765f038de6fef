"""Files of predictions and labels: own rows, logits, metas, columns of labels."""

import json
import math

import pytest

from qponder_lib import artifacts
from qponder_lib.evaluation.external import Columns, TableError, read_labels, read_submission
from qponder_lib.records import PredictionRecord


@pytest.fixture
def file(tmp_path):
    def write(content, name="predictions"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def test_qbench_scores_are_logit_differences_and_softmax_has_the_same_order(file):
    rows = [
        {"img_path": "a", "gt_score": "4.5", "logit_good": 12.0, "logit_poor": 10.0},
        {"img_path": "b", "gt_score": "1.5", "logit_good": 9.0, "logit_poor": 9.0},
    ]
    found = read_submission(file("".join(json.dumps(row) for row in rows)))
    assert found.samples == ({"a": 2.0, "b": 0.0},)
    assert found.softmax == pytest.approx({"a": 1.0 / (1.0 + math.exp(-2.0)), "b": 0.5})
    assert found.labels.mos == {"a": 4.5, "b": 1.5}


def test_qbench_row_without_a_logit_is_counted(file):
    rows = [
        {"img_path": "a", "gt_score": 4.5, "logit_good": 12.0, "logit_poor": 10.0},
        {"img_path": "b", "gt_score": 1.5, "logit_good": 9.0, "logit_poor": None},
    ]
    found = read_submission(file("".join(json.dumps(row) for row in rows)))
    assert found.samples[0]["b"] is None
    assert found.softmax["b"] is None
    assert found.states == {"ok": 1, "no_logit": 1}
    assert found.examples == ("row 2, logit_poor: 'None' is missing",)


def test_metas_with_a_score_added_are_read_by_image_not_by_their_id(file):
    row = {"id": "a.jpg->3.4", "image": "KONIQ/images/a.jpg", "gt_score": 3.4, "gt_score_norm": 3.9}
    rows = [row | {"score": 3.0}, row | {"image": "KONIQ/images/b.jpg", "score": 2.0}]
    found = read_submission(file(json.dumps(rows)))
    assert found.samples == ({"KONIQ/images/a.jpg": 3.0, "KONIQ/images/b.jpg": 2.0},)
    assert found.labels.column == "gt_score"
    normed = read_submission(file(json.dumps(rows)), Columns(mos="gt_score_norm"))
    assert normed.labels.mos["KONIQ/images/a.jpg"] == 3.9


def test_our_own_rows_come_with_samples_and_parse_states(file, tmp_path):
    def row(image_id, score, sample):
        status = "no_answer" if score is None else "ok"
        return PredictionRecord(
            image_id=image_id, text="", score=score, parse_status=status, mos=50.0, sample=sample
        )

    path = tmp_path / "predictions.jsonl"
    rows = [row("a", 40.0, 0), row("b", None, 0), row("b", 60.0, 1), row("a", 41.0, 1)]
    artifacts.write_jsonl(path, rows)
    found = read_submission(path)
    assert found.samples == ({"a": 40.0, "b": None}, {"a": 41.0, "b": 60.0})
    assert found.states == {"ok": 3, "no_answer": 1}
    assert found.labels.mos == {"a": 50.0, "b": 50.0}
    artifacts.write_jsonl(path, rows[:3])
    with pytest.raises(TableError, match="samples 0 and 1 answer different images"):
        read_submission(path)
    artifacts.write_jsonl(path, [*rows, rows[0]])
    with pytest.raises(TableError, match=r"row 5.*answered twice"):
        read_submission(path)


def test_labels_may_call_their_column_score_and_keep_references(file):
    labels = read_labels(
        file(
            "dis_img_path,dis_type,ref_img_path,score\nd/a.png,jpeg,r/1.png,0.2\nd/b.png,jpeg,r/1.png,\n"
        )
    )
    assert labels.mos == {"d/a.png": 0.2}
    assert labels.references["d/b.png"] == "r/1.png"
    assert labels.states == {"ok": 1, "missing": 1}
    assert labels.examples == ("row 3, score: '' is missing",)


def test_labels_prefer_a_column_that_says_it_is_one(file):
    assert read_labels(file("image,score,mos\na,1,5\n")).mos == {"a": 5.0}
    with pytest.raises(TableError, match=r"which column is the mos\? several"):
        read_labels(file("image,mos,dmos\na,1,5\n"))
    with pytest.raises(TableError, match="say --mos"):
        read_labels(file("image,value\na,1\n"))
