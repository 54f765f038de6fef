"""Case studies: what several models said about a few images, right and wrong told apart.

Images are chosen by a stated rule (`choosing`), clauses are decided by the images' tags
(`statements`), the same for all test answers gives a rate per model (`rates`). `pages` shows a
case as HTML.
"""

from __future__ import annotations

from pathlib import Path

from qponder_lib import artifacts
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.report.cases.choosing import Choice, choose, compared_pair, read_all
from qponder_lib.report.cases.pages import case_html, cases_style
from qponder_lib.report.cases.rates import statement_rates
from qponder_lib.report.cases.rows import Case, CaseAnswer, StatementRow
from qponder_lib.report.cases.statements import Known, Statement, read_statements
from qponder_lib.report.tables.render import write_frame
from qponder_lib.report.tables.sources import in_order

__all__ = [
    "Case",
    "CaseAnswer",
    "Choice",
    "Known",
    "Statement",
    "StatementRow",
    "case_html",
    "cases_style",
    "choose",
    "compared_pair",
    "read_cases",
    "read_statements",
    "statement_rates",
    "tags_complete",
    "write_cases",
]


def write_cases(run: Run) -> list[Path]:
    """Choose the cases of a run, decide their statements, and count those of all answers.

    Args:
        run: Its test images and greedy predictions are read.

    Returns:
        The files written: `cases/cases.jsonl`, `cases/images/`, `tables/statements.csv`.

    Raises:
        FileNotFoundError: If a model has not answered for a set.
    """
    images, answers = read_all(run)
    whole = {
        dataset: tags_complete(
            run, [image for (name, _), image in images.items() if name == dataset]
        )
        for dataset in run.profile.predict.sets
    }
    cases, files = [], []
    for number, choice in enumerate(choose(run, images, answers), start=1):
        image = images[choice.key]
        source = run.paths.data / image.image
        picture = f"images/{number:02d}{source.suffix.lower()}"
        artifacts.write_bytes_atomic(run.paths.cases / picture, source.read_bytes())
        files.append(run.paths.cases / picture)
        known = Known(image.distortions, image.mos, whole[choice.key[0]])
        said = [
            _answer(model, answers[model][choice.key], known)
            for model in in_order(list(answers))
            if choice.key in answers[model] and answers[model][choice.key].text is not None
        ]
        cases.append(
            Case(
                number=number,
                rule=choice.rule,
                change=choice.change,
                image=image,
                picture=picture,
                tags_complete=known.complete,
                answers=tuple(said),
            )
        )
    listed = run.paths.cases / "cases.jsonl"
    artifacts.write_jsonl(listed, cases)
    known_by_key = {
        key: Known(image.distortions, image.mos, whole[key[0]]) for key, image in images.items()
    }
    references = {key: image.reference or image.image_id for key, image in images.items()}
    rates = statement_rates(run, known_by_key, references, answers)
    return [listed, *files, write_frame(run.paths.tables / "statements.csv", rates)]


def read_cases(folder: Path) -> list[Case]:
    """Read the cases below a run's `cases/`; none if there are none."""
    listed = folder / "cases.jsonl"
    return artifacts.read_jsonl(listed, Case) if listed.is_file() else []


def tags_complete(run: Run, images: list[ImageRecord]) -> bool:
    """Say whether the tags of a set name all damage that was done to its images.

    So it is for the embedded sets, and for sets in which every image has a tag; photographs taken
    in the wild have damage that nobody named.
    """
    return run.profile.data.source == "embedded" or all(image.distortions for image in images)


def _answer(model: str, row: PredictionRecord, known: Known) -> CaseAnswer:
    text = row.text or ""
    return CaseAnswer(
        model=model,
        score=row.score,
        parse_status=row.parse_status,
        text=text,
        statements=tuple(
            StatementRow(start=s.start, end=s.end, standing=s.standing, why=s.why)
            for s in read_statements(text, known)
        ),
    )
