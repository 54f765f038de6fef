"""The sanity probe: made-up scorers get the verdicts that are known to be right."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from qponder_lib.cli import app
from qponder_lib.data.images import read_rgb
from qponder_lib.data.scenes import PHOTOGRAPHS
from qponder_lib.report import probe
from qponder_lib.scales import SEVERITIES


def ask(*words):
    return CliRunner().invoke(app, ["probe", *map(str, words)])


def perfect():
    """Every level costs 15 points of 90, nothing else costs any; the text names what was done."""
    rows = probe.probes()
    score = 90.0 - 15.0 * rows["level"]
    words = rows["change"].replace("jpeg", "compression artifacts")
    texts = [
        f"There is {SEVERITIES[5 - row.level]} {words[row.Index]}. Score {row.level}"
        if row.kind == "ladder"
        else "The image is clean."
        for row in rows.itertuples()
    ]
    return rows.assign(score=score.where(rows["kind"] != "flat", 5.0), text=texts)


def verdicts(rows):
    checks = probe.judge(rows)
    return {(one.probe, one.check): (one.verdict, one.value) for one in checks.itertuples()}


def of_check(found, check):
    return {verdict for (_, name), (verdict, _) in found.items() if name == check}


def test_a_perfect_scorer_passes_every_check():
    found = verdicts(perfect())
    assert {verdict for verdict, _ in found.values()} == {"passes"}
    assert found["all images", "distinct scores"][1] == 7
    assert found["blur", "moves"][1] == pytest.approx(75 / 85)
    assert found["blur", "in order"][1] == 1.0
    assert found["blur", "named"][1] == 1.0


def test_a_constant_scorer_moves_on_nothing_and_its_copies_prove_nothing():
    found = verdicts(perfect().assign(score=50.0, text=None))
    for check in ("moves", "falls", "below", "distinct scores"):
        assert of_check(found, check) == {"fails"}
    for check in ("in order", "stays", "named", "distinct texts"):
        assert of_check(found, check) == {"not measurable"}
    assert found["all images", "scored"] == ("passes", 1.0)
    assert found["jpeg", "moves"] == ("fails", 0.0)


def test_an_inverted_scorer_moves_in_the_wrong_direction():
    rows = perfect()
    found = verdicts(rows.assign(score=-rows["score"]))
    assert of_check(found, "moves") == of_check(found, "stays") == {"passes"}
    assert of_check(found, "falls") == of_check(found, "in order") == {"fails"}
    assert of_check(found, "below") == {"fails"}
    assert found["noise", "in order"][1] == -1.0
    assert found["noise", "falls"][1] == 0.0


def test_one_text_for_everything_is_an_alarm_and_names_nothing():
    numbered = [f"Severe blur, noise and compression artifacts. Score {k}." for k in range(159)]
    rows = perfect().assign(text=numbered)
    found = verdicts(rows)
    assert found["all images", "distinct texts"] == ("fails", 1.0)
    assert found["blur", "named"] == ("fails", 0.0)
    assert of_check(found, "in order") == {"passes"}
    assert "ALARM: the same text" in probe.describe(rows, probe.judge(rows), "mine")
    assert "ALARM" not in probe.describe(perfect(), probe.judge(perfect()), "mine")


def test_a_score_that_jumps_on_a_mirrored_copy_or_is_missing_is_seen():
    rows = perfect()
    rows.loc[rows["image"] == "coffee-mirrored-0.png", "score"] = 60.0
    rows.loc[rows["change"] == "jpeg", "score"] = np.nan
    found = verdicts(rows)
    assert found["mirrored", "stays"] == ("fails", pytest.approx(1 - 30 / 85))
    assert found["half", "stays"][0] == "passes"
    assert found["jpeg", "in order"][0] == "not measurable"
    assert found["all images", "scored"] == ("fails", pytest.approx(134 / 159))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    assert ask("--write", folder, "--size", 64).exit_code == 0
    return folder


def test_the_written_images_are_what_the_manifest_says(images):
    listed = pd.read_csv(images / "manifest.csv")
    assert {*listed["image"], "manifest.csv"} == {path.name for path in images.iterdir()}
    assert len(listed) == 4 + len(PHOTOGRAPHS["test"]) * (1 + 25 + 5)
    start = np.asarray(read_rgb(images / "coffee-undistorted-0.png"), dtype=int)
    assert max(start.shape) == 64
    read = {name: np.asarray(read_rgb(images / name), dtype=int) for name in listed["image"]}
    assert (read["coffee-resaved-0.bmp"] == start).all()
    assert (read["coffee-mirrored-0.png"] == start[:, ::-1]).all()
    assert np.abs(read["coffee-exif-0.jpg"] - start).max() < 12
    assert read["coffee-double-0.png"].shape[1] == 128
    assert read["coffee-half-0.png"].shape[1] == 32
    errors = [np.abs(read[f"coffee-noise-{k}.png"] - start).mean() for k in range(1, 6)]
    assert errors == sorted(errors)


def test_a_strangers_table_is_judged_on_any_scale_and_in_either_direction(tmp_path):
    rows = perfect()
    rows = rows.assign(image="somewhere/" + rows["image"], score=1 - rows["score"] / 100)
    columns = rows.rename(columns={"text": "reasoning"})
    columns.sample(frac=1.0, random_state=0).to_csv(tmp_path / "a.csv", index=False)
    right = ask("--read", tmp_path / "a.csv", "--lower-is-better", "--out", tmp_path / "out")
    assert right.exit_code == 0, right.output
    assert "checks: 32 passes" in right.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"probe.csv", "probe.pdf", "probe.png", "probe_checks.csv"}
    wrong = ask("--read", tmp_path / "a.csv", "--json")
    assert wrong.exit_code == 1
    checks = json.loads(wrong.stdout)["checks"]
    assert {one["verdict"] for one in checks if one["check"] == "falls"} == {"fails"}


def test_a_table_of_other_images_and_two_ways_at_once_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("image,score\nb.png,1\nc.png,2\n")
    found = ask("--read", tmp_path / "a.csv")
    assert (found.exit_code, "no image of the probe is in it" in found.stderr) == (2, True)
    assert ask("--read", tmp_path / "a.csv", "--write", tmp_path).exit_code == 2


@pytest.mark.slow
def test_the_shipped_model_is_probed_from_files(monkeypatch, tmp_path):
    one = {"test": {"coffee.png": PHOTOGRAPHS["test"]["coffee.png"]}}
    monkeypatch.setattr(probe, "PHOTOGRAPHS", one)
    words = ("--model", "builtin:mini", "--size", 64, "--out", tmp_path, "--json")
    found = ask(*words)
    assert found.exit_code == 1, found.output  # its weights were not trained to score
    assert json.loads(found.stdout)["scorer"] == "builtin:mini, photographs of 64 px"
    assert len(pd.read_csv(tmp_path / "probe.csv")) == 4 + 31
