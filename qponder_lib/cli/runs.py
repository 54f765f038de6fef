"""`qponder run`, `status` and `reference`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
import yaml

from qponder_lib import artifacts, paths, pipeline
from qponder_lib.config import Study, load_profile_or_study
from qponder_lib.paths import RunPaths
from qponder_lib.runner import execution
from qponder_lib.runner import runs as runner
from qponder_lib.runner import study as studies
from qponder_lib.runner.progress import shown

_USAGE = 2


def run(
    profile: Annotated[str, typer.Argument(help="smoke, mini, study, full, or a YAML file")],
    name: Annotated[str | None, typer.Option("--run", help="folder in papermill_runs/")] = None,
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
    """Bring a run up to date: execute the notebooks that have something left to do."""
    try:
        loaded = load_profile_or_study(profile)
        overrides = parse_settings(settings or [])
        if isinstance(loaded, Study):
            if name or overrides or redo:
                raise ValueError("a study states its runs itself; --run, --set, --redo do not go")
            raise typer.Exit(studies.run_study(loaded, only or ()))
        if only:
            raise ValueError(f"{loaded.name} is not a study: --only does not go")
        job = runner.Job(
            profile=loaded.with_overrides(overrides),
            paths=RunPaths.named(name or loaded.name),
            redo=tuple(redo or ()),
        )
        pipeline.with_dependants(job.redo, job.profile)  # names a wrong stage before any work
    except (ValueError, FileNotFoundError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    code = runner.run(job)
    if code == runner.EXIT_OK:
        print(results(job.paths))
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
    execution.refuse_secrets(values)
    return values


def status(
    name: Annotated[str, typer.Argument(metavar="RUN", help="folder in papermill_runs/")],
) -> None:
    """Say which stages of a run are done, stale or missing, and what it measured."""
    try:
        folder = RunPaths.named(name)
        profile = load_profile_or_study(folder.profile if folder.profile.exists() else name)
    except (ValueError, FileNotFoundError) as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(_USAGE) from error
    if isinstance(profile, Study):
        for each, place in studies.study_runs(profile):
            done = [entry.state == "complete" for entry in pipeline.plan(each, place)]
            print(f"{each.name}: {sum(done)} of {len(done)} stages done")
        return
    print(runner.describe_plan(pipeline.plan(profile, folder), runner.Job(profile, folder)))
    if folder.manifest.exists():
        manifest = artifacts.read_json(folder.manifest)
        print(f"last ended {manifest['written']}: {manifest['exit_state']}")
    print(results(folder))


def results(folder: RunPaths) -> str:
    """Return the measured correlations of a run as text, and where the rest lies."""
    lines = []
    if folder.scores.exists():
        rows = artifacts.read_csv(folder.scores)
        for metric in ("srcc", "plcc"):
            lines += _score_table(rows, metric)
    places = {
        "report": folder.report / "index.html",
        "tables": folder.tables,
        "figures": folder.figures,
        "executed notebooks": folder.executed,
        "manifest": folder.manifest,
    }
    root = paths.repository_root()
    lines += [
        f"{what}: {place.relative_to(root).as_posix()}"
        for what, place in places.items()
        if place.exists()
    ]
    return "\n".join(lines) or f"nothing measured yet in {folder.root.name}"


def _score_table(rows: list[dict[str, str | None]], metric: str) -> list[str]:
    """Lay out one metric: a line per model and decoding, a column per set, with intervals."""
    mine = [row for row in rows if (row["metric"] or "").lower() == metric]
    if not mine:
        return []
    protocol = mine[0]["protocol"]
    mine = [row for row in mine if row["protocol"] == protocol]
    sets = list(dict.fromkeys(row["dataset"] for row in mine))
    cells = {(row["model"], row["decoding"], row["dataset"]): _interval(row) for row in mine}
    lines = [f"\n{metric.upper()} ({protocol}) with its interval"]
    lines.append(f"{'model':<18}" + "".join(f"{name or '':<20}" for name in sets))
    for model, decoding in dict.fromkeys((row["model"], row["decoding"]) for row in mine):
        label = f"{model}" if decoding == "greedy" else f"{model} ({decoding})"
        values = "".join(f"{cells.get((model, decoding, name), '-'):<20}" for name in sets)
        lines.append(f"{label:<18}" + values)
    return [*lines, ""]


def _interval(row: dict[str, str | None]) -> str:
    if row["value"] is None:
        return "none"
    value = f"{float(row['value']):.3f}"
    if row["ci_low"] is None or row["ci_high"] is None:
        return value
    return f"{value} [{float(row['ci_low']):.2f}, {float(row['ci_high']):.2f}]"


def reference(
    run: Annotated[str, typer.Argument(help="name of a finished run")],
) -> None:
    """Keep tables, figures, histories and executed notebooks of a run as the reference."""
    from qponder_lib.runner.reference import keep_reference

    folder = paths.runs_root() / "reference" / paths.safe_name(run)
    try:
        written = keep_reference(RunPaths.named(run), folder)
    except FileNotFoundError as error:
        print(f"qponder: {error}", file=sys.stderr)
        raise typer.Exit(runner.EXIT_FAILED) from error
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    print(f"{len(written)} files, {megabytes:.1f} MB, in {shown(folder)}")
