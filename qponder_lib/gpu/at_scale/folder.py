"""A folder of questions and answers, and Ray's run from the ones to the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from qponder_lib.artifacts import ArtifactError, read_json, write_json
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord

if TYPE_CHECKING:
    from ray.data import Dataset

ASKED = pa.schema(
    {"id": pa.string(), "path": pa.string(), "sha256": pa.string(), "hint": pa.string()}
)
ANSWERED = pa.schema(
    {"id": pa.string(), "text": pa.string(), "n_tokens": pa.int64(), "finish_reason": pa.string()}
)
_ROWS_PER_FILE = 2000


@dataclass(frozen=True)
class Engine:
    """Who answers.

    Attributes:
        settings: What decides an answer besides its question.
        run: Turns a dataset of `ASKED` into one of `ANSWERED`.
    """

    settings: dict[str, Any]
    run: Callable[[Dataset], Dataset]


def answer(folder: Path, asked: Iterable[dict[str, Any]], engine: Engine) -> None:
    """Have every question answered that has no answer yet.

    Args:
        folder: Questions, answers and Ray's account; every machine must reach it.
        asked: Rows of `ASKED`.
        engine: Who answers.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ValueError: If the folder holds other questions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
        from ray.data.checkpoint import CheckpointConfig
    except ImportError as error:
        raise ModuleNotFoundError(
            "answers at scale need Ray: pip install 'qponder[ray]'"
        ) from error
    _write_questions(folder, engine.settings, asked)
    if _asked_ids(folder) == _done_ids(folder):
        return
    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config
    context.checkpoint_config = CheckpointConfig(
        "id", str(folder.resolve() / "done"), delete_checkpoint_on_success=False
    )
    try:
        dataset = ray.data.read_parquet(str(folder.resolve() / "questions"))
        engine.run(dataset).write_parquet(str(folder.resolve() / "answers"))
    finally:
        context.checkpoint_config = before


def _write_questions(
    folder: Path, settings: dict[str, Any], asked: Iterable[dict[str, Any]]
) -> None:
    """Write the questions once; a folder that is gone on with must hold the same ones."""
    stated = folder / "settings.json"
    if stated.is_file():
        if read_json(stated) != settings:
            raise ValueError(
                f"{folder} holds other questions: take another folder, or restore {stated}"
            )
        if _asked_ids(folder) != {row["id"] for row in asked}:
            raise ValueError(f"{folder} asks about other images: take another folder")
        return
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    rows = iter(asked)
    for number in range(10**6):
        some = list(islice(rows, _ROWS_PER_FILE))
        if not some:
            break
        table = pa.Table.from_pylist(some, schema=ASKED)
        pq.write_table(table, folder / "questions" / f"{number:06d}.parquet")
    write_json(stated, settings)  # last: without it, a killed call writes the questions anew


def answers_in(folder: Path) -> Iterator[dict[str, Any]]:
    """Return every answer that a folder holds.

    Raises:
        ArtifactError: If an id is answered twice, or some are not answered.
    """
    asked = _asked_ids(folder)
    seen: set[str] = set()
    for file in _parquet(folder / "answers"):
        for row in pq.read_table(file, columns=ANSWERED.names).to_pylist():
            if row["id"] in seen or row["id"] not in asked:
                raise ArtifactError(f"{file}: {row['id']} is answered twice or was never asked")
            seen.add(row["id"])
            yield row
    if seen != asked:
        raise ArtifactError(f"{folder}: {len(asked - seen)} of {len(asked)} have no answer yet")


def question(key: str, image: ImageRecord, paths: RunPaths, hint: str | None) -> dict[str, Any]:
    """Return the row of `ASKED` about one image."""
    path = str((paths.data / image.image).absolute())
    return {"id": key, "path": path, "sha256": image.sha256, "hint": hint}


def _parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _asked_ids(folder: Path) -> set[str]:
    return {one for file in _parquet(folder / "questions") for one in _ids(file)}


def _done_ids(folder: Path) -> set[str]:
    """Return what Ray's account holds as written; files of a write that broke off are pending."""
    done = [file for file in _parquet(folder / "done") if ".pending" not in file.name]
    return {one for file in done for one in _ids(file)}


def _ids(file: Path) -> list[str]:
    return pq.read_table(file, columns=["id"])["id"].to_pylist()
