"""Printed tables are recomputed with what rounding allows; each seeded fault is found."""

from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.report.audit import (
    audit_paper,
    check_averages,
    check_quoted,
    check_repeats,
    check_same_model,
    printed,
)


def cell(method, dataset, text, metric="srcc") -> dict:
    return {"method": method, "dataset": dataset, "metric": metric, "text": text}


def table(*cells: dict) -> pd.DataFrame:
    return printed(pd.DataFrame(cells))


def outcomes(findings):
    return [f.outcome for f in findings]


# Averages


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        # Cells 0.70 and 0.71 stand for 0.695..0.715: their mean for 0.700..0.710.
        ("0.70", "consistent"),  # 0.695..0.705
        ("0.71", "consistent"),  # 0.705..0.715
        ("0.69", "disagrees"),  # ends at 0.695
        ("0.72", "disagrees"),  # starts at 0.715
    ],
)
def test_average_is_outside_only_if_no_unrounded_cells_can_give_it(text, outcome):
    cells = [cell("m", "A", "0.70"), cell("m", "B", "0.71"), cell("m", "AVG.", text)]
    assert outcomes(check_averages(table(*cells))) == [outcome]


@pytest.mark.parametrize(
    ("cells", "average", "outcome"),
    [
        # 0.735..0.745 may have been 0.745; a half may have gone either way.
        (("0.74", "0.74"), "0.75", "consistent"),
        # Cells with fewer decimals allow for 0.05 + 0.0005.
        (("0.7", "0.8"), "0.799", "consistent"),
        (("0.7", "0.8"), "0.802", "disagrees"),
    ],
)
def test_an_average_is_outside_only_beyond_the_very_end_of_what_rounding_allows(
    cells, average, outcome
):
    rows = [cell("m", f"d{i}", text) for i, text in enumerate(cells)]
    found = check_averages(table(*rows, cell("m", "AVG.", average)))
    assert outcomes(found) == [outcome]


def test_one_average_for_several_metrics_is_the_mean_of_the_whole_row():
    cells = [
        cell("m", "A", text, metric)
        for metric, text in (("com", "4.0"), ("acc", "3.0"), ("rea", "2.0"))
    ]
    (found,) = check_averages(table(*cells, cell("m", "AVG.", "3.0", "mean")))
    assert found.outcome == "consistent"
    assert "mean of 3 printed cells 3.00000" in found.sentence


def test_an_average_without_cells_is_left_alone():
    alone = table(cell("m", "AVG.", "0.7"), cell("other", "A", "0.7"))
    assert list(check_averages(alone)) == []
    other_metric = table(
        cell("m", "AVG.", "0.7"), cell("m", "A", "0.9", "plcc"), cell("n", "A", "0.7")
    )
    assert list(check_averages(other_metric)) == []


@given(st.lists(st.fractions(0, 1), min_size=1, max_size=8), st.integers(1, 4))
def test_rounding_alone_never_puts_an_average_outside(values, digits):
    def rounded(value: Fraction) -> str:
        return f"{float(round(value, digits)):.{digits}f}"

    cells = [cell("m", f"d{i}", rounded(value)) for i, value in enumerate(values)]
    average = cell("m", "AVG.", rounded(sum(values) / len(values)))
    assert outcomes(check_averages(table(*cells, average))) == ["consistent"]


# Repeats


def judged(values: dict[tuple[str, str], str]) -> pd.DataFrame:
    """Cells of three values, `a/b/c`."""
    return table(
        *(
            cell(method, dataset, text, metric)
            for (method, dataset), texts in values.items()
            for metric, text in zip(("com", "acc", "rea"), texts.split("/"), strict=True)
        )
    )


def grid(n_rows: int, n_columns: int) -> dict[tuple[str, str], str]:
    """All values differ."""
    numbers = iter(range(1000, 9999))
    return {
        (f"m{i}", f"d{j}"): "/".join(f"{next(numbers) / 1000:.3f}" for _ in range(3))
        for i in range(n_rows)
        for j in range(n_columns)
    }


def test_table_without_repeats_is_consistent():
    assert outcomes(check_repeats(judged(grid(4, 6)))) == ["consistent"]


