"""Sets of photographs as they come, and of generated pictures."""

from __future__ import annotations

from qponder_lib.data.catalog.entries import NO_LICENCE, UP_TO_100, anchors, deqa_metas
from qponder_lib.data.specs import DatasetSpec, LabelColumn
from qponder_lib.scales import LabelScale

KONIQ = DatasetSpec(
    name="koniq",
    title="KonIQ-10k",
    terms=f"{NO_LICENCE}; database.mmsp-kn.de, osf.io/hcsdy",
    layout="koniq",
    n_images=10073,
    labels=(
        LabelColumn(
            name="mos",
            scale=LabelScale(low=1.0, high=5.0),
            published=(1.09615384615385, 4.31),
            anchors=anchors(
                {
                    "10007357496.jpg": 3.47916666666667,
                    "6071930227.jpg": 1.78899082568807,
                    "414892775.jpg": 3.28181818181818,
                    "7337936636.jpg": 3.93636363636364,
                }
            ),
            std="column SD of koniq10k_scores_and_distributions.csv",
        ),
        LabelColumn(
            name="mos_zscore",
            scale=UP_TO_100,
            published=(3.91, 88.39),
            std="none: the scale of the column SD beside it is not stated",
        ),
    ),
    splits=("koniq-7k-2k", "official", "whole"),
    folders=("1024x768", "512x384"),
    metas=deqa_metas("KONIQ", ("train_koniq_7k.json", 7046), ("test_koniq_2k.json", 2010)),
    notes="raw and z-score MOS order images differently (SRCC 0.992 on the test split)",
)

SPAQ = DatasetSpec(
    name="spaq",
    title="SPAQ",
    terms="research and education; github.com/h4nwei/SPAQ",
    layout="spaq",
    n_images=11125,
    labels=(
        LabelColumn(
            name="mos",
            scale=UP_TO_100,
            published=(2.0, 96.0),
            anchors=anchors(
                {"00001.jpg": 48.86, "04702.jpg": 12.67, "02611.jpg": 50.2, "06885.jpg": 85.25}
            ),
        ),
    ),
    folders=("TestImage",),
    metas=deqa_metas("SPAQ", ("train_spaq_9k.json", 8897), ("test_spaq_2k.json", 2224)),
    notes="papers test on 2,224 images or on all 11,125; resizing to 448 or 512 px is customary",
)

LIVEW = DatasetSpec(
    name="livew",
    title="LIVE in the Wild (CLIVE)",
    terms="notice of UT Austin, form",
    layout="livew",
    n_images=1162,
    labels=(
        LabelColumn(
            name="mos",
            scale=UP_TO_100,
            published=(3.42, 92.432),
            anchors=anchors(
                {"100.bmp": 32.561, "802.JPG": 8.7225, "373.bmp": 59.6281, "221.bmp": 84.1602}
            ),
            std="AllStdDev_release.mat",
        ),
    ),
    splits=("whole", "with-training-images"),
    folders=("Images",),
    metas=deqa_metas("LIVE-WILD", None, ("test_livew_1k.json", 1162)),
    notes="the first 7 of the 1,169 entries are training images of the raters and are left out",
)

AGIQA = DatasetSpec(
    name="agiqa",
    title="AGIQA-3K",
    terms="MIT",
    layout="agiqa",
    n_images=2982,
    labels=(
        LabelColumn(
            name="mos_quality",
            scale=LabelScale(low=0.0, high=5.0),
            published=(0.0, 4.488740784),
            anchors=anchors(
                {
                    "AttnGAN_normal_000.jpg": 0.965602553,
                    "DALLE2_normal_000.jpg": 3.058757207,
                    "sd1.5_normal_000.jpg": 0.44999057,
                }
            ),
            std="column std_quality of data.csv",
        ),
    ),
    metas=deqa_metas("AGIQA3K", None, ("test_agiqa_3k.json", 2982)),
    notes="column mos_align rates the fit to the prompt, not quality",
)


def _listed(name: str, title: str, n_images: int) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        title=title,
        terms="not known",
        layout="list",
        n_images=n_images,
        labels=(LabelColumn(name="mos", scale=LabelScale(low=1.0, high=5.0), std="column std"),),
        notes="only its count and the 1-5 scale of PreResQ-R1's list are known: labels.csv is ours",
    )


BID = _listed("bid", "BID", 586)
LIU13 = _listed("liu13", "Liu13, motion deblurring", 1199)
SRIQA = _listed("sriqa", "SRIQA-Bench", 1100)
