"""Seals: what a finished stage was made from, and the hash of every file it left."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from qponder_lib import __version__
from qponder_lib.artifacts.files import ArtifactError, file_sha256, now, read_json, write_json

log = logging.getLogger(__name__)

SEAL_NAME = "SEALED.json"
_RECORDED_PACKAGES = ("numpy", "pydantic", "torch", "transformers", "trl", "peft", "pillow")


class Seal(BaseModel):
    """What a finished stage was made from and what it left behind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    created: str
    seconds: float
    versions: dict[str, str]


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python and the packages that decide results, importing none."""
    versions = {"python": platform.python_version(), "qponder_lib": __version__}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def hash_outputs(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Hash files, and all files below folders, by their path relative to `root`.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no file.
    """
    hashes: dict[str, str] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise FileNotFoundError(f"cannot seal {path}: no such file, or an empty folder")
        for file in files:
            if file.name != SEAL_NAME and not file.name.endswith((".tmp", ".lock")):
                hashes[file.relative_to(root).as_posix()] = file_sha256(file)
    return hashes


def write_seal(path: Path, seal: Seal) -> None:
    """Write a seal; call it after every file it lists."""
    write_json(path, seal)


def seal_folder(
    folder: Path,
    *,
    stage: str,
    key: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    seconds: float,
) -> Seal:
    """Seal every file in a folder with a `SEALED.json` in it.

    Args:
        folder: A folder whose files are complete.
        stage: Who made it.
        key: Digest of what it was made from.
        config: The configuration, for the reader.
        inputs: Names and keys of what went in.
        seconds: How long it took.

    Returns:
        The seal that was written.
    """
    seal = Seal(
        stage=stage,
        key=key,
        config=dict(config),
        inputs=dict(inputs),
        outputs=hash_outputs(folder, [folder]),
        created=now(),
        seconds=seconds,
        versions=package_versions(),
    )
    write_seal(folder / SEAL_NAME, seal)
    return seal


def read_seal(path: Path) -> Seal | None:
    """Return the seal in a file or folder, or `None` if there is none that can be read."""
    file = path / SEAL_NAME if path.is_dir() else path
    try:
        return Seal.model_validate(read_json(file))
    except FileNotFoundError:
        return None
    except (ArtifactError, ValidationError) as error:
        log.warning("%s: not a seal, taken for none: %s", file, error)
        return None


def verify_seal(path: Path, root: Path | None = None) -> list[str]:
    """Compare the files a seal lists with what lies there.

    Args:
        path: A sealed folder, or a seal file.
        root: What the seal's paths are relative to; default the folder of the seal.

    Returns:
        One line per problem; empty when every file is as it was sealed.
    """
    seal = read_seal(path)
    if seal is None:
        return [f"{path}: no seal"]
    base = root if root is not None else (path if path.is_dir() else path.parent)
    problems = []
    for name, expected in seal.outputs.items():
        file = base / name
        if not file.is_file():
            problems.append(f"{name}: missing")
        elif file_sha256(file) != expected:
            problems.append(f"{name}: changed since it was sealed")
    return problems
