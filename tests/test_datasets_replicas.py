"""Every public set loads from a replica of its official layout with the published counts."""

import csv
import math

import pytest
import replicas
from scipy.stats import spearmanr

from qponder_lib.data import catalog
from qponder_lib.data.check import evidence_of_direction, examine, five_point, load_labels
from qponder_lib.data.prepare import assign

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


def parts_of(name, rows, split):
    return assign(rows, catalog.spec_named(name).splits[split])


@pytest.mark.parametrize("name", WRITERS)
def test_a_replica_agrees_with_its_spec(copies, name):
    spec = catalog.spec_named(name)
    labels = load_labels(spec, copies(name))
    report = examine(labels, decode=name in DECODED, progress=False)
    assert report.findings == ()
    assert len(labels.labelled) == report.rows["path"].notna().sum() == spec.n_images
    assert len(report.scanned) == (spec.n_images if name in DECODED else 0)


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
    mos, level = rows["label"].map(spec.labels[0].scale.to_mos), rows["level"].astype(int)
    assert spearmanr(level, mos).statistic < -0.5
    assert mos[level == 1].mean() > mos[level == 4].mean()


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
    label = loaded.rows.set_index("image")["label"][image]
    up = loaded.label.scale.higher_is_better
    value = five_point(label, loaded.range, higher_is_better=up)
    assert value == pytest.approx(expected, abs=2e-5)


def test_the_spread_of_kadid_is_the_root_of_its_variance(copies):
    std = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows["std"][0]
    assert std == pytest.approx(math.sqrt(0.496))
    assert std == pytest.approx(0.704, abs=5e-4)


def test_csiq_names_the_image_that_is_a_number(copies):
    rows = load_labels(catalog.spec_named("csiq"), copies("csiq")).rows
    mine = rows[rows["reference"] == "1600"]
    assert len(mine) == 5 * 5 + 4  # its contrast has four levels
    assert set(mine["type"]) == set(catalog.spec_named("csiq").types.values())


def test_live_leaves_203_copies_of_references_out(copies):
    for label in ("dmos", "realigned"):
        loaded = load_labels(catalog.spec_named("live"), copies("live"), label)
        assert loaded.findings == ()
        assert loaded.rows["excluded"].sum() == 203
        assert len(loaded.labelled) == 779


def test_livew_leaves_the_seven_training_images_out(copies):
    rows = load_labels(catalog.spec_named("livew"), copies("livew")).rows
    excluded = rows["image"][rows["excluded"]]
    assert excluded.tolist() == [f"t{k}.bmp" for k in range(1, 8)]
    assert len(parts_of("livew", rows, "whole")["test"]) == 1162
    assert len(parts_of("livew", rows, "with-training-images")["test"]) == 1169


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
    assert {part: len(found) for part, found in parts_of("koniq", rows, split).items()} == sizes


def test_koniq_z_scores_can_come_from_the_table_of_sets_alone(tmp_path):
    replicas.koniq(tmp_path, z_scores=False)
    loaded = load_labels(catalog.spec_named("koniq"), tmp_path, "mos_zscore")
    assert loaded.findings == ()
    assert len(loaded.labelled) == 10073
    assert loaded.rows["file"][0] == "koniq10k_distributions_sets.csv"


def test_kadid_parts_by_reference_are_those_of_the_published_lists(copies):
    rows = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows
    parts = parts_of("kadid", rows, "kadid-reference-49-16-16")
    for part, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        lines = (replicas.TABLES / f"KADID-10K_{file}_set.txt").read_text().splitlines()
        assert set(parts[part]["image"]) == {line.split()[1] for line in lines}
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [6125, 2000, 2000]


def test_kadid_labels_on_five_points_are_those_of_the_published_list(copies):
    loaded = load_labels(catalog.spec_named("kadid"), copies("kadid"))
    mine = {
        image: five_point(label, loaded.range, higher_is_better=True)
        for image, label in loaded.labelled.set_index("image")["label"].items()
    }
    with (replicas.TABLES / "KADID-10K_test_set.txt").open() as file:
        for _, image, label, _ in csv.reader(file, delimiter=" "):
            assert mine[image] == pytest.approx(float(label), abs=1e-9)


def test_kadid_has_a_second_split_that_overlaps_the_first(copies):
    rows = load_labels(catalog.spec_named("kadid"), copies("kadid")).rows
    other = parts_of("kadid", rows, "kadid-reference-65-16")
    assert {part: len(found) for part, found in other.items()} == {"train": 8125, "test": 2000}
    assert set(other["test"]["reference"]) == {f"I{k}" for k in range(66, 82)}
    first = parts_of("kadid", rows, "kadid-reference-49-16-16")
    assert set(other["train"]["reference"]) & set(first["test"]["reference"])


def test_pipal_has_116_variants_of_each_reference(copies):
    rows = load_labels(catalog.spec_named("pipal"), copies("pipal")).rows
    assert set(rows["reference"].value_counts()) == {116}


def test_evidence_of_direction_agrees_in_every_set_that_has_some(copies):
    for name in WRITERS:
        spec = catalog.spec_named(name)
        for label in spec.labels:
            loaded = load_labels(spec, copies(name), label.name)
            sign = 1 if label.scale.higher_is_better else -1
            evidence = evidence_of_direction(loaded)
            assert evidence or label != spec.labels[0], f"{name} {label.name}"
            for what, agreement in evidence.items():
                assert agreement * (1 if what == "published labels" else sign) > 0.3, (name, what)
