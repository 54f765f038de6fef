"""The stage `judge`: which texts of a run are judged, by whom, and the tables that come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from qponder_lib import artifacts
from qponder_lib.data.images import load_records
from qponder_lib.evaluation import filtering
from qponder_lib.evaluation.scoring import Predictions, score, with_mean
from qponder_lib.judging import rubric
from qponder_lib.judging.rubric import Candidate
from qponder_lib.judging.server import Asked, ask_judges, open_judges
from qponder_lib.metrics import bootstrap
from qponder_lib.metrics.bootstrap import Difference, Estimate, missing
from qponder_lib.metrics.statistics import MIN_N, FloatArray, mean_statistic, on_images
from qponder_lib.pipeline import Run
from qponder_lib.records import (
    ASPECTS,
    ImageRecord,
    JudgementRecord,
    PredictionRecord,
)

DISTILLED = "distilled"
"""Stands in the place of a model for the teacher's responses on training images."""
ONE_JUDGE = "one_judge"

_CELLS = ("value", "ci_low", "ci_high", "n", "n_references", "n_failed", "reason")
JUDGED_COLUMNS = ("judge", "model", "dataset", "aspect", *_CELLS)
FILTER_COLUMNS = ("judge", "selection", "aspect", *_CELLS)
ERROR_COLUMNS = ("judge", "model", *_CELLS)
AGREEMENT_COLUMNS = ("statistic", "aspect", "judge_a", "judge_b", *_CELLS)

Row = dict[str, str | int | float | None]


def judge_run(run: Run) -> list[Path]:
    """Judge the predictions of a run and write what came out.

    Models and sets that are not predicted are left out, and said so. Calling again asks servers
    only for what they have not rated.

    Args:
        run: Profile and folder; predictions, images and, for `distilled`, the filtered responses
            are read.

    Returns:
        The files written: `eval/judgements/<judge>/<model>/<set>.jsonl`, `eval/judged.csv`,
        `tables/judge_agreement.csv`, `tables/judge_nearness.csv` and, where distilled responses
        are judged, `tables/filter_judged.csv`.

    Raises:
        ServerUnavailable: If a judge's server can answer nothing.
        ValueError: If nothing that is to be judged was predicted.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.1 and Table 6.
    """
    config = run.profile.judge
    predicted = _predicted(run)
    distilled, selections = _distilled(run) if config.distilled else ([], {})
    asked = [(text, n) for text in (*predicted, *distilled) for n in range(config.repeats)]
    judged = _by_all(run, asked)
    frame = judgement_frame(asked, judged)
    of_models = frame[(frame["model"] != DISTILLED) & (frame["repeat"] == 0)]
    tables = {
        run.paths.judged: (JUDGED_COLUMNS, judged_rows(of_models)),
        run.paths.judge_agreement: (AGREEMENT_COLUMNS, agreement_rows(frame)),
        run.paths.judge_nearness: (ERROR_COLUMNS, error_rows(of_models)),
    }
    if distilled:
        of_teacher = frame[(frame["model"] == DISTILLED) & (frame["repeat"] == 0)]
        tables[run.paths.filter_judged] = FILTER_COLUMNS, filter_rows(of_teacher, selections)
    for path, (columns, rows) in tables.items():
        artifacts.write_csv(path, rows, columns)
    return [*_write_judgements(run, judged), *tables]


def _by_all(run: Run, asked: Sequence[Asked]) -> dict[str, list[JudgementRecord]]:
    """Let every judge of the profile judge, in the profile's order."""
    config = run.profile.judge
    judged = {}
    for name in config.judges:
        if name.startswith("rubric-"):
            if name != rubric.RUBRIC:
                known = f"the offline judge here is {rubric.RUBRIC!r}"
                raise ValueError(f"judge.judges has {name!r}; {known}")
            bar = tqdm(asked, desc=name, unit="text", mininterval=5, delay=5)
            judged[name] = [rubric.judge(candidate, repeat) for candidate, repeat in bar]
    servers = open_judges(config, run.profile.student.max_pixels)
    judged |= ask_judges(servers, asked, run.paths)
    return {name: judged[name] for name in config.judges}


