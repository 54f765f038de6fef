"""What the papers claim, and what their own printed tables say about it.

A claim is a row of `reported/claims.csv`. What decides it are rows of `reported/comparisons.csv`:
each compares printed values, numbers of a run (`report.verdicts`), or both. Its columns:

- `table`, `row`, `against` (rows by name, `best other`, `every other`, or nothing for a value that
  is only held against a measured one), `sets` (names, `mean: ` of names, or `most: ` names that
  gain more than any other set) and `metrics`: printed values; empty means all but averages;
- `file`, `where` (column=value, `|` between alternatives, `cold start` for the model that GRPO
  starts from; a history is weighed by `fifths` of its steps) and `minus` (the conditions of what
  is subtracted): numbers of a run;
- `sign`: + or -, or nothing for numbers that are told and decide nothing;
- `stated`: a printed margin or, in %, the largest relative gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

import pandas as pd

from qponder_lib.report.audit import AVERAGE, EPS, half_digit, paper_tables
from qponder_lib.report.render import CORRELATIONS, read_reported

SIGNIFICANT = "no interval or test is printed, so whether it is significant is not decidable"
MOST_NAMED = 7
"""Places that a sentence names one by one."""

Contrast = Any
"""A row of `reported/comparisons.csv` as a named tuple; `direction` is its sign: 1, -1 or 0."""
PrintedOutcome = Literal["holds", "holds_in_part", "does_not_hold", "not_decidable"]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        id: Short name, unique over both papers; fit for an anchor of a page.
        paper: Q-Ponder or PreResQ-R1.
        place: Section, abstract, contribution or appendix.
        quote: The paper's words, cut to what is claimed.
        decided_by: What would decide it.
        needs: Any of `competitors` (models that no run of this kit trains), `runs` (several
            training runs, since it is about a method), `every place` (one exception refutes it).
        printed: What the paper's text alone says about it, where no comparison is needed.
        remark: What to know beside the printed values.
        without_run: Why no run of this kit decides it; empty if one can.
        comparisons: What decides it.
    """

    id: str
    paper: str
    place: str
    quote: str
    decided_by: str
    needs: str
    printed: str
    remark: str
    without_run: str
    comparisons: tuple[Contrast, ...]


@dataclass(frozen=True)
class PrintedVerdict:
    """What a paper's own tables and text say about a claim."""

    outcome: PrintedOutcome
    sentence: str


def load_claims() -> list[Claim]:
    """Read the claims of both papers, in the order of the papers.

    Source:
        Q-Ponder (arXiv:2506.05384) and PreResQ-R1 (arXiv:2511.05393), read sentence by sentence.

    Example:
        >>> load_claims()[0].paper
        'Q-Ponder'
    """
    rows, claims = (
        read_reported(name, dtype=str, keep_default_na=False) for name in ("comparisons", "claims")
    )
    rows["direction"] = rows["sign"].map({"+": 1, "-": -1, "": 0})
    of = {name: tuple(found.itertuples(index=False)) for name, found in rows.groupby("claim")}
    return [Claim(**row, comparisons=of.get(row["id"], ())) for row in claims.to_dict("records")]


@cache
def printed_verdicts() -> Mapping[str, PrintedVerdict]:
    """Hold every claim against the paper's own tables and text.

    Returns:
        What they say, by the claim's id; claims that they say nothing about are left out.

    Example:
        >>> printed_verdicts()["only-exception"].outcome
        'does_not_hold'
    """
    tables = paper_tables()
    found = {claim.id: _printed_verdict(claim, tables) for claim in load_claims()}
    return {name: verdict for name, verdict in found.items() if verdict is not None}


