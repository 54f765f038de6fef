"""Run a study: several variations of one profile, sharing the stages that are equal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from qponder_lib import paths
from qponder_lib.config import Profile, Study, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.runner import execution
from qponder_lib.runner import runs as runner
from qponder_lib.runner.progress import Progress, shown
from qponder_lib.runner.sharing import other_runs, share_stages


def study_runs(study: Study) -> list[tuple[Profile, RunPaths]]:
    """Return the profile and the folder, `papermill_runs/<study>/<run>`, of each run."""
    base = load_profile(study.base)
    runs = []
    for entry in study.runs:
        name = f"{study.name}/{entry.name}"
        profile = base.with_overrides(entry.overrides)
        profile = profile.model_copy(update={"name": name, "description": study.description})
        runs.append((profile, RunPaths.named(name)))
    return runs


def run_study(study: Study, only: Sequence[str] = ()) -> int:
    """Run what is not done yet, in the order of the file; stop at the first failure.

    Stages of equal keys are taken over from any run below `papermill_runs/`, such as the
    predictions of the cold start of a run's seed.

    Args:
        study: Runs and what they differ in.
        only: Names of the runs to bring up to date; none for all. Several processes may each
            take some of them, with `OMP_NUM_THREADS` set to a share of the cores.

    Returns:
        The exit code of the last run, as `runner.run` gives it.

    Raises:
        ValueError: If the study has no run of such a name.
    """
    names = [entry.name for entry in study.runs]
    if unknown := sorted(set(only) - set(names)):
        raise ValueError(
            f"{study.name} has no run {', '.join(unknown)}; there are {', '.join(names)}"
        )
    runs = study_runs(study)
    own = [folder for _, folder in runs]
    for number, (profile, folder) in enumerate(runs, start=1):
        if only and names[number - 1] not in only:
            continue
        print(f"\n==== {number}/{len(runs)} {profile.name}", flush=True)
        shared = share_stages(profile, folder, [*own, *other_runs(own)])
        if shared:
            print(f"taken over from other runs: {', '.join(shared)}", flush=True)
        code = runner.run(runner.Job(profile, folder, copies=False))
        if code != runner.EXIT_OK:
            return code
        summarise(study)
    return show(study) if study.notebook and not only else runner.EXIT_OK


def summarise(study: Study) -> list[Path]:
    """Write the tables and figures over all runs that are done; missing ones are named there.

    Returns:
        The files written, below `papermill_runs/<study>/`.
    """
    from qponder_lib.report import figures, tables

    folder = paths.runs_root() / study.name
    if len({profile.grpo.reward for profile, _ in study_runs(study)}) > 1:
        return [*tables.reward_tables(folder, study), *figures.reward_figures(folder)]
    return [*tables.study_tables(folder, study), *figures.study_figures(folder)]


def show(study: Study) -> int:
    """Execute the notebook of a study into `papermill_runs/<study>/executed/`.

    Returns:
        The exit code, as `runner.run` gives it.
    """
    folder = RunPaths.named(study.name)
    notebook = next(iter(sorted(paths.notebooks_root().glob(f"{study.notebook}_*.ipynb"))), None)
    if notebook is None:
        print(f"there is no notebook {study.notebook}_*.ipynb", file=sys.stderr)
        return runner.EXIT_FAILED
    parameters = execution.notebook_parameters(
        notebook, load_profile(study.base), profile_file=study.base, run_dir=shown(folder.root)
    )
    partial = folder.executed / f"{notebook.stem}.partial.ipynb"
    progress = Progress(notebook.stem, notebook)
    log_file = folder.logs / f"{notebook.stem}.log"
    outcome = execution.execute(
        notebook, partial, parameters, log_file, paths.repository_root(), progress
    )
    progress.finish()
    if outcome.state != "completed":
        print(f"FAILED {notebook.name}: {outcome.state}: {outcome.message}", file=sys.stderr)
        return runner.EXIT_FAILED
    os.replace(partial, folder.executed / notebook.name)
    return runner.EXIT_OK
