"""`qponder run`, `status`, `diff` and `reference`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from qponder_lib import paths
from qponder_lib.cli.common import AsJson, RunName, answer
from qponder_lib.paths import RunPaths, shown

if TYPE_CHECKING:
    from qponder_lib.config import Profile
    from qponder_lib.pipeline import PlannedStage


class NamesProfiles(TyperCommand):
    """A command whose help ends with the names of all profiles."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:
        """Look the names up only when help is asked for."""
        from qponder_lib.config import profile_names

        formatter.write_paragraph()
        formatter.write_text(f"Profiles and studies: {', '.join(profile_names())}")


def run(
    profile: Annotated[str, typer.Argument(help="name of a profile or study, or a YAML file")],
    name: Annotated[
        str | None,
        typer.Option("--run", help="name in papermill_runs/; default: that of the profile"),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value; repeatable")
    ] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(help="run this stage and what depends on it again; repeatable"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="of a study, this run alone; repeatable")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="begin with the notebook of this stage")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--until", help="end with the notebook of this stage")
    ] = None,
) -> None:
    """Run or resume a profile.

    The notebooks of stages that are not complete are executed.
    """
    from qponder_lib import config, pipeline
    from qponder_lib.runner import runner, study

    loaded = config.load_profile_or_study(profile)
    overrides = parse_settings(settings or [])
    if isinstance(loaded, config.Study):
        if name or overrides or redo or first or last:
            raise ValueError("a study states its runs itself; of the options only --only goes")
        raise typer.Exit(study.run_study(loaded, only or ()))
    if only:
        raise ValueError(f"{loaded.name} is not a study: --only does not go")
    varied, folder = loaded.with_overrides(overrides), RunPaths.named(name or loaded.name)
    for stage in (*(redo or ()), *filter(None, (first, last))):
        pipeline.stage_named(stage, varied)  # names a wrong one before any work
    code = runner.run(varied, folder, redo=redo or (), first=first, last=last)
    if code == runner.EXIT_OK:
        print(results(folder))
    raise typer.Exit(code)


