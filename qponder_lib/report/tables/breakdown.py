"""Where models err: by type of damage, by level, by fifth of the MOS.

An image belongs to every type it is tagged with, and to its strongest level; images without a tag
are a group of their own. So counts by type overlap, counts by level and by severity do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from tqdm import tqdm

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import Predictions, references_of, score
from qponder_lib.metrics.bootstrap import CONFIDENCE, ESTIMATE_COLUMNS, Estimate, cells
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.report.tables.render import Block, Cell, Table, estimate
from qponder_lib.report.tables.sources import in_order, model_label, one, origin, select
from qponder_lib.scales import SEVERITIES, severity_of

ALL_SETS = "all sets"
UNTAGGED = "untagged"
METRICS = ("mae", "srcc")
COLUMNS = (
    "model",
    "dataset",
    "kind",
    "group",
    "metric",
    *ESTIMATE_COLUMNS,
)
_KIND_TITLES = {
    "type": "By tagged type of damage",
    "level": "By strongest tagged level",
    "severity": "By fifth of the MOS",
}


@dataclass(frozen=True)
class Answered:
    """One image, and the score a model stated for it greedily (None: could not be read)."""

    image: ImageRecord
    score: float | None


def read_answers(run: Run, model: str, dataset: str) -> list[Answered]:
    """Join the greedy answers of a model with the images of a set, by image id.

    Raises:
        ValueError: If an answer is for an image that the set does not have.
    """
    images = artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
    by_id = {image.image_id: image for image in images}
    rows = artifacts.read_jsonl(run.paths.predictions(model, dataset), PredictionRecord)
    unknown = [row.image_id for row in rows if row.image_id not in by_id]
    if unknown:
        raise ValueError(f"{model} answered for images that {dataset} lacks: {unknown[:3]}")
    return [Answered(by_id[row.image_id], row.score) for row in rows if row.mos is not None]


def groups_of(image: ImageRecord) -> Iterator[tuple[str, str]]:
    """Name the groups of an image as (kind, group).

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1: severities are fifths of the MOS. The papers
        break no result down by type or level; ours (decision D33).

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


def breakdown_data(run: Run) -> pd.DataFrame:
    """Measure mean absolute error and SRCC per model, set and group.

    Args:
        run: Its test rows and greedy predictions are read; the least n comes from its profile.

    Returns:
        One row per number, with its interval, n and reason. Types with levels are measured over
        all sets together only: in one set too few images are left.
    """
    settings = run.profile.evaluate
    rows = []
    for model in tqdm(run.profile.predict.models, desc="breakdown", mininterval=5):
        by_set = {name: read_answers(run, model, name) for name in run.profile.predict.sets}
        pooled = [answer for answers in by_set.values() for answer in answers]
        for dataset, answers in {**by_set, ALL_SETS: pooled}.items():
            for (kind, group), mine in grouped(answers).items():
                if kind == "type and level" and dataset != ALL_SETS:
                    continue
                names = {"model": model, "dataset": dataset, "kind": kind, "group": group}
                found = measured(mine, seed=settings.seed, min_n=settings.min_n)
                rows += [names | {"metric": metric} | cells(one) for metric, one in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def grouped(answers: Sequence[Answered]) -> dict[tuple[str, str], list[Answered]]:
    """Sort answers into groups, the groups in the order of readers."""
    found: dict[tuple[str, str], list[Answered]] = {}
    for answer in answers:
        for key in groups_of(answer.image):
            found.setdefault(key, []).append(answer)
    return dict(sorted(found.items(), key=lambda item: _place(*item[0])))


def measured(answers: Sequence[Answered], **options: int) -> dict[str, Estimate]:
    """Measure a group of answers by each of `METRICS`, images of one photograph drawn together."""
    images = [answer.image for answer in answers]
    references = references_of(images)
    predictions = Predictions.of_scores(
        [answer.score for answer in answers],
        [image.mos for image in images],
        [references[image.image_id] for image in images],
    )
    found = score(predictions, [(metric, "raw") for metric in METRICS], **options)
    return {metric: found[metric, "raw"] for metric in METRICS}


def breakdown(run: Run) -> Table:
    """Lay out mean absolute error over all sets: groups in rows, models in columns.

    Args:
        run: See `breakdown_data`.

    Returns:
        The table; the CSV also holds SRCC, each set by itself, and types with levels.
    """
    data = breakdown_data(run)
    pooled = select(data, dataset=ALL_SETS)
    models = in_order(list(pooled["model"].unique()))
    blocks = []
    for kind, title in _KIND_TITLES.items():
        of_kind = select(pooled, kind=kind)
        for metric, name in (("mae", "mean absolute error, MOS units"), ("srcc", "SRCC")):
            mine = select(of_kind, metric=metric)
            rows = []
            for group in dict.fromkeys(mine["group"]):
                found = [one(mine, group=group, model=model) for model in models]
                images = max((row["n"] + row["n_unparsed"] for row in found if row), default=0)
                cells = [estimate(row, 1 if metric == "mae" else 2) for row in found]
                rows.append((Cell(group.replace("_", " ")), Cell(str(images)), *cells))
            header = (kind.capitalize(), "images", *(model_label(model) for model in models))
            blocks.append(Block(f"{title}: {name}", header, tuple(rows)))
    note = (
        f"{origin(run)} Greedy answers on all test sets together, "
        f"{CONFIDENCE:.0%} bootstrap intervals over photographs; n of readable "
        "answers is in the CSV. An image counts for every type it is tagged with and for its "
        f"strongest level. Groups of fewer than {run.profile.evaluate.min_n} readable answers "
        "have no value."
    )
    return Table("breakdown", "Where the models err", note, data, tuple(blocks))


def _place(kind: str, group: str) -> tuple[str, int, str]:
    """Order groups: severities from bad to good, the others by name, untagged last."""
    if kind == "severity":
        return kind, SEVERITIES.index(group), ""  # type: ignore[arg-type]
    return kind, int(group == UNTAGGED), group
