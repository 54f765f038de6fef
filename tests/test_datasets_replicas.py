"""Every public set loads from a replica of its official layout with the published counts."""

import csv
import math

import numpy as np
import pytest
import replicas
from scipy.stats import spearmanr

from qponder_lib.data import catalog, checking, labels, metas, splits
from qponder_lib.data.labels import load_labels

pytestmark = replicas.needs_tables

WRITERS = {
    "koniq": replicas.koniq,
    "spaq": replicas.spaq,
    "livew": replicas.livew,
    "kadid": replicas.kadid,
    "csiq": replicas.csiq,
    "live": replicas.live,
    "tid2008": lambda root: replicas.tid(root, 2008),
    "tid2013": lambda root: replicas.tid(root, 2013),
    "pipal": replicas.pipal,
    "agiqa": replicas.agiqa,
    "cidiq50": replicas.cidiq,
    "cidiq100": replicas.cidiq,
}
DECODED = {"livew", "csiq", "live", "tid2008", "tid2013", "cidiq50"}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Write a replica the first time it is asked for."""
    made = {}

    def copy_of(name):
        key = "cidiq" if name.startswith("cidiq") else name
        if key not in made:
            made[key] = tmp_path_factory.mktemp(key)
            WRITERS[name](made[key])
        return made[key]

    return copy_of


@pytest.mark.parametrize("name", WRITERS)
def test_a_replica_agrees_with_its_spec(copies, name):
    spec = catalog.spec_named(name)
    report = checking.check(spec, copies(name), decode=name in DECODED, progress=False)
    assert report.findings == ()
    assert report.n_labelled == report.n_found == spec.n_images
    assert report.n_decoded == (spec.n_images if name in DECODED else None)


@pytest.mark.parametrize(
    ("name", "label", "low", "high"),
    [
        ("koniq", "mos", 1.096, 4.31),
        ("koniq", "mos_zscore", 3.91, 88.39),
        ("spaq", "mos", 2.0, 96.0),
        ("livew", "mos", 3.42, 92.43),
        ("kadid", "dmos", 1.0, 4.93),
        ("csiq", "dmos", 0.0, 1.0),
        ("live", "realigned", -2.64, 111.77),
        ("tid2008", "mos", 0.0, 7.714),
        ("tid2013", "mos", 0.242, 7.214),
        ("pipal", "elo", 916.7, 1836.0),
        ("agiqa", "mos_quality", 0.0, 4.489),
        ("cidiq50", "mos", 1.18, 7.65),
        ("cidiq100", "mos", 1.0, 7.76),
    ],
)
def test_labels_have_the_published_range(copies, name, label, low, high):
    loaded = load_labels(catalog.spec_named(name), copies(name), label)
    assert loaded.findings == ()
    assert loaded.range == pytest.approx((low, high), abs=0.05 if high > 1000 else 0.005)


@pytest.mark.parametrize("name", ["kadid", "csiq", "tid2008", "tid2013", "cidiq50", "cidiq100"])
def test_stronger_damage_means_a_lower_mos(copies, name):
    spec = catalog.spec_named(name)
    rows = load_labels(spec, copies(name)).labelled
    mos = [spec.labels[0].scale.to_mos(row.label) for row in rows]
    assert spearmanr([row.level for row in rows], mos).statistic < -0.5
    means = [np.mean([m for m, r in zip(mos, rows, strict=True) if r.level == k]) for k in (1, 4)]
    assert means[0] > means[1]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("koniq", "10007357496.jpg", 3.96593),
        ("csiq", "1600.AWGN.1.png", 4.75204),
        ("livew", "100.bmp", 2.30954),
        ("tid2013", "i01_01_1.bmp", 4.02465),
        ("pipal", "A0006_00_00.bmp", 3.96205),
        ("agiqa", "AttnGAN_normal_000.jpg", 1.86047),
    ],
)
def test_the_published_five_point_values_follow_from_the_labels(copies, name, image, expected):
    loaded = load_labels(catalog.spec_named(name), copies(name))
    row = next(row for row in loaded.rows if row.image == image)
    up = loaded.column.scale.higher_is_better
    value = metas.five_point(row.label, loaded.range, higher_is_better=up)
    assert value == pytest.approx(expected, abs=2e-5)


def test_the_spread_of_kadid_is_the_root_of_its_variance(copies):
    rows = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows
    assert rows[0].std == pytest.approx(math.sqrt(0.496))
    assert rows[0].std == pytest.approx(0.704, abs=5e-4)


def test_csiq_names_the_image_that_is_a_number(copies):
    rows = load_labels(catalog.spec_named("csiq"), copies("csiq")).rows
    mine = [row for row in rows if row.reference == "1600"]
    assert len(mine) == 5 * 5 + 4  # its contrast has four levels
    assert {row.kind for row in mine} == set(catalog.CSIQ.type_counts)


def test_live_leaves_203_copies_of_references_out(copies):
    for label in ("dmos", "realigned"):
        loaded = load_labels(catalog.spec_named("live"), copies("live"), label)
        assert loaded.findings == ()
        assert sum(row.extra for row in loaded.rows) == 203
        assert len(loaded.labelled) == 779


def test_livew_leaves_the_seven_training_images_out(copies):
    rows = load_labels(catalog.spec_named("livew"), copies("livew")).rows
    assert [row.image for row in rows if row.extra] == [f"t{k}.bmp" for k in range(1, 8)]
    assert len(splits.assign(rows, "whole")["test"]) == 1162
    assert len(splits.assign(rows, "with-training-images")["test"]) == 1169


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("official", {"train": 7058, "validation": 1000, "test": 2015}),
        ("koniq-7k-2k", {"train": 7046, "validation": 1000, "test": 2010}),
        ("whole", {"test": 10073}),
    ],
)
def test_koniq_splits_have_the_published_sizes(copies, split, sizes):
    rows = load_labels(catalog.spec_named("koniq"), copies("koniq")).rows
    assert {part: len(found) for part, found in splits.assign(rows, split).items()} == sizes


def test_koniq_z_scores_can_come_from_the_table_of_sets_alone(tmp_path):
    replicas.koniq(tmp_path, z_scores=False)
    loaded = load_labels(catalog.spec_named("koniq"), tmp_path, "mos_zscore")
    assert loaded.findings == ()
    assert len(loaded.labelled) == 10073
    assert loaded.rows[0].file == "koniq10k_distributions_sets.csv"


def test_kadid_parts_by_reference_are_those_of_the_published_lists(copies):
    rows = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows
    parts = splits.assign(rows, "kadid-reference-49-16-16")
    for part, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        lines = (replicas.TABLES / f"KADID-10K_{file}_set.txt").read_text().splitlines()
        assert {row.image for row in parts[part]} == {line.split()[1] for line in lines}
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [6125, 2000, 2000]


def test_kadid_labels_on_five_points_are_those_of_the_published_list(copies):
    loaded = load_labels(catalog.spec_named("kadid"), copies("kadid"))
    mine = {
        row.image: metas.five_point(row.label, loaded.range, higher_is_better=True)
        for row in loaded.labelled
    }
    with (replicas.TABLES / "KADID-10K_test_set.txt").open() as file:
        for _, image, label, _ in csv.reader(file, delimiter=" "):
            assert mine[image] == pytest.approx(float(label), abs=1e-9)


def test_kadid_has_a_second_split_that_overlaps_the_first(copies):
    rows = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows
    other = splits.assign(rows, "kadid-reference-65-16")
    assert {part: len(found) for part, found in other.items()} == {"train": 8125, "test": 2000}
    assert {row.reference for row in other["test"]} == {f"I{k}" for k in range(66, 82)}
    first = splits.assign(rows, "kadid-reference-49-16-16")
    assert {r.reference for r in other["train"]} & {r.reference for r in first["test"]}


def test_pipal_has_116_variants_of_each_reference(copies):
    rows = load_labels(catalog.spec_named("pipal"), copies("pipal")).rows
    counts = {}
    for row in rows:
        counts[row.reference] = counts.get(row.reference, 0) + 1
    assert set(counts.values()) == {116}


def test_evidence_of_direction_agrees_in_every_set_that_has_some(copies):
    for name in WRITERS:
        spec = catalog.spec_named(name)
        for column in spec.labels:
            loaded = load_labels(spec, copies(name), column.name)
            sign = 1 if column.scale.higher_is_better else -1
            evidence = labels.evidence_of_direction(loaded)
            assert evidence, f"{name} {column.name}"
            for what, agreement, _ in evidence:
                assert agreement * (1 if what == "published labels" else sign) > 0.3, (name, what)