def _predicted(run: Run) -> list[Candidate]:
    """The predictions that are judged, set by set and model by model."""
    config, predict = run.profile.judge, run.profile.predict
    models = [name for name in config.models if name in predict.models]
    sets = [name for name in config.sets if name in predict.sets]
    left_out = sorted({*config.models, *config.sets} - {*models, *sets})
    if left_out:
        print(f"judge: not predicted, so not judged: {', '.join(left_out)}", flush=True)
    if not models or not sets:
        raise ValueError(f"judge.models and judge.sets name nothing predicted: {left_out}")
    candidates = []
    for dataset in sets:
        chosen = _chosen(load_records(run.paths, dataset, "test"), config.max_images)
        for model in models:
            path = run.paths.predictions(model, dataset)
            said = {row.image_id: row for row in artifacts.read_jsonl(path, PredictionRecord)}
            for image in chosen:
                if image.image_id not in said:
                    raise ValueError(f"{path} has no prediction for image {image.image_id!r}")
                row = said[image.image_id]
                candidates.append(Candidate(model, image, row.text, row.score))
    return candidates


def _distilled(run: Run) -> tuple[list[Candidate], dict[str, list[int]]]:
    """The teacher's scored responses, and which of them the filter and the control keep."""
    result = filtering.read_filtered(run.paths)
    train = load_records(run.paths, run.profile.data.train_set, "train")
    chosen = {image.image_id: image for image in _chosen(train, run.profile.judge.max_images)}
    rows = sorted(
        (row for row in result.scored if row.image_id in chosen), key=lambda row: row.response_id
    )
    candidates = [
        Candidate(DISTILLED, chosen[row.image_id], row.text, row.score, key=row.response_id)
        for row in rows
    ]
    place = {row.response_id: k for k, row in enumerate(rows)}
    return candidates, {
        name: sorted(place[row.response_id] for row in part if row.response_id in place)
        for name, part in filtering.selections_of(result, run.profile.filter.gamma).items()
    }


def _chosen(images: Sequence[ImageRecord], limit: int | None) -> list[ImageRecord]:
    """Choose images by the hash of their ids, the same for every model and judge."""
    if limit is None or limit >= len(images):
        return list(images)
    order = sorted(images, key=lambda one: hashlib.sha256(one.image_id.encode()).hexdigest())
    ids = {image.image_id for image in order[:limit]}
    return [image for image in images if image.image_id in ids]


def _write_judgements(run: Run, judged: Mapping[str, Sequence[JudgementRecord]]) -> list[Path]:
    files: dict[Path, list[JudgementRecord]] = {}
    for judge, rows in judged.items():
        for row in rows:
            path = run.paths.judgements(judge, row.model, row.dataset)
            files.setdefault(path, []).append(row)
    for path, mine in files.items():
        artifacts.write_jsonl(path, mine)
    return list(files)


# ---- from judgements to tables


def judgement_frame(
    asked: Sequence[Asked], judged: Mapping[str, Sequence[JudgementRecord]]
) -> pd.DataFrame:
    """Put judgements beside what they are about.

    Args:
        asked: Texts with the number of the repeat, in the order of the judgements.
        judged: Judgements by judge.

    Returns:
        One row per judgement: judge, model, dataset, text (its number, the same for all judges
        and repeats), repeat, photograph (texts about one are drawn together), error (absolute, of
        the stated score, MOS units), n_words, and the aspects, 1 to 5; NaN where there is none.
    """
    texts: dict[Candidate, int] = {}
    rows = []
    for judge, judgements in judged.items():
        for (candidate, repeat), row in zip(asked, judgements, strict=True):
            image, known = candidate.image, None not in (candidate.score, candidate.image.mos)
            rows.append(
                {
                    "judge": judge,
                    "model": candidate.model,
                    "dataset": image.dataset,
                    "text": texts.setdefault(candidate, len(texts)),
                    "repeat": repeat,
                    "photograph": f"{image.dataset}/{image.photograph}",
                    "error": abs(candidate.score - image.mos) if known else None,
                    "n_words": row.n_words,
                }
                | {aspect: getattr(row, aspect) for aspect in ASPECTS}
            )
    return pd.DataFrame(rows).astype(dict.fromkeys(("error", *ASPECTS), float))


