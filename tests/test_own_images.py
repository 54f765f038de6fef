"""A set of one's own: any folder of images and any table of labels."""

import json
import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from faulty_copies import check, codes, found, photograph
from PIL import Image
from typer.testing import CliRunner

from qponder_lib import cli
from qponder_lib.config import load_profile
from qponder_lib.data.catalog import own_spec
from qponder_lib.data.check import load_labels, summary
from qponder_lib.data.images import load_image, load_records
from qponder_lib.data.prepare import prepare, verify_prepared
from qponder_lib.data.tabular import TableError
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run, stage_run
from qponder_lib.runs import reuse_stages

REAL = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def mine(tmp_path):
    """Forty photographs of eight scenes, and a table in another folder, labels 0 to 3.9."""
    rows = []
    for number in range(40):
        name = f"scene{number % 8}/take {number}.png"
        photograph(tmp_path / "photographs" / name, number)
        rows.append((name, number / 10, 0.4, f"scene{number % 8}"))
    frame = pd.DataFrame(rows, columns=["file", "mos", "std", "reference"])
    frame.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


@pytest.fixture
def clone(mine, monkeypatch):
    (mine / "notebooks").mkdir()
    (mine / "papermill_runs").mkdir()
    monkeypatch.setenv("QPONDER_ROOT", str(mine))


def own(folder, **known):
    return own_spec("my-set", folder / "labels.csv", **known)


def checked(folder, **known):
    return check(own(folder, **known), folder / "photographs")


def prepared(folder, run="run", spec=None, **choices):
    paths = RunPaths(folder / run)
    spec = spec or own(folder)
    return paths, prepare(spec, folder / "photographs", paths, progress=False, **choices)


def test_a_folder_and_a_table_become_rows_parted_by_reference(mine):
    paths, made = prepared(mine)
    assert made.split == "drawn"
    assert sum(made.n.values()) == 40
    parts = {part: load_records(paths, "my-set", part) for part in made.n}
    references = [{row.reference for row in rows} for rows in parts.values()]
    assert [len(names) for names in references] == [5, 1, 2]  # 10 % and 20 % of eight, at least
    assert len(set.union(*references)) == 8
    row = parts["train"][0]
    assert row.mos == pytest.approx(100 * row.mos_raw / 3.9)
    assert row.mos_std == pytest.approx(100 * 0.4 / 3.9)
    assert (paths.data / row.image).is_file()
    again = load_records(prepared(mine, "again")[0], "my-set", "test")
    assert again == parts["test"]


def test_a_stated_split_scale_and_direction_are_taken(mine):
    frame = pd.read_csv(mine / "labels.csv")
    frame["part"] = ["train"] * 20 + ["val"] * 8 + ["Test"] * 12
    frame.drop(columns="reference").to_csv(mine / "labels.csv", index=False)
    spec = own(mine, columns={"split": "part"}, ends=(0, 5), lower_is_better=True)
    paths, made = prepared(mine, spec=spec, mapping="scale")
    assert made.n == {"train": 20, "validation": 8, "test": 12}
    last = load_records(paths, "my-set", "test")[-1]
    assert last.mos == pytest.approx(100 * (1 - 3.9 / 5))


def test_a_faultless_set_has_no_findings(mine):
    report = checked(mine)
    assert report.findings == ()
    assert summary(report)["n_decoded"] == 40


def test_everything_that_is_wrong_is_counted_and_named(mine):
    frame = pd.read_csv(mine / "labels.csv").astype(object)
    frame.loc[0, "mos"] = "n/a"
    frame.loc[1, "mos"] = 7.5
    frame.loc[2, "mos"] = "3,5"
    frame.loc[40] = frame.loc[3]
    frame.loc[41] = ["not-there.png", 1.0, 0.4, "scene0"]
    frame.to_csv(mine / "labels.csv", index=False)
    folder = mine / "photographs"
    (folder / frame["file"][4]).write_bytes(b"<html>")
    Image.new("RGB", (24, 32), "grey").save(folder / frame["file"][5])
    shutil.copy(folder / frame["file"][6], folder / frame["file"][7])
    photograph(folder / "extra.png", 99)
    report = checked(mine, ends=(0, 5))
    places = {code: found(report, code) for code in codes(report)}
    assert places == {
        "missing_label": [("labels.csv", 2)],
        "off_scale": [("labels.csv", 3)],
        "not_a_number": [("labels.csv", 4)],
        "duplicate_name": [("labels.csv", 42)],
        "missing_image": [("labels.csv", 43)],
        "invalid_image": [("labels.csv", 6)],
        "constant_image": [("labels.csv", 7)],
        "duplicate_image": [("labels.csv", 9), ("labels.csv", 42)],
        "unlabelled_image": [("1 files have no label", None)],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(mos=3.0), "constant"),
        (lambda frame: frame.assign(part="held"), "unknown"),
    ],
)
def test_labels_that_teach_nothing_and_unknown_parts_are_errors(mine, change, message):
    change(pd.read_csv(mine / "labels.csv")).to_csv(mine / "labels.csv", index=False)
    columns = {"split": "part"} if message == "unknown" else {}
    report = checked(mine, columns=columns)
    assert any(message in str(one) for one in report.findings)
    with pytest.raises(ValueError, match="cannot be prepared"):
        prepared(mine, spec=own(mine, columns=columns))


