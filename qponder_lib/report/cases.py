"""Case studies: what several models said about a few images, right and wrong told apart.

Images are chosen by a rule that is stated before any response is read; statements are decided by
the images' tags (`statements`), and the same for all test images gives a rate per model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from pydantic import Field
from tqdm import tqdm

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import compared_models
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.statistics import ratio_statistic
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord, Record, Text
from qponder_lib.report.render import ALL_SETS, in_order, template, write_frame
from qponder_lib.report.statements import Known, Statement, read_statements

QUANTILES = {
    0.0: "greatest fall in error",
    0.25: "25% quantile of the change in error",
    0.5: "median change in error",
    0.75: "75% quantile of the change in error",
    1.0: "greatest rise in error",
}
"""Of the change in absolute error: the greatest gain, quarters, the greatest loss."""
N_RANDOM = 3
LONGEST = 6000
"""Characters of one response that a page shows."""

Key = tuple[str, str]
"""Set and image id."""
Responses = Mapping[str, Mapping[Key, PredictionRecord]]
"""Greedy responses by model, then by set and image id."""


class CaseAnswer(Record):
    """What one model said about the image of a case; its statements are the whole text."""

    model: str
    score: float | None
    parse_status: str
    text: Text
    statements: tuple[Statement, ...]


class Case(Record):
    """One image with what several models said about it; a row of `cases/cases.jsonl`.

    Attributes:
        number: From 1, in the order of the rule.
        rule: Why this image.
        change: Absolute error of the later model minus that of the earlier one, MOS units; None
            if one of them was not parsed.
        image: The image's row.
        picture: Its copy, relative to `cases/`.
        tags_complete: Whether its tags name all distortions that were applied to it.
        answers: What was said, models in the order of the tables.
    """

    number: int = Field(ge=1)
    rule: str
    change: float | None
    image: ImageRecord
    picture: str
    tags_complete: bool
    answers: tuple[CaseAnswer, ...]


def write_cases(run: Run) -> list[Path]:
    """Choose the cases of a run, decide their statements, and count those of all responses.

    Args:
        run: Its test images and greedy predictions are read.

    Returns:
        The files written: `cases/cases.jsonl`, `cases/images/`, `tables/statements.csv`.

    Raises:
        FileNotFoundError: If a model has no predictions for a set.
    """
    images, responses = read_all(run)
    known = know(run, images)
    cases, files = [], []
    chosen = choose(run, images, responses)
    for number, (key, (rule, change)) in enumerate(chosen.items(), start=1):
        image = images[key]
        source = run.paths.data / image.image
        picture = f"images/{number:02d}{source.suffix.lower()}"
        artifacts.write_bytes_atomic(run.paths.cases / picture, source.read_bytes())
        files.append(run.paths.cases / picture)
        rows = {model: responses[model].get(key) for model in in_order(responses)}
        answers = tuple(
            CaseAnswer(
                **row.model_dump(include={"score", "parse_status", "text"}),
                model=model,
                statements=tuple(read_statements(row.text, known[key])),
            )
            for model, row in rows.items()
            if row is not None and row.text is not None
        )
        case = Case(
            number=number,
            rule=rule,
            change=change,
            image=image,
            picture=picture,
            tags_complete=known[key].complete,
            answers=answers,
        )
        cases.append(case)
    listed = run.paths.cases / "cases.jsonl"
    artifacts.write_jsonl(listed, cases)
    rates = statement_rates(run, images, known, responses)
    return [listed, *files, write_frame(run.paths.tables / "statements.csv", rates)]


def read_cases(folder: Path) -> list[Case]:
    """Read the cases below a run's `cases/`; none if there are none."""
    listed = folder / "cases.jsonl"
    return artifacts.read_jsonl(listed, Case) if listed.is_file() else []


def read_all(run: Run) -> tuple[dict[Key, ImageRecord], dict[str, dict[Key, PredictionRecord]]]:
    """Read all test images, and every model's greedy responses, by set and image id."""
    sets = run.profile.predict.sets
    images = {
        (dataset, image.image_id): image
        for dataset in sets
        for image in artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
    }
    responses = {
        model: {
            (dataset, row.image_id): row
            for dataset in sets
            for row in artifacts.read_jsonl(run.paths.predictions(model, dataset), PredictionRecord)
        }
        for model in run.profile.predict.models
    }
    return images, responses


def know(run: Run, images: Mapping[Key, ImageRecord]) -> dict[Key, Known]:
    """Return what is known about each image.

    Tags name all distortions in the embedded sets, and in sets in which every image has a tag;
    photographs taken in the wild have some that nobody named.
    """
    untagged = {dataset for (dataset, _), image in images.items() if not image.distortions}
    embedded = run.profile.data.source == "embedded"
    return {
        key: Known(image.distortions, image.mos, embedded or key[0] not in untagged)
        for key, image in images.items()
    }


# ---- which images become cases


def compared_pair(run: Run) -> tuple[str, str] | None:
    """Return which model's error is compared with which: after, before; None if no two can be."""
    pairs = compared_models(run.profile.predict.models, run.profile.grpo.start_from)
    return pairs[0] if pairs else None


