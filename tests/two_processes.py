"""What each of two processes does in `test_launch.py`: train as one of them, and say what it holds.

Run by torchrun: ``two_processes.py RUN_FOLDER OUT_FOLDER``.
"""

import hashlib
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from accelerate import PartialState
from torch.nn.functional import pad

from qponder_lib import artifacts
from qponder_lib.config import load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.training import checkpoints, grpo, launch, sft
from qponder_lib.training.reward_functions import RewardFunctions
from qponder_lib.training.shared_prefix import trainer as shared_prefix_trainer
from qponder_lib.training.shared_prefix.rollout import sample

STAGES = ("sft-long", "grpo-qponder")
GROUP = 4
SAID = "<think>Sharp and clean.</think>\n<answer>{}</answer>"
TEXTS = [SAID.format(score) for score in (60, 20, 35, 80, 45, 45, 10, 90)]
IMAGES = [("a", 62.0)] * GROUP + [("b", 31.0)] * GROUP


def sample_by_image(base, inputs, n, settings):
    """Draw real answers, from a random state that only the image decides.

    TRL seeds each process of its own, so two processes draw other answers than one does.
    """
    starts = [0, *inputs["image_grid_thw"].prod(dim=1).cumsum(0).tolist()]
    parts = []
    for row in range(len(inputs["input_ids"])):
        pixels = inputs["pixel_values"][starts[row] : starts[row + 1]]
        torch.manual_seed(zlib.crc32(pixels.numpy().tobytes()))
        one = {name: value[row : row + 1] for name, value in inputs.items()}
        parts.append(sample(base, {**one, "pixel_values": pixels}, n, settings))
    width = max(part.shape[1] for part in parts)
    end = settings.pad_token_id
    return torch.cat([pad(part, (0, width - part.shape[1]), value=end) for part in parts])


def letters(self, completions, trainer_state, **_):
    """A reward that answers of a hardly trained student differ in: the letters they use."""
    return [len(set(one[0]["content"])) / 10 for one in completions]


def seeded_by_image():
    """The two changes under which one process and two must do the same."""
    patches = mock.patch.multiple(RewardFunctions, format=letters)
    sampling = mock.patch.object(shared_prefix_trainer, "sample", sample_by_image)
    return patches, sampling


def fidelity(rows, folder):
    """Rewards that compare images, for the answers of this process."""
    config = load_profile("smoke").with_overrides({"grpo.reward": "fidelity"}).grpo
    texts, images = zip(*rows, strict=True)
    return RewardFunctions(config, folder / "fidelity.jsonl").accuracy(
        [[{"role": "assistant", "content": text}] for text in texts],
        [mos for _, mos in images],
        [name for name, _ in images],
        SimpleNamespace(global_step=1, is_world_process_zero=False),
        lambda name, value: None,
    )


def digest(model):
    whole = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        whole.update(name.encode() + weight.numpy().tobytes())
    return whole.hexdigest()


def main(run_folder, out):
    state = PartialState(cpu=True)
    run = Run(RunPaths(run_folder), load_profile(str(run_folder / "profile.yaml")))
    held = {}
    save = checkpoints.save_model

    def noted(trainer, training):
        held[training.stage] = digest(trainer.accelerator.unwrap_model(trainer.model))
        save(trainer, training)

    rewards, sampling = seeded_by_image()
    noting = (mock.patch.object(module, "save_model", noted) for module in (sft, grpo))
    with rewards, sampling, next(noting), next(noting):
        for stage in STAGES:
            launch.train(run, stage, run.paths.work(stage))
            state.wait_for_everyone()
    rows = list(zip(TEXTS, IMAGES, strict=True))
    mine = rows[state.process_index * GROUP : (state.process_index + 1) * GROUP]
    held["fidelity"] = fidelity(mine, out)
    held["processes"] = state.num_processes
    artifacts.write_json(out / f"{state.process_index}.json", held)
    state.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
