"""Parts of a row of the table."""

from __future__ import annotations

from qponder_lib.data.specs import Anchor, Meta, Metas
from qponder_lib.scales import LabelScale

UP_TO_100 = LabelScale(low=0.0, high=100.0)
NO_LICENCE = "research use; no formal licence"


def anchors(labels: dict[str, float]) -> tuple[Anchor, ...]:
    """Published labels of single images."""
    return tuple(Anchor(image=name, label=label) for name, label in labels.items())


def deqa_metas(folder: str, train: tuple[str, int] | None, test: tuple[str, int]) -> Metas:
    """The metas of a set in Data-DeQA-Score: files with their number of rows."""
    files = [] if train is None else [Meta(file=train[0], split="train", n=train[1])]
    return Metas(folder=folder, files=(*files, Meta(file=test[0], split="test", n=test[1])))