def judged_rows(frame: pd.DataFrame) -> list[Row]:
    """Average ratings per judge, model, set and aspect, and over the sets.

    Args:
        frame: From `judgement_frame`, one judgement per judge and text.

    Returns:
        Rows of `eval/judged.csv`. The set "mean" is the plain mean over the sets; it has no value
        where a set has none.
    """
    table: list[Row] = []
    for (judge, model), mine in frame.groupby(["judge", "model"], sort=False):
        by_set = {
            dataset: {aspect: mean_rating(rows, aspect, seed=seed) for aspect in ASPECTS}
            for seed, (dataset, rows) in enumerate(mine.groupby("dataset", sort=False))
        }
        found = with_mean(by_set)
        table += [
            {"judge": judge, "model": model, "dataset": dataset, "aspect": aspect}
            | _cells(found[dataset][aspect])
            for aspect in ASPECTS
            for dataset in found
        ]
    return table


def filter_rows(frame: pd.DataFrame, selections: Mapping[str, Sequence[int]]) -> list[Row]:
    """Compare selections of the distilled texts with all of them.

    Args:
        frame: From `judgement_frame`, one judgement of each distilled text per judge.
        selections: By name the places of the texts selected; the first is the whole, the others
            are compared with it. The selection is held fixed.

    Returns:
        Rows of `tables/filter_judged.csv`: each selection's mean, and each difference to the
        whole on the same resamples, named such as "filtered - unfiltered".
    """
    whole, *others = selections
    table: list[Row] = []
    for judge, rows in frame.groupby("judge", sort=False):
        for aspect in ASPECTS:
            means = {name: mean_rating(rows, aspect, at) for name, at in selections.items()}
            gains = {
                f"{name} - {whole}": replace(
                    bootstrap.difference(means[name], means[whole]),
                    n_excluded=means[name].n_unparsed,
                )
                for name in others
            }
            table += [
                {"judge": judge, "selection": name, "aspect": aspect} | _cells(number)
                for name, number in (means | gains).items()
            ]
    return table


def error_rows(frame: pd.DataFrame) -> list[Row]:
    """Measure whether predictions with smaller errors are judged more accurate.

    Args:
        frame: From `judgement_frame`, one judgement per judge and text.

    Returns:
        Rows of `tables/judge_nearness.csv`: per judge and model the rank correlation, over all
        sets together, of rated accuracy and minus the absolute error; n_failed counts predictions
        that lack one of them. It is what Q-Ponder draws in its first figure, part (b).
    """
    return [
        {"judge": judge, "model": model}
        | _cells(rank_correlation(rows["accuracy"], -rows["error"], rows["photograph"]))
        for (judge, model), rows in frame.groupby(["judge", "model"], sort=False)
    ]


def agreement_rows(frame: pd.DataFrame) -> list[Row]:
    """Measure agreement of judges, their constancy, and how far they follow length.

    Args:
        frame: From `judgement_frame`, with all repeats.

    Returns:
        Rows of `tables/judge_agreement.csv`: per aspect quadratic_kappa and srcc of each pair of
        judges (with one judge they have no value and the reason "one_judge"), self_consistency
        and length_srcc of each judge.
    """
    by_judge = {
        judge: rows[rows["repeat"] == 0].set_index("text")
        for judge, rows in frame.groupby("judge", sort=False)
    }
    table: list[Row] = []

    def add(statistic: str, aspect: str, a: str, b: str | None, result: Estimate) -> None:
        names = {"statistic": statistic, "aspect": aspect, "judge_a": a, "judge_b": b}
        table.append(names | _cells(result))

    for aspect in ASPECTS:
        for a, b in combinations(by_judge, 2):
            pair = by_judge[a][aspect], by_judge[b][aspect], by_judge[a]["photograph"]
            add("quadratic_kappa", aspect, a, b, quadratic_kappa(*pair))
            add("srcc", aspect, a, b, rank_correlation(*pair))
        for judge, rows in by_judge.items():
            if len(by_judge) == 1:
                for statistic in ("quadratic_kappa", "srcc"):
                    add(statistic, aspect, judge, None, missing(ONE_JUDGE))
            repeats = frame[frame["judge"] == judge]
            add("self_consistency", aspect, judge, None, self_consistency(repeats, aspect))
            follows = rank_correlation(rows[aspect], rows["n_words"], rows["photograph"])
            add("length_srcc", aspect, judge, None, follows)
    return table


