"""What must be there before hours are spent: model files, servers that answer, room on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import openai

from qponder_lib import paths
from qponder_lib.config import Profile
from qponder_lib.config.sections import NO_STUDENTS
from qponder_lib.gpu.preflight import Check, preflight
from qponder_lib.gpu.sizes import BUILTIN, Machine, Shape, model_file, shape_of
from qponder_lib.judging.server import open_judges
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run, Stage
from qponder_lib.student.prediction import open_student
from qponder_lib.teacher.chat_client import ChatClient
from qponder_lib.teacher.distill import open_teacher

_INDEX = "model.safetensors.index.json"
_GB = 1e9
CHECKPOINTS_AT_ONCE = 3
"""Two are kept, and the next one is complete before the oldest goes."""


def problems(profile: Profile, run: RunPaths, stages: Sequence[Stage]) -> list[Check]:
    """Check what some stages need, with `preflight`; return what stands in their way."""
    machine = Machine(profile.launch.processes, profile.launch.accelerate, gpu_gib())
    found = [*preflight(profile, run, machine).findings, check_model(profile)]
    names = [stage.name for stage in stages]
    asked = servers(profile, names)
    found += [check_server(one.model, one.base_url, one.key_variable) for one in asked]
    students = [name.removeprefix("predict-") for name in names if name.startswith("predict-")]
    students = [one for one in students if one not in NO_STUDENTS]
    if profile.predict.base_url and students:  # a server may have them one after another
        found.append(check_student(Run(run, profile), students[0]))
    found.append(check_disk(profile, run.root))
    return [one for one in found if one.verdict == "problem"]


def gpu_gib() -> float | None:
    """Memory of this machine's smallest GPU, GiB, or None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return min((float(one) / 1024 for one in said if one.isdecimal()), default=None)


def check_model(profile: Profile) -> Check:
    """Do configuration, tokenizer and all weights of the student lie on this machine?"""
    name, revision = profile.student.model, profile.student.revision
    index = model_file(name, _INDEX, revision)
    weights = {"model.safetensors"}
    if index is not None:
        weights = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    wanted = ["config.json", "tokenizer.json", *sorted(weights)]
    missing = [one for one in wanted if model_file(name, one, revision) is None]
    if missing:
        said = f"{name} lacks {missing[0]} and {len(missing) - 1} more of its files on this machine"
        return Check("model files", "problem", said, f"qponder fetch {profile.name}")
    return Check("model files", "ok", f"{name} is on this machine")


def servers(profile: Profile, stages: Sequence[str]) -> list[ChatClient]:
    """Return a client of each server that some stages ask."""
    asked = [judge.chat for judge in open_judges(profile.judge)] if "judge" in stages else []
    if profile.distill.teacher == "server" and {"distill", "predict-teacher"} & {*stages}:
        asked.append(open_teacher(profile.distill))
    return asked


def check_server(model: str, address: str, key_variable: str) -> Check:
    """Does a server answer, and has it the model?"""
    key = os.environ.get(key_variable) or "EMPTY"
    client = openai.OpenAI(base_url=address, api_key=key, timeout=10, max_retries=0)
    try:
        known = [one.id for one in client.models.list()]
    except (openai.OpenAIError, ValueError, AttributeError) as error:
        said = f"{address}/models does not answer for {model}: {error}"
        return Check("server", "problem", said, serve_command(model, address))
    if model not in known:
        said = f"{address} has {', '.join(known) or 'no model'}, {model} is asked for"
        return Check("server", "problem", said, serve_command(model, address))
    return Check("server", "ok", f"{model} at {address}")


def check_student(run: Run, model: str) -> Check:
    """Has the server of the students this one, with the weights that lie in the run?"""
    chat = open_student(run, model)
    found = check_server(chat.model, chat.base_url, chat.key_variable)
    if model == "base":
        return found
    export = f"qponder export {paths.shown(run.paths.root)} {model} DIR"
    return replace(found, remedy=f"{export}; it prints the command that serves it")


def serve_command(model: str, address: str) -> str:
    """Return the command that serves a teacher or judge on four GPUs of 80 GB."""
    port = address.rsplit(":", 1)[-1].split("/")[0]
    return (
        f"vllm serve {model} --port {port} --tensor-parallel-size 4 --max-model-len 8192 "
        '--limit-mm-per-prompt \'{"image":1,"video":0}\' --generation-config vllm'
    )


def check_disk(profile: Profile, folder: Path) -> Check:
    """Is there room for the checkpoints of a training and the models that all leave behind?"""
    shape = shape_of(profile.student.model)
    if shape is None:
        return Check("disk", "unknown", f"the sizes of {profile.student.model} are not known")
    needed = disk(profile, shape)
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(there).free
    said = f"{needed / _GB:.0f} GB are needed for checkpoints and models, {free / _GB:.0f} are free"
    if needed > free:
        return Check("disk", "problem", said, "make room, or take another disk")
    return Check("disk", "ok", said)


def disk(profile: Profile, shape: Shape) -> float:
    """Bytes of disk that a run takes at most: 16 a trained weight in each checkpoint, 4 in a model.

    Example:
        >>> from qponder_lib.config import load_profile
        >>> full = load_profile("full")
        >>> round(disk(full, shape_of(full.student.model)) / 1e9)
        531
    """
    trained = shape.adapter(profile.student.lora_rank) or shape.parameters
    kept = CHECKPOINTS_AT_ONCE
    if profile.sft.select_sets:
        kept = max(kept, profile.sft.max_steps // profile.sft.save_steps)
    models = len(profile.sft.variants) + (2 if profile.grpo.exploration_steps else 1)
    return trained * (16.0 * kept + 4.0 * models)


def fetch(profile: Profile) -> list[str]:
    """Fetch the student's model, and say where the sets' own downloads are.

    Returns:
        Lines to show.

    Raises:
        OSError: If the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    from qponder_lib.data.catalog import spec_named

    name, lines = profile.student.model, []
    if name != BUILTIN and not Path(name).is_dir():
        found = snapshot_download(name, revision=profile.student.revision)
        lines.append(f"{name}, commit {Path(found).name}: {found}")
    sets = (profile.data.train_set, *profile.predict.sets)
    for one in dict.fromkeys(sets if profile.data.source == "prepared" else ()):
        spec = spec_named(one)
        where = f"git clone --depth 1 {spec.page}" if spec.clone else spec.page or "see its paper"
        lines.append(f"{spec.title}: {where} ({spec.terms})")
        lines.append(f"  qponder data prepare {one} --root FOLDER --run {profile.name}")
    return lines
