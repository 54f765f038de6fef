"""One page on a run: what the papers report against what was measured here.

The page is static HTML without scripts, laid out by `page.html.jinja`; it works offline and lies at
`report/index.html` of a run, beside the tables and figures that it links to. All text from models,
data and files is escaped, its control characters shown by their code.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from qponder_lib import artifacts
from qponder_lib.evaluation.scoring import MEAN
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report import cases
from qponder_lib.report.render import in_order, interval, model_label, number, template
from qponder_lib.report.verdicts import Verdict, runs_over_seeds, smaller_than_the_paper, verdicts

Row = dict[str, str | None]
SIGNS = {
    "shows": "●",
    "does_not_show": "✕",
    "undecided": "◐",
    "few_runs": "◔",
    "not_decidable": "◇",
    "not_run": "○",
}
"""A sign for each outcome of a claim, so that colour is never alone."""
_SHOWN_SHARE = 0.62  # figures are drawn at 180 dots per inch, a page has about 110


def write_report(paths: RunPaths) -> Path:
    """Write the page of a run, or of a kept reference, from the files that lie there.

    Args:
        paths: The run; what it lacks is named on the page, with what would write it.

    Returns:
        `report/index.html`.

    Raises:
        FileNotFoundError: If there is no such run.
        ArtifactError: If a file of the run is damaged.
    """
    if not paths.root.is_dir():
        raise FileNotFoundError(f"no run in {paths.root}; `qponder run mini` makes one")
    style = (resources.files("qponder_lib") / "report" / "style.css").read_text(encoding="utf-8")
    html = template("page.html.jinja", short=short, ends=ends, prose=prose).render(
        page=Page(paths), signs=SIGNS, style=Markup(style + cases.cases_style())
    )
    target = paths.report / "index.html"
    artifacts.write_text_atomic(target, html + "\n")
    return target


def short(text: str | None) -> str:
    """Write a cell of a CSV for readers.

    Example:
        >>> short("0.123456"), short(None), short("1800"), short("too_few")
        ('0.123', '–', '1,800', 'too_few')
    """
    try:
        return f"{int(text):,}" if text and text.isdigit() else number(text and float(text))
    except ValueError:
        return text


def ends(row: Row) -> str:
    """Write the interval of a row; nothing where there is none."""
    low, high = row["ci_low"], row["ci_high"]
    return interval(float(low), float(high)) if low and high else ""


def prose(text: str) -> str:
    r"""Set a sentence with numbers: minus signs, intervals on one line, a capital, a full stop.

    Example:
        >>> prose("accuracy -0.2 [-0.3, -0.1]")
        'Accuracy −0.2\xa0[−0.3,\xa0−0.1].'
    """
    text = re.sub(r"(?<![\w.])-(?=\d)", "−", text)
    text = re.sub(r" ?\[([^\s\]]+), ([^\s\]]+)\]", "\xa0[\\1,\xa0\\2]", text)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


@dataclass(frozen=True)
class Page:
    """What `page.html.jinja` asks of a run.

    Attributes:
        paths: The run.
    """

    paths: RunPaths

    # ---- files

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The record of the run; empty while it has not finished."""
        path = self.paths.manifest
        return artifacts.read_json(path) if path.is_file() else {}

    @property
    def profile(self) -> dict[str, Any]:
        """The settings of the run as its manifest has them."""
        return self.manifest.get("profile", {})

    def minutes(self) -> str:
        """Return how long all stages took."""
        return f"{sum(one.get('seconds') or 0.0 for one in self.manifest['stages']) / 60.0:.1f}"

    def machine(self) -> str:
        """Describe the machine of the run."""
        found = self.manifest.get("machine", {})
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())

    def settings(self) -> list[tuple[str, str]]:
        """List every setting of the run."""
        return [
            (f"{section}.{name}", str(value))
            for section, values in self.profile.items()
            if isinstance(values, dict)
            for name, value in values.items()
        ]

    def rows(self, name: str, **wanted: str) -> list[Row]:
        """Read the rows of a CSV that have these values; none where there is no such file."""
        path = self.paths.root / name
        found = artifacts.read_csv(path) if path.is_file() else []
        return [row for row in found if all(row.get(k) == v for k, v in wanted.items())]

    def address(self, name: str) -> str | None:
        """Return the address of a file of the run as the page sees it; None if it is not there."""
        return "../" + quote(name) if (self.paths.root / name).is_file() else None

    def files(self, pattern: str) -> list[str]:
        """List files of the run by a pattern."""
        return sorted(map(self.paths.relative, self.paths.root.glob(pattern)))

    def size(self, name: str) -> tuple[int, int]:
        """Return the width and height at which a figure is shown: its letters as the page's."""
        with Image.open(self.paths.root / name) as image:
            width, height = image.size
        return round(width * _SHOWN_SHARE), round(height * _SHOWN_SHARE)

    def table(self, name: str) -> Markup | None:
        """Return `tables/<name>.html` as it was written for readers, its headings one lower."""
        path = self.paths.tables / f"{name}.html"
        if not path.is_file():
            return None
        text = path.read_text(encoding="utf-8")
        for old, new in (("h3", "h4"), ("h2", "h3")):
            text = text.replace(f"<{old}>", f"<{new}>").replace(f"</{old}>", f"</{new}>")
        wide = '<div class="wide" tabindex="0" role="region" aria-label="table">'
        return Markup(
            text.replace("<table>", f"{wide}<table>").replace("</table>", "</table></div>")
        )

    def same_tables(self, one: str, other: str) -> bool:
        """Say whether two tables print the same numbers, so that one is enough."""
        first, second = (self.paths.tables / f"{name}.csv" for name in (one, other))
        there = first.is_file() and second.is_file()
        return there and first.read_bytes() == second.read_bytes()

    def cases(self) -> list[tuple[str, Markup]]:
        """Return the case studies: what each is, and its HTML."""
        return [
            (
                f"Case {case.number}: {case.rule}",
                Markup(cases.case_html(case, f"../cases/{case.picture}")),
            )
            for case in cases.read_cases(self.paths.cases)
        ]

    # ---- what stands first

    def score(self, model: str, dataset: str, metric: str = "srcc") -> Row | None:
        """Return the row of a score: greedy, no fitted curve."""
        where = {"model": model, "dataset": dataset, "metric": metric}
        found = self.rows("eval/scores.csv", decoding="greedy", protocol="raw", **where)
        return found[0] if found else None

    def models(self) -> list[str]:
        """List the models that were scored, in the order of the tables."""
        return in_order(list({row["model"] or "" for row in self.rows("eval/scores.csv")}))

    @property
    def home(self) -> str:
        """The set that was trained on."""
        return self.profile.get("data", {}).get("train_set", "")

    @cached_property
    def runs(self) -> list[Run]:
        """The run, if its profile is there, and those that differ from it in training seeds."""
        return runs_over_seeds(self.paths)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One verdict per claim."""
        return verdicts(self.paths)

    def smaller(self) -> list[str]:
        """Say what of the run is not the paper's setting."""
        return smaller_than_the_paper(self.runs[0]) if self.runs else []

    def seeds(self) -> list[str]:
        """Name the runs that differ from this one in training seeds alone."""
        beside = self.paths.root.parent
        return [run.paths.root.relative_to(beside).as_posix() for run in self.runs[1:]]

    def opening(self) -> list[str]:
        """Say in a sentence each how good the models are, and what RL changed."""
        told = []
        means = {m: row for m in self.models() if (row := self.score(m, MEAN)) and row["value"]}
        trained = [model for model in means if model not in ("handcrafted", "base", "teacher")]
        if trained:
            best = max(trained, key=lambda model: float(means[model]["value"] or 0))
            shown = dict.fromkeys([best, "qponder", "handcrafted", "teacher"])
            listed = "; ".join(
                f"{model_label(model)} {short(means[model]['value'])} {ends(means[model])}"
                for model in shown
                if model in means
            )
            told.append(
                f"Of the trained models, {model_label(best)} orders held-out images best, by its "
                f"SRCC in the mean over the sets: {listed}."
            )
        elif self.models():
            told.append("No trained model made enough predictions that can be parsed for a score.")
        claims = {verdict.claim.id: verdict for verdict in self.verdicts}
        numbers = [*claims["rl-gain"].numbers, *claims["fewer-hallucinations"].numbers]
        if numbers:
            listed = "; ".join(numbers).replace(", after RL minus before", "")
            basis = claims["rl-gain"].basis or claims["fewer-hallucinations"].basis
            told.append(f"RL, after minus before, mean over the sets ({basis}): {listed}.")
        return told

    def outcomes(self) -> Counter[str]:
        """Count the claims by outcome, in the order of `SIGNS`."""
        found = Counter(verdict.outcome for verdict in self.verdicts)
        return Counter({outcome: found[outcome] for outcome in SIGNS if found[outcome]})
