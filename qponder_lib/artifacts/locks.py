"""Locks that one process at a time can hold, and that say who does."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from qponder_lib.artifacts.files import ArtifactError, now, read_json, write_json


class HeldError(RuntimeError):
    """Another process holds the lock; the message names process, host and since when."""


class OwnedLock:
    """A lock file with a note of its holder beside it.

    The system frees the lock when its holder dies, however it dies; the note it then leaves is
    overwritten by the next holder.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows.lock"
        >>> with OwnedLock(path):
        ...     try:
        ...         OwnedLock(path).acquire()
        ...     except HeldError as error:
        ...         print(f"process {os.getpid()} on {socket.gethostname()}" in str(error))
        True
    """

    def __init__(self, path: Path) -> None:
        """Name the lock file; nothing is locked yet."""
        self._lock = FileLock(path)
        self._note = path.with_suffix(".owner.lock")

    def acquire(self, patience_s: float = 0.0) -> None:
        """Take the lock.

        Args:
            patience_s: How long to wait for another holder to let go.

        Raises:
            HeldError: If another process has it still.
        """
        try:
            self._lock.acquire(timeout=patience_s)
        except Timeout as error:
            raise HeldError(self._holder()) from error
        try:
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": now()}
            write_json(self._note, owner)
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let go."""
        self._note.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            owner = read_json(self._note)
        except (FileNotFoundError, ArtifactError):
            owner = {}  # it holds the lock and has not signed yet
        return (
            f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'unknown host')}, "
            f"since {owner.get('started', 'just now')}"
        )

    def __enter__(self) -> Self:
        """Take the lock at once or not at all."""
        self.acquire()
        return self

    def __exit__(self, *raised: object) -> None:
        """Let go whatever happened."""
        self.release()
