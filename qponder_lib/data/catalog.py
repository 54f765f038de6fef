"""The table of public image and video sets, ``catalog.yaml``: one `DatasetSpec` per set."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from qponder_lib.data.tabular import read_table
from qponder_lib.paths import safe_name
from qponder_lib.records import Split
from qponder_lib.scales import LabelScale


class Label(BaseModel):
    """One kind of label that a set is published with, and the files it is read from.

    Attributes:
        name: How it is chosen.
        files: Label files below the root of a copy, read side by side, each with the `names` that
            `tabular.read_table` takes; one with a * is all that match, one after the other.
        score: Column of the label.
        std: Column of its standard deviation.
        variance: Column of its variance, where that is published instead.
        scale: Declared ends and direction; a label outside is an error.
        published: Smallest and largest label of the whole set, or None where not known.
        tolerance: How exactly `published` is known.
        anchors: Labels of single images, by which a column, its scale and direction show.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    files: dict[str, tuple[str, ...]]
    score: str
    std: str | None = None
    variance: str | None = None
    scale: LabelScale
    published: tuple[float, float] | None = None
    tolerance: float = 0.005
    anchors: dict[str, float] = {}


class SplitRule(BaseModel):
    """One way to part a set; without more, every image is a test image.

    Attributes:
        meaning: In words, with who uses it.
        stated: Whether images belong to the part that the label files state.
        references: References of a part; all others are training references.
        left_out: Images, without suffix, that belong to no part.
        with_excluded: Whether entries that do not belong to the set are meant too.
        drawn: Whether parts are drawn by a hash of the names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: str
    stated: bool = False
    references: dict[Split, tuple[str, ...]] = {}
    left_out: tuple[str, ...] = ()
    with_excluded: bool = False
    drawn: bool = False


SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
}
"""What splits are called in label files, and here."""
_STATED = SplitRule(meaning="as the labels state", stated=True)
_DRAWN = SplitRule(meaning="drawn by name: 70 % train, 10 % validation, 20 % test", drawn=True)
_WHOLE = SplitRule(meaning="every image is a test image")


class DatasetSpec(BaseModel):
    """A set of images, or of video clips, which are counted and named as images are.

    Attributes:
        name: How commands and run folders call it.
        title: Its published name.
        terms: Licence or access, as far as known.
        page: Where its authors offer it; "" where that is not known.
        clone: Whether the page is a git repository that holds images and labels.
        notes: Traps.
        media: What its files are.
        n_images: Labelled images or clips; None where only the user knows.
        n_references: Undistorted references, or None for sets without.
        labels: Kinds of label; the first is the default.
        id: Column that names the images, or a template of columns such as "{name}.mp4".
        order: Where the label files hold no names: templates of names with how far each number in
            them counts, in the order of the labels.
        aliases: Cells that say otherwise than the names of the images do.
        sheet: Sheet of an xlsx file.
        reference: Column of the reference.
        split: Column of the split that the authors state.
        split_file: File of that column, if it is another one.
        file_splits: Split by label file, where the authors state it so.
        excluded: Column that says which entries do not belong to the set, and whether it says true
            or false of them.
        excluded_names: Form of the names of entries that do not.
        form: What a name says: a regular expression with groups `reference`, `type`, `level`.
        types: Distortion type, or subset, by its code in the name; a subset has no level.
        type_counts: Images per type, in that order; one number for all.
        splits: Ways to part it, by name; the first is the default.
        folders: Image folders, the first that holds an image counts; "" for anywhere.
        metas_folder: Folder of the set in Data-DeQA-Score.
        metas: Its files there, with split and number of rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    title: str
    terms: str
    page: str = ""
    clone: bool = False
    notes: str = ""
    media: Literal["image", "clip"] = "image"
    n_images: int | None
    n_references: int | None = None
    labels: tuple[Label, ...]
    id: str = ""
    order: tuple[tuple[str | int, ...], ...] = ()
    aliases: dict[str, str] = {}
    sheet: str | None = None
    reference: str | None = None
    split: str | None = None
    split_file: str | None = None
    file_splits: dict[str, Split] = {}
    excluded: dict[str, bool] = {}
    excluded_names: str | None = None
    form: str | None = None
    types: dict[str, str] = {}
    type_counts: tuple[int, ...] = ()
    splits: dict[str, SplitRule] = {"whole": _WHOLE}
    folders: tuple[str, ...] = ("",)
    metas_folder: str = ""
    metas: dict[str, tuple[Literal["train", "test"], int]] = {}

    @property
    def ordered_names(self) -> list[str]:
        """Names of the images in the order of the labels, where the label files hold none.

        Example:
            >>> spec_named("live").ordered_names[226:228]
            ['jp2k/img227.bmp', 'jpeg/img1.bmp']
        """
        return [
            str(template).format(*numbers)
            for template, *counts in self.order
            for numbers in itertools.product(*(range(1, int(n) + 1) for n in counts))
        ]

    @property
    def id_columns(self) -> list[str]:
        """Columns that the names of the images are made of."""
        return re.findall(r"{([^{}]+)}", self.id) or ([self.id] if self.id else [])

    def label(self, name: str | None = None) -> Label:
        """Return a kind of label, the default without a name.

        Raises:
            ValueError: If the set has no such label; the message lists those it has.
        """
        for label in self.labels:
            if name in (None, label.name):
                return label
        known = ", ".join(label.name for label in self.labels)
        raise ValueError(f"{self.name} has no label {name!r}; there are {known}")

    def parse_name(self, image: str) -> dict[str, Any] | None:
        """Read what an image's name says.

        Returns:
            Reference, type and level, each as far as the set's names say it; or None if the name
            is not of their form. I01 and i01 are one reference.

        Example:
            >>> spec_named("tid2013").parse_name("i01_10_5.bmp")
            {'reference': 'I01', 'type': 'jpeg', 'level': 5}
        """
        is_file = PurePosixPath(image).suffix.lower() in (".png", ".bmp")
        stem = image.rpartition(".")[0] if is_file else image
        found = re.fullmatch(self.form, stem) if self.form else None
        said: dict[str, Any] = found.groupdict() if found else {}
        if found is None or said.get("type", "") not in {*self.types, ""}:
            return None
        if "type" in said:
            said["type"] = self.types[said["type"]]
        if "level" in said:
            said["level"] = int(said["level"])
        if said.get("reference", "")[1:].isdigit():
            said["reference"] = said["reference"].upper()
        return said


