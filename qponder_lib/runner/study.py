"""Run a study: several variations of one profile, reusing the stages that are equal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from qponder_lib import paths
from qponder_lib.config import Profile, Study, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.runner import runner
from qponder_lib.runner.notebooks import NotebookFailed
from qponder_lib.runs import reuse_stages


def study_runs(study: Study) -> list[tuple[Profile, RunPaths]]:
    """Return the profile and the folder, `papermill_runs/<study>/<run>`, of each run."""
    runs = []
    for run, profile in study.profiles().items():
        named = {"name": f"{study.name}/{run}", "description": study.description}
        runs.append((profile.model_copy(update=named), RunPaths.named(named["name"])))
    return runs


def run_study(study: Study, only: Sequence[str] = ()) -> int:
    """Run what is not done yet, in the order of the file; stop at the first failure.

    Stages of equal keys are reused from any run below `papermill_runs/`, such as the predictions
    of the cold start of a run's seed.

    Args:
        study: Runs and what they differ in.
        only: Names of the runs to bring up to date; none for all. Several processes may each
            take some of them, with `OMP_NUM_THREADS` set to a share of the cores.

    Returns:
        The exit code of the last run, as `runner.run` gives it.

    Raises:
        ValueError: If the study has no run of such a name.
    """
    for name in only:
        if name not in study.runs:
            raise ValueError(f"{study.name} has no run {name!r}{paths.instead(name, study.runs)}")
    runs = study_runs(study)
    for number, (name, (profile, folder)) in enumerate(zip(study.runs, runs, strict=True), start=1):
        if only and name not in only:
            continue
        print(f"\n==== {number}/{len(runs)} {profile.name}", flush=True)
        reused = reuse_stages(profile, folder, all_runs(first=[place for _, place in runs]))
        if reused:
            print(f"reused from other runs: {', '.join(reused)}", flush=True)
        code = runner.run(profile, folder, copies=False)
        if code != runner.EXIT_OK:
            return code
        summarise(study)
    return show(study) if study.notebook and not only else runner.EXIT_OK


def summarise(study: Study) -> list[Path]:
    """Write the tables and figures over all runs that are done; missing ones are named there.

    Returns:
        The files written, below `papermill_runs/<study>/`.
    """
    from qponder_lib.report import outputs  # pandas, which a plan does not need

    return outputs.write_study(paths.runs_root() / study.name, study)


def show(study: Study) -> int:
    """Execute the notebook of a study into `papermill_runs/<study>/executed/`.

    Returns:
        The exit code, as `runner.run` gives it.
    """
    folder, profile = RunPaths.named(study.name), load_profile(study.base)
    try:
        notebook = runner.notebook_numbered(study.notebook)
        runner.execute_notebook(notebook, profile, folder, study.base)
    except NotebookFailed as error:
        print(f"FAILED {error}", file=sys.stderr)
        return runner.EXIT_FAILED
    return runner.EXIT_OK


def all_runs(first: Sequence[RunPaths] = ()) -> list[RunPaths]:
    """List all runs and runs of studies below `papermill_runs/`, some of them first."""
    root, known = paths.runs_root(), {folder.root for folder in first}
    records = [*sorted(root.glob("*/seals")), *sorted(root.glob("*/*/seals"))]
    return [*first, *(RunPaths(one.parent) for one in records if one.parent not in known)]
