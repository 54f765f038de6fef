"""The named places in the repository and in a run folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


MINI_WEIGHTS = Path(__file__).parent / "student" / "weights" / "mini"
"""The base weights of the mini student, which ship with the kit."""
MINI_CHECKSUM = MINI_WEIGHTS / "SHA256"
PACKAGED = MINI_WEIGHTS.with_name("packaged")
"""The student trained on real opinions that ships with the kit; tests/package_model.py makes it."""


def safe_name(name: str) -> str:
    """Return a run name if it can be used as a folder below `papermill_runs/`.

    Args:
        name: Letters, digits, `.`, `_` and `-`; parts may be joined by `/`.

    Raises:
        ValueError: If a part is empty, starts with another character, or holds `..` or braces
            (papermill passes paths through `str.format`).

    Example:
        >>> safe_name("study/seed-1")
        'study/seed-1'
    """
    for part in name.split("/"):
        if not _SAFE_NAME.fullmatch(part) or ".." in part:
            raise ValueError(
                f"run name {name!r}: use letters, digits, '.', '_' and '-', parts joined by '/'"
            )
    return name


def instead(name: str, known: Iterable[str], *, else_listed: Iterable[str] = ()) -> str:
    """Return how a message about an unknown name goes on: the nearest known names, or all.

    Args:
        name: The unknown one.
        known: Those that can be meant.
        else_listed: What is listed in place of `known` where none is near.

    Example:
        >>> instead("filter.gama", ["filter.gamma", "sft.seed"]), instead("x", ["data", "filter"])
        ("; did you mean 'filter.gamma'?", '; there are data, filter')
    """
    known = list(known)
    same_field = [one for one in known if one.rpartition(".")[2] == name]
    near = same_field[:3] or difflib.get_close_matches(name, known, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(repr(one) for one in near)}?"
    return f"; there are {', '.join(list(else_listed) or known)}"


def repository_root() -> Path:
    """Return the folder with `notebooks/` and `papermill_runs/`.

    The environment variable QPONDER_ROOT wins, then the first folder that has both at or above
    the working directory, then the folder of this package.

    Raises:
        FileNotFoundError: If none of them has both folders.
    """
    stated = os.environ.get("QPONDER_ROOT")
    here = Path.cwd()
    candidates = [Path(stated)] if stated else [here, *here.parents, Path(__file__).parents[1]]
    for folder in candidates:
        if (folder / "notebooks").is_dir() and (folder / "papermill_runs").is_dir():
            return folder.resolve()
    raise FileNotFoundError(
        "no folder with notebooks/ and papermill_runs/ found; run inside a clone of the "
        "repository, or set QPONDER_ROOT to it"
    )


def runs_root() -> Path:
    """Return the folder that holds all runs."""
    return repository_root() / "papermill_runs"


def profiles_root() -> Path:
    """Return the folder that holds the profile files."""
    return runs_root() / "profiles"


def notebooks_root() -> Path:
    """Return the folder that holds the notebooks."""
    return repository_root() / "notebooks"


def shown(path: Path) -> str:
    """Return a path relative to the repository, since absolute ones name the machine."""
    return Path(os.path.relpath(path, repository_root())).as_posix()


def _place(where: str, doc: str) -> Any:
    return property(lambda run: run.root / where, doc=doc)


@dataclass(frozen=True)
class RunPaths:
    """Every file and folder of one run.

    Example:
        >>> RunPaths(Path("r")).predictions("qponder", "mini-csiq").as_posix()
        'r/eval/predictions/qponder/mini-csiq.jsonl'
        >>> RunPaths(Path("r")).kept.as_posix()
        'r/distill/kept.jsonl'
    """

    root: Path

    data = _place("data", "Image sets; image paths in rows are relative to this folder.")
    raw_responses = _place("distill/raw.jsonl", "Every response of the teacher, append-only.")
    kept = _place("distill/kept.jsonl", "Responses that the filter kept.")
    rejected = _place("distill/rejected.jsonl", "Responses that it rejected, with the reason.")
    scores = _place("eval/scores.csv", "Measured correlations and errors with intervals.")
    differences = _place("eval/differences.csv", "Paired differences between models.")
    judged = _place("eval/judged.csv", "Mean ratings per judge, model, set and aspect.")
    cases = _place("cases", "Case studies: some images, statement by statement.")
    tables = _place("tables", "Tables as CSV.")
    filter_table = _place("tables/filter.csv", "The distilled data before and after the filter.")
    filter_sweep = _place("tables/filter_sweep.csv", "The same over several shares kept.")
    filter_judged = _place("tables/filter_judged.csv", "Its judged reasoning, before and after.")
    judge_agreement = _place(
        "tables/judge_agreement.csv", "Agreement between judges, self-consistency, length bias."
    )
    judge_nearness = _place(
        "tables/judge_nearness.csv", "Whether smaller errors go with higher rated accuracy."
    )
    figures = _place("figures", "Figures: PNG, PDF and the CSV that was drawn.")
    report = _place("report", "The report; `index.html` is its first page.")
    executed = _place("executed", "Executed notebooks.")
    logs = _place("logs", "Output of every notebook process.")
    manifest = _place("manifest.json", "What ran, from what, for how long; written last.")
    profile = _place("profile.yaml", "The resolved profile of this run.")
    lock = _place(".runner.lock", "Held by the one runner that works in this folder.")

    @classmethod
    def named(cls, name: str) -> RunPaths:
        """Return the paths of a run below `papermill_runs/`."""
        return cls(runs_root() / safe_name(name))

    @classmethod
    def find(cls, name: str) -> RunPaths:
        """Return the paths of a run that is there.

        Args:
            name: Its name below `papermill_runs/`, or the path of its folder.

        Raises:
            FileNotFoundError: If there is none; the message has names near it.
        """
        if Path(name).is_dir():
            return cls(Path(name).resolve())
        found = cls.named(name)
        if not found.root.is_dir():
            root = runs_root()
            files = [*root.glob("*/profile.yaml"), *root.glob("*/*/profile.yaml")]
            known = sorted(file.parent.relative_to(root).as_posix() for file in files)
            raise FileNotFoundError(f"no run {name!r}{instead(name, known)}")
        return found

    @classmethod
    def at(cls, run_dir: str | Path) -> RunPaths:
        """Return the paths of a run folder; a relative one starts at the repository's root."""
        path = Path(run_dir)
        return cls(path if path.is_absolute() else repository_root() / path)

    def split(self, dataset: str, split: str) -> Path:
        """Rows of one split of an image set."""
        return self.data / dataset / f"{split}.jsonl"

    def images(self, dataset: str) -> Path:
        """Image files of a set."""
        return self.data / dataset / "images"

    def sft(self, variant: str) -> Path:
        """Model folder of an SFT variant."""
        return self.root / "sft" / variant

    def grpo(self, reward: str) -> Path:
        """Model folder of a GRPO run."""
        return self.root / "grpo" / reward

    def video(self, phase: str) -> Path:
        """Model folder of the video model: "motion" (warm-up), "sft" (cold start) or "grpo"."""
        return self.root / "video" / phase

    def predictions(self, model: str, dataset: str, *, sampled: bool = False) -> Path:
        """Predictions of a model on a set, greedy or sampled."""
        suffix = ".sampled.jsonl" if sampled else ".jsonl"
        return self.root / "eval" / "predictions" / model / f"{dataset}{suffix}"

    def judge_folder(self, judge: str) -> Path:
        """All that one judge said; its name with `-` for what no file name should hold."""
        return self.root / "eval" / "judgements" / re.sub(r"[^A-Za-z0-9._@-]+", "-", judge)

    def judge_answers(self, judge: str) -> Path:
        """Every response of a judge behind a server, append-only."""
        return self.judge_folder(judge) / "answers.jsonl"

    def judgements(self, judge: str, model: str, dataset: str) -> Path:
        """Ratings by a judge of the predictions of a model on a set."""
        return self.judge_folder(judge) / model / f"{dataset}.jsonl"

    def record(self, stage: str) -> Path:
        """Record of a stage, written after all its files."""
        return self.root / "seals" / f"{stage}.json"

    def work(self, stage: str) -> Path:
        """Scratch folder of an unfinished stage (checkpoints); removed when it is complete."""
        return self.root / "work" / stage

    def relative(self, path: Path) -> str:
        """Return a path below the run folder in the form records and rows use."""
        return path.relative_to(self.root).as_posix()