def _load() -> tuple[DatasetSpec, ...]:
    content = Path(__file__).with_name("catalog.yaml").read_text(encoding="utf-8")
    specs = []
    for name, fields in yaml.safe_load(content).items():
        labels = [{"name": label, **known} for label, known in fields["labels"].items()]
        specs.append(DatasetSpec(**{**fields, "name": name, "labels": labels}))
    return tuple(specs)


SPECS = _load()

PRERESQ_BENCHMARKS = {
    **{"bid": "whole", "livew": "with-training-images", "koniq": "whole", "spaq": "whole"},
    **{"kadid": "kadid-reference-49-16-16", "liu13": "whole", "sriqa": "whole"},
    **{"tid2013": "whole", "pipal": "whole", "agiqa": "whole"},
}
"""Set -> split whose test part is meant. Source: PreResQ-R1 (arXiv:2511.05393), names from its
figures, splits by the counts of its public lists (decision D71)."""

PRERESQ_VIDEO_BENCHMARKS = ("lsvq-test", "lsvq-1080p", "konvid", "live-vqc", "youtube-ugc")
"""Source: PreResQ-R1 (arXiv:2511.05393), the five video benchmarks by the names in its files."""


def spec_named(name: str) -> DatasetSpec:
    """Look a set up.

    Raises:
        ValueError: If there is no such set; the message lists those there are.

    Example:
        >>> spec_named("csiq").n_images
        866
    """
    specs = {spec.name: spec for spec in SPECS}
    if name not in specs:
        raise ValueError(f"no set {name!r}; there are {', '.join(specs)}")
    return specs[name]


def own_spec(
    name: str,
    labels: Path,
    *,
    columns: Mapping[str, str | None] | None = None,
    ends: tuple[float, float] | None = None,
    lower_is_better: bool = False,
) -> DatasetSpec:
    """Describe a user's own images and table as a row of the catalogue.

    Args:
        name: What the set is to be called.
        labels: The table, anywhere.
        columns: Declared columns for the roles id, score, std, reference and split; those that are
            not declared are found as `tabular.Table.column` does.
        ends: Ends of the labels' scale; None for the smallest and largest label.
        lower_is_better: Whether the labels rate how bad an image is.

    Raises:
        ValueError: If the name is one of a public set, or a column is not clear.
    """
    if safe_name(name) in {spec.name for spec in SPECS} or "/" in name or "mini-" in name:
        raise ValueError(f"{name!r} cannot name a set of your own: it is a public or embedded one")
    table, declared = read_table(labels), dict(columns or {})
    role = "mos" if table.named("mos") else "score"
    score = table.column(role, declared.get("score"), "--score")
    values = table.numbers(score, text_too=True)[0]
    values = values[np.isfinite(values)]
    if ends is None:
        ends = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    elif not ends[0] < ends[1]:
        raise ValueError(f"expected a range from LOW to HIGH, got {ends[0]:g} to {ends[1]:g}")
    split = declared.get("split")
    if split is None and len(table.named("split")) == 1:  # it may say something else, too
        (split,) = table.named("split")
        stated = {str(cell).lower() for cell in table.frame[split]}
        split = split if stated <= set(SPLIT_NAMES) else None
    label = Label(
        name=score,
        files={str(labels.resolve()): ()},
        score=score,
        std=table.optional("std", declared.get("std")),
        scale=LabelScale(low=ends[0], high=ends[1], higher_is_better=not lower_is_better),
    )
    return DatasetSpec(
        name=name,
        title=name,
        terms="the user's own",
        n_images=None,
        id=table.column("id", declared.get("id")),
        labels=(label,),
        reference=table.optional("reference", declared.get("reference")),
        split=split and table.column("split", split),
        splits={"stated" if split else "drawn": _STATED if split else _DRAWN, "whole": _WHOLE},
    )


def named_references(ids: Sequence[str]) -> tuple[str | None, list[str]]:
    """Read the references off file names, if every one has the form of one public set.

    Args:
        ids: Ids of images, with folders or without.

    Returns:
        Title of the set and reference per image; None and nothing if a name has another form.

    Source:
        Decision D26.

    Example:
        >>> named_references(["x/I01_02_03.png", "x/I02_02_03.png"])
        ('KADID-10k', ['I01', 'I02'])
        >>> named_references(["I01_02_03.png", "holiday.png"])
        (None, [])
    """
    names = [PurePosixPath(image_id.replace("\\", "/")).name for image_id in ids]
    for spec in SPECS:
        said = (spec.parse_name(name) or {} for name in names)
        found = [*itertools.takewhile(bool, (one.get("reference") for one in said))]
        if len(found) == len(names):
            return spec.title, found
    return None, []
