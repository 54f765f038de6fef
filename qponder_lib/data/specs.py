"""What a public set of images or clips should hold: one `DatasetSpec` per set.

A spec states what can be checked against a copy: files, counts, label columns with range and
direction, labels of single images, splits. `catalog.SPECS` is the table of all of them.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qponder_lib.scales import LabelScale

Media = Literal["image", "clip"]
Layout = Literal[
    "koniq",
    "spaq",
    "livew",
    "kadid",
    "csiq",
    "live",
    "tid",
    "pipal",
    "agiqa",
    "cidiq",
    "list",
    "lsvq",
    "konvid",
    "live-vqc",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Anchor(_Frozen):
    """The published label of one image, by which a column, its scale and direction show."""

    image: str
    label: float


class LabelColumn(_Frozen):
    """One kind of label that a set is published with.

    Attributes:
        name: How it is chosen.
        scale: Declared ends and direction; a label outside is an error.
        published: Smallest and largest label of the whole set, or None where not known.
        tolerance: How exactly `published` is known.
        anchors: Labels of single images.
        std: Where the spread of a label comes from.
    """

    name: str
    scale: LabelScale
    published: tuple[float, float] | None = None
    tolerance: float = Field(default=0.005, gt=0.0)
    anchors: tuple[Anchor, ...] = ()
    std: str = "not published"


class Meta(_Frozen):
    """One of the JSON metas of Data-DeQA-Score."""

    file: str
    split: Literal["train", "test"]
    n: int


class Metas(_Frozen):
    """A set in the layout of Data-DeQA-Score: a folder with `metas/` and `images/`."""

    folder: str
    files: tuple[Meta, ...]


class DatasetSpec(_Frozen):
    """A public set of images, or of video clips, which are counted and named as images are.

    Attributes:
        name: How commands and run folders call it.
        title: Its published name.
        terms: Licence or access, as far as known.
        layout: Which reader knows its files.
        media: What its files are.
        n_images: Labelled images or clips.
        n_references: Undamaged originals, or None for sets without.
        labels: Kinds of label; the first is the default.
        splits: Names for `splits.assign`; the first is the default.
        folders: Image folders below the root, the first that is there counts; "" for anywhere.
        type_counts: Images per distortion type.
        types: Names of distortion types by code, where the code is a number.
        levels: Levels per type; 0 where none are published.
        metas: The JSON metas in use, or None.
        notes: Traps.
    """

    name: str
    title: str
    terms: str
    media: Media = "image"
    layout: Layout
    n_images: int
    n_references: int | None = None
    labels: tuple[LabelColumn, ...]
    splits: tuple[str, ...] = ("whole",)
    folders: tuple[str, ...] = ("",)
    type_counts: dict[str, int] = Field(default_factory=dict)
    types: tuple[str, ...] = ()
    levels: int = 0
    metas: Metas | None = None
    notes: str = ""

    @model_validator(mode="after")
    def _types_make_up_the_set(self) -> Self:
        total = sum(self.type_counts.values())
        if self.type_counts and total != self.n_images:
            raise ValueError(f"{self.name}: types make {total} images, expected {self.n_images}")
        return self

    @property
    def severity_tags(self) -> str:
        """What severity tags of its images rest on."""
        if self.type_counts and self.levels:
            return "fifth of the MOS range, with the published distortion type"
        return "fifth of the MOS range, without a distortion type"

    def label(self, name: str | None = None) -> LabelColumn:
        """Return a kind of label, the default without a name.

        Raises:
            ValueError: If the set has no such label; the message lists those it has.
        """
        for column in self.labels:
            if name in (None, column.name):
                return column
        known = ", ".join(column.name for column in self.labels)
        raise ValueError(f"{self.name} has no label {name!r}; there are {known}")
