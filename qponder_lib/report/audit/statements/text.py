"""Claims that sentences of the papers decide against each other, by arithmetic alone."""

from __future__ import annotations

import re

from qponder_lib.report.audit.claims import PrintedAnswer
from qponder_lib.report.audit.findings import Finding
from qponder_lib.report.audit.statements.comparing import Tables
from qponder_lib.rewards.qponder import accuracy_reward, group_advantages
from qponder_lib.text.prompts import JUDGE_TASKS

TRAINING_IMAGES, SHARE, SUBSET = 5600, 0.8, 7000
"""Section 4.1: 80 %, about 5,600 images; section 4.2: the 7k KonIQ subset."""
N_GPUS, CALM_FROM = 8, 800
"""Section 4.1: 8 GPUs, a batch size of 1, one epoch; appendix C: step 800."""


JUDGED_BY_TEXT = ("0", "5")
"""Section 3.1: a quality score from 0 to 5."""


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


def text_findings() -> list[Finding]:
    """Find places where Q-Ponder's text and its own formulas or prompts say two things.

    Example:
        >>> [finding.where for finding in text_findings()]
        ['Eq. 3', 'Eq. 5', 'Section 3.1 and Table 6']
    """
    found = []
    rewards = [0.0, 1.0, 2.0, 3.0]
    if max(group_advantages(rewards, baseline="max")) <= 0 < max(group_advantages(rewards)):
        sentence = (
            "the text calls advantages z-scores, which lie on both sides of 0; the formula "
            "subtracts the group's maximum, by which none is above 0 (decision D1)"
        )
        found.append(Finding("text", "text", "Eq. 3", "disagrees", sentence))
    if accuracy_reward(60.0, 60.0) >= 1.0:
        sentence = (
            "R_acc is said to lie in (0, 1), which leaves out the 1 that an exact score earns"
        )
        found.append(Finding("text", "text", "Eq. 5", "disagrees", sentence))
    asked = set(re.findall(r"\[(\d)–(\d)\]", JUDGE_TASKS))
    if asked and (JUDGED_BY_TEXT not in asked):
        low, high = asked.pop()
        sentence = (
            f"the judge scores from {JUDGED_BY_TEXT[0]} to {JUDGED_BY_TEXT[1]} by the text, from "
            f"{low} to {high} by the prompt (decision D18)"
        )
        where = "Section 3.1 and Table 6"
        found.append(Finding("text", "text", where, "disagrees", sentence))
    return found
