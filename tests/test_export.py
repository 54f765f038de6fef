"""An exported model is the trained one in bfloat16, with files that others read."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from typer.testing import CliRunner

from qponder_lib import artifacts
from qponder_lib.cli import app
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.paths import MINI_WEIGHTS, RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import served_name

SCORE = {"model": "qponder", "dataset": "mini-koniq", "decoding": "greedy", "protocol": "raw"}
SCORE |= {"metric": "srcc", "value": 0.71234, "ci_low": 0.65432, "ci_high": 0.77, "n": 300}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose trained model is the mini student, exported."""
    run = RunPaths(tmp_path_factory.mktemp("run"))
    artifacts.write_text_atomic(run.profile, dump_profile(load_profile("mini")))
    shutil.copytree(MINI_WEIGHTS, run.grpo("qponder"))
    artifacts.record_folder(run.grpo("qponder"), stage="grpo", key="", config={}, seconds=0.0)
    artifacts.write_csv(run.scores, [SCORE], list(SCORE))
    folder = run.root / "exported"
    done = CliRunner().invoke(app, ["export", str(run.root), "qponder", str(folder)])
    assert done.exit_code == 0, done.output
    return run, folder, done.output


def test_weights_are_the_trained_ones_in_bfloat16(made):
    run, folder, _ = made
    ours = load_student(load_profile("mini").student, run.grpo("qponder")).model.state_dict()
    theirs = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    for name, weight in theirs.state_dict().items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, ours[name].bfloat16()), name
    assert theirs.generation_config.repetition_penalty == 1.0


def test_processor_files_are_stock_and_have_the_trained_pixel_limits(made):
    folder = made[1]
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    assert stated["processor_class"] == "Qwen2_5_VLProcessor"
    assert "ImageTextProcessor" not in "".join(
        file.read_text() for file in folder.glob("*.json") if file.name != "tokenizer.json"
    )
    image = Image.fromarray(np.zeros((300, 200, 3), np.uint8))
    theirs = Qwen2VLImageProcessorPil.from_pretrained(folder)(images=[image])
    ours = load_student(load_profile("mini").student).processor.image_processor(images=[image])
    assert np.array_equal(theirs["image_grid_thw"], ours["image_grid_thw"])
    assert AutoTokenizer.from_pretrained(folder).chat_template
    if find_spec("torchvision") is None:
        pytest.skip("AutoProcessor of Qwen2.5-VL needs torchvision for its video part")
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "Qwen2_5_VLProcessor"


def test_the_card_and_the_command_say_what_it_is(made):
    run, folder, said = made
    card = (folder / "README.md").read_text()
    assert "| mini-koniq | srcc | 0.712 | 0.654 to 0.770 | 300 |" in card
    name = served_name(Run(run, load_profile(run.profile)), "qponder")
    command = f"--served-model-name {name} --limit-mm-per-prompt"
    assert said.startswith(f"vllm serve {folder} {command}")
    assert f"vllm serve DIR {command}" in card
    assert str(folder) not in card


@pytest.mark.parametrize(
    ("model", "why"), [("teacher", "is not trained"), ("qponder", "not empty")]
)
def test_what_cannot_be_exported_is_refused(made, model, why):
    run, folder, _ = made
    done = CliRunner().invoke(app, ["export", str(run.root), model, str(folder)])
    assert done.exit_code == 2
    assert why in done.output
