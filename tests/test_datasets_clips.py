"""The five video sets load from replicas of their layouts, and faults in clips are named."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from faulty_copies import codes, found
from replicas import cells, write_csv
from scipy.io import savemat
from typer.testing import CliRunner

from qponder_lib.cli import app
from qponder_lib.data import catalog
from qponder_lib.data.check import examine, load_labels, summary
from qponder_lib.data.clips import encode_clip
from qponder_lib.scales import linear_rescale

TABLES = Path(__file__).parents[2] / "shared" / "data" / "video_labels"
FILES = {
    "lsvq-test": "LSVQ_test_labels_normalized.txt",
    "lsvq-1080p": "LSVQ_labels_1080p_normalized.txt",
    "konvid": "KoNViD_labels_cleaned.txt",
    "live-vqc": "LIVE_VQC_labels_normalized.txt",
    "youtube-ugc": "YouTube_labels.txt",
}
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="the label tables are not there")


def labelled(name):
    """Path and label of every clip, on the set's own scale, to which LSVQ and LIVE-VQC go back."""
    with (TABLES / FILES[name]).open(encoding="utf-8", newline="") as file:
        rows = [(path.strip(), float(label)) for path, label in csv.reader(file)]
    label = catalog.spec_named(name).labels[0]
    if label.scale.high > 5:
        rows = [(path, linear_rescale(y, (1.0, 5.0), label.published)) for path, y in rows]
    return rows


def clip(seed=0, n_frames=4):
    frames = np.random.default_rng(seed).integers(0, 255, (n_frames, 16, 16, 3), np.uint8)
    return encode_clip(frames)


def replica(name, root, rows):
    """A copy in the official layout, whose clips are links to one file."""
    root.mkdir(parents=True, exist_ok=True)
    shared = root / "shared.bin"
    shared.write_bytes(clip())
    for path, _ in rows:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(shared, root / path)
    stems = [path.removesuffix(".mp4") for path, _ in rows]
    labels = [label for _, label in rows]
    if name == "lsvq-test":
        trained = [["yfcc-batch1/1", 50.0, "False"]]
        tested = [[stem, label, "True"] for stem, label in zip(stems, labels, strict=True)]
        write_csv(root / "labels_train_test.csv", "name,mos,is_test", trained + tested)
    elif name == "lsvq-1080p":
        lines = [list(one) for one in zip(stems, labels, strict=True)]
        write_csv(root / "labels_test_1080p.csv", "name,mos", lines)
    elif name == "konvid":
        lines = [[Path(stem).name, y] for stem, y in zip(stems, labels, strict=True)]
        write_csv(root / "KoNViD_1k_mos.csv", "flickr_id,mos", lines)
    elif name == "live-vqc":
        names = cells([Path(path).name for path, _ in rows])
        savemat(root / "data.mat", {"video_list": names, "mos": np.array(labels)[:, None]})
    else:
        lines = [[Path(path).name, y] for path, y in rows]
        write_csv(root / "labels.csv", "image,mos", lines)
    return root


@needs_tables
@pytest.mark.parametrize("name", catalog.PRERESQ_VIDEO_BENCHMARKS)
def test_a_replica_from_the_real_labels_agrees_with_its_spec(name, tmp_path):
    rows = labelled(name)
    spec = catalog.spec_named(name)
    root = replica(name, tmp_path / name, rows)
    report = examine(load_labels(spec, root), decode=False, progress=False)
    assert report.findings == ()
    loaded = report
    assert len(loaded.labelled) == report.rows["path"].notna().sum() == spec.n_images == len(rows)
    assert loaded.range == pytest.approx(spec.labels[0].published, abs=0.06)
    mine = sorted(loaded.labelled["label"])
    assert mine == pytest.approx(sorted(label for _, label in rows))


def test_training_clips_in_the_table_of_lsvq_are_no_part_of_the_test_set(tmp_path):
    root = replica("lsvq-test", tmp_path, [("a/one.mp4", 20.0), ("a/two.mp4.mp4", 80.0)])
    loaded = load_labels(catalog.spec_named("lsvq-test"), root)
    excluded = loaded.rows["image"][loaded.rows["excluded"]]
    assert excluded.tolist() == ["yfcc-batch1/1.mp4"]
    assert loaded.labelled["image"].tolist() == ["a/one.mp4", "a/two.mp4.mp4"]


def few(name):
    low, high = catalog.spec_named(name).labels[0].published
    folder = {"konvid": "KoNViD_1k_videos/", "live-vqc": "Video/"}.get(name, "a/")
    return [(f"{folder}{n}.mp4", label) for n, label in enumerate((low, (low + high) / 2, high))]


@pytest.mark.parametrize("name", catalog.PRERESQ_VIDEO_BENCHMARKS)
def test_a_small_copy_is_read_and_its_count_is_an_error(name, tmp_path):
    root = replica(name, tmp_path / name, few(name))
    spec = catalog.spec_named(name)
    report = examine(load_labels(spec, root), decode=False, progress=False)
    assert codes(report) == {"count"}
    assert (len(report.labelled), report.rows["path"].notna().sum()) == (3, 3)


def test_a_row_of_lsvq_that_is_neither_test_nor_training_is_named(tmp_path):
    root = replica("lsvq-test", tmp_path / "lsvq", few("lsvq-test"))
    table = root / "labels_train_test.csv"
    table.write_text(table.read_text().replace("True", "maybe", 1))
    loaded = load_labels(catalog.spec_named("lsvq-test"), root)
    assert found(loaded, "inconsistent") == [("labels_train_test.csv", 3)]
    assert any("'maybe'" in one.sentence for one in loaded.findings)


def test_clips_that_cannot_be_played_are_named_by_what_is_wrong(tmp_path):
    rows = [(f"Video/{name}.mp4", 50.0 + n) for n, name in enumerate("abcdef")]
    root = replica("live-vqc", tmp_path, rows)
    whole = clip(seed=1, n_frames=24)
    contents = {"a": whole, "b": whole, "c": b"", "d": b"no video", "e": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (root / f"Video/{name}.mp4").unlink()
        (root / f"Video/{name}.mp4").write_bytes(content)
    (root / "Video/f.mp4").unlink()
    report = examine(load_labels(catalog.spec_named("live-vqc"), root), progress=False)
    rows = {
        code: [row for _, row in found(report, code)]
        for code in codes(report)
        if code.endswith("_image")
    }
    assert rows == {
        "duplicate_image": [2],
        "empty_image": [3],
        "invalid_image": [4, 5],  # e lost its index at the end of the file
        "missing_image": [6],
    }
    assert summary(report)["n_decoded"] == 2


def test_the_command_lists_and_checks_video_sets(tmp_path):
    listed = CliRunner().invoke(app, ["data", "list"]).output
    for name in catalog.PRERESQ_VIDEO_BENCHMARKS:
        spec = catalog.spec_named(name)
        assert f"{name}: {spec.title}, {spec.n_images:,} clips" in listed
    root = replica("konvid", tmp_path, few("konvid"))
    checked = CliRunner().invoke(app, ["data", "check", "konvid", "--root", str(root)])
    assert checked.exit_code == 1  # three clips are not 1,200
    assert "clips    3 of 1200 found, 3 decoded" in checked.output
    assert "duplicate_image (2)" in checked.output


def test_a_set_of_clips_is_not_prepared_for_stages_that_read_images(tmp_path):
    root = replica("konvid", tmp_path, few("konvid"))
    words = ["data", "prepare", "konvid", "--root", str(root), "--run", "none"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "only sets of images are prepared" in refused.stderr
