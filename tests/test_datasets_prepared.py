"""Prepared sets: rows as the records want them, verified before use, and no leak between parts."""

import json
import os
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import yaml
from faulty_copies import check, photograph
from PIL import Image
from typer.testing import CliRunner

from qponder_lib import cli, paths, pipeline, runs
from qponder_lib.artifacts import file_sha256, hash_outputs, read_csv, read_record, verify_record
from qponder_lib.config import DataConfig
from qponder_lib.data import benchmark, catalog
from qponder_lib.data import check as checking
from qponder_lib.data import prepare as preparing
from qponder_lib.data.images import load_pixels, load_records
from qponder_lib.data.labels import DatasetError
from qponder_lib.data.prepare import assign, hold_out
from qponder_lib.paths import RunPaths

KONIQ_HEAD = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore"
SETS_HEAD = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set"
PARTS_WRITTEN = ("train", "validation", "test")
PARTS = ("training", "training", "training", "validation", "test", "test")


@pytest.fixture(autouse=True)
def small_specs(monkeypatch):
    """The specs of KonIQ, CSIQ and LIVE in the Wild for copies with a handful of images."""
    mos = catalog.spec_named("koniq").labels[0].model_copy(update={"published": None})
    changes = {"koniq": {"n_images": 6, "labels": (mos,)}, "bid": {"n_images": 3}}
    specs = [one.model_copy(update=changes.get(one.name, {})) for one in catalog.SPECS]
    monkeypatch.setattr(catalog, "SPECS", tuple(specs))


@pytest.fixture
def koniq(tmp_path):
    """Six photographs with labels 1.5, 2, 2.5, 3, 3.5, 4 in three parts."""
    root = tmp_path / "koniq-copy"
    scores, sets = [KONIQ_HEAD], [SETS_HEAD]
    for number, part in enumerate(PARTS):
        name, mos = f"{number}.jpg", 1.5 + 0.5 * number
        photograph(root / "1024x768" / name, number)
        scores.append(f"{name},0,0,0,0,0,0,{mos},0.5,{mos * 20}")
        sets.append(f"{name},0,0,0,0,0,0,{mos * 20},9,{part}")
    (root / "koniq10k_scores_and_distributions.csv").write_text("\n".join(scores) + "\n")
    (root / "koniq10k_distributions_sets.csv").write_text("\n".join(sets) + "\n")
    return root


@pytest.fixture
def bid(tmp_path):
    root = tmp_path / "bid-copy"
    lines = ["image,mos,std"]
    for number in range(3):
        photograph(root / f"b{number}.jpg", 50 + number)
        lines.append(f"b{number}.jpg,{number + 2},0.5")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def run(tmp_path):
    return RunPaths(tmp_path / "run")


def prepare(name, root, run, **choices):
    spec = catalog.spec_named(name)
    return preparing.prepare(spec, root, run, progress=False, **choices)


def verify(run, tests=("koniq", "bid")):
    return preparing.verify_prepared(run, "koniq", tests, progress=False)


def test_labels_become_mos_by_the_range_of_the_whole_set(koniq, run):
    made = prepare("koniq", koniq, run)
    assert made.n == {"train": 3, "validation": 1, "test": 2}
    assert made.label_range == (1.5, 4.0)
    train = load_records(run, "koniq", "train")
    assert [one.mos for one in train] == pytest.approx([0.0, 20.0, 40.0])
    assert [one.mos_raw for one in train] == [1.5, 2.0, 2.5]
    assert [one.severity for one in train] == ["extreme", "severe", "noticeable"]
    assert train[0].mos_std == pytest.approx(0.5 * 100 / 2.5)


def test_labels_can_become_mos_by_their_declared_scale(koniq, run):
    prepare("koniq", koniq, run, mapping="scale")
    train = load_records(run, "koniq", "train")
    assert [one.mos for one in train] == pytest.approx([12.5, 25.0, 37.5])  # of 1 to 5
    assert train[0].mos_std == pytest.approx(12.5)


def test_a_rehearsal_has_few_images_of_each_part_on_the_scale_of_the_whole_set(koniq, run):
    whole = prepare("koniq", koniq, run)
    train = {one.image_id: one.mos for one in load_records(run, "koniq", "train")}
    few = prepare("koniq", koniq, run, at_most=1)
    assert (few.n, few.n_whole) == ({"train": 1, "validation": 1, "test": 1}, whole.n)
    (kept,) = load_records(run, "koniq", "train")
    assert kept.mos == train[kept.image_id]
    assert few.label_range == whole.label_range


