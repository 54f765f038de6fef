"""Sets that anybody can clone, read from samples of real files beside the project."""

import csv
import shutil
from pathlib import Path

import pytest

from qponder_lib.data.catalog import spec_named
from qponder_lib.data.check import examine, load_labels
from qponder_lib.data.images import load_records
from qponder_lib.data.prepare import prepare
from qponder_lib.paths import RunPaths

REAL = Path(__file__).parents[2] / "shared" / "data" / "real"
needs_samples = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images in {REAL}")


def rows_of(sample):
    with (REAL / sample / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def put(sample, row, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REAL / sample / row["image"], place)


def of_length(spec, rows, **more):
    """The set's row, as if it had as many images as the sample, whatever their range."""
    label = spec.labels[0].model_copy(update={"published": None})
    update = {"n_images": len(rows), "labels": (label, *spec.labels[1:]), **more}
    return spec.model_copy(update=update)


# ---- BIQ2021


@pytest.fixture
def biq2021(tmp_path):
    """The sample as a clone lies: two tables, one with empty columns, one suffix in capitals."""
    rows, sample = rows_of("biq2021_sample"), tmp_path / "copy"
    for number, row in enumerate(rows):
        name = Path(row["image"]).name
        put("biq2021_sample", row, sample / "Images" / (name[:-4] + ".JPG" if not number else name))
    for part, end in (("train", ",,"), ("test", "")):
        mine = [row for row in rows if row["split"] == part]
        lines = [f"{Path(row['image']).name},{row['mos']}{end}" for row in mine]
        table = "\n".join([f"Image Name,MOS{end}", *lines])
        (sample / f"{part.title()} (Images and MOS).csv").write_text(table + "\n", "utf-8")
    counts = [sum(row["subset"] == one for row in rows) for one in ("ss01", "ss02", "ss03")]
    return of_length(spec_named("biq2021"), rows, type_counts=tuple(counts)), sample, rows


@needs_samples
def test_biq2021_is_read_with_its_split_and_its_subsets(biq2021, tmp_path):
    spec, sample, rows = biq2021
    found = examine(load_labels(spec, sample), decode=False)
    assert found.findings == ()
    by_name = found.rows.set_index("image")
    for row in rows:
        mine = by_name.loc[Path(row["image"]).name]
        assert (mine["split"], mine["type"]) == (row["split"], row["subset"])
        assert mine["label"] == float(row["mos"])


@needs_samples
def test_biq2021_is_prepared_with_validation_images_held_out_of_the_authors_training_part(
    biq2021, tmp_path
):
    spec, sample, rows = biq2021
    paths = RunPaths(tmp_path / "run")
    made = prepare(
        spec, sample, paths, mapping="scale", n_validation=40, at_most=30, progress=False
    )
    n_train = sum(row["split"] == "train" for row in rows)
    whole = {"train": n_train - 40, "validation": 40, "test": len(rows) - n_train}
    assert (made.split, made.n_whole) == ("official", whole)
    by_id = {f"biq2021-{Path(row['image']).name}": row for row in rows}
    for part in whole:
        for record in load_records(paths, "biq2021", part):
            stated = by_id[record.image_id]
            assert stated["split"] == ("test" if part == "test" else "train")
            assert record.subset == stated["subset"]
            assert record.distortions == ()  # a subset is none
            assert record.mos == pytest.approx(100 * float(stated["mos"]))
