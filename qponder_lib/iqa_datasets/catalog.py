"""The table of public image sets.

Counts and ranges are those of the published label files. Where a scale is not printed by a set's
authors, the declared ends are ours (decision D22).
"""

from __future__ import annotations

from qponder_lib.iqa_datasets import codes
from qponder_lib.iqa_datasets.specs import Anchor, DatasetSpec, LabelColumn, Meta, Metas
from qponder_lib.scales import LabelScale

_UP_100 = LabelScale(low=0.0, high=100.0)
_NO_LICENCE = "research use; no formal licence"


def _anchors(**labels: float) -> tuple[Anchor, ...]:
    return tuple(Anchor(image=name, label=label) for name, label in labels.items())


def _metas(folder: str, train: tuple[str, int] | None, test: tuple[str, int]) -> Metas:
    files = [] if train is None else [Meta(file=train[0], split="train", n=train[1])]
    return Metas(folder=folder, files=(*files, Meta(file=test[0], split="test", n=test[1])))


KONIQ = DatasetSpec(
    name="koniq",
    title="KonIQ-10k",
    terms=f"{_NO_LICENCE}; database.mmsp-kn.de, osf.io/hcsdy",
    layout="koniq",
    n_images=10073,
    labels=(
        LabelColumn(
            name="mos",
            scale=LabelScale(low=1.0, high=5.0),
            published=(1.09615384615385, 4.31),
            anchors=_anchors(
                **{
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
            scale=_UP_100,
            published=(3.91, 88.39),
            std="none: the scale of the column SD beside it is not stated",
        ),
    ),
    splits=("koniq-7k-2k", "official", "whole"),
    folders=("1024x768", "512x384"),
    metas=_metas("KONIQ", ("train_koniq_7k.json", 7046), ("test_koniq_2k.json", 2010)),
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
            scale=_UP_100,
            published=(2.0, 96.0),
            anchors=_anchors(
                **{"00001.jpg": 48.86, "04702.jpg": 12.67, "02611.jpg": 50.2, "06885.jpg": 85.25}
            ),
        ),
    ),
    folders=("TestImage",),
    metas=_metas("SPAQ", ("train_spaq_9k.json", 8897), ("test_spaq_2k.json", 2224)),
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
            scale=_UP_100,
            published=(3.42, 92.432),
            anchors=_anchors(
                **{"100.bmp": 32.561, "802.JPG": 8.7225, "373.bmp": 59.6281, "221.bmp": 84.1602}
            ),
            std="AllStdDev_release.mat",
        ),
    ),
    splits=("whole", "with-training-images"),
    folders=("Images",),
    metas=_metas("LIVE-WILD", None, ("test_livew_1k.json", 1162)),
    notes="the first 7 of the 1,169 entries are training images of the raters and are left out",
)

KADID = DatasetSpec(
    name="kadid",
    title="KADID-10k",
    terms=_NO_LICENCE,
    layout="kadid",
    n_images=10125,
    n_references=81,
    labels=(
        LabelColumn(
            name="dmos",
            scale=LabelScale(low=1.0, high=5.0),
            published=(1.0, 4.93),
            anchors=_anchors(
                **{
                    "I01_01_01.png": 4.57,
                    "I01_02_04.png": 1.23,
                    "I31_16_04.png": 3.0,
                    "I48_19_01.png": 4.7,
                }
            ),
            std="square root of the column var of dmos.csv",
        ),
    ),
    splits=("whole", "kadid-reference-49-16-16", "kadid-reference-65-16"),
    folders=("images",),
    type_counts=dict.fromkeys(codes.KADID, 405),
    types=codes.KADID,
    levels=5,
    metas=_metas("KADID10K", ("train_kadid_8k.json", 8106), ("test_kadid_2k.json", 2000)),
    notes="the column is called dmos, yet higher is better; the two splits by reference overlap",
)

CSIQ = DatasetSpec(
    name="csiq",
    title="CSIQ",
    terms="not stated",
    layout="csiq",
    n_images=866,
    n_references=30,
    labels=(
        LabelColumn(
            name="dmos",
            scale=LabelScale(low=0.0, high=1.0, higher_is_better=False),
            published=(0.0, 1.0),
            anchors=_anchors(
                **{
                    "1600.AWGN.1.png": 0.061989,
                    "monument.contrast.4.png": 0.32335,
                    "lady_liberty.jpeg2000.5.png": 0.90729,
                }
            ),
            std="column dmos_std of csiq.DMOS.xlsx",
        ),
    ),
    folders=("dst_imgs",),
    type_counts={
        name: 116 if name == "contrast_decrement" else 150 for _, _, name in codes.CSIQ.values()
    },
    levels=5,
    metas=_metas("CSIQ", None, ("test_csiq_866.json", 866)),
    notes="DMOS: higher is worse; the metas state its negative",
)

LIVE = DatasetSpec(
    name="live",
    title="LIVE R2",
    terms="notice of UT Austin; some photographs of third parties",
    layout="live",
    n_images=779,
    n_references=29,
    labels=(
        LabelColumn(
            name="dmos",
            scale=LabelScale(low=0.0, high=100.0, higher_is_better=False),
        ),
        LabelColumn(
            name="realigned",
            scale=LabelScale(low=-10.0, high=120.0, higher_is_better=False),
            published=(-2.640015016409613, 111.7746935263145),
            anchors=_anchors(
                **{
                    "jp2k/img2.bmp": 15.512954417537026,
                    "jp2k/img3.bmp": 24.09025497677203,
                    "fastfading/img145.bmp": 34.05021940048932,
                }
            ),
        ),
    ),
    type_counts={
        "jpeg2000": 169,
        "jpeg": 175,
        "white_noise": 145,
        "gaussian_blur": 145,
        "fast_fading": 145,
    },
    notes="982 files, of which 203 are copies of references and are left out; higher is worse",
)