def test_cell_printed_twice_in_a_row_is_found():
    values = grid(4, 6)
    values["m1", "d3"] = values["m1", "d2"]
    found = check_repeats(judged(values))
    assert found[0].where == "m1, d2 and m1, d3"
    assert found[0].outcome == "notable"
    assert values["m1", "d2"].replace("/", " / ") in found[0].sentence


def test_row_printed_twice_is_found():
    values = grid(5, 6)
    values |= {("m3", f"d{j}"): values["m0", f"d{j}"] for j in range(6)}
    found = check_repeats(judged(values))
    assert {f.where for f in found} == {f"m0, d{j} and m3, d{j}" for j in range(6)}


def test_repeats_that_chance_explains_are_not_reported():
    # Two possible values only: whole cells are equal all the time.
    values = {
        (f"m{i}", f"d{j}"): "/".join(str((i * 7 + j * 3 + k) // 2 % 2) for k in range(3))
        for i in range(4)
        for j in range(6)
    }
    assert not any(" and m" in f.where and "," in f.where for f in check_repeats(judged(values)))


# The paper


def test_what_does_not_add_up_in_the_paper():
    every = [f for f in audit_paper() if f.outcome == "disagrees"]
    assert {f.check for f in every} == {"average"}
    assert [(f.table, f.where) for f in every] == [
        ("table2", "DepictQA, AVG., mean"),
        ("table2", "Q-Ponder, AVG., mean"),
        ("table4", "Q-Ponder, AVG., mean"),
    ]
    # 44.840 and 75.162 are the sums of 18 cells.
    assert "mean of 18 printed cells 2.49111" in every[0].sentence
    assert "mean of 18 printed cells 4.17567" in every[1].sentence


def test_what_repeats_in_the_paper():
    found = [f for f in audit_paper() if f.check == "repeat" and f.outcome == "notable"]
    assert found[0].where == "Qwen2.5VL-72B, KADID and Qwen2.5VL-72B, LIVE"
    assert "4.573 / 3.173 / 4.154" in found[0].sentence
    assert {f.table for f in found} == {"table4"}


def test_rows_of_the_same_model_agree_in_both_tables():
    same = [f for f in audit_paper() if f.check == "same_model"]
    assert outcomes(same) == ["consistent", "consistent"]


def test_values_taken_over_are_held_against_their_sources():
    mine = table(
        cell("Q-Ponder", "A", "0.80"), cell("other", "A", "0.70"), cell("third", "A", "0.60")
    )
    source = table(cell("other", "A", "0.90"), cell("third", "A", "0.604"))

    def found(read):
        return list(check_quoted(mine, source.assign(source="its paper", read=read)))

    assert outcomes(found("no")) == ["unverified"] * 2
    assert outcomes(found("yes")) == ["disagrees"] * 2
    copied, leads = found("yes")  # 0.60 is 0.604 rounded
    assert copied.sentence == "printed, and in brackets its paper: A srcc 0.70 (0.90)"
    assert leads.where == "Q-Ponder, A, srcc"
    assert leads.sentence == "highest in print with 0.800; by its source, other has 0.900"


def test_what_the_paper_takes_over_from_others():
    found = {f.where: f for f in audit_paper() if f.check == "quoted"}
    assert {f.outcome for f in found.values()} == {"unverified"}
    assert "AVG. plcc 0.816 (0.859), AVG. srcc 0.790 (0.835)" in found["Q-Insight"].sentence
    assert "LiveW srcc 0.711 (0.771)" in found["NIMA"].sentence
    assert {"Q-Ponder, CSIQ, srcc", "Q-Ponder, AVG., srcc"} <= set(found)


def test_rows_said_to_be_the_same_are_compared_value_by_value():
    def compare(text):
        sides = table(cell("a", "A", "0.50")), table(cell("b", "A", text))
        return outcomes(check_same_model(*sides, "a and b"))

    assert compare("0.52") == ["disagrees"]
    # 0.505 and 0.50 may both have been 0.5049.
    assert compare("0.505") == ["consistent"]
