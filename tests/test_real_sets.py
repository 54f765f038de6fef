"""Sets that anybody can clone, read from samples of real files beside the project."""

import csv
import shutil
from pathlib import Path

import pytest

from qponder_lib.data.catalog import spec_named
from qponder_lib.data.check import describe, examine, load_labels
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
    labels = tuple(label.model_copy(update={"published": None}) for label in spec.labels)
    return spec.model_copy(update={"n_images": len(rows), "labels": labels, **more})


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


# ---- the sets of the Audiovisual Technology Group (AVT), Ilmenau


def table(place, columns, rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(row[column] for column in columns.values()) for row in rows]
    place.write_text("\n".join([",".join(columns), *lines]) + "\n", "utf-8")


@needs_samples
@pytest.mark.parametrize(("label", "score"), [("laboratory", "mos"), ("crowd", "mos_crowd")])
def test_avt_stills_have_two_kinds_of_raters(tmp_path, label, score):
    rows = rows_of("avt_image_quality_sample")
    for row in rows:
        put("avt_image_quality_sample", row, tmp_path / row["source_path"])
        row["name"] = Path(row["image"]).stem
    lab = {"image_name": "name", "mos": "mos", "std": "mos_std"}
    both = {**lab, "mean_crowd": "mos_crowd", "std_crowd": "mos_crowd_std"}
    table(tmp_path / "test_1" / "mos_ci.csv", lab, rows)
    table(tmp_path / "test_2" / "mean_crowd_mos.csv", both, rows)
    spec = of_length(spec_named("avt-stills"), rows, n_references=len({r["content"] for r in rows}))
    found = examine(load_labels(spec, tmp_path, label), progress=False)
    assert found.findings == ()
    assert found.rows["label"].tolist() == [float(row[score]) for row in rows]
    assert found.rows["std"].tolist() == [float(row[f"{score}_std"]) for row in rows]
    assert found.rows["reference"].tolist() == [row["content"] for row in rows]
    assert "so enlarge all to one size first" in describe(found)


@needs_samples
def test_avt_ai_images_are_grouped_by_their_generator(tmp_path):
    rows = rows_of("avt_ai_images_sample")
    for row in rows:
        put("avt_ai_images_sample", row, tmp_path / row["source_path"])
        row["key"] = row["source_path"].removeprefix("images/").removesuffix(".png")
    columns = {"image_key": "key", "rating": "mos", "std": "mos_std"}
    table(tmp_path / "evaluation_quality_appeal" / "quality.csv", columns, rows)
    spec = spec_named("avt-ai")
    counts = [sum(row["generator"] == one for row in rows) for one in spec.types]
    spec = of_length(spec, rows, type_counts=tuple(counts))
    paths = RunPaths(tmp_path / "run")
    made = prepare(spec, tmp_path, paths, mapping="scale", progress=False)
    assert (made.n, made.warnings) == ({"test": len(rows)}, ())
    for row, record in zip(rows, load_records(paths, "avt-ai", "test"), strict=True):
        assert record.image_id == f"avt-ai-{row['key'].replace('/', '_')}.png"
        assert record.mos == pytest.approx(25 * (float(row["mos"]) - 1))
        assert record.subset == row["generator"]
