"""Every fault of a copy is reported with file and row, and nothing is repaired in silence."""

import json
import re

import numpy as np
import openpyxl
import pytest
from faulty_copies import check, codes, found, ok, png
from PIL import Image
from scipy.io import savemat

from qponder_lib.data.catalog import spec_named
from qponder_lib.data.check import describe, summary

LEVELS = range(1, 6)
KADID, CSIQ, CIDIQ50 = (spec_named(name) for name in ("kadid", "csiq", "cidiq50"))
SMALL_KADID = KADID.model_copy(
    update={
        "n_images": 250,
        "n_references": 2,
        "type_counts": (10,),
        "labels": (KADID.labels[0].model_copy(update={"published": None}),),
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
    assert ok(report)
    assert summary(report)["n_decoded"] == 250


def test_wrong_direction_is_decided_from_levels_and_published_labels(kadid):
    lines = (kadid / "dmos.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        name, reference, label, variance = line.split(",")
        lines[number] = f"{name},{reference},{6 - float(label):.2f},{variance}"
    (kadid / "dmos.csv").write_text("\n".join(lines) + "\n")
    report = check(SMALL_KADID, kadid)
    assert found(report, "wrong_direction") == [("dmos.csv", 2)]
    assert found(report, "anchor") == [("dmos.csv", 2), ("dmos.csv", 10)]
    assert not ok(report)


def test_dmos_that_is_declared_down_and_comes_up_is_reported(kadid):
    column = SMALL_KADID.labels[0]
    scale = column.scale.model_copy(update={"higher_is_better": False})
    spec = SMALL_KADID.model_copy(
        update={"labels": (column.model_copy(update={"scale": scale, "anchors": {}}),)}
    )
    assert found(check(spec, kadid), "wrong_direction") == [("dmos.csv", 2)]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("4.57", "7.20", "off_scale"),
        ("4.57", "0", "off_scale"),
        ("4.57", '"4,57"', "not_a_number"),
        ("4.57", "4,57", "unreadable_table"),
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
        ("I01_01_01.png", "I01_26_01.png", "inconsistent"),
        ("I01_01_01.png", "I01_01_02.png", "duplicate_name"),
    ],
)
def test_a_bad_cell_is_reported_with_its_row(kadid, old, new, kind):
    change(kadid / "dmos.csv", 2, old, new)
    report = check(SMALL_KADID, kadid)
    rows = {"duplicate_name": ("dmos.csv", 3)}
    assert rows.get(kind, ("dmos.csv", 2)) in found(report, kind)
    assert not ok(report)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r\n", 6),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: content.replace(b",0.5", b" ,0.5 "),
        lambda content: content.replace(b",", b";"),
    ],
)
def test_marks_line_ends_blanks_and_semicolons_change_no_label(kadid, change):
    before = check(SMALL_KADID, kadid).rows
    (kadid / "dmos.csv").write_bytes(change((kadid / "dmos.csv").read_bytes()))
    report = check(SMALL_KADID, kadid)
    assert report.findings == ()
    assert report.rows.equals(before)


def test_a_decimal_comma_is_not_read_as_a_point(kadid):
    text = (kadid / "dmos.csv").read_text().replace(",", ";").replace("4.57", "4,57")
    (kadid / "dmos.csv").write_text(text)
    report = check(SMALL_KADID, kadid)
    assert found(report, "not_a_number") == [("dmos.csv", 2)]
    assert "'4,57'; expected a decimal point" in report.findings[0].sentence
    assert report.rows["label"].isna().sum() == 1


@pytest.mark.parametrize(
    ("content", "row"),
    [("dist_img".encode("utf-16"), 1), (b"dist_img,ref_img\nI\xe91,x\n", 2), (b"a\nb\x00\n", 2)],
)
def test_other_encodings_are_refused(kadid, content, row):
    (kadid / "dmos.csv").write_bytes(content)
    assert found(check(SMALL_KADID, kadid), "unreadable_table") == [("dmos.csv", row)]


def test_a_missing_column_and_a_missing_file_are_named(kadid):
    change(kadid / "dmos.csv", 1, "dmos", "score")
    report = check(SMALL_KADID, kadid)
    assert found(report, "unreadable_table") == [("dmos.csv", None)]
    assert "expected columns 'dmos', got 'dist_img'" in report.findings[0].sentence
    (kadid / "dmos.csv").unlink()
    assert found(check(SMALL_KADID, kadid), "unreadable_table") == [("dmos.csv", None)]


def test_a_missing_row_shows_in_the_counts(kadid):
    text = (kadid / "dmos.csv").read_text()
    (kadid / "dmos.csv").write_text(text.rsplit("\n", 2)[0] + "\n")
    messages = [one.sentence for one in check(SMALL_KADID, kadid).findings]
    assert "dmos.csv: expected 250 labelled images, got 249" in messages
    assert "dmos.csv: expected 10 images of contrast_change, got 9" in messages


def test_a_label_beyond_the_published_range_but_on_the_scale_is_a_warning(kadid):
    column = SMALL_KADID.labels[0].model_copy(update={"published": (1.0, 4.93)})
    spec = SMALL_KADID.model_copy(update={"labels": (column,)})
    change(kadid / "dmos.csv", 7, "4.12", "5.00")
    report = check(spec, kadid)
    assert ("dmos.csv", 7) in found(report, "range")
    assert ok(report)