def _printed_verdict(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> PrintedVerdict | None:
    if claim.printed:
        return PrintedVerdict(cast(PrintedOutcome, claim.printed), claim.remark)
    compared = [one for one in claim.comparisons if one.table and one.against]
    if not compared:
        return None
    told, as_claimed = [], []
    for one in compared:
        words, hits = _compare(one, tables[one.table])
        told.append(f"{one.label}: {words}")
        as_claimed += hits if one.sign else []
    outcome: PrintedOutcome = "holds" if all(as_claimed) else "does_not_hold"
    if any(as_claimed) and not all(as_claimed) and "every place" not in claim.needs:
        outcome = "holds_in_part"
    told += [claim.remark] if claim.remark else []
    told += [SIGNIFICANT] if "significant" in claim.quote else []
    return PrintedVerdict(outcome, "; ".join(dict.fromkeys(told)))


def _compare(one: Contrast, table: pd.DataFrame) -> tuple[str, list[bool]]:
    """Say how much higher a row prints than others, and in which places it is as claimed."""
    steps = _steps(one, table)
    if one.stated.endswith("%"):
        return _largest_gain(one.stated.removesuffix("%"), steps, table["half"].max())
    hits = steps["gain"] * (one.direction or 1) > 0
    if one.stated:
        apart = (steps["gain"].abs() - float(one.stated)).abs()
        hits &= apart <= half_digit(one.stated) + EPS
    named = [
        f"{step.place} {step.gain:+.3f}" + f" ({step.other})" * (step.other != one.against)
        for step in steps.itertuples()
    ]
    count = f"{'as claimed' if one.sign else 'higher'} in {hits.sum()} of {len(hits)} places"
    if len(named) <= 4:
        return ", ".join(named) + ("" if hits.all() else f"; {count}"), hits.tolist()
    words = f"{count}, from {named[steps['gain'].argmin()]} to {named[steps['gain'].argmax()]}"
    missed = [name for name, hit in zip(named, hits, strict=True) if not hit]
    if one.sign and 1 < len(missed) <= MOST_NAMED:
        words += f"; not in {', '.join(missed)}"
    return words, hits.tolist()


def _steps(one: Contrast, table: pd.DataFrame) -> pd.DataFrame:
    """Compare a row with others, place by place: place, gain, other, and both values."""
    kind, _, names = one.sets.rpartition(": ")
    sets = names.split(";") if names else []
    values = table.set_index(["dataset", "metric", "method"])["value"]
    wide = values.unstack("method", sort=False)
    datasets = wide.index.get_level_values("dataset")
    wide = wide[datasets.isin(sets) if sets and kind != "most" else datasets != AVERAGE]
    if one.metrics:
        wide = wide[wide.index.get_level_values("metric").isin(one.metrics.split(";"))]
    if kind == "mean":
        wide = pd.concat({"mean": wide.groupby("metric", sort=False).mean()})
    others = wide.drop(columns=one.row)
    if one.against == "best other":
        compared = [(others.idxmax(axis=1), others.max(axis=1))]
    else:
        chosen = others.columns if one.against == "every other" else one.against.split(";")
        compared = [(name, others[name]) for name in chosen]
    steps = pd.concat(
        pd.DataFrame({"other": name, "ours": wide[one.row], "theirs": theirs})
        for name, theirs in compared
    ).dropna()
    steps["gain"] = steps["ours"] - steps["theirs"]
    if kind == "most":
        gains = steps["gain"].groupby(level="dataset").mean()
        steps = pd.DataFrame({"gain": gains[sets] - gains.drop(sets).max(), "other": one.against})
        return steps.assign(place=sets)
    steps["place"] = [f"{d} {m.upper() if m in CORRELATIONS else m}" for d, m in steps.index]
    return steps.reset_index(drop=True)


def _largest_gain(stated: str, steps: pd.DataFrame, half: float) -> tuple[str, list[bool]]:
    """Say whether the largest relative gain is the stated one, with what rounding hides."""
    best = steps.loc[(steps["ours"] / steps["theirs"]).idxmax()]
    gain, low, high = (
        100 * ((best["ours"] + hidden) / (best["theirs"] - hidden) - 1)
        for hidden in (0.0, -half, half)
    )
    words = (
        f"{best['place']}, {best['ours']:.3f} against {best['theirs']:.3f} ({best['other']}): "
        f"{gain:.2f} % relative, {low:.2f} to {high:.2f} with what rounding hides; in SRCC "
        f"itself {best['gain']:.3f}"
    )
    off = max(low - float(stated), float(stated) - high)
    return words, [bool(off <= half_digit(stated))]
