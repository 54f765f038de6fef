"""`qponder run`, `status`, `diff` and `reference`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from typer.core import TyperCommand

from qponder_lib import artifacts, paths, pipeline
from qponder_lib.config import (
    Profile,
    Study,
    load_profile,
    load_profile_or_study,
    profile_names,
)
from qponder_lib.paths import RunPaths, shown
from qponder_lib.pipeline import PlannedStage
from qponder_lib.runner import notebooks, runner
from qponder_lib.runner import study as studies

if TYPE_CHECKING:
    from qponder_lib.runner.reference import Compared

_MOST_LINES = 40

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="name in papermill_runs/, or path of a run folder")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


class NamesProfiles(TyperCommand):
    """A command whose help ends with the names of all profiles."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:
        """Look the names up only when help is asked for."""
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
) -> None:
    """Run or resume a profile.

    The notebooks of stages that are not complete are executed.
    """
    loaded = load_profile_or_study(profile)
    overrides = parse_settings(settings or [])
    if isinstance(loaded, Study):
        if name or overrides or redo:
            raise ValueError("a study states its runs itself; --run, --set, --redo do not go")
        raise typer.Exit(studies.run_study(loaded, only or ()))
    if only:
        raise ValueError(f"{loaded.name} is not a study: --only does not go")
    varied, folder = loaded.with_overrides(overrides), RunPaths.named(name or loaded.name)
    pipeline.with_dependants(redo or (), varied)  # names a wrong stage before any work
    code = runner.run(varied, folder, redo=redo or ())
    if code == runner.EXIT_OK:
        print(results(folder))
    raise typer.Exit(code)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read `section.field=value` settings; a value is a YAML literal.

    Raises:
        ValueError: If there is no `=`, or a name or value looks like a secret.

    Example:
        >>> parse_settings(["filter.gamma=0.5", "sft.variants=[long]"])
        {'filter.gamma': 0.5, 'sft.variants': ['long']}
    """
    values = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign:
            raise ValueError(f"--set {setting!r}: expected section.field=value")
        values[key.strip()] = yaml.safe_load(text)
    notebooks.refuse_secrets(values)
    return values


def status(run: RunName, as_json: AsJson = False) -> None:
    """Show complete, outdated and missing stages.

    And what the run measured, and where its outputs lie.
    """
    runs = _runs_named(run)
    planned = {shown(folder.root): _planned(profile, folder) for profile, folder in runs}
    if as_json:
        print(artifacts.to_json({name: _as_json(one) for name, one in planned.items()}, indent=2))
    elif len(runs) > 1:
        for name, entries in planned.items():
            done = sum(entry.state == "complete" for entry in entries)
            print(f"{name}: {done} of {len(entries)} stages complete")
    else:
        profile, folder = runs[0]
        print(f"{profile.name} in {shown(folder.root)}")
        print(runner.describe_plan(planned[shown(folder.root)]))
        if folder.manifest.exists():
            manifest = artifacts.read_json(folder.manifest)
            print(f"last ended {manifest['written']}: {manifest['exit_state']}")
        print(results(folder))


def _runs_named(name: str) -> list[tuple[Profile, RunPaths]]:
    """Return the run or the runs of a study, with their profiles, whether begun or not."""
    if not Path(name).is_dir() and name in profile_names():
        loaded = load_profile_or_study(name)
        if isinstance(loaded, Study):
            return studies.study_runs(loaded)
        folder = RunPaths.named(name)
        return [(load_profile(folder.profile) if folder.profile.exists() else loaded, folder)]
    folder = RunPaths.find(name)
    files = [folder.profile] if folder.profile.exists() else folder.root.glob("*/profile.yaml")
    runs = [(load_profile(file), RunPaths(file.parent)) for file in sorted(files)]
    if not runs:
        raise FileNotFoundError(f"no profile.yaml in {folder.root}: it is no run folder")
    return runs


def _planned(profile: Profile, folder: RunPaths) -> list[PlannedStage]:
    """Return the states of a run; those of a published one, which has no seals, by its manifest."""
    planned = pipeline.plan(profile, folder)
    if folder.seal("data").parent.is_dir() or not folder.manifest.exists():
        return planned
    keys = {one["name"]: one["key"] for one in artifacts.read_json(folder.manifest)["stages"]}
    return [
        dataclasses.replace(entry, state="complete", why="published")
        if keys.get(entry.stage.name) == entry.key
        else dataclasses.replace(entry, state="outdated", why="made by another version of the kit")
        for entry in planned
    ]


def _as_json(planned: list[PlannedStage]) -> list[dict[str, str]]:
    return [
        {
            "stage": entry.stage.name,
            "notebook": entry.stage.notebook,
            "state": entry.state,
            "why": entry.why,
        }
        for entry in planned
    ]


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
    lines = []
    for metric in ("srcc", "plcc"):
        mine = scores[scores["metric"] == metric]
        mine = mine[mine["protocol"] == mine["protocol"].iloc[0]] if len(mine) else mine
        cells = mine.assign(shown=[_interval(row) for row in mine.itertuples()])
        table = cells.set_index(["model", "decoding", "dataset"])["shown"].unstack(sort=False)
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
    as_json: AsJson = False,
) -> None:
    """Compare the numbers of a run with a reference.

    Exit code 1 if any moved.
    """
    from qponder_lib.runner.reference import compare

    rows = compare(RunPaths.find(run), RunPaths.find(reference))
    by_state = {
        state: [row for row in rows if row.state == state]
        for state in ("moved", "missing", "new", "within")
    }
    counts = {state: len(some) for state, some in by_state.items()}
    if as_json:
        del by_state["within"]
        listed = {
            name: [dataclasses.asdict(row) for row in some] for name, some in by_state.items()
        }
        head = {"run": run, "reference": reference, "compared": len(rows), "counts": counts}
        print(artifacts.to_json(head | listed, indent=2))
    else:
        print(", ".join(f"{n} {state}" for state, n in counts.items()))
        for state in ("moved", "missing", "new"):
            print(*_diff_lines(state, by_state[state]), sep="\n", end="\n" * bool(by_state[state]))
    raise typer.Exit(1 if counts["moved"] else 0)


def _diff_lines(state: str, rows: list[Compared]) -> list[str]:
    lines = []
    for row in rows[:_MOST_LINES]:
        sides = {"moved": (row.reference, row.run), "missing": (row.reference,), "new": (row.run,)}
        values = " -> ".join("none" if one is None else f"{one:.4g}" for one in sides[state])
        lines.append(f"{state:<8}{row.file}: {row.name}: {values} ({row.why})")
    if len(rows) > _MOST_LINES:
        lines.append(f"{state:<8}and {len(rows) - _MOST_LINES} more; --json lists all")
    return lines


def reference(run: RunName) -> None:
    """Keep the small files of a run, to compare with.

    They are copied to papermill_runs/reference/.
    """
    from qponder_lib.runner.reference import keep_reference

    folder = paths.runs_root() / "reference" / paths.safe_name(run)
    written = keep_reference(RunPaths.find(run), folder)
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    print(f"{len(written)} files, {megabytes:.1f} MB, in {shown(folder)}")
