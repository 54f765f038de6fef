"""Printed tables are recomputed with what rounding allows; each seeded fault is found."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.artifacts import ArtifactError
from qponder_lib.report import audit
from qponder_lib.report.audit import PrintedCell, PrintedTable, audit_table, read_table
from qponder_lib.report.audit.averages import check_averages
from qponder_lib.report.audit.marks import check_marks
from qponder_lib.report.audit.possible import (
    RANGES,
    check_ranges,
    check_round_count,
    check_whole_scores,
)
from qponder_lib.report.audit.printed import Interval
from qponder_lib.report.audit.repeats import check_repeats
from qponder_lib.report.audit.tables import same_model

HEADER = "table,method,group,dataset,metric,value,mark,place\n"


def cell(method, dataset, text, metric="srcc", mark="unknown") -> PrintedCell:
    return PrintedCell("t", method, dataset, metric, text, mark=mark)


def table(*cells: PrintedCell) -> PrintedTable:
    return PrintedTable("t", cells)


def column(*values: tuple[str, str], metric="srcc") -> PrintedTable:
    """One column; a row per value with its mark."""
    return table(*(cell(f"m{i}", "A", v, metric, mark) for i, (v, mark) in enumerate(values)))


def write(tmp_path, text: str):
    path = tmp_path / "printed.csv"
    path.write_text(text, encoding="utf-8")
    return path


# Averages


@pytest.mark.parametrize(
    ("printed", "outside"),
    [
        # Cells 0.70 and 0.71 stand for 0.695..0.715: their mean for 0.700..0.710.
        ("0.70", False),  # 0.695..0.705
        ("0.71", False),  # 0.705..0.715
        ("0.69", True),  # ends at 0.695
        ("0.72", True),  # starts at 0.715
    ],
)
def test_average_is_outside_only_if_no_unrounded_cells_can_give_it(printed, outside):
    found = check_averages(
        table(cell("m", "A", "0.70"), cell("m", "B", "0.71"), cell("m", "AVG.", printed))
    )
    assert [check.outside for check in found] == [outside]


def test_an_average_at_the_very_end_of_what_rounding_allows_is_not_outside():
    # 0.745 and 0.755 round to 0.74..0.75 and 0.75..0.76; a half may have gone either way.
    found = check_averages(
        table(cell("m", "A", "0.74"), cell("m", "B", "0.74"), cell("m", "mean", "0.75"))
    )
    assert not found[0].outside


def test_cells_with_fewer_decimals_widen_the_tolerance():
    found = check_averages(
        table(cell("m", "A", "0.7"), cell("m", "B", "0.8"), cell("m", "AVG.", "0.799"))
    )
    assert found[0].tolerance == pytest.approx(0.0505)
    assert not found[0].outside


def test_one_average_for_several_metrics_is_the_mean_of_the_whole_row():
    cells = [
        cell("m", "A", text, metric)
        for metric, text in (("com", "4.0"), ("acc", "3.0"), ("rea", "2.0"))
    ]
    found = check_averages(table(*cells, cell("m", "AVG.", "3.0", "mean")))
    assert (found[0].mean, found[0].n, found[0].outside) == (3.0, 3, False)


def test_an_average_without_cells_is_left_alone():
    assert check_averages(table(cell("m", "AVG.", "0.7"), cell("other", "A", "0.7"))) == []


@given(st.lists(st.fractions(0, 1), min_size=1, max_size=8), st.integers(1, 4))
def test_rounding_alone_never_puts_an_average_outside(values, digits):
    def printed(value: Fraction) -> str:
        return f"{float(round(value, digits)):.{digits}f}"

    cells = [cell("m", f"d{i}", printed(value)) for i, value in enumerate(values)]
    average = cell("m", "AVG.", printed(sum(values) / len(values)))
    assert not check_averages(table(*cells, average))[0].outside


@given(st.integers(0, 999), st.integers(0, 3))
def test_an_interval_holds_the_printed_value_in_its_middle(number, digits):
    text = f"{number / 10**digits:.{digits}f}"
    interval = Interval.of(text)
    assert interval.middle == Fraction(text)
    assert interval.high - interval.low == Fraction(1, 10**digits)


# Marks


def outcomes(findings):
    return [f.outcome for f in findings]


def test_right_marks_are_consistent():
    assert outcomes(check_marks(column(("0.9", "best"), ("0.8", "second"), ("0.7", "none")))) == [
        "consistent"
    ]


def test_best_mark_on_a_lower_value_is_found():
    (found,) = check_marks(column(("0.940", "none"), ("0.939", "best")))
    assert found.outcome == "disagrees"
    assert "m1 (0.939) is marked best, but better is m0 (0.940)" in found.sentence


def test_second_mark_below_an_unmarked_value_is_found():
    (found,) = check_marks(column(("0.9", "best"), ("0.8", "none"), ("0.7", "second")))
    assert found.outcome == "disagrees"
    assert "between it and the best is m1 (0.8)" in found.sentence


def test_no_best_mark_beside_a_second_one_is_found():
    (found,) = check_marks(column(("0.9", "none"), ("0.8", "second")))
    assert "no value is marked best; the best is m0 (0.9)" in found.sentence


@pytest.mark.parametrize(
    "marks", [("best", "best", "none"), ("best", "none", "second"), ("best", "second", "none")]
)
def test_values_that_tie_may_share_a_mark_or_not(marks):
    found = check_marks(column(("0.9", marks[0]), ("0.9", marks[1]), ("0.8", marks[2])))
    assert outcomes(found) == ["consistent"]


def test_value_with_fewer_decimals_is_not_surely_lower():
    assert outcomes(check_marks(column(("0.94", "best"), ("0.941", "second")))) == ["consistent"]


def test_lower_is_better_for_errors():
    assert outcomes(check_marks(column(("7.1", "best"), ("9.0", "none"), metric="mae"))) == [
        "consistent"
    ]
    assert outcomes(check_marks(column(("7.1", "none"), ("9.0", "best"), metric="mae"))) == [
        "disagrees"
    ]


def test_unknown_marks_are_said_to_be_unknown():
    assert outcomes(check_marks(column(("0.9", "unknown"), ("0.8", "unknown")))) == ["undecidable"]
    assert outcomes(check_marks(column(("0.9", "best"), ("0.8", "unknown")))) == ["undecidable"]


# Repeats


def judged(values: dict[tuple[str, str], str]) -> PrintedTable:
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
    assert any(f.where == "m0 and m3" and "18 of 18" in f.sentence for f in found)


def test_column_of_single_values_printed_twice_is_found():
    cells = [
        cell(f"m{i}", d, f"0.{i}{j}7") for i in range(6) for j, d in enumerate(("A", "B", "C"))
    ]
    copied = [cell(f"m{i}", "D", f"0.{i}17") for i in range(6)]
    found = check_repeats(table(*cells, *copied))
    assert [f.where for f in found] == ["B and D"]


def test_repeats_that_chance_explains_are_not_reported():
    # Two possible values only: whole cells are equal all the time.
    values = {
        (f"m{i}", f"d{j}"): "/".join(str((i * 7 + j * 3 + k) // 2 % 2) for k in range(3))
        for i in range(4)
        for j in range(6)
    }
    assert not any(" and m" in f.where and "," in f.where for f in check_repeats(judged(values)))


# Ranges and whole scores


@pytest.mark.parametrize(
    ("text", "n"), [("1.0004", 1), ("1.001", 1), ("-1.2", 1), ("1.00", 0), ("0.5", 0)]
)
def test_correlation_beyond_one_is_found_unless_rounding_explains_it(text, n):
    # 1.0004 was 1.00035 or more; 1.00 may have been 0.995.
    assert len(check_ranges(table(cell("m", "A", text)), RANGES)) == n


def test_value_that_no_whole_scores_can_give_is_found():
    # Means of three whole scores end in .000, .333 or .667.
    fine = table(*(cell("m", "A", t, "accuracy") for t in ("2.333",)))
    odd = table(*(cell("m", "A", t, "accuracy") for t in ("2.340",)))
    assert outcomes(check_whole_scores(fine, {"A": 3})) == ["consistent"]
    assert outcomes(check_whole_scores(odd, {"A": 3})) == ["notable"]


def test_number_of_images_is_only_asked_where_decimals_can_tell():
    # Means of 1,000 scores reach every value with three decimals.
    assert list(check_whole_scores(table(cell("m", "A", "2.341", "accuracy")), {"A": 1000})) == []
    assert list(check_whole_scores(table(cell("m", "A", "2.341", "accuracy")), {})) == []


def test_values_that_are_all_means_of_five_hundred_are_noticed():
    even = [
        cell(f"m{i}", f"d{j}", f"{2 + 0.086 * i + 0.014 * j:.3f}", "accuracy")
        for i in range(4)
        for j in range(5)
    ]
    assert all(int(c.text[-1]) % 2 == 0 for c in even)
    (found,) = check_round_count(table(*even))
    assert "in 20 of 20 cells" in found.sentence
    assert " 500 " in found.sentence
    odd = [
        cell(f"m{i}", f"d{j}", f"{2.001 + 0.086 * i + 0.007 * j:.3f}", "accuracy")
        for i in range(4)
        for j in range(5)
    ]
    assert check_round_count(table(*odd)) == []


# Files


def test_table_is_read_with_its_decimals(tmp_path):
    text = (
        HEADER
        + "t1,ours,mllm,KonIQ,srcc,0.830,best,Table 1\nt1,ours,mllm,SPAQ,srcc,-,none,Table 1\n"
    )
    (found,) = read_table(write(tmp_path, text))
    assert [(c.text, c.mark, c.where) for c in found] == [
        ("0.830", "best", "t1, ours, KonIQ, srcc")
    ]


def test_four_columns_are_enough_and_the_file_names_the_table(tmp_path):
    (found,) = read_table(write(tmp_path, "method,dataset,metric,value\nours,A,srcc,0.5\n"))
    assert (found.name, found.at("ours", "A", "srcc").mark) == ("printed", "unknown")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,dataset,value\nm,A,1\n", "no column metric"),
        ("", "no header"),
        (HEADER, "no printed value below the header"),
        (HEADER + "t,m,g,A,srcc,,best,p\n", "no printed value below the header"),
        (HEADER + 't,m,g,A,srcc,"0,83",best,p\n', "line 2, column value: expected a decimal"),
        (HEADER + "t,m,g,A,srcc,nan,best,p\n", "line 2, column value: expected a decimal"),
        (HEADER + "t,m,g,A,srcc,0.8,bold,p\n", "line 2, column mark"),
        (HEADER + "t,m,g,A,srcc,0.8\n", "line 2: expected 8 cells, got 6"),
        (HEADER + "t,,g,A,srcc,0.8,best,p\n", "line 2: method is empty"),
        (
            HEADER + "t,m,g,A,srcc,0.8,best,p\nt,m,g,A,srcc,0.9,none,p\n",
            "line 3: .* stands in line 2 too",
        ),
    ],
)
def test_file_that_is_no_such_table_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ArtifactError, match=message):
        read_table(write(tmp_path, text))


# The paper


def test_what_does_not_add_up_in_the_paper():
    every = [f for f in audit.audit_paper().findings if f.outcome == "disagrees"]
    assert [f.where for f in every if f.check == "text"] == [
        "Eq. 3",
        "Eq. 5",
        "Section 3.1 and Table 6",
    ]
    found = [f for f in every if f.check == "average"]
    assert len(every) == 6
    assert [(f.table, f.where) for f in found] == [
        ("table2", "DepictQA, AVG., mean"),
        ("table2", "Q-Ponder, AVG., mean"),
        ("table4", "Q-Ponder, AVG., mean"),
    ]
    # 44.840 and 75.162 are the sums of 18 cells.
    assert "mean of 18 printed cells 2.49111" in found[0].sentence
    assert "mean of 18 printed cells 4.17567" in found[1].sentence


def test_what_repeats_in_the_paper():
    found = [
        f for f in audit.audit_paper().findings if f.check == "repeat" and f.outcome == "notable"
    ]
    assert found[0].where == "Qwen2.5VL-72B, KADID and Qwen2.5VL-72B, LIVE"
    assert "4.573 / 3.173 / 4.154" in found[0].sentence
    assert {f.table for f in found} == {"table4"}


def test_rows_of_the_same_model_agree_in_both_tables():
    same = [f for f in audit.audit_paper().findings if f.check == "same_model"]
    assert outcomes(same) == ["consistent", "consistent"]


def test_rows_said_to_be_the_same_are_compared_value_by_value():
    one, other = table(cell("a", "A", "0.50")), table(cell("b", "A", "0.52"))
    assert outcomes(same_model(one, "a", other, "b")) == ["disagrees"]


def test_every_check_runs_on_a_table_of_another_paper(tmp_path):
    rows = [
        f"t,m{i},g,{d},{m},0.{i}{j}{k},unknown,p"
        for i in range(3)
        for j, d in enumerate("AB")
        for k, m in enumerate(("plcc", "srcc"))
    ]
    (found,) = read_table(
        write(tmp_path, HEADER + "\n".join([*rows, "t,m0,g,Average,plcc,0.900,unknown,p"]) + "\n")
    )
    kinds = {(f.check, f.outcome) for f in audit_table(found)}
    assert kinds == {("average", "disagrees"), ("mark", "undecidable"), ("repeat", "consistent")}