def _tid(year: int, levels: int, published: tuple[float, float], **labels: float) -> DatasetSpec:
    types = codes.TID2013 if year == 2013 else codes.TID2008
    column = LabelColumn(
        name="mos",
        scale=LabelScale(low=0.0, high=9.0),
        published=published,
        anchors=tuple(Anchor(image=f"{k}.bmp", label=v) for k, v in labels.items()),
        std="mos_std.txt, in the order of mos.txt",
    )
    return DatasetSpec(
        name=f"tid{year}",
        title=f"TID{year}",
        terms="education and research, no modification" if year == 2008 else "not stated",
        layout="tid",
        n_images=len(types) * levels * 25,
        n_references=25,
        labels=(column,),
        folders=("distorted_images",),
        type_counts=dict.fromkeys(types, 25 * levels),
        types=types,
        levels=levels,
        metas=_metas("TID2013", None, ("test_tid2013_3k.json", 3000)) if year == 2013 else None,
        notes="file names mix I and i",
    )


TID2008 = _tid(
    2008, 4, (0.0, 7.7143), I01_01_1=5.9706, I22_10_4=1.4194, i22_06_1=4.5667, I12_16_1=6.6970
)
TID2013 = _tid(
    2013, 5, (0.24242, 7.2143), i01_01_1=5.5143, i08_09_5=1.75, i16_13_1=4.6, i15_17_4=6.3111
)

PIPAL = DatasetSpec(
    name="pipal",
    title="PIPAL, public training set",
    terms="not stated",
    layout="pipal",
    n_images=23200,
    n_references=200,
    labels=(
        LabelColumn(
            name="elo",
            scale=LabelScale(low=900.0, high=1900.0),
            published=(916.7136, 1835.9856),
            anchors=_anchors(
                **{
                    "A0001_00_00.bmp": 1520.0648,
                    "A0188_06_15.bmp": 1151.0286,
                    "A0016_06_19.bmp": 1461.3892,
                    "A0149_04_03.bmp": 1663.3699,
                }
            ),
        ),
    ),
    type_counts=dict(zip(codes.PIPAL, (2400, 3200, 2000, 4800, 2600, 2800, 5400), strict=True)),
    metas=_metas("PIPAL", None, ("test_pipal_5k.json", 4640)),
    notes="the whole set has 250 references; the 116 variants of a reference are not levels",
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
            anchors=_anchors(
                **{
                    "AttnGAN_normal_000.jpg": 0.965602553,
                    "DALLE2_normal_000.jpg": 3.058757207,
                    "sd1.5_normal_000.jpg": 0.44999057,
                }
            ),
            std="column std_quality of data.csv",
        ),
    ),
    metas=_metas("AGIQA3K", None, ("test_agiqa_3k.json", 2982)),
    notes="column mos_align rates the fit to the prompt, not quality",
)


def _cidiq(distance: int, published: tuple[float, float], **labels: float) -> DatasetSpec:
    column = LabelColumn(
        name="mos",
        scale=LabelScale(low=1.0, high=9.0),
        published=published,
        anchors=tuple(Anchor(image=f"{k}.bmp", label=v) for k, v in labels.items()),
    )
    return DatasetSpec(
        name=f"cidiq{distance}",
        title=f"CID:IQ at {distance} cm",
        terms="free for research and academic use",
        layout="cidiq",
        n_images=690,
        n_references=23,
        labels=(column,),
        folders=("Images/Reproduction",),
        type_counts=dict.fromkeys(codes.CIDIQ, 115),
        types=codes.CIDIQ,
        levels=5,
        notes=f"MOS{distance}.mat holds no names: distortion, then image, then level",
    )


CIDIQ50 = _cidiq(
    50, (1.18, 7.65), final01_d1_l1=4.41, final13_d4_l5=1.76, final20_d3_l2=4.35, final21_d5_l1=7.06
)
CIDIQ100 = _cidiq(
    100, (1.0, 7.76), final01_d1_l1=5.0, final11_d6_l5=1.88, final23_d2_l3=5.35, final02_d1_l3=7.41
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

SPECS: tuple[DatasetSpec, ...] = (
    *(KONIQ, SPAQ, LIVEW, KADID, CSIQ, AGIQA),
    *(CIDIQ50, CIDIQ100, LIVE, TID2008, TID2013, PIPAL),
    *(BID, LIU13, SRIQA),
)

PRERESQ_BENCHMARKS = (
    *("bid", "livew", "koniq", "spaq", "kadid"),
    *("liu13", "sriqa", "tid2013", "pipal", "agiqa"),
)
"""Source: PreResQ-R1 (arXiv:2511.05393), the ten image benchmarks by the names in its figures."""


def spec_named(name: str) -> DatasetSpec:
    """Look a set up.

    Raises:
        ValueError: If there is no such set; the message lists those there are.

    Example:
        >>> spec_named("csiq").n_images
        866
    """
    for spec in SPECS:
        if spec.name == name:
            return spec
    raise ValueError(f"no set {name!r}; there are {', '.join(spec.name for spec in SPECS)}")
