"""Claims that sentences of the papers decide against each other, by arithmetic alone."""

from __future__ import annotations

from qponder_lib.audit.claims import PrintedAnswer
from qponder_lib.audit.statements.comparing import Tables

TRAINING_IMAGES, SHARE, SUBSET = 5600, 0.8, 7000
"""Section 4.1: 80 %, about 5,600 images; section 4.2: the 7k KonIQ subset."""
N_GPUS, CALM_FROM = 8, 800
"""Section 4.1: 8 GPUs, a batch size of 1, one epoch; appendix C: step 800."""


def training_images_of_the_text(_: Tables) -> PrintedAnswer:
    """Do the two sentences about training images name the same number?"""
    exact = SHARE * SUBSET
    sentence = (
        f"80 % of {SUBSET:,} is {exact:,.0f}, the {TRAINING_IMAGES:,} of section 4.1; section 4.2 "
        f"says all models were trained on the same 7k: read as {SUBSET:,} training images, "
        f"Q-Ponder used {SUBSET - TRAINING_IMAGES:,} fewer than the others, read as the pool that "
        "the 80 % were drawn from, the sentences agree"
    )
    return PrintedAnswer("not_decidable", sentence)


def steps_of_one_epoch(_: Tables) -> PrintedAnswer:
    """Does one epoch have a step 800?"""
    parallel = TRAINING_IMAGES // N_GPUS
    sentence = (
        f"one epoch of {TRAINING_IMAGES:,} images has {TRAINING_IMAGES:,} steps with one image a "
        f"step and {parallel} with one image on each of {N_GPUS} GPUs; only the first passes "
        f"step {CALM_FROM}, and which is meant is not stated"
    )
    return PrintedAnswer("not_decidable", sentence)


def ambiguous_margins(_: Tables) -> PrintedAnswer:
    """Can the abstract of PreResQ-R1 be read in one way only?"""
    return PrintedAnswer(
        "not_decidable",
        "printed ambiguously: the two margins may be SRCC and PLCC on images, or images and "
        "video; no table of the paper was available to decide it",
    )