def fetch(profile: Annotated[str, typer.Argument(help="name or path of a profile")]) -> None:
    """Fetch the model of a profile; say where its image sets are.

    The one command that goes online; HF_HOME says where the model lies.
    """
    from qponder_lib.config import load_profile
    from qponder_lib.gpu.ready import fetch as fetched

    print("\n".join(fetched(load_profile(profile))) or f"{profile} needs nothing from elsewhere")


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read `section.field=value` settings; a value is a YAML literal.

    Raises:
        ValueError: If there is no `=`, or a name or value looks like a secret.

    Example:
        >>> parse_settings(["filter.gamma=0.5", "sft.variants=[long]"])
        {'filter.gamma': 0.5, 'sft.variants': ['long']}
    """
    import yaml

    from qponder_lib.runner.notebooks import refuse_secrets

    values = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            raise ValueError(f"--set {setting!r}: expected section.field=value")
        values[key.strip()] = yaml.safe_load(text)
    refuse_secrets(values)
    return values


def status(run: RunName, as_json: AsJson = False) -> None:
    """Show complete, outdated and missing stages.

    And what the run measured, and where its outputs lie.
    """
    runs = _runs_named(run)
    planned = {shown(folder.root): _planned(profile, folder) for profile, folder in runs}
    lines, data = [], {}
    for name, entries in planned.items():
        done = sum(entry.state == "complete" for entry in entries)
        lines.append(f"{name}: {done} of {len(entries)} stages complete")
        data[name] = [
            {
                "stage": entry.stage.name,
                "notebook": entry.stage.notebook,
                "state": entry.state,
                "why": entry.why,
            }
            for entry in entries
        ]
    if len(runs) == 1:
        lines += _details(runs[0][1], *planned.values())
    answer(as_json, data, "\n".join(lines))


def _runs_named(name: str) -> list[tuple[Profile, RunPaths]]:
    """Return the run or the runs of a study, with their profiles, whether begun or not."""
    from qponder_lib import config
    from qponder_lib.runner import study

    if not Path(name).is_dir() and name in config.profile_names():
        loaded = config.load_profile_or_study(name)
        if isinstance(loaded, config.Study):
            return study.study_runs(loaded)
        folder = RunPaths.named(name)
        if not folder.profile.exists():
            return [(loaded, folder)]
    folder = RunPaths.find(name)
    files = [folder.profile] if folder.profile.exists() else folder.root.glob("*/profile.yaml")
    runs = [(config.load_profile(file), RunPaths(file.parent)) for file in sorted(files)]
    if not runs:
        raise FileNotFoundError(f"no profile.yaml in {folder.root}: it is no run folder")
    return runs


def _planned(profile: Profile, folder: RunPaths) -> list[PlannedStage]:
    """Return the states of a run; of a published one, without records, by its manifest."""
    from qponder_lib import artifacts, pipeline

    planned = pipeline.plan(profile, folder)
    if folder.record("data").parent.is_dir() or not folder.manifest.exists():
        return planned
    keys = {one["name"]: one["key"] for one in artifacts.read_json(folder.manifest)["stages"]}
    return [
        dataclasses.replace(entry, state="complete", why="published")
        if keys.get(entry.stage.name) == entry.key
        else dataclasses.replace(entry, state="outdated", why="made by another version of the kit")
        for entry in planned
    ]


def _details(folder: RunPaths, planned: Sequence[PlannedStage]) -> list[str]:
    from qponder_lib import artifacts
    from qponder_lib.runner.runner import describe_plan

    lines = [describe_plan(planned)]
    if folder.manifest.exists():
        manifest = artifacts.read_json(folder.manifest)
        lines.append(f"last ended {manifest['written']}: {manifest['exit_state']}")
    return [*lines, results(folder)]


def results(folder: RunPaths) -> str:
    """Return the measured correlations of a run as text, and where the rest lies."""
    lines = _score_tables(folder.scores) if folder.scores.exists() else []
    places = {
        "report": folder.report / "index.html",
        "tables": folder.tables,
        "figures": folder.figures,
        "executed notebooks": folder.executed,
        "manifest": folder.manifest,
    }
    lines += [f"{what}: {shown(place)}" for what, place in places.items() if place.exists()]
    return "\n".join(lines) or f"nothing measured yet in {folder.root.name}"


def _score_tables(file: Path) -> list[str]:
    """Lay out each correlation: a line per model and decoding, a column per set."""
    import pandas as pd

    scores = pd.read_csv(file)
    scores["shown"] = [_interval(row) for row in scores.itertuples()]
    lines = []
    for metric in ("srcc", "plcc"):
        mine = scores[(scores["metric"] == metric) & (scores["protocol"] == "raw")]
        table = mine.set_index(["model", "decoding", "dataset"])["shown"].unstack(sort=False)
        lines += [f"\n{metric.upper()} with its interval", table.to_string(na_rep="-"), ""]
    return lines


def _interval(row: Any) -> str:
    if row.value != row.value:
        return "none"
    ends = "" if row.ci_low != row.ci_low else f" [{row.ci_low:.2f}, {row.ci_high:.2f}]"
    return f"{row.value:.3f}{ends}"


def diff(
    run: RunName,
    reference: Annotated[str, typer.Argument(help="the same, such as reference/mini")],
    every: Annotated[bool, typer.Option("--all", help="list all numbers that differ")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the numbers of a run with a reference.

    A number is equal to rounding, within the measured spread of training, or drifted. Exit code 1
    if any drifted or is missing.
    """
    import json

    from qponder_lib.report import reproduction
    from qponder_lib.runner import reference as sides

    folders = RunPaths.find(run), RunPaths.find(reference)
    spread = reproduction.find_spread(folders[1])
    numbers = reproduction.compare(*folders, spread)
    models, differing = reproduction.summary(numbers), numbers[numbers["state"] != "equal"]
    first, second = (sides.machine(one) for one in folders)
    settings = sides.other_settings(*folders)
    verdict = reproduction.verdict(numbers, spread)
    lines = [f"run {run} ({first}) against {reference} ({second})"]
    lines += [f"setting {name}: {new}, there {old}" for name, (new, old) in settings.items()]
    lines.append(models.drop(columns=["run", "reference"]).to_string(float_format="{:.2f}".format))
    if every:
        lines.append(differing.to_string(index=False, float_format="{:.4g}".format))
    data = {
        "machines": {"run": first, "reference": second},
        "settings": settings,
        "models": json.loads(models.to_json(orient="index")),
        "numbers": json.loads(differing.to_json(orient="records", double_precision=15)),
        "verdict": verdict,
    }
    text = "\n".join([*lines, verdict])
    answer(as_json, data, text, ok=reproduction.reproduced(numbers))


def reference(run: RunName) -> None:
    """Keep the small files of a run, to compare with.

    They are copied to papermill_runs/reference/.
    """
    from qponder_lib.runner.reference import keep_reference

    folder = paths.runs_root() / "reference" / paths.safe_name(run)
    written = keep_reference(RunPaths.find(run), folder)
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    print(f"{len(written)} files, {megabytes:.1f} MB, in {shown(folder)}")
