"""Sets of video clips."""

from __future__ import annotations

from qponder_lib.data.catalog.entries import UP_TO_100, anchors
from qponder_lib.data.specs import DatasetSpec, LabelColumn
from qponder_lib.scales import LabelScale

_FIVE = LabelScale(low=1.0, high=5.0)
_UT_AUSTIN = "notice of UT Austin, form"
_ROUNDED = 0.06  # ends are known to one digit after the point


def _lsvq(name: str, title: str, n: int, ends: tuple[float, float], notes: str) -> DatasetSpec:
    column = LabelColumn(name="mos", scale=UP_TO_100, published=ends, tolerance=_ROUNDED)
    return DatasetSpec(
        name=name,
        title=title,
        terms=f"{_UT_AUSTIN}: github.com/baidut/PatchVQ; about 73 GB with the training clips",
        media="clip",
        layout="lsvq",
        n_images=n,
        labels=(column,),
        notes=notes,
    )


LSVQ_TEST = _lsvq(
    "lsvq-test",
    "LSVQ, test part",
    7186,
    (8.5, 91.0),
    "papers count 7,182; rows of the 28,056 training clips in labels_train_test.csv are left out",
)
LSVQ_1080P = _lsvq(
    "lsvq-1080p", "LSVQ, 1080p part", 3573, (17.7, 91.4), "a table of its own, beside the test part"
)

KONVID = DatasetSpec(
    name="konvid",
    title="KoNViD-1k",
    terms="research use, open",
    media="clip",
    layout="konvid",
    n_images=1200,
    labels=(
        LabelColumn(
            name="mos",
            scale=_FIVE,
            published=(1.22, 4.64),
            anchors=anchors({"4542323058.mp4": 3.22, "9753414792.mp4": 3.84}),
        ),
    ),
    folders=("KoNViD_1k_videos",),
    notes="8 s each; used on its own scale by PreResQ-R1",
)

LIVE_VQC = DatasetSpec(
    name="live-vqc",
    title="LIVE-VQC",
    terms=_UT_AUSTIN,
    media="clip",
    layout="live-vqc",
    n_images=585,
    labels=(LabelColumn(name="mos", scale=UP_TO_100, published=(6.22, 94.29)),),
    folders=("Video",),
    notes="many clips are portrait",
)

YOUTUBE_UGC = DatasetSpec(
    name="youtube-ugc",
    title="YouTube-UGC",
    terms="clips CC BY; terms of the MOS not stated",
    media="clip",
    layout="list",
    n_images=1147,
    labels=(
        LabelColumn(
            name="mos",
            scale=_FIVE,
            published=(1.24, 4.68),
            anchors=anchors({"Sports_2160P-4e9f.mp4": 4.405, "Sports_360P-32d3.mp4": 3.012}),
        ),
    ),
    notes="1,147 of some 1,500 clips are in PreResQ-R1's list; labels.csv is ours",
)
