"""Faults in images, tables and answers that no other test file holds."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qponder_lib.artifacts import ArtifactError, read_json, to_json
from qponder_lib.cli import app
from qponder_lib.data.images import ImageError, decode_rgb, read_rgb, scan
from qponder_lib.metrics import statistics
from qponder_lib.paths import MINI_WEIGHTS


def jpeg(size=(64, 48)):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def flipped(content):
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("change", [flipped, lambda content: content + b"junk"])
def test_a_flipped_bit_or_bytes_behind_the_end_decode_but_are_refused_by_hash(tmp_path, change):
    content = jpeg()
    recorded = hashlib.sha256(content).hexdigest()
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert read_rgb(path, recorded).size == (64, 48)
    path.write_bytes(change(content))
    assert decode_rgb(path.read_bytes()).size == (64, 48)
    with pytest.raises(ImageError, match=r"a\.jpg: the file has changed"):
        read_rgb(path, recorded)


def test_one_bad_file_among_good_ones_is_named_and_the_scan_goes_on(tmp_path):
    (tmp_path / "1.jpg").write_bytes(jpeg())
    (tmp_path / "2.jpg").write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "3.jpg").write_bytes(b"")
    (tmp_path / "4.jpg").mkdir()
    (tmp_path / "6.jpg").write_bytes(jpeg())
    names = [f"{k}.jpg" for k in range(1, 7)]
    scanned = scan(tmp_path, names, progress=False)
    assert [scanned[name].problem for name in names] == [
        None,
        "invalid_image",
        "empty_image",
        "missing_image",
        "missing_image",
        None,
    ]


def test_a_damaged_file_stays_refused_after_others_were_read(tmp_path):
    """Pillow's switch that fills what is cut off with grey is nowhere set."""
    from PIL import ImageFile

    content = jpeg()
    decode_rgb(content)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    with pytest.raises(ImageError):
        decode_rgb(content[: len(content) // 2])


def test_two_hundred_to_one_is_the_longest_image_that_is_taken():
    buffer = io.BytesIO()
    Image.new("RGB", (400, 2)).save(buffer, "PNG")
    assert decode_rgb(buffer.getvalue()).size == (400, 2)


def test_nan_is_neither_written_nor_read_and_a_key_given_twice_is_refused(tmp_path):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            to_json({"score": value})
    for text in ('{"a": NaN}', '{"a": 1e400}', '{"a": 1, "a": 2}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"a\.json"):
            read_json(tmp_path / "a.json")


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("metric", ["srcc", "plcc", "krcc"])
def test_fewer_than_ten_images_have_no_correlation(metric, n):
    measure = getattr(statistics, metric)
    with pytest.raises(statistics.DegenerateInputError, match="too_few"):
        measure(range(n), range(n))
    assert measure(range(10), range(10)) == pytest.approx(1.0)
    if n > 1:
        assert measure(range(n), range(n), min_n=n) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["srcc", "plcc", "krcc"])
def test_infinity_has_no_rank_although_scipy_gives_it_one(metric):
    with pytest.raises(statistics.DegenerateInputError, match="not_finite"):
        getattr(statistics, metric)([*range(11), float("inf")], range(12))


@pytest.fixture
def files_that_cannot_be_scored(tmp_path):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:-200])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deep.png", "8 bits per channel"),
        ("moving.png", "one frame"),
        ("cut.jpg", "truncated"),
        ("none.png", "No such file"),
    ],
)
def test_reading_an_image_names_the_file_and_what_is_wrong(
    files_that_cannot_be_scored, name, reason
):
    with pytest.raises(ImageError, match=rf"{name}: .*{reason}"):
        read_rgb(files_that_cannot_be_scored / name)


def test_a_file_that_cannot_be_scored_costs_its_own_row_and_no_model_is_loaded_for_it_alone(
    files_that_cannot_be_scored, caplog, monkeypatch
):
    deep = files_that_cannot_be_scored / "deep.png"
    good = files_that_cannot_be_scored / "good.jpg"
    good.write_bytes(jpeg())
    words = ["score", str(good), str(deep), str(good), "--json", "--model", str(MINI_WEIGHTS)]
    done = CliRunner().invoke(app, words)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [row["parse_status"] == "invalid_image" for row in rows] == [False, True, False]
    assert rows[0]["text"] == rows[2]["text"] is not None
    assert "deep.png" in caplog.text
    monkeypatch.setattr("qponder_lib.student.prediction.load_student", None)
    assert CliRunner().invoke(app, ["score", str(deep), *words[5:]]).exit_code == 1
