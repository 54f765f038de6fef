"""FSDP2 and ZeRO-3 train what one process would, and a guard stops what they would train wrongly.

The model has what matters of the 7B: a head that is not tied to the embeddings.
"""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import sharded_processes
import torch
from safetensors.torch import load_file
from test_launch import beside
from test_training import prepared  # noqa: F401

from qponder_lib.config import LaunchConfig, load_profile
from qponder_lib.student.model import load_base
from qponder_lib.training import checkpoints, launch, vllm
from qponder_lib.training.callbacks import StopAtNonsense

ROOT = Path(__file__).parents[1]
STAGES = sharded_processes.STAGES
SETTINGS = {
    # With AdamW a gradient that is nearly zero becomes a whole step; this shows it as it is.
    **{f"{stage}.optim": "sgd" for stage in ("sft", "grpo")},
    **{f"{stage}.warmup_steps": 0 for stage in ("sft", "grpo")},
    **{f"{stage}.max_steps": 2 for stage in ("sft", "grpo")},
    "sft.learning_rate": 0.05,
    "grpo.learning_rate": 0.05,
    "grpo.n_validation": 0,
    "grpo.freeze_vision": False,
}
EQUAL = 1e-5


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    """The mini student as a model on the hub would be, with a head of its own."""
    folder = tmp_path_factory.mktemp("untied")
    student = load_base(load_profile("mini").student)
    model, head = student.model, student.model.get_output_embeddings()
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(head.weight.shape, generator=generator)
    head.weight = torch.nn.Parameter(head.weight.detach() + noise)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    model.save_pretrained(folder)
    student.processor.tokenizer.save_pretrained(folder)
    assert "lm_head.weight" in load_file(folder / "model.safetensors")
    return folder


def start(run, stages=STAGES, **told):
    """Train in as many processes as the profile says, by the kit's own command."""
    command = launch.launch_command(run.profile.launch, [str(run.paths.root), ",".join(stages)])
    command[command.index(launch.MODULE)] = "sharded_processes"
    if run.profile.launch.accelerate:
        command[3:3] = ["--mixed_precision", "no"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    told |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, **told},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def alone(prepared, untied, tmp_path_factory):  # noqa: F811
    settings = {**SETTINGS, "student.model": str(untied)}
    run = beside(prepared, tmp_path_factory.mktemp("alone") / "run", settings)
    sharded_processes.train(run.paths.root)
    return run


def shared(alone, folder, **changes):
    half = {"sft.per_device_train_batch_size": 2, "launch.processes": 2}
    return beside(alone, folder, {**half, **{k.replace("__", "."): v for k, v in changes.items()}})


def apart(one, other):
    """Largest distance of a weight, as a share of its size."""
    left, right = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert left.keys() == right.keys()
    return max(((left[k] - right[k]).norm() / right[k].norm()).item() for k in left)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fsdp2", "zero3"])
def test_processes_that_share_a_model_out_train_what_one_does(alone, untied, tmp_path, how):
    if how == "zero3" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'qponder[train]'")
    run = shared(alone, tmp_path / "run", launch__accelerate=how)
    done = start(run)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert apart(alone.paths.sft("long"), untied) > 100 * EQUAL  # something was learnt
    assert apart(alone.paths.grpo("qponder"), alone.paths.sft("long")) > 100 * EQUAL
    assert apart(run.paths.sft("long"), alone.paths.sft("long")) < EQUAL
    assert apart(run.paths.grpo("qponder"), alone.paths.grpo("qponder")) < EQUAL


@pytest.mark.slow
def test_a_reference_model_of_zeros_stops_the_run_at_its_first_step(alone, tmp_path):
    file = tmp_path / "faulty.yaml"
    shipped = (ROOT / "papermill_runs/accelerate/fsdp2.yaml").read_text()
    file.write_text(shipped.replace("ram_efficient_loading: false", "ram_efficient_loading: true"))
    run = shared(alone, tmp_path / "run", launch__accelerate=str(file))
    (run.paths.root / "sft").symlink_to(alone.paths.root / "sft")
    done = start(run, ["grpo-qponder"])
    assert done.returncode != 0
    assert "at step 1, where policy and reference model are the same" in done.stderr


def logged(step=1, num_iterations=1, **logs):
    args, state = SimpleNamespace(num_iterations=num_iterations), SimpleNamespace(global_step=step)
    StopAtNonsense().on_log(args, state, None, {"loss": 0.1, **logs})


def test_a_kl_term_at_the_first_step_stops_a_run():
    logged(kl=0.009)
    logged(kl=0.192, step=2)
    logged(kl=0.192, num_iterations=2)  # the policy has moved within the first step
    with pytest.raises(ValueError, match=r"kl is 0\.192 at step 1.*expected at most 0\.01"):
        logged(kl=0.192)


def test_log_probabilities_of_vllm_that_are_not_the_trainers_stop_a_run():
    name = "sampling/sampling_logp_difference/mean"
    logged(step=7, **{name: 0.09})
    with pytest.raises(ValueError, match=r"are 0\.11 apart in the mean at step 7"):
        logged(step=7, **{name: 0.11})


def test_processes_with_different_weights_stop_at_their_next_checkpoint(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = torch.nn.Linear(2, 1)
    for off in (0.0, 1e-7):
        monkeypatch.setattr(
            checkpoints, "gather_object", lambda mine, off=off: [*mine, mine[0] + off]
        )
        if not off:
            checkpoints.check_same_everywhere(model, 4)
    with pytest.raises(ValueError, match="different weights after step 4"):
        checkpoints.check_same_everywhere(model, 4)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # each holds a part of its own
    checkpoints.check_same_everywhere(model, 4)


def test_what_is_trained_is_held_in_float32_unless_a_launcher_does_so(monkeypatch):
    def trained():
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).bfloat16()
        model[0].requires_grad_(False)
        checkpoints.train_in_float32(SimpleNamespace(model=model))
        return [one.weight.dtype for one in model]

    assert trained() == [torch.bfloat16, torch.float32]
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert trained() == [torch.bfloat16, torch.bfloat16]


def test_a_profile_whose_model_is_shared_out_is_not_trained_by_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    how = LaunchConfig(processes=2, accelerate="zero3")
    with pytest.raises(ValueError, match=r"'zero3', but the processes share nothing out"):
        launch.check_processes(how)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    launch.check_processes(how)


def test_a_vllm_in_the_training_gets_each_image_as_one_token():
    seen = []
    generation = SimpleNamespace(generate=lambda **given: seen.append(given))
    vllm.one_token_per_image(generation, 9)
    generation.generate(prompts=[[1, 9, 9, 9, 2], [1, 9, 2, 9, 9]], images=["a", "b"])
    assert seen == [{"prompts": [[1, 9, 2], [1, 9, 2, 9]], "images": ["a", "b"]}]
