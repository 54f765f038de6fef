"""The mini student: real Qwen2.5-VL classes, the same inputs and outputs by the fast paths."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from qponder_lib.config import StudentConfig
from qponder_lib.data import distortions, scenes
from qponder_lib.paths import MINI_WEIGHTS
from qponder_lib.student import pretraining
from qponder_lib.student.architecture import build_mini, mini_config, special_ids
from qponder_lib.student.generation import generate
from qponder_lib.student.model import WeightsError, check_mini_weights, load_student
from qponder_lib.text import prompts

SIDE = 128


@pytest.fixture(scope="module")
def student():
    return load_student(StudentConfig())


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(5)
    ]


def test_it_is_a_real_qwen_of_a_few_million_weights(student):
    assert type(student.model) is Qwen2_5_VLForConditionalGeneration
    count = sum(one.numel() for one in student.model.parameters())
    assert 2e6 < count < 8e6


def test_the_shipped_weights_match_the_recipe(student):
    config = mini_config(len(student.processor.tokenizer), special_ids(student.processor.tokenizer))
    built = build_mini(config, seed=0).state_dict()
    loaded = student.model.state_dict()
    assert {name: value.shape for name, value in built.items()} == {
        name: value.shape for name, value in loaded.items()
    }
    assert (MINI_WEIGHTS / "model.safetensors").stat().st_size < 12e6


def test_the_histories_of_pre_training_are_shipped_and_end_where_the_recipe_ends():
    recipe = json.loads((MINI_WEIGHTS / "recipe.json").read_text())
    for name, config in (
        ("vision_history.csv", pretraining.VISION),
        ("language_history.csv", pretraining.LANGUAGE),
    ):
        last = (MINI_WEIGHTS / name).read_text().splitlines()[-1]
        assert int(last.split(",")[0]) == config.steps == recipe[name]["steps"]


def test_damaged_weights_are_refused(tmp_path):
    copy = tmp_path / "mini"
    shutil.copytree(MINI_WEIGHTS, copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="git checkout"):
        check_mini_weights(copy)


def test_the_processor_cuts_patches_as_pre_training_does(student, images):
    prompt = "<|vision_start|><|image_pad|><|vision_end|>"
    batch = student.processor(text=[prompt], images=[images[0]], return_tensors="pt")
    ours = pretraining.patches(np.asarray(images[0])[None])
    assert torch.allclose(batch["pixel_values"], ours, atol=1e-5)
    assert batch["image_grid_thw"].tolist() == [[1, 8, 8]]


@pytest.mark.parametrize("grids", [[[1, 8, 8]] * 3, [[1, 8, 8], [1, 4, 6]]])
def test_the_fast_vision_tower_equals_the_stock_one(student, grids):
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        MINI_WEIGHTS, dtype=torch.float32, attn_implementation="sdpa"
    ).model.visual
    fast = student.model.model.visual
    torch.manual_seed(0)
    patches = torch.randn(sum(t * h * w for t, h, w in grids), 1536)
    grid = torch.tensor(grids)
    expected = stock(patches, grid_thw=grid).pooler_output
    found = fast(patches, grid_thw=grid).pooler_output
    assert torch.allclose(found, expected, rtol=1e-4, atol=5e-6 * expected.abs().max().item())
    gradients = [
        torch.autograd.grad(out.square().sum(), tower.patch_embed.proj.weight)[0]
        for tower, out in ((stock, expected), (fast, found))
    ]
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-4 * gradients[0].abs().max().item())


def test_greedy_completions_do_not_depend_on_the_batch(student, images):
    together = generate(student, images, "student_short", max_new_tokens=24)
    alone = [generate(student, [one], "student_short", max_new_tokens=24)[0] for one in images]
    assert [one.text for one in together] == [one.text for one in alone]


def test_a_completion_that_does_not_end_is_called_cut(student, images):
    (completion,) = generate(student, images[:1], "student_short", max_new_tokens=1)
    assert completion.finish_reason == "length"
    assert completion.n_tokens == 1


def test_the_tokenizer_reads_any_text_and_digits_one_by_one(student):
    tokenizer = student.processor.tokenizer
    for text in (prompts.STUDENT_SHORT, "naïve – 日本 🙂", "<think>a</think>\n<answer>73</answer>"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("73").input_ids) == ["7", "3"]


def test_captions_state_the_distortion_and_never_a_score():
    levels = np.zeros(len(distortions.TRAINED), dtype=np.int64)
    levels[distortions.TRAINED.index("noise")] = 5
    numbers = np.zeros(pretraining.N_STATISTICS, dtype=np.float32)
    text = pretraining.caption(levels, numbers, np.random.default_rng(0))
    assert "very strong noise" in text
    assert not any(character.isdigit() for character in text)


@pytest.mark.parametrize("kind", scenes.VARIED_SHARES)
def test_every_kind_of_varied_scene_is_made_of_training_photographs_only(kind, monkeypatch):
    seen, real = [], scenes.photograph_scene

    def watched(split, size, rng):
        seen.append(split)
        return real(split, size, rng)

    monkeypatch.setattr(scenes, "photograph_scene", watched)
    monkeypatch.setattr(scenes, "VARIED_SHARES", {kind: 1.0})
    for seed in range(3):
        scene = scenes.varied_scene(64, np.random.default_rng(seed))
        assert scene.shape == (64, 64, 3)
        assert scene.dtype == np.uint8
        assert scene.std() > 2, "a picture, not a blank"
    assert set(seen) <= {"train"}


def test_pre_training_makes_trained_types_of_distortion_only():
    assert set(pretraining.PRETRAINING_MIXTURE.types) <= set(distortions.TRAINED)


def test_pre_training_that_was_cut_short_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "HELD_OUT", 10)
    monkeypatch.setattr(pretraining, "SAMPLE", 4)
    config = pretraining.Pretraining(2, 1, 0.1, log_steps=1, save_steps=1, batch_size=2, workers=0)
    ids = dict.fromkeys(("image", "video", "vision_start", "vision_end", "eos", "pad"), 0)
    with torch.compiler.set_stance("force_eager"):
        for steps in (2, 3):
            tower = build_mini(mini_config(64, ids), 0).model.visual
            longer = dataclasses.replace(config, steps=steps)
            rows = pretraining.pretrain_vision(tower, tmp_path, longer)
    assert [row["step"] for row in rows] == [1, 2, 3]
    saved = torch.load(tmp_path / "state.pt")["tower"]
    assert torch.equal(saved["patch_embed.proj.weight"], tower.patch_embed.proj.weight)


def test_the_language_model_learns_to_caption_and_its_prompt_is_masked(student, tmp_path):
    tokenizer = student.processor.tokenizer
    config = pretraining.Pretraining(2, 1, 0.0, log_steps=1, save_steps=2, batch_size=2, workers=0)
    model = build_mini(mini_config(len(tokenizer), special_ids(tokenizer)), 0)
    with torch.compiler.set_stance("force_eager"):
        rows = pretraining.pretrain_language(model, tokenizer, tmp_path, config)
    assert [row["step"] for row in rows] == [1, 2]
    pixels, ids, labels = next(iter(pretraining.Captions(tokenizer, 3)))
    taught = [one for one in labels if one != -100]
    assert ids[-len(taught) :] == taught
    assert tokenizer.decode(taught).endswith("<|im_end|>")
    batch = pretraining.collate([(pixels, [5, 6, 7], [-100, 6, 7]), (pixels, [5], [5])], 0, 7)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [5, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [5, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["mm_token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
