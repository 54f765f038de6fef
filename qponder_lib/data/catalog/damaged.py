"""Sets of damaged originals."""

from __future__ import annotations

from qponder_lib.data import codes
from qponder_lib.data.catalog.entries import NO_LICENCE, anchors, deqa_metas
from qponder_lib.data.specs import Anchor, DatasetSpec, LabelColumn
from qponder_lib.scales import LabelScale

KADID = DatasetSpec(
    name="kadid",
    title="KADID-10k",
    terms=NO_LICENCE,
    layout="kadid",
    n_images=10125,
    n_references=81,
    labels=(
        LabelColumn(
            name="dmos",
            scale=LabelScale(low=1.0, high=5.0),
            published=(1.0, 4.93),
            anchors=anchors(
                {
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
    metas=deqa_metas("KADID10K", ("train_kadid_8k.json", 8106), ("test_kadid_2k.json", 2000)),
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
            anchors=anchors(
                {
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
    metas=deqa_metas("CSIQ", None, ("test_csiq_866.json", 866)),
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
            anchors=anchors(
                {
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
        metas=deqa_metas("TID2013", None, ("test_tid2013_3k.json", 3000)) if year == 2013 else None,
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
            anchors=anchors(
                {
                    "A0001_00_00.bmp": 1520.0648,
                    "A0188_06_15.bmp": 1151.0286,
                    "A0016_06_19.bmp": 1461.3892,
                    "A0149_04_03.bmp": 1663.3699,
                }
            ),
        ),
    ),
    type_counts=dict(zip(codes.PIPAL, (2400, 3200, 2000, 4800, 2600, 2800, 5400), strict=True)),
    metas=deqa_metas("PIPAL", None, ("test_pipal_5k.json", 4640)),
    notes="the whole set has 250 references; the 116 variants of a reference are not levels",
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
