"""What was transcribed from the papers stands in the papers, cell by cell and word by word."""

import csv
import re
from pathlib import Path

import pytest

from qponder_lib.report.audit import paper_tables
from qponder_lib.report.claims import load_claims

PAPERS = Path(__file__).parents[2] / "shared" / "paper"
QPONDER = PAPERS / "qponder.txt"
REPORTED = Path(__file__).parents[1] / "qponder_lib" / "reported"
needs_papers = pytest.mark.skipif(not QPONDER.is_file(), reason="the papers' texts are not here")
TABLES = {
    "table1": ("Table 1:", 182),
    "table2": ("Table 2:", 76),
    "table3": ("Table 3:", 56),
    "table4": ("Table 4:", 76),
}


def printed_numbers(caption: str) -> list[str]:
    """Every number with three decimals below a caption, up to the end of its table."""
    lines = QPONDER.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(caption))
    numbers = []
    for line in lines[start + 2 :]:
        if not line.strip():
            break
        numbers += re.findall(r"(?<![\d.])\d\.\d{3}(?!\d)", line)
    return numbers


@needs_papers
@pytest.mark.parametrize(("name", "caption", "n"), [(k, *v) for k, v in TABLES.items()])
def test_every_cell_is_what_the_paper_prints_in_its_order(name, caption, n):
    cells = paper_tables()[name]["text"].tolist()
    assert len(cells) == n
    assert cells == printed_numbers(caption)


@needs_papers
@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_the_numbers_of_its_line(name):
    table = paper_tables()[name]
    lines = QPONDER.read_text(encoding="utf-8").splitlines()
    for method, cells in table.groupby("method"):
        texts = cells["text"].tolist()
        assert any(re.findall(r"(?<![\d.])\d\.\d{3}(?!\d)", line) == texts for line in lines), (
            method
        )


@needs_papers
def test_section_3_2_says_what_was_transcribed():
    table = paper_tables()["section_3_2"].set_index(["method", "metric"])["text"]
    text = QPONDER.read_text(encoding="utf-8")
    for selections, form in (
        (("plcc", "srcc"), "from {} to {}"),
        (("completeness", "accuracy", "reasonableness"), "from {} to {}"),
    ):
        ends = [
            " / ".join(table[name, m] for m in selections) for name in ("unfiltered", "filtered")
        ]
        assert form.format(*ends) in text


@needs_papers
def test_quotes_of_claims_stand_in_the_papers():
    texts = {
        "Q-Ponder": QPONDER.read_text(encoding="utf-8"),
        "PreResQ-R1": (PAPERS / "preresq-r1-abstract.txt").read_text(encoding="utf-8"),
    }
    plain = {paper: re.sub(r"[\s*]+", " ", text).replace("’", "'") for paper, text in texts.items()}
    for claim in load_claims():
        for part in claim.quote.split(" [...] "):
            assert part in plain[claim.paper], claim.id


def test_marks_are_unknown_where_the_text_at_hand_has_no_colours():
    for name in TABLES:
        with (REPORTED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert {row["mark"] for row in csv.DictReader(file)} == {"unknown"}


def test_all_files_have_one_form():
    for name in (*TABLES, "section_3_2"):
        with (REPORTED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        assert header == ["table", "method", "group", "dataset", "metric", "value", "mark", "place"]
