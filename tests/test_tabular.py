"""Tables as others write them, and as they break them."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from qponder_lib.data.tabular import TableError, read_number, read_table

TWO = {"a.jpg": 3.5, "b.jpg": 4.0}


@pytest.fixture
def file(tmp_path):
    def write(content, name="table"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def scores(path, id_column=None, score=None, role="score"):
    """Number by id, None where there is none, and what the states are."""
    table = read_table(path)
    values, states = table.numbers(table.column(role, score))
    ids = table.ids(table.column("id", id_column))
    numbers = [None if np.isnan(value) else value for value in values.tolist()]
    return dict(zip(ids, numbers, strict=True)), states.tolist()


SHAPES = [
    ('{"image": "a.jpg", "score": 3.5}\n{"image": "b.jpg", "score": 4}\n', "json objects"),
    ('{"image": "a.jpg", "score": 3.5}{"image": "b.jpg", "score": 4}', "json objects"),
    ('[{"image": "a.jpg", "score": 3.5},\n {"image": "b.jpg", "score": 4}]', "json list"),
    ('{"model": "x", "rows": [{"image": "a.jpg", "score": 3.5}, {"image": "b.jpg", "score": 4}]}',)
    * 2,
    ('{"a.jpg": 3.5, "b.jpg": 4}', "json by id"),
    ('{"a.jpg": {"score": 3.5}, "b.jpg": {"score": 4}}', "json by id"),
    ('{"image": ["a.jpg", "b.jpg"], "score": [3.5, 4]}', "json columns"),
    ('{"image": {"0": "a.jpg", "1": "b.jpg"}, "score": {"0": 3.5, "1": 4}}', "json columns"),
    ("image,score\na.jpg,3.5\nb.jpg,4\n", "table"),
    ("image;score\na.jpg;3.5\nb.jpg;4\n", "table"),
    ("image\tscore\na.jpg\t3.5\nb.jpg\t4\n", "table"),
    ("image score\na.jpg  3.5\nb.jpg 4\n", "table"),
    ("Image name,Pred-score\na.jpg,3.5\nb.jpg,4\n", "table"),
    ("a.jpg 3.5\nb.jpg 4\n", "table without header"),
    ("r.png\ta.jpg\t3.5\nr.png\tb.jpg\t4\n", "table without header"),
    (b"\xef\xbb\xbfimage,score\r\na.jpg, 3.5 \r\n\r\nb.jpg,4\r\n", "table"),
    ("image,score\ra.jpg,3.5\rb.jpg,4\r", "table"),
    ("a.jpg\t3.5\tblur, noise; rain\nb.jpg\t4\tblur, noise; rain\n", "table without header"),
    ('image,score\n"a.jpg",3.5\n"b.jpg",4\n', "table"),
    (",image,score\n0,a.jpg,3.5\n1,b.jpg,4\n", "table"),
    ("Unnamed: 0,image,score\n7,a.jpg,3.5\n9,b.jpg,4\n", "table"),
    (",,image,score\nx,0,a.jpg,3.5\ny,0,b.jpg,4\n", "table"),
    (",score\na.jpg,3.5\nb.jpg,4\n", "table"),
    (",0\na.jpg,3.5\nb.jpg,4\n", "table"),
    ("image\tscore\n1\ta.jpg\t3.5\n2\tb.jpg\t4\n", "table"),
    ("   image  score\n0  a.jpg    3.5\n1  b.jpg    4.0\n", "table"),
    ("image,score,\na.jpg,3.5,\nb.jpg,4,\n", "table"),
    ("image,score\na.jpg,3.5,\nb.jpg,4,\n", "table"),
    ("image,score,,\na.jpg,3.5,,\nb.jpg,4,,\n", "table"),
]


@pytest.mark.parametrize(("content", "layout"), SHAPES)
def test_every_shape_gives_the_same_scores(file, content, layout):
    path = file(content)
    layout = "json list" if layout == content else layout
    assert read_table(path).layout == layout
    if layout == "table" and "0\n" in str(content)[:4]:
        assert scores(path, score="2") == (TWO, ["ok", "ok"])
    else:
        assert scores(path) == (TWO, ["ok", "ok"])


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "null", "NA", "inf"])
@pytest.mark.parametrize("sign", [",", "\t", ";"])
def test_the_first_row_of_a_table_without_header_may_lack_its_score(file, cell, sign):
    found, states = scores(file(f"a.jpg{sign}{cell}\nb.jpg{sign}4\n"))
    assert found == {"a.jpg": None, "b.jpg": 4.0}
    assert states == ["not_finite" if cell == "inf" else "missing", "ok"]


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("null", "missing"),
        ('"oops"', "not_a_number"),
        ("[1.5]", "not_a_number"),
        ("NaN", "not_finite"),
    ],
)
def test_a_dictionary_by_id_may_hold_values_that_are_no_numbers(file, value, state):
    found, states = scores(file(f'{{"a.jpg": 3.5, "b.jpg": {value}, "c.jpg": 4}}'))
    assert found == {"a.jpg": 3.5, "b.jpg": None, "c.jpg": 4.0}
    assert states == ["ok", state, "ok"]


def test_numbers_as_text_are_read_where_the_whole_column_is_text(file):
    rows = [{"image": "a", "mos": "3.5"}, {"image": "b", "mos": "four"}, {"image": "c"}]
    assert scores(file(json.dumps(rows)), role="mos")[1] == ["ok", "not_a_number", "missing"]
    rows[0]["mos"] = 3.5
    rows[1]["mos"] = "4"
    table = read_table(file(json.dumps(rows)))
    assert table.numbers("mos")[1].tolist() == ["ok", "text_not_number", "missing"]
    assert table.numbers("mos", text_too=True)[1].tolist() == ["ok", "ok", "missing"]
    assert scores(file('{"a.jpg": "3.5", "b.jpg": "4"}')) == (TWO, ["ok", "ok"])


def test_sheets_are_read_below_their_titles(tmp_path):
    path = tmp_path / "labels.xlsx"
    cells = [["Scores", None, None], [None, None, None], [None, "Image name", "MOS"]]
    cells += [[None, "a.jpg", 3.5], [None, 1600, None], [None, "c.jpg", "4,2"]]
    pd.DataFrame(cells).to_excel(path, header=False, index=False)
    found, states = scores(path, role="mos")
    assert found == {"a.jpg": 3.5, "1600": None, "c.jpg": None}
    assert states == ["ok", "missing", "not_a_number"]
    assert read_table(path).frame.index.tolist() == [4, 5, 6]
    with pd.ExcelWriter(path) as book:
        for name in ("one", "two"):
            pd.DataFrame({"image": ["a.jpg"], "mos": [3.5]}).to_excel(book, sheet_name=name)
    with pytest.raises(TableError, match="expected one sheet with a table, got 'one', 'two'"):
        read_table(path)
    assert read_table(path, sheet="two").frame["mos"].tolist() == [3.5]


def test_variables_of_a_mat_file_are_columns(tmp_path):
    names = np.array(["a.jpg", "b.jpg", "c.jpg"], dtype=object)
    savemat(tmp_path / "x.mat", {"video_list": names[:, None], "mos": [[3.5], [4.0], [np.nan]]})
    table = read_table(tmp_path / "x.mat")
    assert table.ids("video_list") == ["a.jpg", "b.jpg", "c.jpg"]
    assert table.numbers(table.column("mos"))[1].tolist() == ["ok", "ok", "missing"]
    savemat(tmp_path / "x.mat", {"names": names, "mos": [3.5, 4.0]})
    with pytest.raises(TableError, match=r"one length, got \('names', 3\), \('mos', 2\)"):
        read_table(tmp_path / "x.mat")


def test_cells_of_a_mat_file_are_data_and_what_is_no_number_is_named(tmp_path):
    cells = np.array([[3.5], [np.array([1.0, 2.0])], ["__import__('os')"]], dtype=object)
    savemat(tmp_path / "x.mat", {"mos": cells})
    values, states = read_table(tmp_path / "x.mat").numbers("mos")
    assert values[0] == 3.5
    assert states.tolist() == ["ok", "not_a_number", "not_a_number"]


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
    path = file(f"image;score\na.jpg;{cell}\nb.jpg;4\n")
    assert scores(path) == ({"a.jpg": None, "b.jpg": 4.0}, [state, "ok"])
    table = read_table(path)
    states = table.numbers("score")[1]
    assert table.examples("score", states) == (f"row 2, score: {cell!r} is {state}",)


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
    assert scores(file(content)) == ({"a": None, "b": 4.0}, [state, "ok"])


def test_a_score_that_a_row_lacks_is_missing(file):
    assert scores(file('{"image": "a", "score": 1}{"image": "b"}'))[1] == ["ok", "missing"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives_writing_and_reading(value):
    assert read_number(repr(value), is_text=True) == (value, "ok")
    assert read_number(value, is_text=False) == (value, "ok")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows: the file is empty"),
        (" \n\n", "no rows: the file is empty"),
        (",,\n,,\n", "no rows"),
        ("[]", "no rows"),
        ("{}", "no rows"),
        ("image,score\n", "no rows"),
        ("hello", "at least two columns"),
        ('{"image": "a", "score": 1}{"image": "b", "sc', r"row 2: not whole JSON \(line 1\)"),
        (
            '{"image": "a", "score": 1}\n{"image": "b", "score": 2}\n\x00',
            "row 3: expected UTF-8 text, byte 54",
        ),
        ('{"image": "a", "score": 1, "score": 2}', "duplicate key 'score'"),
        ('{"image": "a", "score": 1}[2]', "row 2: expected a JSON object, got a list"),
        ("[1, 2]", "row 1: expected a JSON object, got a int"),
        (b"image,score\n\xff\xfe,3\n", "row 2: expected UTF-8 text, byte 12"),
        ("image,score\na,1\n".encode("utf-16"), "expected UTF-8 text, byte 0"),
        ("image,score\na.jpg,3,5\n", "row 2: expected 2 cells, got 3; is there a decimal comma"),
        ("image,score\na.jpg\n", "row 2: expected 2 cells, got 1"),
        ('image,score\n"a.jpg,3\n', "row 2: not a table: unexpected end of data"),
        ("image,score,score\na,1,2\n", "'score' is there twice"),
        ("image,score;x\na,1\n", "expected one of them"),
        ("image,score\na,1\nb,2\na,1\n", "'a' is there twice, in rows 2 and 4"),
        ("image,score\n,1\nb,2\n", "row 2: expected an id in 'image', got ''"),
        ("image,filename,score\na,a,1\n", r"several can be it: 'image', 'filename'; say --id"),
        ("image,score,pred\na,1,2\n", "which column is the score\\? several.*say --score"),
        ("image,value\na,1\n", "none of .* is known; say --score"),
        (",image,value\n0,a,1\n", "none of .* is known; say --score"),
        ("a.jpg 3.5 0.2\nb.jpg 4 0.1\n", "the score.*several can be it: '2', '3'; say --score"),
        ("r.png a.jpg 3.5\nq.png b.jpg 4\n", "the id.*several can be it: '1', '2'; say --id"),
        ("[" * 100_000, "not whole JSON"),
        ('{"image": "a.jpg", "value": "x"}', "which column is the score"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"an old Excel file .*save it as .xlsx or CSV"),
        (pickle.dumps({"a.jpg": 1}), "a pickle, which is never opened"),
        (b"PK\x03\x04 but no sheet", "a zip file, but no xlsx; write CSV"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PAR1\x15\x04", "Parquet"),
        ("<!DOCTYPE html>\n<title>404: not found, sorry</title>\n", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
    ],
)
def test_files_that_cannot_be_used_say_where_and_what_was_expected(file, content, message):
    with pytest.raises(TableError, match=message):
        scores(file(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MATLAB 5.0 MAT-file".ljust(60), "not a mat file that can be read"),
        (
            b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n",
            "save it again with -v7",
        ),
        (b"\x80\x04\x95cposix\nsystem\n(S'touch broken'\ntR.", "not a mat file"),
    ],
)
def test_a_mat_file_that_cannot_be_read_is_named_and_never_run(file, content, message):
    with pytest.raises(TableError, match=message):
        read_table(file(content, "x.mat"))


@pytest.mark.parametrize("name", ["nowhere.csv", "a\0b", ""])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, name):
    with pytest.raises(TableError, match=r"No such file|null byte|Is a directory"):
        read_table(tmp_path / name)


def test_a_message_fits_on_a_screen(file):
    many = {f"image-{number:05}.png": ["word"] * 5 for number in range(5000)}
    with pytest.raises(TableError) as caught:
        scores(file(json.dumps([many])))
    assert len(str(caught.value)) < 2000
    with pytest.raises(TableError) as caught:
        scores(file("image,score\n" + "x" * 100_000 + ",1\n" + "x" * 100_000 + ",1\n"))
    assert len(str(caught.value)) < 2000


def test_declared_columns_decide(file):
    path = file("image,filename,score,pred\nx,a,1,2\ny,b,3,4\n")
    assert scores(path, "filename", "pred")[0] == {"a": 2.0, "b": 4.0}
    with pytest.raises(TableError, match="no column 'file'; there are"):
        scores(path, "file", "pred")
    assert scores(file("r.png a.jpg 3.5\nr.png b.jpg 4\n"), "2", "3")[0] == TWO


def test_ids_are_text_whatever_they_look_like(file):
    found, _ = scores(file('{"image_id": 7, "score": 1}{"image_id": "007", "score": 2}'))
    assert found == {"7": 1.0, "007": 2.0}
    half, _ = scores(file('{"image": "\\ud800.jpg", "score": 1}'))
    assert half == {"\\ud800.jpg": 1.0}


@pytest.mark.parametrize(
    ("columns", "role", "expected"),
    [
        (("image_name", "c1", "MOS", "SD", "MOS_zscore"), "mos", "MOS"),
        (("dist_img", "ref_img", "dmos", "var"), "id", "dist_img"),
        (("dist_img", "ref_img", "dmos", "var"), "reference", "ref_img"),
        (("Image name", "MOS", "Brightness"), "id", "Image name"),
        (("name", "prompt", "mos_quality", "std_quality", "mos_align"), "mos", "mos_quality"),
        (("name", "prompt", "mos_quality", "std_quality", "mos_align"), "std", "std_quality"),
        (("flickr_id", "mos"), "id", "flickr_id"),
        (("id", "image", "gt_score", "gt_score_norm", "std"), "id", "image"),
        (("image_id", "image", "dataset", "split", "mos", "mos_raw"), "id", "image_id"),
        (("image_id", "image", "dataset", "split", "mos", "mos_raw"), "split", "split"),
        (("dis_img_path", "dis_type", "ref_img_path", "score"), "id", "dis_img_path"),
    ],
)
def test_columns_of_public_sets_are_known_by_name(file, columns, role, expected):
    row = ",".join(f"x{place}" for place in range(len(columns)))
    assert read_table(file(f"{','.join(columns)}\n{row}\n")).column(role) == expected


def test_a_role_that_no_column_has_is_optional(file):
    table = read_table(file("image,mos\na,1\n"))
    assert table.optional("reference") is None
    assert table.optional("reference", "image") == "image"
    with pytest.raises(TableError, match="no column 'ref'"):
        table.optional("reference", "ref")
