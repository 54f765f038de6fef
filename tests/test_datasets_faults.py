"""Every fault of a copy is reported with file and row, and nothing is repaired in silence."""

import json

import numpy as np
import openpyxl
import pytest
from faulty_copies import check, found, png
from PIL import Image
from scipy.io import savemat

from qponder_lib.data import catalog, checking
from qponder_lib.data.reading import Reader

LEVELS = range(1, 6)
SMALL_KADID = catalog.KADID.model_copy(
    update={
        "n_images": 250,
        "n_references": 2,
        "type_counts": dict.fromkeys(catalog.KADID.types, 10),
        "labels": (catalog.KADID.labels[0].model_copy(update={"published": None}),),
    }
)


@pytest.fixture
def kadid(tmp_path):
    """Two references with all types and levels; the label falls with the level, row 2 is first."""
    (tmp_path / "images").mkdir()
    rows = ["dist_img,ref_img,dmos,var"]
    for reference in ("I01", "I02"):
        for kind in range(1, 26):
            for level in LEVELS:
                name = f"{reference}_{kind:02}_{level:02}.png"
                label = 4.57 if name == "I01_01_01.png" else 4.8 - 0.7 * level + 0.01 * kind
                label = 1.23 if name == "I01_02_04.png" else label
                (tmp_path / "images" / name).write_bytes(png(len(rows)))
                rows.append(f"{name},{reference}.png,{label:.2f},0.5")
    (tmp_path / "dmos.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def change(path, line, old, new):
    lines = path.read_text().split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_text("\n".join(lines))


def test_a_faultless_copy_has_no_findings(kadid):
    report = check(SMALL_KADID, kadid)
    assert report.findings == ()
    assert report.ok
    assert report.n_decoded == 250


def test_wrong_direction_is_decided_from_levels_and_published_labels(kadid):
    lines = (kadid / "dmos.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        name, reference, label, variance = line.split(",")
        lines[number] = f"{name},{reference},{6 - float(label):.2f},{variance}"
    (kadid / "dmos.csv").write_text("\n".join(lines) + "\n")
    report = check(SMALL_KADID, kadid)
    assert found(report, "wrong_direction") == [("dmos.csv", 2)]
    assert found(report, "anchor") == [("dmos.csv", 2), ("dmos.csv", 10)]
    assert not report.ok


def test_dmos_that_is_declared_down_and_comes_up_is_reported(kadid):
    column = SMALL_KADID.labels[0]
    scale = column.scale.model_copy(update={"higher_is_better": False})
    spec = SMALL_KADID.model_copy(
        update={"labels": (column.model_copy(update={"scale": scale, "anchors": ()}),)}
    )
    assert found(check(spec, kadid), "wrong_direction") == [("dmos.csv", 2)]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("4.57", "7.20", "off_scale"),
        ("4.57", "0", "off_scale"),
        ("4.57", '"4,57"', "comma_decimal"),
        ("4.57", "4,57", "cells"),
        ("4.57", "nan", "missing_label"),
        ("4.57", "", "missing_label"),
        ("4.57", "inf", "not_a_number"),
        ("4.57", "1e400", "not_a_number"),
        ("4.57", "1_0", "not_a_number"),
        ("4.57", "٣", "not_a_number"),
        ("4.57", "−3", "not_a_number"),
        ("4.57", "4/5", "not_a_number"),
        ("4.57", "3.10", "anchor"),
        (",0.5", ",-0.5", "off_scale"),
        ("I01.png", "I02.png", "inconsistent"),
        ("I01_01_01.png", "I01_26_01.png", "layout"),
        ("I01_01_01.png", "I01_01_02.png", "duplicate_name"),
    ],
)
def test_a_bad_cell_is_reported_with_its_row(kadid, old, new, kind):
    change(kadid / "dmos.csv", 2, old, new)
    report = check(SMALL_KADID, kadid)
    rows = {"duplicate_name": ("dmos.csv", 3)}
    assert rows.get(kind, ("dmos.csv", 2)) in found(report, kind)
    assert not report.ok


def test_a_byte_order_mark_is_a_note_and_changes_no_label(kadid):
    plain = (kadid / "dmos.csv").read_bytes()
    (kadid / "dmos.csv").write_bytes(b"\xef\xbb\xbf" + plain)
    report = check(SMALL_KADID, kadid)
    assert found(report, "bom") == [("dmos.csv", 1)]
    assert report.ok
    assert report.n_labelled == 250


def test_windows_line_ends_are_a_note_with_the_first_row(kadid):
    plain = (kadid / "dmos.csv").read_bytes()
    (kadid / "dmos.csv").write_bytes(plain.replace(b"\n", b"\r\n"))
    report = check(SMALL_KADID, kadid)
    assert found(report, "crlf") == [("dmos.csv", 1)]
    assert report.ok
    assert report.n_labelled == 250