def changes(pair: tuple[str, str], responses: Responses) -> dict[Key, float]:
    """Subtract absolute errors, after minus before, where both responses were parsed.

    Returns:
        The change by set and image id, MOS units; below 0 the second model's error is smaller.
    """
    after, before = (
        {
            key: abs(row.score - row.mos)
            for key, row in responses[model].items()
            if row.score is not None and row.mos is not None
        }
        for model in pair
    )
    return {key: after[key] - before[key] for key in after.keys() & before.keys()}


def choose(
    run: Run, images: Mapping[Key, ImageRecord], responses: Responses
) -> dict[Key, tuple[str, float | None]]:
    """Choose cases by quantiles of the change in error, and some at random.

    Args:
        run: Its profile names the pair of models and the seed.
        images: Test images.
        responses: See `read_all`.

    Returns:
        By set and image id, the rule, and the change in absolute error that the image stands for.
        First the quantiles (ties in the order of set and image id), then images drawn by the
        seed from all others, whether or not a response was parsed.

    Source:
        Q-Ponder (arXiv:2506.05384), Appendix D: four images; how they were chosen is not stated.
        The rule is ours (decision D34).
    """
    pair = compared_pair(run)
    change = changes(pair, responses) if pair else {}
    order = sorted(change, key=lambda key: (change[key], key))
    chosen: dict[Key, tuple[str, float | None]] = {}
    for quantile, rule in QUANTILES.items() if order else ():
        key = order[round(quantile * (len(order) - 1))]
        chosen.setdefault(key, (rule, change[key]))
    rest = sorted(set(images) - set(chosen))
    rng = np.random.default_rng([0, len(QUANTILES)])
    for place in sorted(rng.permutation(len(rest))[:N_RANDOM]):
        chosen[rest[place]] = ("drawn at random from all others", change.get(rest[place]))
    return chosen


# ---- how often statements are right


def statement_rates(
    run: Run, images: Mapping[Key, ImageRecord], known: Mapping[Key, Known], responses: Responses
) -> pd.DataFrame:
    """Count right, wrong and undecided statements per model and set.

    Args:
        run: Sets and seed come from its profile.
        images: Test images.
        known: What is known about each image.
        responses: Greedy responses of each model.

    Returns:
        value: right / (right + wrong), with a bootstrap interval over photographs; n: responses
        with text; right, wrong, undecided: statements (undecided only those that name a
        distortion or quality); reason, where there is no value.
    """
    rows = []
    for model, said in tqdm(responses.items(), desc="statements", mininterval=5):
        counts = {k: _count(row.text, known[k]) for k, row in said.items() if row.text is not None}
        for dataset in (*run.profile.predict.sets, ALL_SETS):
            keys = [key for key in counts if dataset in (key[0], ALL_SETS)]
            photographs = [images[key].photograph for key in keys]
            found = rate([counts[key] for key in keys], photographs)
            rows.append({"model": model, "dataset": dataset} | found)
    columns = ["model", "dataset", "value", "ci_low", "ci_high", "n", "n_references"]
    return pd.DataFrame(rows, columns=[*columns, "right", "wrong", "undecided", "reason"])


def rate(counts: Sequence[tuple[int, int, int]], photographs: Sequence[str]) -> dict[str, object]:
    """Return the share of right statements among the decided ones.

    Args:
        counts: Right, wrong and undecided statements of each response.
        photographs: What the image of each response was made of; these are drawn, not statements.

    Example:
        >>> found = rate([(3, 1, 0), (0, 0, 2)], ["a", "b"])
        >>> found["value"], found["n"], found["undecided"]
        (0.75, 2, 2)
    """
    right, wrong, undecided = np.array(counts, dtype=np.float64).reshape(-1, 3).T
    names = ("right", "wrong", "undecided")
    totals = {k: int(v.sum()) for k, v in zip(names, (right, wrong, undecided), strict=True)}
    if (right + wrong).sum():
        share = ratio_statistic(right, right + wrong)
        found = bootstrap.estimate(share, len(counts), photographs)
    else:
        found = bootstrap.missing("nothing_decided" if counts else "no_text", len(counts))
    return bootstrap.cells(found) | totals


def _count(text: str, known: Known) -> tuple[int, int, int]:
    found = [s.standing for s in read_statements(text, known) if s.standing != "undecided" or s.why]
    return found.count("right"), found.count("wrong"), found.count("undecided")


# ---- a case as HTML


def cases_style() -> str:
    """Return the style sheet of cases."""
    return (resources.files("qponder_lib") / "report" / "cases.css").read_text(encoding="utf-8")


def case_html(case: Case, picture: str) -> Markup:
    """Show one case.

    Args:
        case: The case.
        picture: Where its picture lies, as the page sees it, or a data address.

    Returns:
        An HTML fragment in which all text of models and data sets is escaped.
    """
    page = template("case.html.jinja", pieces=_pieces)
    return Markup(page.render(case=case, picture=picture, answers=case.answers, longest=LONGEST))


def _pieces(answer: CaseAnswer) -> Iterator[tuple[str, str, str, str, str]]:
    """Cut a response into its statements: space before, text, space after, standing, why."""
    for statement in answer.statements:
        stretch = answer.text[statement.start : min(statement.end, LONGEST)]
        inner = stretch.strip()
        before = stretch[: len(stretch) - len(stretch.lstrip())]
        after = stretch[len(stretch.rstrip()) :] if inner else ""
        yield before, inner, after, statement.standing, statement.why
