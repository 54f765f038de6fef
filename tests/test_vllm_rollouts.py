"""vLLM gets the profile's settings and the trainer's pixel limits, and must be there."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from qponder_lib import pipeline
from qponder_lib.config import load_profile
from qponder_lib.paths import MINI_WEIGHTS, RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.student.model import load_base
from qponder_lib.training import grpo
from qponder_lib.training.launch import train
from qponder_lib.training.vllm import (
    check_images_fit,
    check_installed,
    save_rollout_model,
    serve_command,
)

LIMITS = {"student.min_pixels": 3136, "student.max_pixels": 12544}
SERVER = {
    "grpo.use_vllm": True,
    "grpo.vllm_mode": "server",
    "grpo.vllm_server_base_url": "http://localhost:8000",
}


@pytest.fixture(scope="module")
def profile():
    return load_profile("smoke").with_overrides(LIMITS)


@pytest.fixture(scope="module")
def student(profile):
    return load_base(profile.student)


def test_settings_reach_the_trainer_under_its_own_names(profile, tmp_path):
    changed = profile.with_overrides(
        {
            **SERVER,
            "grpo.vllm_tensor_parallel_size": 2,
            "grpo.vllm_max_model_length": 2048,
            "grpo.vllm_enable_sleep_mode": True,
            "grpo.vllm_importance_sampling_correction": False,
        }
    )
    made = grpo.trainer_arguments(changed.grpo, tmp_path)
    assert (made.use_vllm, made.vllm_mode) == (True, "server")
    assert made.vllm_server_base_url == "http://localhost:8000"
    assert (made.vllm_tensor_parallel_size, made.vllm_max_model_length) == (2, 2048)
    assert made.vllm_enable_sleep_mode
    assert not made.vllm_importance_sampling_correction
    colocated = profile.with_overrides(
        {"grpo.use_vllm": True, "grpo.vllm_gpu_memory_utilization": 0.45}
    )
    made = grpo.trainer_arguments(colocated.grpo, tmp_path)
    assert (made.vllm_mode, made.vllm_gpu_memory_utilization) == ("colocate", 0.45)
    assert not grpo.trainer_arguments(profile.grpo, tmp_path).use_vllm


def test_without_vllm_the_training_is_refused_before_anything_is_loaded(profile, tmp_path):
    pytest.importorskip("trl")
    if _installed():
        pytest.skip("vllm is installed here")
    run = Run(RunPaths(tmp_path), profile.with_overrides({"grpo.use_vllm": True}))
    said = r"use_vllm is true, but vllm is not installed.*grpo\.use_vllm to false"
    with pytest.raises(ValueError, match=said):
        train(run, "grpo-qponder", tmp_path)
    check_installed(profile.grpo)


def _installed():
    try:
        import vllm  # noqa: F401
    except ImportError:
        return False
    return True


def test_vllm_cuts_images_as_the_trainer_does(profile, student, tmp_path):
    folder = save_rollout_model(student, profile.student, MINI_WEIGHTS, tmp_path / "m")
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    assert stated["processor_class"] == "Qwen2_5_VLProcessor"
    assert stated["image_processor_type"] == "Qwen2VLImageProcessor"
    # vLLM reads the same file by the class that it names, which needs torchvision.
    theirs = Qwen2VLImageProcessorPil.from_pretrained(folder)
    for width, height in ((20, 20), (100, 40), (112, 112), (300, 200), (640, 480)):
        image = Image.fromarray(np.zeros((height, width, 3), np.uint8))
        grids = [
            one(images=[image])["image_grid_thw"]
            for one in (
                theirs,
                student.processor.image_processor,
            )
        ]
        assert np.array_equal(*grids), (width, height)


def test_the_folder_links_to_the_weights_and_may_be_written_again(profile, student, tmp_path):
    for _ in range(2):
        folder = save_rollout_model(student, profile.student, MINI_WEIGHTS, tmp_path / "m")
    weights = folder / "model.safetensors"
    assert weights.is_symlink()
    assert weights.resolve() == (MINI_WEIGHTS / "model.safetensors").resolve()
    assert (folder / "config.json").is_file()


def test_an_adapter_is_served_on_the_weights_that_it_stands_on(profile, student, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    noted = {"base_model_name_or_path": "builtin:mini"}
    (start / "adapter_config.json").write_text(json.dumps(noted))
    folder = save_rollout_model(student, profile.student, start, tmp_path / "m")
    assert (folder / "model.safetensors").resolve().parent == MINI_WEIGHTS.resolve()


def test_an_image_of_more_tokens_than_vllm_reads_at_once_is_refused(profile, student):
    check_images_fit(student.processor)
    wide = load_base(profile.with_overrides({"student.max_pixels": 4096 * 32**2}).student)
    with pytest.raises(ValueError, match=r"makes 4096 tokens.*at most 4193280 pixels"):
        check_images_fit(wide.processor)


def test_the_server_is_started_with_what_trl_needs(profile, tmp_path):
    command = serve_command(profile.with_overrides(SERVER).grpo, tmp_path)
    for part in (
        "VLLM_SERVER_DEV_MODE=1 vllm serve",
        "--enable-scale-out",  # without it vLLM 0.31 answers TRL's images with 404
        "--port 8000 --max-model-len 4096 --dtype bfloat16",
        '{"image":1,"video":0}',
        "processed_logprobs",
        '{"backend":"nccl"}',
    ):
        assert part in command


def test_who_samples_is_in_the_key_of_the_stage(profile):
    keys = [
        pipeline.stage_keys(one)["grpo-qponder"]
        for one in (profile, profile.with_overrides({"grpo.use_vllm": True}))
    ]
    assert keys[0] != keys[1]
