"""Files of predictions as others write them, and as they break them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib import artifacts
from qponder_lib.evaluation.external import Columns, SubmissionError, read_labels, read_submission
from qponder_lib.evaluation.external.reading import number_of
from qponder_lib.evaluation.external.tables import read_table
from qponder_lib.records import PredictionRecord

TWO = {"a.jpg": 3.5, "b.jpg": 4.0}


@pytest.fixture
def file(tmp_path):
    def write(content, name="predictions"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        ('{"image": "a.jpg", "score": 3.5}\n{"image": "b.jpg", "score": 4}\n', "json objects"),
        ('{"image": "a.jpg", "score": 3.5}{"image": "b.jpg", "score": 4}', "json objects"),
        ('[{"image": "a.jpg", "score": 3.5},\n {"image": "b.jpg", "score": 4}]', "json list"),
        ('{"a.jpg": 3.5, "b.jpg": 4}', "json by id"),
        ('{"a.jpg": {"score": 3.5}, "b.jpg": {"score": 4}}', "json by id"),
        ("image,score\na.jpg,3.5\nb.jpg,4\n", "table"),
        ("image;score\na.jpg;3.5\nb.jpg;4\n", "table"),
        ("image\tscore\na.jpg\t3.5\nb.jpg\t4\n", "table"),
        ("image score\na.jpg  3.5\nb.jpg 4\n", "table"),
        ("a.jpg 3.5\nb.jpg 4\n", "table without header"),
        (b"\xef\xbb\xbfimage,score\r\na.jpg, 3.5 \r\n\r\nb.jpg,4\r\n", "table"),
        ('image,score\n"a.jpg",3.5\n"b.jpg",4\n', "table"),
    ],
)
def test_every_shape_gives_the_same_scores(file, content, shape):
    path = file(content)
    assert read_table(path).shape == shape
    submission = read_submission(path)
    assert submission.samples == (TWO,)
    assert submission.states == {"ok": 2}
    assert submission.labels is None


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
    with pytest.raises(SubmissionError, match="samples 0 and 1 answer different images"):
        read_submission(path)
    artifacts.write_jsonl(path, [*rows, rows[0]])
    with pytest.raises(SubmissionError, match=r"line 5.*answered twice"):
        read_submission(path)


@pytest.mark.parametrize(
    ("cell", "state"),
    [
        ("", "missing"),
        ("nan", "missing"),
        ("inf", "not_finite"),
        ("-Infinity", "not_finite"),
        ("1e400", "not_finite"),
        ("3,5", "not_a_number"),
        ("4/5", "not_a_number"),
        ("80%", "not_a_number"),
        ("four", "not_a_number"),
        ("1_0", "not_a_number"),
        ("٣", "not_a_number"),
        ("３.５", "not_a_number"),
        ("−3", "not_a_number"),
        ("3\u200b", "not_a_number"),
    ],
)
def test_cells_that_are_no_numbers_are_counted_by_their_state(file, cell, state):
    found = read_submission(file(f"image;score\na.jpg;{cell}\nb.jpg;4\n"))
    assert found.samples == ({"a.jpg": None, "b.jpg": 4.0},)
    assert found.states == {state: 1, "ok": 1}
    assert found.examples == (f"row 2, score: {cell!r} is {state}",)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ('"3.5"', "text_not_number"),
        ('"four"', "not_a_number"),
        ("NaN", "not_finite"),
        ("-Infinity", "not_finite"),
        ("1e400", "not_finite"),
        ("1" + "0" * 400, "not_finite"),
        ("true", "not_a_number"),
        ("[3.5]", "not_a_number"),
        ("null", "missing"),
    ],
)
def test_json_values_that_are_no_numbers_are_counted_by_their_state(file, value, state):
    content = f'{{"image": "a", "score": {value}}}\n{{"image": "b", "score": 4}}\n'
    found = read_submission(file(content))
    assert found.samples == ({"a": None, "b": 4.0},)
    assert found.states == {state: 1, "ok": 1}


def test_a_score_that_a_row_lacks_is_missing(file):
    found = read_submission(file('{"image": "a", "score": 1}{"image": "b"}'))
    assert found.states == {"ok": 1, "missing": 1}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives_writing_and_reading(value):
    assert number_of(repr(value), is_text=True) == (value, "ok")
    assert number_of(value, is_text=False) == (value, "ok")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows|expected JSON"),
        ("[]", "no rows"),
        ("image,score\n", "no rows"),
        ("hello", "at least two columns"),
        ('{"image": "a", "score": 1}{"image": "b", "sc', r"row 2 \(line 1\): not whole JSON"),
        ('{"image": "a", "score": 1}\n{"image": "b", "score": 2}\n\x00', "row 3"),
        ('{"image": "a", "score": 1, "score": 2}', "'score' is there twice"),
        ('{"image": "a", "score": 1}[2]', "row 2: expected a JSON object, got a list"),
        ("[1, 2]", "row 1: expected a JSON object, got a int"),
        (b"image,score\n\xff\xfe,3\n", "expected UTF-8 text, byte 12"),
        ("image,score\na.jpg,3,5\n", "line 2: expected 2 cells, got 3; is there a decimal comma"),
        ("image,score\na.jpg\n", "line 2: expected 2 cells, got 1"),
        ("image,score,score\na,1,2\n", "there twice"),
        ("image,score;x\na,1\n", "expected one of them"),
        ("image,score\na,1\nb,2\na,1\n", "'a' is there twice, in rows 2 and 4"),
        ("image,score\n,1\nb,2\n", "row 2: expected an id in 'image', got ''"),
        ("image,filename,score\na,a,1\n", r"several can be it: \['image', 'filename'\]; say --id"),
        ("image,score,pred\na,1,2\n", "which column is the score\\? several.*say --score"),
        ("image,value\na,1\n", "none of .* is known; say --score"),
        ("a.jpg 3.5 0.2\nb.jpg 4 0.1\n", "the score.*none of .*'1', '2', '3'.* say --score"),
        ("r.png a.jpg 3.5\nr.png b.jpg 4\n", "the id.*none of .*'1', '2', '3'.* say --id"),
        ("[" * 100_000, "not whole JSON"),
    ],
)
def test_files_that_cannot_be_used_say_where_and_what_was_expected(file, content, message):
    with pytest.raises(SubmissionError, match=message):
        read_submission(file(content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SubmissionError, match=r"nowhere\.csv: No such file"):
        read_submission(tmp_path / "nowhere.csv")


def test_declared_columns_decide(file):
    path = file("image,filename,score,pred\nx,a,1,2\ny,b,3,4\n")
    assert read_submission(path, Columns(id="filename", score="pred")).samples == (
        {"a": 2.0, "b": 4.0},
    )
    with pytest.raises(SubmissionError, match="no column 'file'; there are"):
        read_submission(path, Columns(id="file", score="pred"))
    numbered = file("r.png a.jpg 3.5\nr.png b.jpg 4\n")
    assert read_submission(numbered, Columns(id="2", score="3")).samples == (TWO,)


def test_ids_are_text_whatever_they_look_like(file):
    found = read_submission(file('{"image_id": 7, "score": 1}{"image_id": "007", "score": 2}'))
    assert found.samples == ({"7": 1.0, "007": 2.0},)


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
    with pytest.raises(SubmissionError, match=r"which column is the mos\? several"):
        read_labels(file("image,mos,dmos\na,1,5\n"))
    with pytest.raises(SubmissionError, match="say --mos"):
        read_labels(file("image,value\na,1\n"))


def test_a_table_without_header_has_the_column_that_alone_holds_text_as_id(file):
    labels = read_labels(file("a.jpg 3.5 0.2\nb.jpg 4 0.1\n"), Columns(mos="2"))
    assert labels.mos == TWO


def test_an_id_with_half_a_surrogate_pair_can_be_printed(file):
    found = read_submission(file('{"image": "\\ud800.jpg", "score": 1}'))
    assert found.samples == ({"\\ud800.jpg": 1.0},)
