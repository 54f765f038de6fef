"""Tables from files: CSV, Markdown and HTML, every number with its interval, n and run."""

from __future__ import annotations

from pathlib import Path

from qponder_lib.pipeline import Run
from qponder_lib.report.tables import calibration, results
from qponder_lib.report.tables.breakdown import breakdown
from qponder_lib.report.tables.filtered import filter_tables
from qponder_lib.report.tables.judged import judged_tables, read_judged
from qponder_lib.report.tables.render import Block, Cell, Table, write
from qponder_lib.report.tables.results import (
    decoding,
    differences,
    protocols,
    table1,
    table1_reported,
    table3,
)
from qponder_lib.report.tables.reward_study import reward_tables, runs_table
from qponder_lib.report.tables.sources import (
    MODEL_LABELS,
    model_label,
    read_ceilings,
    read_differences,
    read_reported,
    read_scores,
)
from qponder_lib.report.tables.study import study_tables
from qponder_lib.report.tables.study_arms import find_runs, study_note

__all__ = [
    "MODEL_LABELS",
    "Block",
    "Cell",
    "Table",
    "breakdown",
    "decoding",
    "differences",
    "filter_tables",
    "find_runs",
    "judged_tables",
    "model_label",
    "protocols",
    "read_ceilings",
    "read_differences",
    "read_judged",
    "read_reported",
    "read_scores",
    "reward_tables",
    "runs_table",
    "study_note",
    "study_tables",
    "table1",
    "table1_reported",
    "table3",
    "write",
    "write_tables",
]


def write_tables(run: Run) -> list[Path]:
    """Write the tables of a run that has been evaluated; the filter's are `filter_tables`.

    Args:
        run: Its test rows, `eval/` and `tables/benchmark.csv` are read; where nothing has been
            judged, Tables 2 and 4 hold reported values only.

    Returns:
        The files written in `tables/`: per table a CSV, a Markdown file and an HTML fragment.

    Raises:
        FileNotFoundError: If the run has not been evaluated.
    """
    made = [
        results.table1(run),
        results.table1_reported(),
        results.table3(run),
        results.decoding(run),
        results.protocols(run),
        results.differences(run),
        *judged_tables(run),
        breakdown(run),
        calibration.calibration(run),
        calibration.clusters(run),
    ]
    return [path for table in made for path in write(table, run.paths.tables)]
