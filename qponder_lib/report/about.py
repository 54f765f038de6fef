"""The sections about the run as a whole: its headline, its controls, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from qponder_lib.report.parts import Section, Source, grid, link, missing, picture, short
from qponder_lib.report.tables.markup import Html, element, join, visible
from qponder_lib.report.tables.sources import model_label

Row = Mapping[str, str | None]


def headline(source: Source) -> Section:
    """A few numbers, each with its interval and n, and the main figure."""
    home = source.setting("data", "train_set", "")
    start = f"ci-{source.setting('grpo', 'start_from', 'long')}"
    scores, differences = source.rows(source.run.scores), source.rows(source.run.differences)
    cards = []
    for model in ("handcrafted", start, "qponder", "teacher"):
        for dataset, label in ((home, "in domain"), ("mean", "mean over the sets")):
            row = _pick(scores, model=model, dataset=dataset, decoding="greedy", metric="srcc")
            if row is not None:
                cards.append(_card(f"{model_label(model)}, {label}", "SRCC", row))
    for metric, name in (("srcc", "SRCC"), ("mae", "mean absolute error, MOS units")):
        for dataset, label in ((home, "in domain"), ("mean", "mean over the sets")):
            where = {"model_a": "qponder", "model_b": start, "dataset": dataset, "metric": metric}
            row = _pick(differences, decoding="greedy", **where)
            if row is not None:
                cards.append(_card(f"What GRPO changed, {label}", f"difference in {name}", row))
    if not cards:
        return Section("summary", "In short", missing("eval/scores.csv", "Notebook 08 writes it."))
    note = (
        "Greedy answers on held-out images. Brackets are bootstrap intervals over images; they do "
        "not cover the training seed. Numbers of sets named mini- are not those of public sets."
    )
    body = [
        element("div", *cards, class_="cards"),
        element("p", note),
        picture(
            source,
            "main_result",
            "SRCC with intervals of every model on every set; a "
            "dashed line is the ceiling of a predictor that knows the true quality, where known.",
        ),
    ]
    return Section("summary", "In short", join(*body))


def controls(source: Source) -> Section:
    """What must not look good, or shows how good one can be, beside the result."""
    scores = source.rows(source.run.scores)
    lines = []
    told = {
        "base": "the untrained student, mean over the sets",
        "handcrafted": "image statistics, ridge regression on the same labels, mean over the sets",
        "teacher": "the teacher without a hint, mean over the sets",
    }
    for model, what in told.items():
        row = _pick(scores, model=model, dataset="mean", decoding="greedy", metric="srcc")
        if row is not None:
            lines.append([model_label(model), what, _with_interval(row), short(row["n"])])
    for row in source.rows(source.run.tables / "filter.csv"):
        if row.get("selection") == "random":
            ends = f"{short(row['srcc'])} [{short(row['srcc_low'])}, {short(row['srcc_high'])}]"
            lines.append(
                [
                    "Filter by chance",
                    "as many teacher's answers kept as by Eq. 1, on training images",
                    ends,
                    short(row["n"]),
                ]
            )
    shuffled = source.setting("grpo", "shuffle_rewards", None)
    if shuffled is True:
        note = "This run is itself a control: its rewards were shuffled within each group."
    else:
        note = join(
            "Shuffled rewards, three seeds and sweeps are runs of the profile study, not of this "
            "one; ",
            element("code", "qponder run study"),
            " makes them.",
        )
    table = grid(["Control", "What it is", "SRCC", "n"], lines)
    return Section("controls", "Controls", join(table, element("p", note)))


def provenance(source: Source) -> Section:
    """What ran, from what, on what, for how long."""
    manifest = source.manifest
    if not manifest:
        return Section("run", "The run", missing("manifest.json", "A finished run writes it."))
    kit, machine = manifest.get("kit", {}), manifest.get("machine", {})
    facts = {
        "Profile": f"{source.profile.get('name')}: {source.profile.get('description')}",
        "Seed": source.profile.get("seed"),
        "Ended": f"{manifest.get('written')}, {manifest.get('exit_state')}",
        "Kit": f"{kit.get('version')}, commit {kit.get('commit') or kit.get('reason')}"
        + (" with local changes" if kit.get("dirty") else ""),
        "Machine": ", ".join(f"{key.replace('_', ' ')} {machine[key]}" for key in machine),
    }
    stages = manifest.get("stages", [])
    minutes = [
        [one["name"], one["notebook"], _minutes(one.get("seconds")), one.get("created") or "–"]
        for one in stages
    ]
    total = sum(one.get("seconds") or 0.0 for one in stages)
    minutes.append(["all", "", _minutes(total), ""])
    settings = [
        [f"{section}.{name}", str(value)]
        for section, values in source.profile.items()
        if isinstance(values, dict)
        for name, value in values.items()
    ]
    versions = [[name, str(text)] for name, text in manifest.get("versions", {}).items()]
    body = [
        grid(["Fact", "Value"], [[name, visible(str(value))] for name, value in facts.items()]),
        element("h3", "Minutes per stage"),
        grid(["Stage", "Notebook", "Minutes", "Sealed"], minutes),
        element(
            "details", element("summary", "Every setting"), grid(["Setting", "Value"], settings)
        ),
        element("details", element("summary", "Versions"), grid(["Package", "Version"], versions)),
        element("p", "Record: ", link(source, source.run.manifest), class_="files"),
    ]
    return Section("run", "The run", join(*body))


def _pick(rows: list[dict[str, str | None]], **wanted: str) -> Row | None:
    """Return the raw row with these values, or None."""
    wanted = {"protocol": "raw", **wanted}
    return next((r for r in rows if all(r.get(k) == v for k, v in wanted.items())), None)


def _with_interval(row: Row) -> str:
    if row["value"] is None:
        return f"none ({row.get('reason')})"
    ends = f" [{short(row['ci_low'])}, {short(row['ci_high'])}]" if row["ci_low"] else ""
    return short(row["value"]) + ends


def _card(title: str, metric: str, row: Row) -> Html:
    value = row["value"]
    ends = f"[{short(row['ci_low'])}, {short(row['ci_high'])}]" if row["ci_low"] else ""
    unread = row.get("n_unparsed") or row.get("n_excluded") or "0"
    left = f", {short(unread)} unread" if unread != "0" else ""
    return element(
        "div",
        element("p", visible(title), class_="name"),
        element("p", short(value) if value else "no value", class_="value"),
        element("p", ends or visible(str(row.get("reason") or "")), class_="ends"),
        element("p", f"{metric}, n = {short(row['n'])}{left}", class_="what"),
        class_="card",
    )


def _minutes(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 60.0:.1f}"
