"""The embedded benchmark: deterministic, split by photograph, with a known ceiling."""

import hashlib
from dataclasses import replace

import pytest

from qponder_lib.artifacts import digest, read_csv
from qponder_lib.config import DataConfig
from qponder_lib.data import benchmark, scenes
from qponder_lib.data.benchmark import MIRRORS, MIXTURES
from qponder_lib.data.images import load_records
from qponder_lib.paths import RunPaths
from qponder_lib.scales import severity_of

SMALL = DataConfig(n_train=40, n_validation=20, n_test=30, n_raters=8)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    paths = RunPaths(tmp_path_factory.mktemp("benchmark"))
    report = benchmark.build(SMALL, paths, progress=False)
    return paths, report


def everything(paths):
    yield from load_records(paths, "mini-koniq", "train")
    yield from load_records(paths, "mini-koniq", "validation")
    for mixture in MIXTURES:
        yield from load_records(paths, mixture.name, "test")


def test_every_set_has_the_images_it_should(built):
    paths, report = built
    assert sum(row["n"] for row in report) == 40 + 20 + 6 * 30
    assert len(load_records(paths, "mini-csiq", "test")) == 30


def test_rows_name_their_file_by_hash_and_agree_with_it(built):
    paths, _ = built
    for record in everything(paths):
        content = (paths.data / record.image).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256
        assert record.severity == severity_of(record.mos)
        assert record.mos_std > 0


def test_splits_share_no_photograph_and_no_image(built):
    paths, _ = built
    references, hashes = {}, {}
    for record in everything(paths):
        references.setdefault(record.split, set()).add(record.reference)
        hashes.setdefault(record.split, set()).add(record.sha256)
    assert not references["train"] & references["test"]
    assert not references["train"] & references["validation"]
    assert not references["validation"] & references["test"]
    assert not hashes["train"] & hashes["test"]
    photographs = {one for one in references["test"] if "." in one}
    assert photographs <= set(scenes.PHOTOGRAPHS["test"])


def test_the_same_seed_gives_the_same_images_and_another_seed_others(built, tmp_path):
    paths, _ = built
    tiny = SMALL.model_copy(update={"n_train": 2, "n_validation": 1, "n_test": 1})
    same, other = RunPaths(tmp_path / "same"), RunPaths(tmp_path / "other")
    benchmark.build(tiny, same, progress=False)
    benchmark.build(tiny.model_copy(update={"seed": 1}), other, progress=False)
    first = load_records(paths, "mini-koniq", "train")[:2]
    again = load_records(same, "mini-koniq", "train")
    assert [one.sha256 for one in first] == [one.sha256 for one in again]
    assert [one.mos for one in first] == [one.mos for one in again]
    others = load_records(other, "mini-koniq", "train")
    assert {one.sha256 for one in again}.isdisjoint(one.sha256 for one in others)


def test_the_ceiling_is_high_but_below_one(built):
    paths, _ = built
    rows = read_csv(paths.tables / "benchmark.csv")
    ceilings = [float(row["ceiling_srcc"]) for row in rows]
    assert all(0.9 < value < 1.0 for value in ceilings)


def test_synthetic_sets_know_exactly_one_type_and_level(built):
    paths, _ = built
    for name in ("mini-kadid", "mini-csiq"):
        assert all(len(one.distortions) == 1 for one in load_records(paths, name, "test"))


def test_mirrors_change_no_byte_of_the_other_sets_and_show_validation_photographs(built, tmp_path):
    paths, _ = built
    with_mirrors = RunPaths(tmp_path)
    report = benchmark.build(
        SMALL.model_copy(update={"n_mirror": 12}), with_mirrors, progress=False
    )
    for file in sorted(path for path in paths.root.rglob("*") if path.is_file()):
        there = with_mirrors.root / file.relative_to(paths.root)
        assert there.read_bytes() == file.read_bytes(), file
    assert sum(row["n"] for row in report) == 40 + 20 + 6 * 30
    rows = {one.name: load_records(with_mirrors, one.name, "test") for one in MIRRORS}
    assert [len(mirror) for mirror in rows.values()] == [12] * 6
    every = [row for mirror in rows.values() for row in mirror]
    photographs = {row.reference for row in every if "." in row.reference}
    assert photographs == set(scenes.PHOTOGRAPHS["validation"])
    assert {row.sha256 for row in every}.isdisjoint(row.sha256 for row in everything(paths))


def test_the_sets_are_drawn_as_they_were_when_their_numbers_were_published(built):
    paths, _ = built
    drawn = [
        [row.image_id, row.reference, [(one.name, one.level) for one in row.distortions]]
        for row in everything(paths)
    ]
    assert digest({"drawn": drawn}).startswith("5b1f666aada6dc85dd896a71c3f98502")


def test_training_images_show_varied_scenes_and_no_other_split_does(built):
    paths, _ = built
    kinds = {}
    for record in everything(paths):
        kinds.setdefault(record.split, set()).add(record.reference.startswith("varied-"))
    assert kinds == {"train": {True}, "validation": {False}, "test": {False}}


def test_a_shorter_mirror_is_the_beginning_of_a_longer_one(tmp_path):
    few = {"n_train": 1, "n_validation": 1, "n_test": 1}
    short, long = RunPaths(tmp_path / "short"), RunPaths(tmp_path / "long")
    for paths, n in ((short, 2), (long, 3)):
        changed = SMALL.model_copy(update=few | {"n_mirror": n})
        benchmark.build(changed, paths, progress=False)
    for mixture in MIRRORS:
        first = load_records(short, mixture.name, "test")
        assert first == load_records(long, mixture.name, "test")[:2]


def test_a_mirror_is_drawn_like_the_set_it_mirrors():
    for mixture, mirror in zip(MIXTURES, MIRRORS, strict=True):
        assert mirror.name == mixture.name.replace("mini-", "mini-valid-")
        assert replace(mirror, name=mixture.name, photographs=None) == mixture
