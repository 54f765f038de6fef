"""What runs take over from one another: stages of equal keys."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from qponder_lib import artifacts, paths
from qponder_lib.config import Profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import stage_keys

_NEVER_APPENDED = (".png", ".safetensors")


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
