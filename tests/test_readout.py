"""The distribution at the place of the score, read from the cache that completions leave."""

import numpy as np
import pytest
import torch
from PIL import Image

from qponder_lib.config import StudentConfig
from qponder_lib.student import generation, readout
from qponder_lib.student.generation import Completion, generate, image_messages
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import parsed_prediction
from qponder_lib.student.readout import ScoreDistribution, score_distributions

TEXTS = [
    "<think>Blur is visible.</think>\n<answer>62</answer>",
    "<think>There are 3 faults. Severe blur is visible, and noise.</think>\n<answer>7</answer>",
    "<think>Good.</think>\n<answer>good 5</answer>",
]


@pytest.fixture(scope="module")
def student():
    return load_student(StudentConfig())


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)) for _ in TEXTS]


@pytest.fixture(scope="module")
def prompts(student):
    """Prompts of different length, so that all but one are padded."""
    prompt = student.processor.apply_chat_template(
        image_messages("student_short"), add_generation_prompt=True, tokenize=False
    )
    return [prompt, prompt + "So: ", prompt]


@pytest.fixture(scope="module")
def read(student, images, prompts):
    """The distributions of TEXTS, from one cache of all."""
    processor = student.processor
    inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
    ids = processor.tokenizer(TEXTS, padding=True, padding_side="right", return_tensors="pt")
    tokens = ids["input_ids"]
    written = {"input_ids": tokens, "attention_mask": 1, "mm_token_type_ids": 0}
    for name, more in written.items():
        more = torch.full_like(tokens, more) if isinstance(more, int) else more
        inputs[name] = torch.cat([inputs[name], more[:, :-1]], dim=1)
    with torch.no_grad():
        cache = student.model(**inputs, use_cache=True).past_key_values
    prompt_mask = inputs["attention_mask"][:, : 1 - tokens.shape[1]]
    assert not prompt_mask.all()
    return score_distributions(student.model, processor.tokenizer, prompt_mask, tokens, cache)


def chances_after(student, image, text):
    """Probability of each digit after a text, by a pass of its own over all of it."""
    tokenizer = student.processor.tokenizer
    inputs = student.processor(text=[text], images=[image], return_tensors="pt")
    with torch.no_grad():
        logits = student.model(**inputs).logits[0, -1].double()
    digits = [tokenizer(d, add_special_tokens=False)["input_ids"][0] for d in "0123456789"]
    return torch.softmax(logits, dim=-1)[digits].numpy()


@pytest.mark.parametrize("number", [0, 1])
def test_the_distribution_is_that_of_passes_without_cache_and_padding(
    number, student, images, prompts, read
):
    text = TEXTS[number]
    before = prompts[number] + text[: text.index("<answer>") + len("<answer>")]
    first = chances_after(student, images[number], before)
    wanted = np.zeros(101)
    for digit in range(10):
        second = chances_after(student, images[number], before + str(digit))
        wanted[digit] += first[digit] * (1 - second.sum())
        wanted[10 * digit : 10 * digit + 10] += first[digit] * second
        if digit == 1:
            third = chances_after(student, images[number], before + "10")[0]
            wanted[100] = first[1] * second[0] * third
            wanted[10] -= wanted[100]
    found = read[number]
    assert found.mass == pytest.approx(wanted.sum(), abs=1e-6)
    assert found.probabilities == pytest.approx(wanted / wanted.sum(), abs=1e-6)
    assert found.probabilities.sum() == pytest.approx(1.0)
    assert found.mean == pytest.approx(np.arange(101) @ wanted / wanted.sum(), abs=1e-4)


def test_a_text_without_a_score_has_no_distribution(read):
    assert read[2] is None


def test_mean_and_deviation_by_hand():
    probabilities = np.zeros(101)
    probabilities[[40, 60]] = 0.5
    spread = ScoreDistribution(probabilities, 1.0)
    assert (spread.mean, spread.deviation) == (50.0, 10.0)


def test_generation_reads_where_its_completions_have_their_score(student, images, monkeypatch):
    """The base model writes no answer, so a place is named for it."""
    monkeypatch.setattr(readout, "_place", lambda *_: 3)
    asked = {"max_new_tokens": 6, "distribution": True}
    together = generate(student, images, "student_short", **asked)
    alone = [generate(student, [one], "student_short", **asked)[0] for one in images]
    plain = generate(student, images, "student_short", max_new_tokens=6)
    for one, single, other in zip(together, alone, plain, strict=True):
        assert one.text == single.text == other.text
        assert one.distribution.probabilities == pytest.approx(
            single.distribution.probabilities, abs=1e-6
        )
        assert one.distribution.mean == pytest.approx(single.distribution.mean, abs=1e-4)
        assert other.distribution is None


def test_flash_attention_takes_no_mask_and_reads_nothing(student, images, monkeypatch):
    text = student.model.config.get_text_config()
    seen = []
    inner = generation.score_distributions

    def under_flash(*given):
        monkeypatch.setattr(text, "_attn_implementation_internal", "flash_attention_2")
        seen.extend(inner(*given))
        monkeypatch.undo()
        return seen

    monkeypatch.setattr(generation, "score_distributions", under_flash)
    generate(student, images[:1], "student_short", max_new_tokens=4, distribution=True)
    assert seen == [None]


def test_a_prediction_carries_expectation_and_spread_only_beside_its_one_score():
    probabilities = np.zeros(101)
    probabilities[[40, 61]] = 0.25, 0.75
    spread = ScoreDistribution(probabilities, 1.0)

    def row(text, prompt_id="student_short"):
        said = Completion(text, 9, "stop", spread)
        one = parsed_prediction("a", 50.0, said, prompt_id)
        return one.score, one.expectation, one.spread

    assert row(TEXTS[0]) == (62.0, 55.75, round(21 * (0.25 * 0.75) ** 0.5, 4))
    assert row("no answer") == (None, None, None)
    five = "".join(f"<answer>{2.0:.2f}</answer>" for _ in range(5))
    assert row(five, "preresq_image")[1:] == (None, None)
