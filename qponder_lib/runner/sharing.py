"""What runs take over from one another: whole stages, and answers of a model that both have."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qponder_lib import artifacts, paths
from qponder_lib.artifacts import Seal
from qponder_lib.config import Profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import model_stage, stage_config, stage_keys, stage_named

_NEVER_APPENDED = (".png", ".safetensors")
_WHICH_FILES = {"models", "sets", "sampled_models", "sampled_sets"}
"""Settings of `predict` that say which files there are, and nothing of what is in them."""


def other_runs(own: Iterable[RunPaths]) -> list[RunPaths]:
    """List the runs and the runs of studies below `papermill_runs/` that are none of `own`."""
    root, known = paths.runs_root(), {folder.root for folder in own}
    seals = [*sorted(root.glob("*/seals")), *sorted(root.glob("*/*/seals"))]
    return [RunPaths(folder.parent) for folder in seals if folder.parent not in known]


def share_stages(profile: Profile, folder: RunPaths, others: Iterable[RunPaths]) -> list[str]:
    """Take over stages that another run has sealed with the same key.

    Args:
        profile: Settings of the run that takes.
        folder: The run that takes.
        others: Runs that may give.

    Returns:
        Names of the stages taken over.
    """
    shared = []
    for name, key in stage_keys(profile).items():
        mine = artifacts.read_seal(folder.seal(name))
        if mine is not None and mine.key == key:
            continue
        for other in others:
            seal = artifacts.read_seal(other.seal(name))
            if other == folder or seal is None or seal.key != key:
                continue
            if artifacts.verify_seal(other.seal(name), other.root):
                continue
            for output in seal.outputs:
                _link_or_copy(other.root / output, folder.root / output)
            artifacts.write_json(folder.seal(name), seal)
            shared.append(name)
            break
    return shared


def share_predictions(profile: Profile, folder: RunPaths, others: Iterable[RunPaths]) -> list[str]:
    """Take over the answers of trained models that another run has asked in the same way.

    The stage `predict` then finds them complete. Answers of a file depend on the model, the
    images and the settings of decoding, and on no other file.

    Args:
        profile: Settings of the run that takes.
        folder: The run that takes.
        others: Runs that may give: those whose stage `predict` is sealed and whole.

    Returns:
        Models of which at least one file was taken over.
    """
    keys = stage_keys(profile)
    mine = artifacts.read_seal(folder.seal("predict"))
    if mine is not None and mine.key == keys["predict"]:
        return []
    work = folder.work("predict") / keys["predict"][:12]
    how = _how_asked(stage_config(stage_named("predict", profile), profile))
    givers = [(one, seal) for one in others if one != folder and (seal := _whole(one))]
    givers = [(one, seal) for one, seal in givers if _how_asked(seal.config) == how]
    shared = []
    for asked in profile.predict.files():
        stage = model_stage(asked.model, profile)
        if stage is None or (work / asked.mark).exists():
            continue
        wanted = {name: keys[name] for name in ("data", stage)}
        target = folder.predictions(asked.model, asked.dataset, sampled=asked.sampled)
        place = target.relative_to(folder.root).as_posix()
        for other, seal in givers:
            if place in seal.outputs and wanted.items() <= seal.inputs.items():
                _link_or_copy(other.root / place, target)
                work.mkdir(parents=True, exist_ok=True)
                (work / asked.mark).touch()
                shared.append(asked.model)
                break
    return list(dict.fromkeys(shared))


def _whole(run: RunPaths) -> Seal | None:
    """Return the seal of a run's predictions if every file is as it was sealed."""
    file = run.seal("predict")
    seal = artifacts.read_seal(file)
    return seal if seal is not None and not artifacts.verify_seal(file, run.root) else None


def _how_asked(config: dict[str, Any]) -> dict[str, Any]:
    predict = {k: v for k, v in config["predict"].items() if k not in _WHICH_FILES}
    return {"student": config["student"], "predict": predict}


def _link_or_copy(source: Path, target: Path) -> None:
    """Link large files that are only ever replaced; copy those that could be appended to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.suffix in _NEVER_APPENDED:
        # Another disk, or a file system without links: copy.
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