def test_one_image_under_two_names_is_reported_for_the_second(kadid):
    images = kadid / "images"
    (images / "I02_03_04.png").write_bytes((images / "I01_01_01.png").read_bytes())
    report = check(SMALL_KADID, kadid)
    assert found(report, "duplicate_image") == [("dmos.csv", 126 + 2 * 5 + 4)]
    assert "I01_01_01.png, row 2" in report.findings[0].sentence


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


def test_mat_files_that_cannot_be_read_or_are_too_short_are_named(tmp_path):
    values = np.arange(690.0)[:, None]
    savemat(tmp_path / "MOS50.mat", {"MOS50": values}, do_compression=True)
    whole = (tmp_path / "MOS50.mat").read_bytes()
    (tmp_path / "MOS50.mat").write_bytes(whole[: len(whole) // 2])
    assert found(check(CIDIQ50, tmp_path), "unreadable_table") == [("MOS50.mat", None)]
    savemat(tmp_path / "MOS50.mat", {"other": values})
    assert found(check(CIDIQ50, tmp_path), "unreadable_table") == [("MOS50.mat", None)]
    savemat(tmp_path / "MOS50.mat", {"MOS50": values[:100]})
    assert found(check(CIDIQ50, tmp_path), "count") == [("MOS50.mat", None)]


def test_values_that_are_missing_or_off_scale_in_a_mat_file_are_reported_by_place(tmp_path):
    values = np.tile([6.0, 5.0, 4.0, 3.0, 2.0], 138)[:, None]
    values[6], values[9] = np.nan, 99.0
    savemat(tmp_path / "MOS50.mat", {"MOS50": values})
    report = check(CIDIQ50, tmp_path)
    assert found(report, "missing_label") == [("MOS50.mat", 7)]
    assert found(report, "off_scale") == [("MOS50.mat", 10)]


def test_sheets_that_cannot_be_read_are_named(tmp_path):
    place = tmp_path / "csiq.DMOS.xlsx"
    place.write_bytes(b"PK\x03\x04 not a zip file")
    assert found(check(CSIQ, tmp_path), "unreadable_table") == [(place.name, None)]
    openpyxl.Workbook().save(place)
    assert found(check(CSIQ, tmp_path), "unreadable_table") == [(place.name, None)]


def test_a_decimal_comma_in_a_sheet_is_a_text_and_reported(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Image name", "MOS"])
    book.active.append(["00001.jpg", "48,86"])
    (tmp_path / "Annotations").mkdir()
    book.save(tmp_path / "Annotations" / "MOS and Image attribute scores.xlsx")
    report = check(spec_named("spaq"), tmp_path)
    assert found(report, "not_a_number") == [("MOS and Image attribute scores.xlsx", 2)]


@pytest.fixture
def metas(tmp_path):
    folder = tmp_path / "CSIQ" / "metas"
    folder.mkdir(parents=True)
    (tmp_path / "CSIQ" / "images").mkdir()
    rows = []
    for number, dmos in enumerate((0.061989, 0.2, 0.4, 0.8, 0.9), start=1):
        name = f"CSIQ/images/1600.AWGN.{number}.png"
        (tmp_path / name).write_bytes(png(number))
        norm = 5 - 4 * dmos
        rows.append({"image": name, "gt_score": -dmos, "gt_score_norm": norm, "std": 0.1})
    (folder / "test_csiq_866.json").write_text(json.dumps(rows))
    return tmp_path


SMALL_METAS = CSIQ.model_copy(update={"metas": {"test_csiq_866.json": ("test", 5)}})


def test_metas_of_csiq_state_the_negative_and_load_as_dmos(metas):
    report = check(SMALL_METAS, metas)
    assert report.findings == ()
    assert report.layout == "metas"
    assert report.range == (0.061989, 0.9)


def test_a_meta_with_a_row_too_few_is_reported(metas):
    path = metas / "CSIQ" / "metas" / "test_csiq_866.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:4]))
    assert found(check(SMALL_METAS, metas), "count") == [("test_csiq_866.json", None)]


def test_the_text_of_a_report_fits_on_a_screen_and_says_how_many_more(kadid):
    for path in (kadid / "images").glob("I02*.png"):
        path.unlink()
    report = check(SMALL_KADID, kadid)
    text = describe(report)
    assert "missing_image (125)" in text
    assert "and 120 more" in text
    assert len(text.splitlines()) < 24
    assert len(summary(report)["findings"]) == 125


@pytest.mark.parametrize(
    ("spread", "code"),
    [(lambda label: 0.5, None), (lambda label: 4.0, "spread"), (lambda label: 0.01, "spread")],
)
def test_spreads_that_no_ratings_on_the_scale_can_have_are_noticed(kadid, spread, code):
    lines = (kadid / "dmos.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        name, reference, label, _ = line.split(",")
        lines[number] = f"{name},{reference},{label},{spread(float(label)) ** 2}"
    (kadid / "dmos.csv").write_text("\n".join(lines) + "\n")
    report = check(SMALL_KADID, kadid)
    assert codes(report) == ({code} if code else set())
    assert ok(report)


def test_labels_that_are_all_the_same_are_an_error(kadid):
    text = (kadid / "dmos.csv").read_text()
    (kadid / "dmos.csv").write_text(re.sub(r"png,[\d.]+,", "png,3,", text))
    assert found(check(SMALL_KADID, kadid), "constant") == [("dmos.csv", 2)]


def test_an_image_of_one_colour_is_noticed(kadid):
    Image.new("RGB", (6, 4), "red").save(kadid / "images" / "I01_01_03.png")
    report = check(SMALL_KADID, kadid)
    assert found(report, "constant_image") == [("dmos.csv", 4)]
    assert ok(report)
