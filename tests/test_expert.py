"""The offline teacher: its text is true of what it measured, and a hint helps it."""

import re

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from qponder_lib.data import benchmark, distortions, scenes
from qponder_lib.scales import SEVERITIES, distortion_tag
from qponder_lib.teacher.expert import (
    DEFECTS,
    WORDING,
    Diagnosis,
    ExpertTeacher,
    diagnose,
    measure,
    score,
)
from qponder_lib.text.parsing import is_format_compliant, parse_answer


@pytest.fixture(scope="module")
def photographs():
    rng = np.random.default_rng(3)
    return [scenes.photograph_scene("train", 128, rng)[0] for _ in range(12)]


def answer(pixels, hint=None, seed=0):
    return ExpertTeacher().respond(Image.fromarray(pixels), hint, np.random.default_rng(seed)).text


@pytest.mark.parametrize(
    ("name", "reads", "sign"),
    [
        ("noise", "noise", 1),
        ("blur", "edge_width", 1),
        ("jpeg", "blockiness", 1),
        ("pixelation", "flat_runs", 1),
        ("low_contrast", "contrast", -1),
        ("overexposure", "clipped_high", 1),
        ("underexposure", "brightness", -1),
        ("color_cast", "cast", 1),
    ],
)
def test_measures_follow_the_distortion_they_are_for(photographs, name, reads, sign):
    rng = np.random.default_rng(0)
    medians = [
        np.median(
            [
                getattr(measure(distortions.apply(one, name, level, rng)), reads)
                for one in photographs
            ]
        )
        for level in (1, 3, 5)
    ]
    assert sign * medians[0] < sign * medians[1] < sign * medians[2]


def test_answers_have_the_form_of_table_5_and_all_three_sections(photographs):
    for one in photographs:
        text = answer(one)
        assert is_format_compliant(text)
        assert parse_answer(text).status == "ok"
        assert [text.count(f"({number})") for number in (1, 2, 3)] == [1, 1, 1]


def test_the_text_names_exactly_the_defects_that_were_found(photographs):
    rng = np.random.default_rng(1)
    for one in photographs:
        damaged = distortions.apply(one, "noise", 5, rng)
        findings = diagnose(measure(damaged))
        low_level = answer(damaged).split("(2)")[0]
        assert "noise" in {finding.name for finding in findings}
        for finding in findings:
            assert f"{finding.severity} {WORDING[finding.name].noun}" in low_level
        claimed = re.findall(rf"\b(?:{'|'.join(SEVERITIES)})\b", low_level)
        assert len(claimed) == len(findings)


def test_the_stated_score_falls_with_every_defect_and_with_its_strength():
    some = (Diagnosis("blur", 0.4),)
    more = (Diagnosis("blur", 0.8),)
    both = (*some, Diagnosis("noise", 0.4))
    assert score(()) > score(some) > score(more) > 0
    assert score(both) < score(some)


def test_every_defect_has_a_noun_an_attribute_and_is_a_trained_type():
    assert set(DEFECTS) == set(WORDING) == set(distortions.TRAINED)


def test_the_same_generator_gives_the_same_answer(photographs):
    assert answer(photographs[0], seed=4) == answer(photographs[0], seed=4)


def test_a_hint_brings_the_scores_nearer_to_the_truth():
    rng = np.random.default_rng(2)
    truth, alone, hinted = [], [], []
    for _ in range(120):
        scene, _ = benchmark.draw_scene(benchmark.IN_DOMAIN, "train", 128, rng)
        recipe = benchmark.draw_distortions(benchmark.IN_DOMAIN, rng)
        pixels = distortions.apply_all(scene, recipe, rng)
        quality = benchmark.true_quality(scene, pixels)
        hint = ", ".join(distortion_tag(quality, one.name) for one in recipe) or None
        truth.append(quality)
        alone.append(parse_answer(answer(pixels)).score)
        hinted.append(parse_answer(answer(pixels, hint)).score)
    assert spearmanr(truth, hinted).statistic > spearmanr(truth, alone).statistic + 0.1


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 32"):
        measure(np.zeros((16, 64, 3), np.uint8))


def test_a_flat_image_has_finite_measures_and_gets_an_answer():
    flat = np.full((64, 64, 3), 120, np.uint8)
    assert all(np.isfinite(value) for value in vars(measure(flat)).values())
    assert parse_answer(answer(flat)).status == "ok"
