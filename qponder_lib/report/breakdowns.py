"""Where models err, and how diverse their scores are.

An image belongs to every type it is tagged with, and to its strongest level; images without a tag
are a group of their own. So counts by type overlap, counts by level, severity and subset do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from tqdm import tqdm

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import Predictions, score
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import MIN_N
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord
from qponder_lib.report.render import (
    ALL_SETS,
    MISSING,
    Table,
    by_model,
    estimates,
    grid,
    intervals,
    origin,
    plain,
    read,
    read_predictions,
    select,
)
from qponder_lib.scales import SEVERITIES, severity_of

UNTAGGED = "untagged"
METRICS = ("mae", "srcc")
_KINDS = {
    "type": "By tagged type of distortion",
    "level": "By strongest tagged level",
    "severity": "By severity bin",
    "subset": "By subset",
}
_METRIC_TITLES = {"mae": "mean absolute error, MOS units", "srcc": "SRCC"}


def read_responses(run: Run, model: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Read the greedy scores of a model set by set, and those of all sets together.

    Yields:
        Set, and a frame with score (NaN: unparsed), mos, image (its row) and photograph.

    Raises:
        ValueError: If a response is about an image that the set does not have.
    """
    frames = []
    for dataset in run.profile.predict.sets:
        images = artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
        by_id = {image.image_id: image for image in images}
        rows = read_predictions(run.paths, model, dataset).dropna(subset=["mos"])
        unknown = sorted(set(rows["image_id"]) - set(by_id))
        if unknown:
            raise ValueError(f"{model} answered for images that {dataset} lacks: {unknown[:3]}")
        rows["image"] = rows["image_id"].map(by_id)
        rows["photograph"] = [image.photograph for image in rows["image"]]
        frames.append(rows)
        yield dataset, rows
    yield ALL_SETS, pd.concat(frames, ignore_index=True)


# ---- by type, level and severity


def groups_of(image: ImageRecord) -> Iterator[tuple[str, str]]:
    """Name the groups of an image as (kind, group).

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1: severities are equal parts of the MOS scale. The
        papers break no result down by type or level; ours (decision D33).

    Example:
        >>> from qponder_lib.records import Distortion
        >>> image = ImageRecord(image_id="a", image="a.png", dataset="s", split="test", mos=35.0,
        ...     distortions=(Distortion(name="blur", level=2), Distortion(name="noise", level=4)),
        ...     sha256="0" * 64)
        >>> list(groups_of(image))[:3]
        [('type', 'blur'), ('type and level', 'blur 2'), ('type', 'noise')]
        >>> list(groups_of(image))[4:]
        [('level', '4'), ('severity', 'severe')]
    """
    for tag in image.distortions:
        yield "type", tag.name
        yield "type and level", f"{tag.name} {tag.level}"
    if image.distortions:
        yield "level", str(max(tag.level for tag in image.distortions))
    else:
        yield "type", UNTAGGED
        yield "level", UNTAGGED
    if image.mos is not None:
        yield "severity", severity_of(image.mos)
    if image.subset is not None:
        yield "subset", image.subset


