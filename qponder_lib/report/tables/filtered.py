"""What the filter of Eq. 1 does to the distilled data: the tables of notebook 03."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from qponder_lib import artifacts
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.filtering import FilterResult
from qponder_lib.metrics.bootstrap import CONFIDENCE
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse, ImageRecord
from qponder_lib.report.tables.render import (
    MISSING,
    Block,
    Cell,
    Table,
    interval,
    number,
    plain,
    write,
)
from qponder_lib.report.tables.sources import one, origin, read_reported

N_BINS = 10
SELECTIONS = {
    "unfiltered": "All answers with a score",
    "filtered": "Kept by Eq. 1",
    "random": "As many, kept by chance",
}


def filter_tables(run: Run) -> list[Path]:
    """Write how the filter changed the distilled data.

    Args:
        run: Its `distill/kept.jsonl`, `distill/rejected.jsonl` and training images are read;
            gamma, the sweep and the seed come from its profile.

    Returns:
        The files written in `tables/`: `filter` (agreement with the MOS before, after and by
        chance), `filter_differences` (paired), `filter_reasons` (counts), `filter_sweep` and
        `filter_histogram`.

    Raises:
        FileNotFoundError: If the answers have not been filtered.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.2.
    """
    config = run.profile.filter
    result = FilterResult(
        tuple(artifacts.read_jsonl(run.paths.kept, FilteredResponse)),
        tuple(artifacts.read_jsonl(run.paths.rejected, FilteredResponse)),
    )
    images = _images(run)
    mos = {name: image.mos for name, image in images.items()}
    chosen = {
        "unfiltered": result.scored,
        "filtered": result.kept,
        "random": filtering.random_keep(
            result.rows, config.gamma, np.random.default_rng(config.seed)
        ),
    }
    compared = _comparison(run, chosen, images)
    pairs = (("filtered", "unfiltered"), ("filtered", "random"))
    differences = pd.DataFrame(filtering.selection_differences(chosen, pairs, images))
    swept = filtering.sweep(result.rows, images, config.sweep, np.random.default_rng(config.seed))
    bins = filtering.mos_histogram_shift(result, mos, N_BINS)
    blocks = (
        _agreement_block(compared),
        _difference_block(differences),
        _reason_block(result),
    )
    note = (
        f"{origin(run)} gamma = {config.gamma:g}, teacher {run.profile.distill.teacher_model}. "
        f"Scores of the teacher against the MOS, {CONFIDENCE:.0%} bootstrap intervals over "
        "photographs with the selection held fixed. Answers are kept for a small error, so "
        "agreement must rise; how much, and which images it costs, is the finding. Reported: "
        "section 3.2 of the paper, another teacher on other images."
    )
    tables = (
        Table("filter", "The distilled data before and after the filter", note, compared, blocks),
        Table("filter_differences", "", "", differences),
        Table("filter_reasons", "", "", _reasons(result)),
        Table("filter_sweep", "", "", pd.DataFrame(swept)),
        Table("filter_histogram", "", "", pd.DataFrame([asdict(one_bin) for one_bin in bins])),
    )
    return [path for table in tables for path in write(table, run.paths.tables)]


def _images(run: Run) -> dict[str, ImageRecord]:
    images = artifacts.read_jsonl(run.paths.split(run.profile.data.train_set, "train"), ImageRecord)
    return {image.image_id: image for image in images}


def _comparison(
    run: Run, chosen: Mapping[str, Sequence[FilteredResponse]], images: Mapping[str, ImageRecord]
) -> pd.DataFrame:
    rows = filtering.compare_selections(chosen, images)
    reported = read_reported("section_3_2")
    for row in rows:
        row["gamma"] = None if row["selection"] == "unfiltered" else run.profile.filter.gamma
        for metric in ("plcc", "srcc"):
            told = one(reported, method=row["selection"], metric=metric)
            row[f"reported_{metric}"] = told["value"] if told else None
    return pd.DataFrame(rows)


def _reasons(result: FilterResult) -> pd.DataFrame:
    counts = result.counts
    total = sum(counts.values())
    rows = [{"reason": k, "n": n, "share": n / total} for k, n in counts.items()]
    return pd.DataFrame(rows, columns=["reason", "n", "share"])


def _agreement_block(compared: pd.DataFrame) -> Block:
    rows = []
    for row in compared.to_dict("records"):
        cells = [
            Cell(number(row[m], digits), interval(row[f"{m}_low"], row[f"{m}_high"], digits))
            for m, digits in (("plcc", 3), ("srcc", 3), ("mae", 2))
        ]
        told = [number(row[f"reported_{m}"]) for m in ("plcc", "srcc")]
        printed = Cell(MISSING if plain(row["reported_plcc"]) is None else " / ".join(told))
        rows.append((Cell(SELECTIONS[row["selection"]]), Cell(str(row["n"])), *cells, printed))
    header = ("Selection", "n", "PLCC", "SRCC", "MAE", "PLCC / SRCC (reported)")
    return Block("Agreement with the MOS", header, tuple(rows))


def _difference_block(differences: pd.DataFrame) -> Block:
    rows = []
    for (first, second), mine in differences.groupby(["first", "second"], sort=False):
        cells = []
        for metric, digits in (("plcc", 3), ("srcc", 3), ("mae", 2)):
            row = one(mine, metric=metric)
            ends = interval(row["ci_low"], row["ci_high"], digits)
            cells.append(Cell(number(row["value"], digits), ends))
        rows.append((Cell(f"{SELECTIONS[first]} − {SELECTIONS[second].lower()}"), *cells))
    return Block("What the filter gains", ("Selections", "PLCC", "SRCC", "MAE"), tuple(rows))


def _reason_block(result: FilterResult) -> Block:
    rows = [
        (Cell(row["reason"]), Cell(str(row["n"])), Cell(f"{row['share']:.1%}"))
        for row in _reasons(result).to_dict("records")
    ]
    return Block("Answers by reason", ("Reason", "n", "Share"), tuple(rows))
