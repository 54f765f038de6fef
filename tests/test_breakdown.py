"""Breakdown and score diversity: worked by hand, and laws."""

import math
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import NO_SHA, write_run

from qponder_lib import artifacts
from qponder_lib.records import Distortion, ImageRecord
from qponder_lib.report import breakdowns, outputs, results
from qponder_lib.report.breakdowns import (
    UNTAGGED,
    grouped,
    measured,
    read_responses,
    score_diversity,
)
from qponder_lib.report.render import ALL_SETS, one, select, write_frame


def image(number, mos, *tags):
    return ImageRecord(
        image_id=f"i{number}",
        image=f"i{number}.png",
        dataset="s",
        split="test",
        mos=mos,
        distortions=tuple(Distortion(name=name, level=level) for name, level in tags),
        sha256=NO_SHA,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    few = {"predict.sets": ("mini-koniq", "mini-spaq")}
    run = write_run(tmp_path_factory.mktemp("runs") / "here", n=30, **few)
    write_frame(run.paths.tables / "breakdown.csv", breakdowns.measure_breakdown(run))
    return run


def responses(*pairs):
    """A frame of (image, score) as `read_responses` yields it."""
    rows = [
        {"image": one_image, "mos": one_image.mos, "score": score, "photograph": one_image.image_id}
        for one_image, score in pairs
    ]
    columns = ["image", "mos", "score", "photograph"]
    return pd.DataFrame(rows, columns=columns).astype({"score": float})


# ---- groups


def test_image_counts_for_each_of_its_types_and_once_for_its_strongest_level():
    both = image(1, 50.0, ("blur", 2), ("noise", 4))
    found = grouped(responses((both, 40.0)))
    assert set(found) == {
        ("type", "blur"),
        ("type", "noise"),
        ("type and level", "blur 2"),
        ("type and level", "noise 4"),
        ("level", "4"),
        ("severity", "noticeable"),
    }


def test_image_without_a_tag_is_a_group_of_its_own_and_comes_last():
    found = grouped(responses((image(1, 10.0), 1.0), (image(2, 90.0, ("noise", 1)), 1.0)))
    assert [group for kind, group in found if kind == "type"] == ["noise", UNTAGGED]
    assert [group for kind, group in found if kind == "severity"] == ["extreme", "slight"]


def test_image_of_a_subset_counts_for_it_and_others_have_no_such_group():
    mine = image(1, 50.0).model_copy(update={"subset": "ss01"})
    found = grouped(responses((mine, 40.0), (image(2, 50.0), 40.0)))
    assert [group for kind, group in found if kind == "subset"] == ["ss01"]
    assert len(found["subset", "ss01"]) == 1


def test_error_of_a_group_is_the_mean_distance_of_its_parsed_responses():
    off_by_ten = [(image(i, 50.0), 40.0) for i in range(6)]
    off_by_six = [(image(10 + i, 70.0), 76.0) for i in range(6)]
    rows = responses(*off_by_ten, *off_by_six, (image(30, 20.0), None))
    found = measured(rows)["mae"]
    assert (found.value, found.n, found.n_unparsed) == (8.0, 12, 1)
    assert 6.0 <= found.ci_low <= found.ci_high <= 10.0


def test_small_group_has_no_value_but_a_reason_and_its_count():
    found = measured(responses((image(1, 50.0), 40.0)))["srcc"]
    assert (found.value, found.ci_low, found.n, found.reason) == (None, None, 1, "too_few")


def test_levels_and_severities_share_out_every_image_once(run):
    data = pd.read_csv(run.paths.tables / "breakdown.csv")
    mine = select(data, model="qponder", metric="mae", dataset=ALL_SETS)
    for kind in ("level", "severity"):
        rows = select(mine, kind=kind)
        assert (rows["n"] + rows["n_unparsed"]).sum() == 60


def test_one_type_for_all_images_gives_the_error_of_the_whole_set(run):
    row = one(
        pd.read_csv(run.paths.tables / "breakdown.csv"),
        model="teacher",
        dataset="mini-koniq",
        kind="type",
        group="blur",  # every image of the synthetic run is tagged blur
        metric="mae",
    )
    answers = dict(read_responses(run, "teacher"))["mini-koniq"]
    errors = (answers["score"] - answers["mos"]).abs().dropna()
    assert row["value"] == pytest.approx(errors.mean())


def test_answer_for_an_image_the_set_lacks_is_refused(run, tmp_path):
    rows = artifacts.read_jsonl(run.paths.split("mini-koniq", "test"), ImageRecord)
    artifacts.write_jsonl(run.paths.split("mini-koniq", "test"), rows[1:])
    with pytest.raises(ValueError, match="answered for images that mini-koniq lacks"):
        list(read_responses(run, "teacher"))
    artifacts.write_jsonl(run.paths.split("mini-koniq", "test"), rows)


# ---- score diversity


def test_scores_of_a_small_model_by_hand():
    found = score_diversity([60.0, 60.0, 62.0, 65.0, None])
    assert (found["n"], found["n_unparsed"], found["n_distinct"]) == (4, 1, 3)
    assert (found["modal_score"], found["modal_share"]) == (60.0, 0.5)
    assert (found["tens"], found["fives"]) == (0.5, 0.75)
    # entropy: 1/2 ln 2 + 2 * 1/4 ln 4 = 1.5 ln 2
    assert found["effective"] == pytest.approx(2.0**1.5)


def test_no_parsed_response_is_no_score_and_not_zero():
    found = score_diversity([None, None])
    assert (found["n"], found["n_unparsed"]) == (0, 2)
    assert found["n_distinct"] is None
    assert found["modal_share"] is None
    assert found["reason"] == "no readable answer"


@given(st.lists(st.integers(0, 100).map(float), min_size=1))
def test_effective_number_lies_between_one_and_the_distinct_scores(stated):
    found = score_diversity(stated)
    assert 1.0 - 1e-9 <= found["effective"] <= found["n_distinct"] + 1e-9
    assert found["modal_share"] == max(Counter(stated).values()) / len(stated)
    assert math.isclose(found["effective"], 1.0) == (found["n_distinct"] == 1)


# ---- judged reasoning


def judged_rows(value=3.5):
    return [
        {
            "judge": judge,
            "model": model,
            "dataset": dataset,
            "aspect": aspect,
            "value": None if model == "base" else value,
            "ci_low": None if model == "base" else value - 0.1,
            "ci_high": None if model == "base" else value + 0.1,
            "n": 0 if model == "base" else 40,
            "n_failed": 40 if model == "base" else 0,
            "reason": "no_answer" if model == "base" else None,
        }
        for judge in ("rubric", "second")
        for model in ("base", "ci-long", "qponder", "teacher")
        for dataset in ("mini-csiq", "mini-kadid")
        for aspect in ("completeness", "accuracy", "reasonableness")
    ]


@pytest.fixture
def judged_run(run):
    rows = judged_rows()
    artifacts.write_csv(run.paths.judged, rows, list(rows[0]))
    yield run
    run.paths.judged.unlink()


def test_judged_tables_need_a_judge(run):
    with pytest.raises(FileNotFoundError, match=r"judged\.csv"):
        outputs.TABLES["table2"](run)


def test_judged_and_reported_numbers_never_share_a_table(judged_run):
    for table in (results.table2(judged_run), results.table4(judged_run)):
        assert not {"CSIQ", "KADID", "TID2013"} & set(table.data["dataset"])
        assert list(table.grids) == ["Judge: rubric", "Judge: second"]
    cells = results.table2(judged_run).grids["Judge: rubric"].set_index("Model")
    assert cells.loc["Base (before SFT)", "mini-csiq"] == "–\nno_answer"
    trained = cells.loc["Q-Ponder"]
    assert trained["mini-csiq"].startswith("3.50 / 3.50 / 3.50\n[3.40, 3.60] / ")
    assert (trained["n"], trained["not judged"]) == ("80", "0")


def test_reported_table_4_prints_the_papers_baseline_and_no_interval(run):
    made = outputs.TABLES["table4_reported"](run)
    row = made.grids[""].iloc[0]
    assert (row["Method"], row["CIDIQ"]) == ("Qwen2.5VL-7B", "4.094 / 2.000 / 3.952")  # as printed
    assert "[" not in made.markdown().split("\n\n", 2)[2]


def test_judged_figure_has_a_panel_per_judge_and_aspect_and_names_who_has_no_verdict(judged_run):
    figure, data = results.fig4b_lines(judged_run)
    assert len(figure.axes) == 6
    assert "No verdict: Base (before SFT)." in figure.get_supxlabel()
    assert len(data) == len(judged_rows())