def grouped(responses: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Sort responses into groups: severities from bad to good, others by name, untagged last."""

    def place(key: tuple[str, str]) -> tuple[str, int, str]:
        kind, group = key
        if kind == "severity":
            return kind, SEVERITIES.index(group), ""  # type: ignore[arg-type]
        return kind, int(group == UNTAGGED), group

    keys = responses["image"].map(lambda image: list(groups_of(image)))
    rows = responses.assign(key=keys).explode("key")
    return {key: rows[rows["key"] == key] for key in sorted(set(rows["key"]), key=place)}


def measure_breakdown(run: Run) -> pd.DataFrame:
    """Measure mean absolute error and SRCC per model, set and group.

    Args:
        run: Its test rows and greedy predictions are read; the least n comes from its profile.

    Returns:
        One row per number, with its interval, n and reason. Types with levels are measured over
        all sets together only: in one set too few images are left.
    """
    rows = []
    for model in tqdm(run.profile.predict.models, desc="breakdown", mininterval=5):
        for dataset, responses in read_responses(run, model):
            for (kind, group), mine in grouped(responses).items():
                if kind == "type and level" and dataset != ALL_SETS:
                    continue
                names = {"model": model, "dataset": dataset, "kind": kind, "group": group}
                found = measured(mine)
                rows += [
                    names | {"metric": metric} | bootstrap.cells(number)
                    for metric, number in found.items()
                ]
    return pd.DataFrame(rows)


def measured(responses: pd.DataFrame) -> dict[str, bootstrap.Estimate]:
    """Measure a group of responses by each of `METRICS`, images of one photograph together."""
    columns = (responses[name].tolist() for name in ("score", "mos", "photograph"))
    found = score(Predictions.of_scores(*columns), [(m, "raw") for m in METRICS])
    return {metric: found[metric, "raw"] for metric in METRICS}


def breakdown_table(run: Run) -> Table:
    """Lay out error and order over all sets: groups in rows, models in columns.

    Args:
        run: Its `tables/breakdown.csv` is read; that also holds each set by itself, and types
            with levels.
    """
    data = read(run.paths.tables / "breakdown.csv")
    rows = by_model(select(data, dataset=ALL_SETS))
    rows["images"] = _images(rows).astype(str)
    rows["group"] = rows["group"].str.replace("_", " ")
    grids = {}
    for kind, title in _KINDS.items():
        if kind not in set(rows["kind"]):
            continue
        for metric, told in _METRIC_TITLES.items():
            cell = partial(estimates, digits=1 if metric == "mae" else 2)
            mine = select(rows, kind=kind, metric=metric)
            cells = grid(mine, ["group", "images"], "Model", cell)
            grids[f"{title}: {told}"] = cells.rename(columns={"group": kind.capitalize()})
    note = (
        f"{origin(run)} Greedy decoding, all test sets together, {intervals(data)}; n of parsed "
        "responses is in the CSV. An image counts for every type it is tagged with and for its "
        f"strongest level. Groups of fewer than {MIN_N} parsed responses have "
        "no value."
    )
    return Table("Where the models err", note, grids)


def _images(rows: pd.DataFrame) -> pd.Series:
    """Count the images of each row's group, whether or not their responses were parsed."""
    images = rows["n"] + rows["n_unparsed"]
    return images.groupby([rows["kind"], rows["group"]]).transform("max")


# ---- score diversity


def measure_diversity(run: Run) -> pd.DataFrame:
    """Describe, per model and set, the diversity of predicted scores."""
    rows = [
        {"model": model, "dataset": dataset} | score_diversity(map(plain, responses["score"]))
        for model in run.profile.predict.models
        for dataset, responses in read_responses(run, model)
    ]
    return pd.DataFrame(rows)


def score_diversity(scores: Sequence[float | None]) -> dict[str, object]:
    """Count the different scores among predicted ones.

    Args:
        scores: Predicted scores; None for an unparsed response.

    Returns:
        n and n_unparsed; n_distinct; modal_score (the lowest of several) and modal_share;
        effective: the number of equally frequent scores with the same entropy; tens and fives:
        shares of scores that are multiples of 10 and of 5. Without a parsed response all of
        these but the counts are None, and reason says so.

    Example:
        >>> found = score_diversity([60.0, 60.0, 62.0, 65.0, None])
        >>> found["n_distinct"], found["modal_score"], found["modal_share"], found["fives"]
        (3, 60.0, 0.5, 0.75)
    """
    scores = list(scores)
    parsed = [score for score in scores if score is not None]
    counts: dict[str, object] = {"n": len(parsed), "n_unparsed": len(scores) - len(parsed)}
    names = ("n_distinct", "modal_score", "modal_share", "effective", "tens", "fives")
    if not parsed:
        return counts | dict.fromkeys(names) | {"reason": "no readable answer"}
    often = Counter(parsed)
    modal, times = min(often.items(), key=lambda item: (-item[1], item[0]))
    shares = np.array(list(often.values())) / len(parsed)
    entropy = float(-(shares * np.log(shares)).sum())
    tens, fives = (sum(score % step == 0 for score in parsed) / len(parsed) for step in (10, 5))
    values = (len(often), modal, times / len(parsed), math.exp(entropy), tens, fives)
    return counts | dict(zip(names, values, strict=True)) | {"reason": None}


def diversity_table(run: Run) -> Table:
    """Lay out how many different scores each model uses, over all sets.

    Args:
        run: Its `tables/clustering.csv` is read.
    """
    rows = by_model(select(read(run.paths.tables / "clustering.csv"), dataset=ALL_SETS))
    percent = "{:.0%}".format
    columns = {
        "distinct scores": ("n_distinct", "{:.0f}".format),
        "effective scores": ("effective", "{:.1f}".format),
        "commonest score": ("modal_score", "{:.1f}".format),
        "its share": ("modal_share", percent),
        "multiples of 10": ("tens", percent),
        "multiples of 5": ("fives", percent),
    }
    cells = rows[["Model", "n", "n_unparsed"]].astype(str)
    cells = cells.rename(columns={"n_unparsed": "unparsed"})
    for heading, (name, written) in columns.items():
        cells[heading] = rows[name].map(written).where(rows[name].notna(), MISSING)
    note = (
        f"{origin(run)} Greedy decoding, all test sets together. Effective: how many equally "
        "frequent scores would have the same entropy. Multiples of 10 and of 5 as shares of the "
        "parsed responses."
    )
    return Table("Score diversity", note, {"": cells})