def test_a_rehearsal_looks_at_the_images_it_takes_and_no_others(koniq, run):
    prepare("koniq", koniq, run, at_most=1)
    taken = {one.image for part in PARTS_WRITTEN for one in load_records(run, "koniq", part)}
    for path in (koniq / "1024x768").iterdir():
        if f"koniq/images/1024x768/{path.name}" not in taken:
            path.write_bytes(b"broken")
    assert prepare("koniq", koniq, run, at_most=1).n["train"] == 1
    with pytest.raises(DatasetError, match="invalid_image"):
        prepare("koniq", koniq, run)


def test_images_stay_where_they_are_and_load_through_the_run(koniq, run):
    prepare("koniq", koniq, run)
    record = load_records(run, "koniq", "test")[0]
    assert record.image == "koniq/images/1024x768/4.jpg"
    assert record.sha256 == file_sha256(koniq / "1024x768" / "4.jpg")
    assert (run.data / record.image).samefile(koniq / "1024x768" / "4.jpg")
    with Image.open(koniq / "1024x768" / "4.jpg") as image:
        assert (load_pixels(run, record) == np.asarray(image)).all()


def test_a_record_holds_the_rows_and_not_the_user_s_images(koniq, run):
    prepare("koniq", koniq, run)
    names = set(hash_outputs(run.root, [run.data]))
    parts = ("train", "validation", "test")
    assert names == {"data/koniq/source.json", *(f"data/koniq/{part}.jsonl" for part in parts)}


def test_preparing_twice_gives_the_same_rows_and_leaves_no_part_behind(koniq, run):
    prepare("koniq", koniq, run)
    first = run.split("koniq", "test").read_bytes()
    prepare("koniq", koniq, run)
    assert run.split("koniq", "test").read_bytes() == first
    prepare("koniq", koniq, run, split="whole")
    assert not run.split("koniq", "train").exists()
    assert len(load_records(run, "koniq", "test")) == 6


def test_a_label_that_is_not_there_refuses_everything(koniq, run):
    file = koniq / "koniq10k_scores_and_distributions.csv"
    file.write_text(file.read_text().replace("1.5,0.5", "n/a,0.5"))
    with pytest.raises(DatasetError, match=r"missing_label: koniq10k_scores.*, row 2"):
        prepare("koniq", koniq, run)
    assert not run.data.exists()


def test_a_broken_image_refuses_unless_its_part_is_not_asked_for(koniq, run):
    path = koniq / "1024x768" / "3.jpg"  # validation
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"truncated_image.*row 5"):
        prepare("koniq", koniq, run)
    assert not run.data.exists()


def test_parts_that_share_an_image_are_refused(koniq, run):
    (koniq / "1024x768" / "5.jpg").write_bytes((koniq / "1024x768" / "0.jpg").read_bytes())
    with pytest.raises(
        DatasetError, match=r"shared_image: test.jsonl, row 2: .*train.jsonl, row 1"
    ):
        prepare("koniq", koniq, run)
    assert prepare("koniq", koniq, run, split="whole").n_duplicates == 1


def test_unknown_names_say_what_there_is(koniq, run):
    with pytest.raises(ValueError, match="there are koniq"):
        prepare("konik", koniq, run)
    with pytest.raises(ValueError, match="has the splits koniq-7k-2k, official, whole"):
        prepare("koniq", koniq, run, split="kadid-reference-65-16")
    with pytest.raises(ValueError, match="no label 'dmos'"):
        prepare("koniq", koniq, run, label="dmos")


def test_a_folder_in_the_way_is_left_alone(koniq, run):
    run.images("koniq").mkdir(parents=True)
    with pytest.raises(ValueError, match="in the way"):
        prepare("koniq", koniq, run)


def rows_of(references, variants=5):
    names = [(f"{r}_{k}.png", r) for r in references for k in range(variants)]
    return pd.DataFrame(names, columns=["image", "reference"], dtype=object)


def test_held_out_references_are_whole_and_the_same_for_any_order():
    parts = {"train": rows_of([f"I{k:02}" for k in range(1, 21)])}
    first = hold_out(parts, 12, seed=0)
    assert len(first["validation"]) == 15  # three references of five images are the least
    assert len(first["train"]) == 85
    held = set(first["validation"]["reference"])
    assert not held & set(first["train"]["reference"])
    again = hold_out({"train": parts["train"][::-1]}, 12, seed=0)
    assert set(again["validation"]["reference"]) == held
    other = hold_out(parts, 12, seed=1)
    assert set(other["validation"]["reference"]) != held
    by_hash = sorted(range(1, 21), key=lambda k: sha256(f"0/I{k:02}".encode()).hexdigest())
    assert held == {f"I{k:02}" for k in by_hash[:3]}


