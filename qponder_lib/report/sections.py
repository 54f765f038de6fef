"""The sections on what was measured, each from the files of a run."""

from __future__ import annotations

from qponder_lib.report import cases
from qponder_lib.report.parts import (
    Section,
    Source,
    csv_table,
    grid,
    link,
    missing,
    picture,
    short,
    table_file,
)
from qponder_lib.report.tables.markup import element, join
from qponder_lib.report.tables.sources import model_label


def results(source: Source) -> Section:
    """Tables 1 and 3, differences, protocols; measured and reported apart."""
    how = "Notebook 10 writes it."
    body = [
        table_file(source, "table1", how),
        picture(source, "fig4a_heatmap", "SRCC × PLCC as in Fig. 4(a), measured here."),
        table_file(source, "differences", how),
        table_file(source, "table3", how),
        picture(source, "scatter_models", "Stated scores against the MOS, in domain."),
        picture(source, "decoding", "Greedy and sampled answers."),
        table_file(source, "decoding", how, folded=True),
        table_file(source, "protocols", how, folded=True),
        table_file(source, "table1_reported", how, folded=True),
    ]
    return Section("results", "Results", join(*body))


def filtering(source: Source) -> Section:
    """What Eq. 1 did to the distilled data."""
    body = [
        table_file(source, "filter", "Notebook 03 writes it."),
        picture(source, "filter_sweep", "Agreement over the share kept, with a random control."),
        picture(source, "filter_histogram", "Which images the filter throws away."),
    ]
    return Section("filter", "The filter of Eq. 1", join(*body))


def training(source: Source) -> Section:
    """Curves of SFT and GRPO."""
    logs = sorted(source.run.root.glob("sft/*/history.csv"))
    logs += sorted(source.run.root.glob("grpo/*/history.csv"))
    body = [
        picture(source, "sft_loss", "Loss of the SFT variants."),
        picture(source, "fig5_grpo", "Accuracy reward and completion length, as in Fig. 5."),
        picture(source, "grpo_diagnostics", "What tells whether reinforcement learning works."),
        element("p", "Logs: ", *[join(link(source, log), " ") for log in logs], class_="files"),
    ]
    return Section("training", "Training", join(*body))


def judged(source: Source) -> Section:
    """Judged reasoning, agreement of judges and canaries; reported tables folded below."""
    run, how = source.run, "Notebook 09 asks the judges, notebook 10 lays the table out."
    body = [table_file(source, "table2", how)]
    if (run.figures / "fig4b_lines.png").is_file():
        body.append(picture(source, "fig4b_lines", "Judged reasoning over the sets, Fig. 4(b)."))
        body.append(table_file(source, "table4", how))
    for name, title in (
        ("judge_agreement", "Do judges agree?"),
        ("judge_canaries", "Can a judge be moved? Answers with a spoof, against the same without"),
        ("filter_judged", "Judged reasoning of the distilled data, before and after Eq. 1"),
    ):
        if (run.tables / f"{name}.csv").is_file():
            body += [element("h3", title), csv_table(source, run.tables / f"{name}.csv")]
    body += [table_file(source, f"table{n}_reported", how, folded=True) for n in (2, 4)]
    return Section("judged", "Judged reasoning", join(*body))


def breakdown(source: Source) -> Section:
    """Errors by type, level and severity; calibration; clustering of scores."""
    how = "Notebook 10 writes it."
    body = [
        picture(
            source,
            "breakdown",
            "Error and order by tagged type, level and fifth of the MOS; "
            "in brackets the number of images.",
        ),
        table_file(source, "breakdown", how, folded=True),
        picture(
            source,
            "calibration",
            "Mean MOS by stated score; the diagonal is calibrated, "
            "grey bars are shares of answers.",
        ),
        table_file(source, "calibration", how, folded=True),
        picture(source, "score_clustering", "How often each score is stated."),
        table_file(source, "clustering", how),
    ]
    return Section("breakdown", "Where models err", join(*body))


def case_studies(source: Source) -> Section:
    """Cases with statements marked, and the rates over all answers."""
    run, found = source.run, cases.read_cases(source.run.cases)
    if not found:
        return Section("cases", "Case studies", missing("cases/", "Notebook 11 writes them."))
    legend = element(
        "p",
        "Images are chosen by quantiles of the change in error and by chance, never by their "
        "texts. ",
        element("span", "right ✓", class_="right"),
        ": borne out by the image's tags. ",
        element("span", "wrong ✗", class_="wrong"),
        ": contradicted by them. ",
        element("span", "dotted", class_="doubt"),
        ": tags cannot decide. Hover for the reason.",
        class_="case",
    )
    rates = [
        row for row in source.rows(run.tables / "statements.csv") if row["dataset"] == "all sets"
    ]
    table = grid(
        ["Model", "right among decided", "interval", "answers", "right", "wrong", "undecided"],
        [
            [
                model_label(str(row["model"])),
                short(row["value"] or row["reason"]),
                f"[{short(row['ci_low'])}, {short(row['ci_high'])}]" if row["ci_low"] else "",
                *[short(row[name]) for name in ("n", "right", "wrong", "undecided")],
            ]
            for row in rows_with_text(rates)
        ],
    )
    body = [legend, *[cases.case_html(case, f"../cases/{case.picture}") for case in found]]
    body += [
        element("h3", "The same rule over all test answers"),
        table,
        element("p", "Numbers: ", link(source, run.tables / "statements.csv"), class_="files"),
    ]
    return Section("cases", "Case studies", join(*body))


def rows_with_text(rows: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Leave out models that write no text."""
    return [row for row in rows if row["reason"] != "no_text"]