def test_line_ends_that_change_in_the_middle_are_reported_where_they_do(kadid):
    lines = (kadid / "dmos.csv").read_bytes().split(b"\n")
    lines[6] += b"\r"
    (kadid / "dmos.csv").write_bytes(b"\n".join(lines))
    assert found(check(SMALL_KADID, kadid), "crlf") == [("dmos.csv", 7)]


def test_blanks_around_cells_are_a_note(kadid):
    change(kadid / "dmos.csv", 9, ",0.5", " ,0.5 ")
    report = check(SMALL_KADID, kadid)
    assert found(report, "spaces") == [("dmos.csv", 9)]
    assert report.ok


def test_semicolons_are_a_warning_and_their_decimal_commas_errors(kadid):
    text = (kadid / "dmos.csv").read_text().replace(",", ";").replace("4.57", "4,57")
    (kadid / "dmos.csv").write_text(text)
    report = check(SMALL_KADID, kadid)
    assert found(report, "delimiter") == [("dmos.csv", 1)]
    assert found(report, "comma_decimal") == [("dmos.csv", 2)]


@pytest.mark.parametrize(
    ("content", "row"),
    [("dist_img".encode("utf-16"), 1), (b"dist_img,ref_img\nI\xe91,x\n", 2), (b"a\nb\x00\n", 2)],
)
def test_other_encodings_are_refused(kadid, content, row):
    (kadid / "dmos.csv").write_bytes(content)
    assert found(check(SMALL_KADID, kadid), "encoding") == [("dmos.csv", row)]


def test_a_missing_column_and_a_missing_file_are_named(kadid):
    change(kadid / "dmos.csv", 1, "dmos", "score")
    report = check(SMALL_KADID, kadid)
    assert found(report, "columns") == [("dmos.csv", 1)]
    assert "dmos" in next(one.message for one in report.findings if one.kind == "columns")
    (kadid / "dmos.csv").unlink()
    assert found(check(SMALL_KADID, kadid), "missing_file") == [("dmos.csv", None)]


def test_a_missing_row_shows_in_the_counts(kadid):
    text = (kadid / "dmos.csv").read_text()
    (kadid / "dmos.csv").write_text(text.rsplit("\n", 2)[0] + "\n")
    messages = [one.message for one in check(SMALL_KADID, kadid).findings]
    assert "expected 250 labelled images, got 249" in messages
    assert "expected 10 images of contrast_change, got 9" in messages


def test_a_label_beyond_the_published_range_but_on_the_scale_is_a_warning(kadid):
    column = SMALL_KADID.labels[0].model_copy(update={"published": (1.0, 4.93)})
    spec = SMALL_KADID.model_copy(update={"labels": (column,)})
    change(kadid / "dmos.csv", 7, "4.12", "5.00")
    report = check(spec, kadid)
    assert ("dmos.csv", 7) in found(report, "range")
    assert report.ok


def test_one_image_under_two_names_is_reported_for_the_second(kadid):
    images = kadid / "images"
    (images / "I02_03_04.png").write_bytes((images / "I01_01_01.png").read_bytes())
    report = check(SMALL_KADID, kadid)
    assert found(report, "duplicate_image") == [("dmos.csv", 126 + 2 * 5 + 4)]
    message = next(one.message for one in report.findings)
    assert "I01_01_01.png" in message
    assert "row 2" in message


def test_another_format_or_trailing_bytes_do_not_hide_a_duplicate(kadid):
    images = kadid / "images"
    with Image.open(images / "I01_01_01.png") as image:
        image.save(images / "I01_01_02.png", "BMP")
    (images / "I01_01_03.png").write_bytes((images / "I01_01_01.png").read_bytes() + b"junk")
    rows = found(check(SMALL_KADID, kadid), "duplicate_image")
    assert rows == [("dmos.csv", 3), ("dmos.csv", 4)]


def test_a_missing_image_is_reported_and_case_does_not_matter(kadid):
    (kadid / "images" / "I01_01_03.png").unlink()
    (kadid / "images" / "I01_01_02.png").rename(kadid / "images" / "i01_01_02.PNG")
    assert found(check(SMALL_KADID, kadid), "missing_image") == [("dmos.csv", 4)]