def test_holding_everything_out_is_refused():
    with pytest.raises(ValueError, match="cannot hold 10 of 10"):
        hold_out({"train": rows_of(["I01", "I02"])}, 10, seed=0)


def test_a_part_without_rows_is_left_out():
    rule = catalog.spec_named("kadid").splits["kadid-reference-65-16"]
    assert assign(rows_of(["I01"]).assign(excluded=False), rule).keys() == {"train"}


def test_verified_rows_are_described_like_the_embedded_sets(koniq, bid, run):
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    assert len(verify(run)) == 4
    rows = read_csv(run.tables / "benchmark.csv")
    assert [(row["set"], row["split"], row["n"]) for row in rows] == [
        ("koniq", "train", "3"),
        ("koniq", "validation", "1"),
        ("koniq", "test", "2"),
        ("bid", "test", "3"),
    ]
    assert float(rows[0]["mos_mean"]) == pytest.approx(20.0)
    assert rows[0]["ceiling_srcc"] is None
    made = benchmark.build(
        DataConfig(n_train=1, n_validation=1, n_test=1), RunPaths(run.root / "e"), progress=False
    )
    assert list(made[0]) == list(rows[0])


def test_verifying_names_the_command_for_a_part_that_is_not_there(koniq, run):
    prepare("koniq", koniq, run, split="whole")
    with pytest.raises(FileNotFoundError, match="qponder data prepare koniq"):
        verify(run)


def test_a_flipped_bit_in_an_image_is_noticed(koniq, bid, run):
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    path = koniq / "1024x768" / "4.jpg"
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"data/koniq/test.jsonl, row 1.*has changed"):
        verify(run)


def test_a_copy_that_moved_away_is_noticed(koniq, bid, run):
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    os.rename(bid, bid.with_name("elsewhere"))
    with pytest.raises(DatasetError, match=r"missing_image: data/bid/test.jsonl, row 1"):
        verify(run)


def test_a_test_image_of_another_set_that_was_trained_on_is_noticed(koniq, bid, run):
    with Image.open(koniq / "1024x768" / "0.jpg") as image:
        image.save(bid / "b1.jpg", "PNG")  # other bytes, the same pixels
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    with pytest.raises(DatasetError, match=r"shared_image: data/bid/test.jsonl, row 2"):
        verify(run)
    counted, findings = checking.leaks_in_run(run, progress=False)
    assert [one.code for one in findings] == ["shared_image"]
    assert counted["bid (test)"] == 3


def test_rows_in_the_wrong_place_and_ids_there_twice_are_noticed(koniq, bid, run):
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    rows = run.split("bid", "test").read_text()
    run.split("bid", "test").write_text(rows + rows.splitlines()[0] + "\n")
    run.split("koniq", "validation").write_text(run.split("koniq", "test").read_text())
    with pytest.raises(DatasetError) as caught:
        verify(run)
    sentences = [str(one) for one in caught.value.findings]
    assert any(one.startswith("duplicate_name: data/bid/test.jsonl, row 4") for one in sentences)
    misplaced = "inconsistent: data/koniq/validation.jsonl, row 1"
    assert any(one.startswith(misplaced) for one in sentences)


def test_folders_are_compared_by_pixels(tmp_path):
    for number in range(4):
        photograph(tmp_path / "train" / "deep" / f"{number}.png", number)
    photograph(tmp_path / "test" / "other-name.bmp", 2)
    photograph(tmp_path / "test" / "new.bmp", 9)
    folders = [tmp_path / "train"], [tmp_path / "test"]
    _, (shared,) = checking.leaks_between(*folders, progress=False)
    assert shared.code == "shared_image"
    assert "test/other-name.bmp: the same pixels as" in shared.sentence
    assert shared.sentence.endswith("train/deep/2.png")


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["data", *map(str, arguments)])