def test_levels_in_names_speak_for_a_direction(mine):
    frame = pd.DataFrame(
        [(f"i{k}_blur_{level}.png", 5.0 - level) for k in range(5) for level in range(1, 6)],
        columns=["image", "dmos"],
    )
    frame.to_csv(mine / "labels.csv", index=False)
    assert load_labels(own(mine), mine).findings == ()
    (told,) = load_labels(own(mine, lower_is_better=True), mine).findings
    assert (told.code, told.severity) == ("wrong_direction", "warning")
    assert "levels of distortion say the reverse" in told.sentence


@pytest.mark.parametrize("name", ["koniq", "mini-koniq", "../up", "a/b"])
def test_a_name_that_is_taken_or_no_folder_is_refused(mine, name):
    with pytest.raises(ValueError, match=r"cannot name a set of your own|run name"):
        own_spec(name, mine / "labels.csv")


def test_columns_that_are_not_clear_are_asked_for(mine):
    pd.read_csv(mine / "labels.csv").rename(columns={"mos": "value"}).to_csv(mine / "labels.csv")
    with pytest.raises(TableError, match=r"which column is the score.*say --score COLUMN"):
        own(mine)
    assert own(mine, columns={"score": "value"}).labels[0].score == "value"


def test_a_range_that_is_turned_round_is_refused(mine):
    with pytest.raises(ValueError, match="from LOW to HIGH, got 5 to 1"):
        own(mine, ends=(5, 1))


def test_a_column_called_set_that_names_no_parts_is_left_alone(mine):
    frame = pd.read_csv(mine / "labels.csv")
    frame.assign(set="holiday").to_csv(mine / "labels.csv", index=False)
    assert own(mine).split is None
    assert checked(mine).findings == ()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_whatever_the_case_slashes_and_form_of_letters_of_its_name(mine, form):
    """macOS hands out names in another form than tables hold them in."""
    photograph(
        mine / "photographs" / unicodedata.normalize(form, "Caf\u00e9/\u00c9t\u00e9.png"), 99
    )
    (mine / "labels.csv").write_text(
        "image,mos\ncaf\u00e9\\\u00e9t\u00e9.PNG,1\nscene1/take 1.png,2\n"
    )
    assert codes(checked(mine)) == {"unlabelled_image"}


def test_braces_in_names_are_letters_like_others(mine):
    table = "image,mos\n{a}.png,1\n{0}.png,2\nb{.png,3\n{c}.png,4\n"
    (mine / "labels.csv").write_text(table)
    for folder, name in (("x", "{a}"), ("y", "{a}"), ("x", "b{")):
        photograph(mine / "photographs" / folder / f"{name}.png", len(folder + name))
    report = checked(mine)
    assert found(report, "ambiguous_image") == [("labels.csv", 2)]
    assert found(report, "missing_image") == [("labels.csv", 3), ("labels.csv", 5)]


def test_a_run_keeps_what_it_has_prepared_itself(mine, clone):
    prepared(mine, "papermill_runs/prepared")
    paths, _ = prepared(mine, "papermill_runs/run", at_most=3)
    before = load_records(paths, "my-set", "train")
    verify_prepared(paths, "my-set", ["my-set"], progress=False)
    assert load_records(paths, "my-set", "train") == before


def test_a_test_set_of_ones_own_has_every_image(mine):
    _, made = prepared(mine, split="whole")
    assert made.n == {"test": 40}


