"""Answers that have been paid for: append-only, resumable, one writer at a time.

Every answer is one row of `distill/raw.jsonl`, written the moment it arrives. A row is found
again by its `response_id`, the digest of everything that decides an answer. The newest row of an
id counts; older ones stay as history. A process killed between an answer and its row asks that
question again, and only that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from qponder_lib.artifacts import JsonlAppender, digest, read_jsonl
from qponder_lib.records import FinishReason, ImageRecord, ResponseRecord

FINAL_STATES: frozenset[FinishReason] = frozenset({"stop", "length", "empty", "content_filter"})
"""The teacher has looked at the image and was done. Every other state is asked again next time:
it says something about the server or the file of that day, which may have been put right."""


def response_id(
    image: ImageRecord, *, teacher: str, prompt_sha256: str, sampling: dict[str, float | int]
) -> str:
    """Return the id of the answer to one question.

    Args:
        image: The image; its id counts beside its hash, so that two rows of one picture get an
            answer each.
        teacher: Name of the model, with its revision.
        prompt_sha256: Hash of the messages, hint included.
        sampling: What decides which tokens are drawn, the seed included.

    Returns:
        64 hexadecimal digits.
    """
    return digest(
        {
            "image_id": image.image_id,
            "image_sha256": image.sha256,
            "teacher": teacher,
            "prompt_sha256": prompt_sha256,
            "sampling": sampling,
        }
    )


class ResponseStore:
    """The answers of a run, while they are being collected.

    Only ids and states are held in memory, the texts lie in the file.

    Args:
        path: The file; made if missing. A torn last line is cut off.

    Raises:
        ArtifactError: If an earlier line is torn, or another process writes to the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonlAppender(path, ResponseRecord)
        self._states = {row.response_id: row.finish_reason for row in self._file.rows}
        self._file.rows = []
        self._broken = False

    def state(self, response_id: str) -> FinishReason | None:
        """Return the state of the newest row of an id, None if there is none."""
        return self._states.get(response_id)

    def is_final(self, response_id: str) -> bool:
        """Tell whether an answer need not be asked for again."""
        return self._states.get(response_id) in FINAL_STATES

    def append(self, row: ResponseRecord) -> None:
        """Write a row; it survives the death of this process from here on.

        Raises:
            ValueError: If the id already has a final row.
            OSError: If the row could not be written, and for every row after that: the file may
                now end in half a line, which only opening it anew repairs.
        """
        if self.is_final(row.response_id):
            raise ValueError(f"response {row.response_id} of {row.image_id} is already final")
        if self._broken:
            raise OSError(f"{self._file.path}: an earlier row could not be written")
        self._broken = True
        self._file.append(row)
        self._broken = False
        self._states[row.response_id] = row.finish_reason

    def close(self) -> None:
        """Sync the file and let others have it."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close; rows written so far stay."""
        self.close()


def newest_responses(path: Path) -> list[ResponseRecord]:
    """Read a store: the newest row of every id, in the order in which ids first came.

    A file that a killed process left with half a last line is refused; the next `distil` on it
    repairs it.

    Raises:
        ArtifactError: If a line is torn or not a response.
    """
    newest = {row.response_id: row for row in read_jsonl(path, ResponseRecord)}
    return list(newest.values())