def test_mat_files_that_cannot_be_read_are_named(tmp_path):
    values = np.arange(690.0)[:, None]
    savemat(tmp_path / "MOS50.mat", {"MOS50": values}, do_compression=True)
    whole = (tmp_path / "MOS50.mat").read_bytes()
    faults = {
        "cut": whole[: len(whole) // 2],
        "newer": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n",
        "text": b"not a mat file at all, only text that goes on for a while",
    }
    for content in faults.values():
        (tmp_path / "MOS50.mat").write_bytes(content)
        report = check(catalog.CIDIQ50, tmp_path)
        assert found(report, "unreadable_table") == [("MOS50.mat", None)]
    savemat(tmp_path / "MOS50.mat", {"other": values})
    assert found(check(catalog.CIDIQ50, tmp_path), "columns") == [("MOS50.mat", None)]
    savemat(tmp_path / "MOS50.mat", {"MOS50": values[:100]})
    assert found(check(catalog.CIDIQ50, tmp_path), "count") == [("MOS50.mat", None)]


def test_values_that_are_missing_or_off_scale_in_a_mat_file_are_reported_by_place(tmp_path):
    values = np.tile([6.0, 5.0, 4.0, 3.0, 2.0], 138)[:, None]
    values[6], values[9] = np.nan, 99.0
    savemat(tmp_path / "MOS50.mat", {"MOS50": values})
    report = check(catalog.CIDIQ50, tmp_path)
    assert found(report, "missing_label") == [("MOS50.mat", 7)]
    assert found(report, "off_scale") == [("MOS50.mat", 10)]


def test_sheets_that_cannot_be_read_are_named(tmp_path):
    place = tmp_path / "csiq.DMOS.xlsx"
    place.write_bytes(b"PK\x03\x04 not a zip file")
    assert found(check(catalog.CSIQ, tmp_path), "unreadable_table") == [(place.name, None)]
    openpyxl.Workbook().save(place)
    assert found(check(catalog.CSIQ, tmp_path), "layout") == [(place.name, None)]


def test_a_decimal_comma_in_a_sheet_is_a_text_and_reported(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Image name", "MOS"])
    book.active.append(["00001.jpg", "48,86"])
    (tmp_path / "Annotations").mkdir()
    book.save(tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx")
    report = check(catalog.SPAQ, tmp_path)
    file = "Annotations/MOS and Image attribute scores.xlsx"
    assert found(report, "comma_decimal") == [(file, 2)]


@pytest.fixture
def metas(tmp_path):
    folder = tmp_path / "CSIQ" / "metas"
    folder.mkdir(parents=True)
    (tmp_path / "CSIQ" / "images").mkdir()
    rows = []
    for number, dmos in enumerate((0.061989, 0.2, 0.4, 0.8, 1.0), start=1):
        name = f"CSIQ/images/1600.AWGN.{number}.png"
        (tmp_path / name).write_bytes(png(number))
        norm = 5 - 4 * dmos
        rows.append({"image": name, "gt_score": -dmos, "gt_score_norm": norm, "std": 0.1})
    (folder / "test_csiq_866.json").write_text(json.dumps(rows))
    return tmp_path


def small_metas():
    files = tuple(m.model_copy(update={"n": 5}) for m in catalog.CSIQ.metas.files)
    made = catalog.CSIQ.metas.model_copy(update={"files": files})
    return catalog.CSIQ.model_copy(update={"metas": made})


def test_metas_of_csiq_state_the_negative_and_load_as_dmos(metas):
    report = check(small_metas(), metas)
    assert report.findings == ()
    assert report.layout == "metas"
    assert report.label_range == (0.061989, 1.0)


def test_a_meta_that_disagrees_with_its_own_score_is_reported_by_place(metas):
    path = metas / "CSIQ" / "metas" / "test_csiq_866.json"
    rows = json.loads(path.read_text())
    rows[1]["gt_score_norm"] = 1 + 4 * 0.2  # not turned round
    rows[2]["gt_score_norm"] = 5.5
    path.write_text(json.dumps(rows[:4]))
    report = check(small_metas(), metas)
    file = "CSIQ/metas/test_csiq_866.json"
    assert found(report, "inconsistent") == [(file, 2)]
    assert found(report, "off_scale") == [(file, 3)]
    assert found(report, "count") == [(file, None)]


def test_a_reader_never_runs_what_a_file_holds(tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(b"\x80\x04\x95cposix\nsystem\n(S'touch broken'\ntR.")
    reader = Reader(tmp_path)
    assert reader.mat_values("x.mat", "x") == []
    assert reader.findings[0].kind == "unreadable_table"


def test_the_text_of_a_report_fits_on_a_screen_and_says_how_many_more(kadid):
    for path in (kadid / "images").glob("I02*.png"):
        path.unlink()
    report = check(SMALL_KADID, kadid)
    text = checking.describe(report)
    assert "missing_image (125)" in text
    assert "and 120 more" in text
    assert len(text.splitlines()) < 24
    assert len(report.to_json()["findings"]) == 125