def test_a_set_for_every_run_is_taken_over_by_a_run_that_needs_it(mine, clone):
    shared, _ = prepared(mine, "papermill_runs/prepared")
    run = RunPaths(mine / "papermill_runs" / "study" / "seed-1")
    table = verify_prepared(run, "my-set", ["my-set"], progress=False)
    assert [row["split"] for row in table] == ["train", "validation", "test"]
    assert load_records(run, "my-set", "test") == load_records(shared, "my-set", "test")
    assert run.images("my-set").resolve() == (mine / "photographs").resolve()


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["data", *map(str, arguments)])


def test_the_commands_check_and_prepare_ones_own_images(mine, clone):
    table = ("--labels", mine / "labels.csv")
    labels_alone = invoke("check", "my-set", *table, "--range", 0, 3, "--json")
    assert labels_alone.exit_code == 1
    report = json.loads(labels_alone.stdout)
    assert {one["code"] for one in report["findings"]} == {"off_scale"}
    whole = invoke("check", "my-set", *table, "--images", mine / "photographs")
    assert whole.exit_code == 0, whole.output
    assert "images   40 found, 40 decoded" in whole.output
    done = invoke("prepare", "my-set", *table, "--images", mine / "photographs", "--range", 0, 5)
    assert done.exit_code == 0, done.output
    assert "label mos: 0 to 5 on MOS 0 to 100 (scale)" in done.output
    assert "--set data.train_set=my-set" in done.output
    assert len(load_records(RunPaths.named("prepared"), "my-set", "train")) > 20
    wrong = invoke("check", "my-set", *table, "--id", "name")
    assert wrong.exit_code == 2
    assert "no column 'name'; there are 'file'" in wrong.output
    assert invoke("check", "koniq", "--root", mine, "--range", 0, 5).exit_code == 2
    assert invoke("check", "koniq").exit_code == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_a_sample_of_biq2021_is_prepared_as_it_comes(tmp_path):
    folder = REAL / "real" / "biq2021_sample"
    spec = own_spec("biq", folder / "labels.csv", ends=(0.0, 1.0))
    paths = RunPaths(tmp_path)
    made = prepare(spec, folder, paths, mapping="scale", n_validation=40, progress=False)
    assert made.n == {"train": 260, "validation": 40, "test": 300}
    assert made.warnings == ()
    table = verify_prepared(paths, "biq", ["biq"], progress=False)
    stated = pd.read_csv(folder / "labels.csv").groupby("split")["mos"].mean()
    assert table[2]["mos_mean"] == pytest.approx(100 * stated["test"])


@pytest.mark.skipif(not REAL.is_dir(), reason="no real label tables here")
@pytest.mark.parametrize(
    ("name", "scale", "lower_is_better", "n"),
    [
        ("KADID-10k", (1, 5), False, 10125),
        ("CSIQ", (0, 1), True, 866),
        ("TID2013", (0, 9), False, 3000),
        ("CIDIQ_MOS50", (0, 9), False, 690),
    ],
)
def test_real_tables_have_the_scale_and_direction_they_are_known_for(
    name, scale, lower_is_better, n
):
    table = REAL / "labels" / f"{name}.txt"
    known = {"ends": scale, "lower_is_better": lower_is_better}
    labels = load_labels(own_spec("mine", table, **known), table.parent)
    assert labels.findings == ()
    assert len(labels.labelled) == n
    turned = own_spec("mine", table, **known | {"lower_is_better": not lower_is_better})
    assert codes(load_labels(turned, table.parent)) == {"wrong_direction"}


@pytest.mark.skipif(not REAL.is_dir(), reason="no real label tables here")
def test_a_real_table_on_another_scale_than_its_spreads_is_noticed():
    table = REAL / "labels" / "AGIQA-3K.txt"
    spec = own_spec("mine", table, columns={"score": "2", "std": "3"}, ends=(0, 100))
    (told,) = load_labels(spec, table.parent).findings
    assert told.code == "spread"
    assert "two scales" in told.sentence


def test_a_run_that_reuses_the_data_of_another_has_its_images(mine):
    paths, _ = prepared(mine)
    overrides = {"data.source": "prepared", "data.train_set": "my-set"}
    profile = load_profile("mini").with_overrides(overrides)
    with stage_run(Run(paths, profile), "data") as stage:
        stage.outputs(*sorted((paths.data / "my-set").glob("*.json*")))
    other = RunPaths(mine / "other")
    assert reuse_stages(profile, other, [paths]) == ["data"]
    first = load_records(other, "my-set", "train")[0]
    assert load_image(other, first).size == load_image(paths, first).size
