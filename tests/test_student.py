"""The mini student: real Qwen2.5-VL classes, the same inputs and outputs by the fast paths."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

from qponder_lib.config import StudentConfig
from qponder_lib.data import distortions, scenes, varied_scenes
from qponder_lib.paths import MINI_WEIGHTS
from qponder_lib.student import warmup_language, warmup_vision
from qponder_lib.student.architecture import build_mini, mini_config
from qponder_lib.student.generation import Decoding, generate
from qponder_lib.student.load import DamagedWeights, check_mini_weights, load_student
from qponder_lib.student.tokenizer import special_ids
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


def test_the_warm_up_logs_are_shipped_and_end_where_the_recipe_ends():
    recipe = json.loads((MINI_WEIGHTS / "recipe.json").read_text())
    for name, config in (
        ("vision_history.csv", warmup_vision.WarmupConfig()),
        ("language_history.csv", warmup_language.LanguageConfig()),
    ):
        last = (MINI_WEIGHTS / name).read_text().splitlines()[-1]
        assert int(last.split(",")[0]) == config.steps == recipe[name]["steps"]


def test_damaged_weights_are_refused(tmp_path):
    copy = tmp_path / "mini"
    shutil.copytree(MINI_WEIGHTS, copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(DamagedWeights, match="git checkout"):
        check_mini_weights(copy)


def test_the_processor_cuts_patches_as_the_warm_up_does(student, images):
    prompt = "<|vision_start|><|image_pad|><|vision_end|>"
    batch = student.processor(text=[prompt], images=[images[0]], return_tensors="pt")
    ours = warmup_vision.patches(np.asarray(images[0])[None])
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


def test_greedy_answers_do_not_depend_on_the_batch(student, images):
    decoding = Decoding(max_new_tokens=24)
    together = generate(student, images, "student_short", decoding)
    alone = [generate(student, [one], "student_short", decoding)[0] for one in images]
    assert [one.text for one in together] == [one.text for one in alone]


def test_an_answer_that_does_not_end_is_called_cut(student, images):
    (answer,) = generate(student, images[:1], "student_short", Decoding(max_new_tokens=1))
    assert answer.finish_reason == "length"
    assert answer.n_tokens == 1


def test_the_tokenizer_reads_any_text_and_digits_one_by_one(student):
    tokenizer = student.processor.tokenizer
    for text in (prompts.STUDENT_SHORT, "naïve – 日本 🙂", "<think>a</think>\n<answer>73</answer>"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("73").input_ids) == ["7", "3"]


def test_descriptions_state_the_damage_and_never_a_score():
    levels = np.zeros(len(distortions.TRAINED), dtype=np.int64)
    levels[distortions.TRAINED.index("noise")] = 5
    numbers = np.zeros(warmup_vision.N_STATISTICS, dtype=np.float32)
    text = warmup_language.describe(levels, numbers, np.random.default_rng(0))
    assert "very strong noise" in text
    assert not any(character.isdigit() for character in text)


@pytest.mark.parametrize("kind", varied_scenes.SHARES)
def test_every_kind_of_varied_scene_is_made_of_training_photographs_only(kind, monkeypatch):
    seen = []

    def watched(split, size, rng):
        seen.append(split)
        return scenes.photograph_scene(split, size, rng)

    monkeypatch.setattr(varied_scenes, "photograph_scene", watched)
    monkeypatch.setattr(varied_scenes, "SHARES", {kind: 1.0})
    for seed in range(3):
        scene = varied_scenes.varied_scene(64, np.random.default_rng(seed))
        assert scene.shape == (64, 64, 3)
        assert scene.dtype == np.uint8
        assert scene.std() > 2, "a picture, not a blank"
    assert set(seen) <= {"train"}


def test_the_warm_up_makes_trained_types_of_damage_only():
    assert set(warmup_vision.WARMUP_MIXTURE.types) <= set(distortions.TRAINED)


def test_a_warm_up_that_was_cut_short_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup_vision, "HELD_OUT", 10)
    monkeypatch.setattr(warmup_vision, "SAMPLE", 4)
    config = warmup_vision.WarmupConfig(batch_size=2, workers=0, log_steps=1, save_steps=1)
    ids = dict.fromkeys(("image", "video", "vision_start", "vision_end", "eos", "pad"), 0)
    with torch.compiler.set_stance("force_eager"):
        for steps in (2, 3):
            tower = build_mini(mini_config(64, ids), 0).model.visual
            warmup_vision.train(tower, dataclasses.replace(config, steps=steps), tmp_path)
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3"]
    saved = load_file(tmp_path / "vision.safetensors")
    assert torch.equal(saved["patch_embed.proj.weight"], tower.patch_embed.proj.weight)
