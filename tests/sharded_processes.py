"""One of the processes that train with a model shared out, on a CPU; run by `test_sharded.py`.

    sharded_processes.py RUN_FOLDER STAGES

accelerate shares nothing out on a CPU, so it is told that this is a GPU; all else is as
`accelerate launch` states it. Completions are not sampled: those of an image are always the same
ones, of unequal length, so that the number of processes changes nothing.
"""

import os
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState
from trl import GRPOTrainer
from two_processes import letters

from qponder_lib.config import load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.training import launch
from qponder_lib.training.reward_functions import RewardFunctions
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer

STAGES = ("sft-long", "grpo-qponder")
MADE = AcceleratorState.__init__


def completions(self, prompt_ids, images, fields, num_generations, has_tool_images=False):
    """Completions of 3, 6, 9 ... tokens for the rows of a prompt, by what is in its image."""
    rows = []
    for number, (image,) in enumerate(images):
        place = number % num_generations
        seed = torch.Generator().manual_seed(zlib.crc32(image.tobytes()) + place)
        drawn = torch.randint(20, len(self._tokenizer), (3 * (place + 1),), generator=seed)
        rows.append([*drawn.tolist(), self._tokenizer.eos_token_id])
    return rows, None


def shared_out(self, *args, cpu=False, **rest):
    PartialState(cpu=True)
    if os.environ.get("ACCELERATE_USE_FSDP") and not AcceleratorState._shared_state:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    MADE(self, *args, cpu=False, **rest)


def train(folder, stages=STAGES):
    """Train the stages of a run."""
    run = Run(RunPaths(folder), load_profile(str(folder / "profile.yaml")))
    with ExitStack() as changed:
        changed.enter_context(mock.patch.object(RewardFunctions, "format", letters))
        for one in (GRPOTrainer, SharedPrefixTrainer):
            changed.enter_context(mock.patch.object(one, "_generate_single_turn", completions))
        if launch.launched():
            changed.enter_context(mock.patch.object(AcceleratorState, "__init__", shared_out))
        for stage in stages:
            launch.train(run, stage, run.paths.work(stage))
            if launch.launched():
                torch.distributed.barrier()  # the first alone completes the folder


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2].split(","))