def mean_rating(
    rows: pd.DataFrame, aspect: str, places: Sequence[int] | None = None, *, seed: int = 0
) -> Estimate:
    """Average the ratings that are there; how many are missing is `n_unparsed`.

    Args:
        rows: From `judgement_frame`.
        aspect: Which rating.
        places: Only rows at these places are averaged, on resamples of all rows, so that means
            of several selections are paired; None averages and draws all that are rated.
        seed: Of the resamples.
    """
    chosen = rows if places is None else rows.iloc[list(places)]
    rated = chosen.dropna(subset=aspect)
    n, n_missing = len(rated), len(chosen) - len(rated)
    n_references = rated["photograph"].nunique()
    if n < MIN_N:
        return missing("too_few", n, n_references, n_missing)
    mean = mean_statistic(rated[aspect].to_numpy())
    if places is None:
        photographs = rated["photograph"].tolist()
        return bootstrap.estimate(mean, n, photographs, seed=seed, n_unparsed=n_missing)
    there = rows.index.get_indexer(rated.index)
    found = bootstrap.estimate(on_images(mean, there), len(rows), rows["photograph"].tolist())
    return replace(found, n=n, n_references=n_references, n_unparsed=n_missing)


def quadratic_kappa(first: pd.Series, second: pd.Series, photographs: pd.Series) -> Estimate:
    """Measure agreement of two judges beyond chance, a disagreement weighed by its square.

    Args:
        first: Ratings by one judge, NaN where there is none.
        second: By the other, of the same texts.
        photographs: What each text is about.

    Returns:
        Cohen's weighted kappa, 1 - E(a - b)^2 / E(a - b')^2 with b' the rating of any text: 1 for
        equal ratings, 0 for chance. No value, with the reason "constant_ratings", where both gave
        one and the same rating throughout: then nothing could have been disagreed about.
    """
    both = pd.DataFrame({"a": first, "b": second, "photograph": photographs}).dropna()
    n, n_missing = len(both), len(first) - len(both)
    a, b = both["a"].to_numpy(), both["b"].to_numpy()
    if n < MIN_N or len(np.unique([a, b])) == 1:
        reason = "too_few" if n < MIN_N else "constant_ratings"
        return missing(reason, n, both["photograph"].nunique(), n_missing)
    moments = np.stack([a, b, a**2 + b**2, (a - b) ** 2], axis=1)

    def statistic(counts: FloatArray) -> FloatArray:
        n_drawn, (sum_a, sum_b, squares, apart) = counts.sum(axis=1), (counts @ moments).T
        by_chance = n_drawn * squares - 2.0 * sum_a * sum_b  # of whole numbers, so exact
        return 1.0 - n_drawn * apart / np.where(by_chance > 0.0, by_chance, np.nan)

    clusters = both["photograph"].tolist()
    return bootstrap.estimate(statistic, n, clusters, n_unparsed=n_missing)


def rank_correlation(first: pd.Series, second: pd.Series, photographs: pd.Series) -> Estimate:
    """Measure whether two judges, or a judge and a length, put texts in the same order (SRCC)."""
    both = pd.DataFrame({"a": first, "b": second, "photograph": photographs}).dropna()
    pairs = Predictions.of_scores(both["a"].tolist(), both["b"].tolist(), both["photograph"])
    found = score(pairs, [("srcc", "raw")])["srcc", "raw"]
    constant = (found.reason or "").startswith(("constant", "near_constant"))
    reason = "constant_ratings" if constant else found.reason
    return replace(found, n_unparsed=len(first) - len(both), reason=reason)


def self_consistency(rows: pd.DataFrame, aspect: str) -> Estimate:
    """Measure how often a judge rates a text the same again.

    Args:
        rows: From `judgement_frame`, one judge's, all repeats.
        aspect: Which rating.

    Returns:
        The mean over texts of the share of pairs of ratings that are equal; without a value, and
        with the reason "not_repeated", where too few texts were rated twice.
    """
    counts = rows.groupby(["text", aspect]).size()
    n = counts.groupby("text").sum()
    shares = (counts * (counts - 1)).groupby("text").sum() / (n * (n - 1))  # once: 0 / 0, no value
    texts = rows.groupby("text")[["photograph"]].first()
    found = mean_rating(texts.assign(share=shares), "share")
    return replace(found, reason="not_repeated") if found.reason == "too_few" else found


def _cells(number: Estimate | Difference) -> Row:
    cells = bootstrap.cells(number)
    cells["n_failed"] = cells.get("n_unparsed", cells.get("n_excluded"))
    return {name: cells[name] for name in _CELLS}
