"""Files that are whole or absent: atomic writes, crash-safe appends, strict reads, seals.

A process may be killed at any moment. Whole files are written beside their place and renamed
into it; rows are appended one line at a time and a torn last line is cut off on the next open.
A seal lists the hash of every file of a stage and is written last, so a stage without a fitting
seal is unfinished, whatever files lie there.
"""

from qponder_lib.artifacts.files import (
    ArtifactError,
    digest,
    file_sha256,
    now,
    read_json,
    to_json,
    write_bytes_atomic,
    write_json,
    write_text_atomic,
)
from qponder_lib.artifacts.locks import HeldError, OwnedLock
from qponder_lib.artifacts.rows import (
    JsonlAppender,
    read_csv,
    read_jsonl,
    write_csv,
    write_jsonl,
)
from qponder_lib.artifacts.seals import (
    SEAL_NAME,
    Seal,
    hash_outputs,
    package_versions,
    read_seal,
    seal_folder,
    verify_seal,
    write_seal,
)

__all__ = [
    "SEAL_NAME",
    "ArtifactError",
    "HeldError",
    "JsonlAppender",
    "OwnedLock",
    "Seal",
    "digest",
    "file_sha256",
    "hash_outputs",
    "now",
    "package_versions",
    "read_csv",
    "read_json",
    "read_jsonl",
    "read_seal",
    "seal_folder",
    "to_json",
    "verify_seal",
    "write_bytes_atomic",
    "write_csv",
    "write_json",
    "write_jsonl",
    "write_seal",
    "write_text_atomic",
]
