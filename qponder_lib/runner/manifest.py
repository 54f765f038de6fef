"""The record of a run, written last."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence

from qponder_lib import __version__, artifacts, paths
from qponder_lib.config import Profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import PlannedStage


def write_manifest(
    profile: Profile, run: RunPaths, planned: Sequence[PlannedStage], state: str
) -> None:
    """Write what ran, from which code and settings, on what machine, and how it ended.

    Args:
        profile: The settings.
        run: The run folder.
        planned: The plan it started from.
        state: complete, failed or interrupted.
    """
    entries = []
    for entry in planned:
        seal = artifacts.read_seal(run.seal(entry.stage.name))
        done = seal is not None and seal.key == entry.key
        entries.append(
            {
                "name": entry.stage.name,
                "notebook": entry.stage.notebook,
                "key": entry.key,
                "state": entry.state,
                "why": entry.why,
                "done": done,
                "seconds": seal.seconds if seal is not None and done else None,
                "created": seal.created if seal is not None and done else None,
            }
        )
    manifest = {
        "exit_state": state,
        "written": artifacts.now(),
        "kit": {"version": __version__, **_git()},
        "profile": profile,
        "stages": entries,
        "versions": artifacts.package_versions(),
        "machine": {
            "system": platform.platform(),
            "architecture": platform.machine(),
            "cpu_count": os.cpu_count(),
        },
    }
    artifacts.write_json(run.manifest, manifest)


def _git() -> dict[str, object]:
    def ask(*words: str) -> str | None:
        command = ["git", "-C", str(paths.repository_root()), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain")
    if commit is None or changes is None:
        return {"commit": None, "dirty": None, "reason": "not a git clone, or git is missing"}
    return {"commit": commit, "dirty": bool(changes)}
