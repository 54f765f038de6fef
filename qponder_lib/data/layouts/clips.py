"""Sets of video clips: one label file each, clips as files with a name ending in .mp4."""

from __future__ import annotations

from qponder_lib.data.copies import LabelRow
from qponder_lib.data.reading import Reader
from qponder_lib.data.specs import DatasetSpec, LabelColumn

LSVQ_WHOLE = "labels_train_test.csv"
LSVQ_1080P = "labels_test_1080p.csv"
KONVID_SCORES = "KoNViD_1k_mos.csv"
LIVE_VQC_SCORES = "data.mat"
_SUFFIX = ".mp4"
_YES, _NO = ("true", "1", "1.0"), ("false", "0", "0.0")


def read_lsvq(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read one test part of LSVQ; names have a folder and no suffix.

    Two names end in .mp4 themselves; their files end in it twice. The table of the first part
    also holds the training clips, which are entries that do not belong to this set.
    """
    whole = spec.name == "lsvq-test"
    file = LSVQ_WHOLE if whole else LSVQ_1080P
    columns = ("name", "mos", "is_test") if whole else ("name", "mos")
    rows = []
    for row in reader.csv_rows(file, columns):
        stated = row.cells["is_test"].lower() if whole else _YES[0]
        if stated not in (*_YES, *_NO):
            message = f"expected is_test True or False, got {row.cells['is_test']!r}"
            reader.add("inconsistent", message, file, row.number)
            continue
        rows.append(
            LabelRow(
                image=row.cells["name"] + _SUFFIX,
                places=spec.folders,
                label=reader.number(row.cells["mos"], file, row.number),
                std=None,
                file=file,
                row=row.number,
                split="test" if stated in _YES else "train",
                extra=stated in _NO,
            )
        )
    return rows


def read_konvid(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read KoNViD-1k, whose clips are named by their Flickr number."""
    return [
        LabelRow(
            image=row.cells["flickr_id"] + _SUFFIX,
            places=spec.folders,
            label=reader.number(row.cells["mos"], KONVID_SCORES, row.number),
            std=None,
            file=KONVID_SCORES,
            row=row.number,
        )
        for row in reader.csv_rows(KONVID_SCORES, ("flickr_id", "mos"))
    ]


def read_live_vqc(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read LIVE-VQC: names and scores are two variables of one file, in one order."""
    columns = {
        name: reader.mat_values(LIVE_VQC_SCORES, variable)
        for name, variable in (("names", "video_list"), ("scores", "mos"))
    }
    if not reader.same_length(columns):
        return []
    return [
        LabelRow(
            image=str(name),
            places=spec.folders,
            label=reader.number(score, LIVE_VQC_SCORES, place),
            std=None,
            file=LIVE_VQC_SCORES,
            row=place,
        )
        for place, (name, score) in enumerate(
            zip(columns["names"], columns["scores"], strict=True), start=1
        )
    ]
