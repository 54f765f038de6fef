"""File names that say of which original, with which damage, at which level."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from qponder_lib.data import codes
from qponder_lib.data.specs import DatasetSpec

_PATTERNS = {
    "kadid": re.compile(r"(?P<original>I\d\d)_(?P<type>\d\d)_(?P<level>\d\d)", re.I),
    "tid": re.compile(r"(?P<original>I\d\d)_(?P<type>\d\d)_(?P<level>\d)", re.I),
    "pipal": re.compile(r"(?P<original>A\d{4})_(?P<type>\d\d)_\d\d", re.I),
    "cidiq": re.compile(r"(?P<original>final\d\d)_d(?P<type>\d)_l(?P<level>\d)", re.I),
    "csiq": re.compile(r"(?P<original>.+)\.(?P<type>[A-Za-z0-9]+)\.(?P<level>\d)"),
}


@dataclass(frozen=True)
class Named:
    """What a file name says."""

    reference: str
    kind: str
    level: int | None


def parse_name(spec: DatasetSpec, image: str) -> Named | None:
    """Read an image's name.

    Args:
        spec: The set it belongs to.
        image: File name.

    Returns:
        Original, type and level, or None if the name is not of the set's form.

    Example:
        >>> from qponder_lib.data.catalog import spec_named
        >>> parse_name(spec_named("tid2013"), "i01_10_5.bmp")
        Named(reference='I01', kind='jpeg', level=5)
    """
    pattern = _PATTERNS.get(spec.layout)
    stem, suffix = PurePosixPath(image).stem, PurePosixPath(image).suffix
    stem = stem if suffix.lower() in (".png", ".bmp") else image
    found = pattern.fullmatch(stem) if pattern else None
    if found is None:
        return None
    kind, level = _kind(spec, found["type"]), found.groupdict().get("level")
    if kind is None or (level is not None and not 1 <= int(level) <= spec.levels):
        return None
    original = found["original"]
    if spec.layout in ("kadid", "tid", "pipal"):
        original = original.upper()
    return Named(original, kind, None if level is None else int(level))


def _kind(spec: DatasetSpec, code: str) -> str | None:
    if spec.layout == "csiq":
        return {part: name for _, part, name in codes.CSIQ.values()}.get(code)
    if spec.layout == "pipal":
        return code if code in codes.PIPAL else None
    return spec.types[int(code) - 1] if 1 <= int(code) <= len(spec.types) else None
