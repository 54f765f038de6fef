"""A user's copy of a set: where its image files are, whatever the case of their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from qponder_lib.data.images import SUFFIXES


@dataclass(frozen=True)
class LabelRow:
    """One labelled image as a label file states it.

    Attributes:
        image: Published name, unique in the set; may have a folder.
        places: Folders it may lie in, the first that has it counts; "" for anywhere.
        label: As published, or None where it could not be read.
        std: Spread on the label's scale.
        file: Label file, relative to the root.
        row: Its row there.
        reference: Name of the undamaged original.
        kind: Distortion type.
        level: Distortion level, 1 to 5.
        split: Split stated by the set's authors.
        extra: True for entries that are not part of the set (copies of references, training
            images of the raters).
        five_point: Label on 1 to 5 as a meta states it.
        rating: Mean of the ratings as counted, up is better, where counts are published.
    """

    image: str
    places: tuple[str, ...]
    label: float | None
    std: float | None
    file: str
    row: int
    reference: str | None = None
    kind: str | None = None
    level: int | None = None
    split: str | None = None
    extra: bool = False
    five_point: float | None = None
    rating: float | None = None


@dataclass(frozen=True)
class ImageFiles:
    """All image files below a root, or those with other suffixes, found once."""

    root: Path
    suffixes: tuple[str, ...] = SUFFIXES

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Paths relative to the root by lower-case file name."""
        found: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self.root):
            base = Path(folder).relative_to(self.root).as_posix()
            for name in names:
                if name.lower().endswith(self.suffixes):
                    path = name if base == "." else f"{base}/{name}"
                    found.setdefault(name.lower(), []).append(path)
        return found

    def find(self, image: str, places: Sequence[str]) -> list[str]:
        """Return the files that may be meant by a published name.

        Args:
            image: Published name; upper and lower case count as the same.
            places: Folders in order of preference; a path matches if it ends in folder and name.

        Returns:
            One path relative to the root, none if the file is missing, several if the name alone
            does not decide.
        """
        candidates = self.by_name.get(PurePosixPath(image).name.lower(), [])
        for place in places:
            ending = "/" + "/".join(part for part in (place, image) if part).lower()
            matches = [one for one in candidates if f"/{one}".lower().endswith(ending)]
            exact = [one for one in matches if f"/{one}".endswith(PurePosixPath(image).name)]
            if matches:
                return sorted(exact if len(exact) == 1 else matches)
        return []