def test_the_command_checks_and_says_so_by_its_exit_code(bid):
    result = invoke("check", "bid", "--root", bid)
    assert result.exit_code == 0, result.output
    assert "agrees with the published set" in result.output
    (bid / "b2.jpg").unlink()
    result = invoke("check", "bid", "--root", bid, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["findings"][0]["code"] == "missing_image"
    assert report["findings"][0]["sentence"].startswith("labels.csv, row 4: b2.jpg is not in")


def test_the_command_prepares_into_a_run(koniq, bid, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "papermill_runs").mkdir()
    monkeypatch.setenv("QPONDER_ROOT", str(tmp_path))
    result = invoke("prepare", "koniq", "--root", koniq, "--run", "mine")
    assert result.exit_code == 0, result.output
    assert "train 3, validation 1, test 2" in result.output
    assert invoke("prepare", "bid", "--root", bid, "--run", "mine").exit_code == 0
    result = invoke("leaks", "--run", "mine")
    assert result.exit_code == 0, result.output
    assert "0 shared images" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "nothing", "--root", "."),
        ("check", "bid", "--root", "no/such/folder"),
        ("check", "bid", "--root", ".", "--layout", "other"),
        ("prepare", "bid", "--root", ".", "--run", "../up"),
        ("leaks",),
        ("leaks", "--train", "."),
        ("leaks", "--run", "no-such-run"),
    ],
)
def test_wrong_usage_exits_with_2_and_no_traceback(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_the_command_lists_every_set_with_its_terms():
    listed = json.loads(invoke("list", "--json").stdout)
    assert {spec["name"] for spec in listed} >= set(catalog.PRERESQ_BENCHMARKS)
    assert all(spec["terms"] for spec in listed)
    text = invoke("list").output
    assert "csiq: CSIQ, 866 images, 30 references" in text
    assert "higher is worse" in text


def test_a_report_counts_files_without_a_label(bid):
    photograph(bid / "extra.png", 99)
    (told,) = check(catalog.spec_named("bid"), bid).findings
    assert (told.code, told.severity) == ("unlabelled_image", "warning")
    assert told.sentence == "1 files have no label: 'extra.png'"


def test_the_notebook_completes_the_stage_from_prepared_rows(koniq, bid, run, tmp_path):
    prepare("koniq", koniq, run)
    prepare("bid", bid, run)
    profile = yaml.safe_load((paths.profiles_root() / "smoke.yaml").read_text())
    profile["data"] |= {"source": "prepared", "train_set": "koniq"}
    profile["predict"] |= {"sets": ["koniq", "bid"], "sampled_sets": ["koniq"]}
    (tmp_path / "prepared.yaml").write_text(yaml.safe_dump(profile))
    notebook = json.loads((paths.notebooks_root() / "01_datasets.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    stage = next(cell for cell in cells if "stage_run" in cell)
    work = runs.open_run({"profile": str(tmp_path / "prepared.yaml"), "run_dir": str(run.root)})
    names = {"pipeline": pipeline, "benchmark": benchmark, "prepare": preparing}
    exec(stage, {**names, "run": work, "data": work.profile.data})
    record = read_record(run.record("data"))
    assert "tables/benchmark.csv" in record.outputs
    assert "data/bid/test.jsonl" in record.outputs
    assert verify_record(run.record("data"), run.root) == []
    run.split("bid", "test").write_text("")
    assert verify_record(run.record("data"), run.root) == [
        "data/bid/test.jsonl: changed since it was recorded"
    ]


def test_metas_bring_their_own_split_and_are_scaled_by_the_whole_set(tmp_path, run, monkeypatch):
    metas = {"train_koniq_7k.json": ("train", 2), "test_koniq_2k.json": ("test", 2)}
    spec = catalog.spec_named("koniq")
    label = spec.labels[0].model_copy(update={"published": (1.09615384615385, 4.31)})
    spec = spec.model_copy(update={"metas": metas, "labels": (label,)})
    monkeypatch.setattr(catalog, "SPECS", (spec,))
    folder = tmp_path / "deqa" / "KONIQ"
    for start, file in enumerate(("train_koniq_7k.json", "test_koniq_2k.json")):
        rows = []
        for number in (2 * start, 2 * start + 1):
            photograph(folder / "images" / f"{number}.jpg", number)
            score = 1.5 + 0.5 * number
            norm = 1 + 4 * (score - 1.09615384615385) / (4.31 - 1.09615384615385)
            image = f"KONIQ/images/{number}.jpg"
            rows.append({"image": image, "gt_score": score, "gt_score_norm": norm, "std": 0.58})
        (folder / "metas").mkdir(exist_ok=True)
        (folder / "metas" / file).write_text(json.dumps(rows))
    made = prepare("koniq", tmp_path / "deqa", run)
    assert (made.layout, made.split, made.n) == ("metas", "metas", {"train": 2, "test": 2})
    test = load_records(run, "koniq", "test")
    # (2.5 - 1.09615) / 3.21385 = 0.43681 of the range
    assert [one.mos for one in test] == pytest.approx([43.681, 59.239], abs=1e-3)
    assert test[0].mos_std == pytest.approx(100 * 0.58 / 3.213846, abs=1e-3)
    with pytest.raises(ValueError, match="has the splits metas"):
        prepare("koniq", tmp_path / "deqa", run, split="official")
