"""Label files: columns are declared or clear, and each seeded fault is found with its row."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qponder_lib.artifacts import ArtifactError
from qponder_lib.cli import app
from qponder_lib.data.copies import LabelRow
from qponder_lib.report.label_files import Columns, read_label_file
from qponder_lib.report.label_scales import (
    audit_copy,
    audit_label_file,
    check_direction,
    largest_spread,
)

REAL = Path(__file__).parents[2] / "shared" / "data" / "labels"


def write(tmp_path, text: str | bytes, name="labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(path: Path, scale=None, higher_is_better=None, **columns):
    read = read_label_file(path, Columns(**columns))
    return audit_label_file(read, scale, higher_is_better)


def of(findings, check: str, outcome: str):
    return [f for f in findings if (f.check, f.outcome) == (check, outcome)]


# Columns


def test_columns_with_known_names_are_found(tmp_path):
    read = read_label_file(write(tmp_path, "image_name,MOS,SD\na.png,3.5,0.4\n"), Columns())
    assert read.columns == Columns("image_name", "MOS", "SD")
    assert [(row.image, row.label, row.std) for row in read.rows] == [("a.png", 3.5, 0.4)]


def test_declared_columns_win(tmp_path):
    path = write(tmp_path, "image,mos,score\na.png,3.5,70\n")
    assert read_label_file(path, Columns(label="score")).rows[0].label == 70


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("image,mos,score\na,1,2\n", {}, "which column is the label. mos, score may all be it"),
        ("picture,mos\na,1\n", {}, "which column is the image. found picture, mos"),
        ("image,mos\na,1\n", {"label": "MOS"}, "no column 'MOS'"),
        ("a.png 1 2 3\nb.png 1 2 3\n", {}, "no header; which of columns .* is the label"),
        ("r.png a.png 1\nq.png b.png 2\n", {}, "no header; which of columns .* is the image"),
    ],
)
def test_what_is_not_clear_is_asked_not_guessed(tmp_path, text, columns, message):
    with pytest.raises(ArtifactError, match=message):
        read_label_file(write(tmp_path, text), Columns(**columns))


def test_file_without_header_the_image_is_the_name_that_differs(tmp_path):
    read = read_label_file(write(tmp_path, "r.png a.png 4.5 0.7\nr.png b.png 3 0.8\n"), Columns())
    assert [(row.image, row.label, row.std, row.row) for row in read.rows] == [
        ("a.png", 4.5, 0.7, 1),
        ("b.png", 3.0, 0.8, 2),
    ]


# Faults


def test_label_off_the_declared_scale_is_named_with_its_row(tmp_path):
    (off,) = of(found(write(tmp_path, "image,mos\na,3\nb,5.5\n"), (1, 5)), "scale", "disagrees")
    assert off.where == "labels.csv, row 3"
    assert "b has 5.5, outside 1 to 5" in off.sentence


def test_without_a_declared_scale_nothing_is_guessed(tmp_path):
    (told,) = of(found(write(tmp_path, "image,mos\na,3\nb,4.5\n")), "scale", "undecidable")
    assert "of the usual ones 1 to 5 holds them" in told.sentence


def test_many_faults_are_counted_and_the_first_five_shown(tmp_path):
    text = "image,mos\n" + "".join(f"i{i},9\n" for i in range(12))
    off = of(found(write(tmp_path, text), (1, 5)), "scale", "disagrees")
    assert len(off) == 6
    assert off[-1].sentence == "7 more like these"


def test_decimal_comma_is_found_and_not_read(tmp_path):
    findings = found(write(tmp_path, "image;mos\na;3,5\nb;4\n"), (1, 5))
    (comma,) = of(findings, "comma_decimal", "disagrees")
    assert comma.where == "labels.csv, row 2"
    assert "1 labels from 4 to 4" in of(findings, "scale", "consistent")[0].sentence


def test_bom_and_windows_line_ends_are_told(tmp_path):
    findings = found(write(tmp_path, b"\xef\xbb\xbfimage,mos\r\na,3\r\n"), (1, 5))
    assert {"bom", "crlf"} <= {f.check for f in findings}


@pytest.mark.parametrize(("second", "outcome"), [("3", "notable"), ("4", "disagrees")])
def test_image_named_twice_is_worse_with_two_labels(tmp_path, second, outcome):
    findings = found(write(tmp_path, f"image,mos\na.png,3\nA.png,{second}\n"), (1, 5))
    (twice,) = of(findings, "duplicate_name", outcome)
    assert twice.where == "labels.csv, row 3"


def test_digits_as_text_in_json_are_told(tmp_path):
    rows = [{"image": "a", "gt_score": "0.9"}, {"image": "b", "gt_score": 0.8}]
    findings = found(write(tmp_path, json.dumps(rows), "m.json"), (0, 1))
    assert "1 labels are written as text" in of(findings, "digits_as_text", "notable")[0].sentence


def test_variance_called_so_is_no_spread(tmp_path):
    findings = found(write(tmp_path, "image,dmos,var\na,3,0.5\nb,2,0.7\n"), (1, 5))
    assert "named like a variance" in of(findings, "spread", "notable")[0].sentence


def test_spread_that_no_ratings_can_have_is_found(tmp_path):
    # A mean of 4.5 on 1 to 5: at most sqrt(2 * 3.5 * 0.5) = 1.87.
    findings = found(write(tmp_path, "image,mos,std\na,4.5,1.86\nb,4.5,1.88\n"), (1, 5))
    (odd,) = of(findings, "spread", "notable")
    assert odd.sentence.startswith("1 of 2 spreads")
    assert odd.where == "labels.csv, row 3"


def test_negative_and_constant_spreads_are_found(tmp_path):
    text = "image,mos,std\na,3,-0.5\nb,4,-0.5\n"
    findings = found(write(tmp_path, text), (1, 5))
    assert len(of(findings, "spread", "disagrees")) == 2
    assert "all 2 spreads are -0.5" in of(findings, "spread", "notable")[0].sentence


def test_spreads_on_another_scale_than_the_labels_are_noticed(tmp_path):
    text = "image,mos,std\n" + "".join(f"i{i},{10 * i},0.{5 + i % 3}\n" for i in range(10))
    findings = found(write(tmp_path, text), (0, 100))
    assert "may be on two scales" in of(findings, "spread", "notable")[0].sentence


def test_clipped_labels_are_noticed(tmp_path):
    values = [100.0] * 10 + [0.37 * i for i in range(200)]
    text = "image,mos\n" + "".join(f"i{i},{v}\n" for i, v in enumerate(values))
    (told,) = of(found(write(tmp_path, text), (0, 100)), "clipping", "notable")
    assert "10 of 210 labels are exactly 100, the highest" in told.sentence


def test_rounded_labels_are_noticed(tmp_path):
    text = "image,mos\n" + "".join(f"i{i},{1 + i % 4 + 0.5}\n" for i in range(200))
    (told,) = of(found(write(tmp_path, text), (1, 5)), "rounding", "notable")
    assert "200 labels share 4 values" in told.sentence


def levelled(sign: float) -> list[LabelRow]:
    return [
        LabelRow(f"I{i:02d}_03_{level:02d}.png", ("",), 3 + sign * 0.4 * level, None, "f", 1)
        for i in range(10)
        for level in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("sign", "declared", "outcome"),
    [
        (-1, True, "consistent"),
        (-1, False, "disagrees"),
        (1, False, "consistent"),
        (1, True, "disagrees"),
        (-1, None, "notable"),
    ],
)
def test_direction_is_seen_from_levels_in_names(sign, declared, outcome):
    assert check_direction("f", levelled(sign), declared).outcome == outcome


def test_direction_without_levels_is_undecidable():
    rows = [LabelRow(f"{i}.jpg", ("",), float(i % 5), None, "f", i) for i in range(50)]
    assert check_direction("f", rows, True).outcome == "undecidable"


@given(st.lists(st.floats(1, 5), min_size=2, max_size=30))
def test_no_ratings_spread_more_than_the_bound(ratings):
    n, mean = len(ratings), sum(ratings) / len(ratings)
    std = (sum((x - mean) ** 2 for x in ratings) / (n - 1)) ** 0.5
    assert std <= largest_spread(mean, (1.0, 5.0)) + 1e-6


# A copy of a public set


def kadid(tmp_path, sign: float) -> Path:
    lines = ["dist_img,ref_img,dmos,var"]
    for reference in (1, 2):
        for kind in (1, 2, 3):
            for level in range(1, 6):
                name = f"I{reference:02d}_{kind:02d}_{level:02d}.png"
                lines.append(f"{name},I{reference:02d}.png,{3 + sign * 0.3 * level:.2f},0.5")
    write(tmp_path, "\n".join(lines) + "\n", "dmos.csv")
    return tmp_path


def test_copy_of_a_set_is_held_against_its_published_scale_and_direction(tmp_path):
    findings = audit_copy("kadid", kadid(tmp_path, -1))
    assert of(findings, "direction", "consistent")
    # 30 images are not 10,125.
    assert of(findings, "count", "disagrees")
    reversed_ = audit_copy("kadid", kadid(tmp_path, 1))
    assert of(reversed_, "direction", "disagrees")


def test_unknown_set_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no set 'nothing'"):
        audit_copy("nothing", tmp_path)


# Real tables


@pytest.mark.skipif(not REAL.is_dir(), reason="no real label tables here")
@pytest.mark.parametrize(
    ("name", "scale", "better", "n"),
    [
        ("KADID-10k", (1, 5), True, 10125),
        ("CSIQ", (0, 1), False, 866),
        ("TID2013", (0, 9), True, 3000),
        ("CIDIQ_MOS50", (0, 9), True, 690),
    ],
)
def test_real_tables_have_the_scale_and_direction_they_are_known_for(name, scale, better, n):
    findings = found(REAL / f"{name}.txt", scale, better)
    assert not [f for f in findings if f.outcome == "disagrees"]
    assert of(findings, "direction", "consistent")
    assert of(findings, "scale", "consistent")[0].sentence.startswith(f"{n} labels")
    assert of(found(REAL / f"{name}.txt", scale, not better), "direction", "disagrees")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real label tables here")
def test_agiqa_table_on_another_scale_than_its_spreads_is_noticed():
    findings = found(REAL / "AGIQA-3K.txt", (0, 100), True)
    assert any("two scales" in f.sentence for f in of(findings, "spread", "notable"))


# The command


def test_command_exits_one_if_a_label_disagrees_and_two_if_asked_wrongly(tmp_path):
    path = write(tmp_path, "image,mos\na,3\nb,5.5\n")
    runner = CliRunner()
    assert runner.invoke(app, ["audit", "labels", str(path), "--scale", "0:10"]).exit_code == 0
    one = runner.invoke(app, ["audit", "labels", str(path), "--scale", "1:5", "--json"])
    assert one.exit_code == 1
    assert [f["outcome"] for f in json.loads(one.stdout)].count("disagrees") == 1
    for wrong in (
        [str(tmp_path / "none.csv")],
        [str(path), "--scale", "5:1"],
        [str(path), "--higher-is", "up"],
        ["nothing", "--root", str(tmp_path)],
    ):
        refused = runner.invoke(app, ["audit", "labels", *wrong])
        assert refused.exit_code == 2
        assert refused.stderr.startswith("qponder: ")
