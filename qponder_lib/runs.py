"""Open a run for a notebook, try a what-if beside it, and reuse the stages that runs share.

A notebook never changes a run by the way: where its parameters are not those that the run was made
with, it works in a folder of its own, `<run>-whatif-<digest>`, which has every stage that is equal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qponder_lib import artifacts, paths, pipeline
from qponder_lib.config import SECTIONS, Profile, dump_profile, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run

_WHAT_IF = "-whatif-"
_NEVER_APPENDED = (".png", ".safetensors")


def open_run(namespace: Mapping[str, Any], notebook: str | None = None) -> Run:
    """Read a notebook's parameters, and see that it can work.

    Args:
        namespace: The notebook's `globals()`: `profile` (name or path of a profile), `run_dir`
            (absolute, or relative to the repository) and any `<section>_<field>` parameters,
            such as `filter_gamma`. One that is not at its default wins over the profile.
        notebook: Its number, such as `03`; None if it reads no stage.

    Returns:
        The run, or a what-if beside it.

    Raises:
        KeyError: If `profile` or `run_dir` is missing.
        ValueError: If a value does not fit its field.
        NotReady: If a stage that the notebook reads is not done.
    """
    overrides = {}
    for section, model in SECTIONS.items():
        usual = model().model_dump(mode="json")
        for name in model.names():
            value = namespace.get(f"{section}_{name}", usual.get(name))
            if value != usual.get(name):
                overrides[f"{section}.{name}"] = value
    stated, place = load_profile(namespace["profile"]), RunPaths.at(namespace["run_dir"])
    run = Run(place, stated.with_overrides(overrides))
    if place.profile.is_file():
        run = _beside(run, load_profile(place.profile))
    elif place.root == paths.runs_root() / stated.name:  # the folder of the profile as it is
        run = _beside(run, stated)
    known = {stage.name: stage for stage in pipeline.stages(run.profile)}
    for stage in known.values():
        if stage.notebook == notebook and all(known[n].notebook != notebook for n in stage.inputs):
            pipeline.input_keys(stage, run)
    return run


def _beside(run: Run, made: Profile) -> Run:
    """Return a run, or a what-if beside it if it was made with other settings; say which."""
    old, new = pipeline.stage_keys(made), pipeline.stage_keys(run.profile)
    outdated = [name for name in new if new[name] != old.get(name, new[name])]
    if not outdated:
        return run
    was, now = (one.model_dump(mode="json") for one in (made, run.profile))
    changed = [
        f"{section}.{name} {value} -> {now[section].get(name)}"
        for section in SECTIONS
        if was[section] and now[section]
        for name, value in was[section].items()
        if now[section].get(name) != value
    ]
    name = f"{run.paths.root.name.partition(_WHAT_IF)[0]}{_WHAT_IF}{artifacts.digest(new)[:6]}"
    folder = RunPaths(run.paths.root.with_name(name))
    reuse_stages(run.profile, folder, [run.paths])
    artifacts.write_text_atomic(folder.profile, dump_profile(run.profile))
    print(
        f"What if {', '.join(changed)}? In {paths.shown(run.paths.root)}, which stays as it is, "
        f"these stages would be outdated: {', '.join(outdated)}.\n"
        f"This notebook works in {paths.shown(folder.root)}, which has all other stages of it. "
        f"To go on there in another notebook: run_dir = {paths.shown(folder.root)!r}, "
        f"profile = {paths.shown(folder.profile)!r}; in a terminal: "
        f"qponder run {paths.shown(folder.profile)} --run {name}"
    )
    return Run(folder, run.profile)


def reuse_stages(profile: Profile, folder: RunPaths, others: Iterable[RunPaths]) -> list[str]:
    """Reuse stages that another run has completed with the same key.

    Args:
        profile: Settings of the run that takes.
        folder: The run that takes.
        others: Runs that may give.

    Returns:
        Names of the stages reused.
    """
    reused, keys = [], pipeline.stage_keys(profile)
    for stage in pipeline.stages(profile):
        if pipeline.stage_state(stage, keys, folder)[0] == "complete":
            continue
        for other in others:
            if other != folder and pipeline.stage_state(stage, keys, other)[0] == "complete":
                record = artifacts.read_record(other.record(stage.name))
                for output in record.outputs:
                    _link_or_copy(other.root / output, folder.root / output)
                    images = (other.root / output).with_name("images")
                    if images.is_symlink():  # those of a prepared set are no outputs
                        place = folder.root / images.relative_to(other.root)
                        place.unlink(missing_ok=True)
                        os.symlink(images.resolve(), place, target_is_directory=True)
                artifacts.write_json(folder.record(stage.name), record)
                reused.append(stage.name)
                break
    return reused


def _link_or_copy(source: Path, target: Path) -> None:
    """Link large files that are only ever replaced; copy those that could be appended to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.suffix in _NEVER_APPENDED:
        with contextlib.suppress(OSError):  # another disk, or a file system without links: copy
            os.link(source, target)
            return
    shutil.copyfile(source, target)
