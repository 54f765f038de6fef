"""Says in seconds, on a CPU and without weights, whether a profile can work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qponder_lib.artifacts import ArtifactError, read_jsonl
from qponder_lib.config import Profile, SettingsError
from qponder_lib.gpu.preflight import answers, checks
from qponder_lib.gpu.preflight.checks import Finding
from qponder_lib.gpu.preflight.lengths import Counter, Lengths, lengths
from qponder_lib.gpu.preflight.memory import FORMULAS, HOURS_FORMULAS, Machine, hours, memory
from qponder_lib.gpu.preflight.shapes import shape_of
from qponder_lib.paths import RunPaths
from qponder_lib.records import FilteredResponse, ImageRecord
from qponder_lib.rewards.batch import form_reward
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form, student_messages
from qponder_lib.text.sft_format import SftFormat, replace_score

__all__ = [
    "FORMULAS",
    "HOURS_FORMULAS",
    "Finding",
    "Lengths",
    "Machine",
    "Report",
    "preflight",
    "refused",
]


@dataclass(frozen=True)
class Report:
    """What a preflight found.

    Attributes:
        profile: Name of the profile.
        findings: Every check with its verdict.
        memory_gib: Stage -> part -> GiB on each GPU; empty if the model's sizes are not known.
        hours: Stage -> hours; None if no throughput was stated.
    """

    profile: str
    findings: tuple[Finding, ...]
    memory_gib: dict[str, dict[str, float]]
    hours: dict[str, float] | None

    @property
    def ok(self) -> bool:
        """True if no check found a problem."""
        return all(finding.verdict != "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values, the formulas with it."""
        return {
            "profile": self.profile,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "memory_gib": self.memory_gib,
            "formulas": FORMULAS,
            "hours": self.hours,
        }


def preflight(profile: Profile, run: RunPaths, machine: Machine) -> Report:
    """Check a profile, and what its run folder already holds.

    Args:
        profile: The settings.
        run: Run folder; rows and answers in it are looked at where they exist.
        machine: GPUs to estimate for.

    Returns:
        Every finding, memory and hours.
    """
    shape = shape_of(profile.student.model)
    labels, broken = _labels(profile, run)
    findings = [*_consistency(profile), *broken]
    if not broken:
        findings.append(checks.check_labels(labels))
    n_images = len(labels) if labels else profile.data.n_train
    findings += checks.check_steps(profile, n_images, machine)
    if shape is None:
        said = f"the sizes of {profile.student.model} are not on this machine"
        findings.append(Finding("model", "unknown", said, "fetch its config.json"))
        return Report(profile.name, tuple(findings), {}, None)
    tokens = lengths(profile, shape)
    findings += checks.check_lengths(profile, shape, tokens)
    limit = profile.grpo.max_completion_length
    findings.append(checks.check_answers_fit(_longest_taught(profile, run), limit))
    needed = {name: memory(profile, shape, tokens, machine, stage=name) for name in ("sft", "grpo")}
    findings += _fits(needed, machine)
    return Report(profile.name, tuple(findings), needed, hours(profile, tokens, machine))


def refused(name: str, error: ValueError) -> Report:
    """A report of a profile that cannot be read, one finding for each broken setting."""
    said = error.problems if isinstance(error, SettingsError) else [str(error)]
    findings = tuple(Finding("settings", "problem", line, "change the profile") for line in said)
    return Report(name, findings, {}, None)


def _consistency(profile: Profile) -> list[Finding]:
    prompt_id = profile.student.prompt_id
    form = answer_form(prompt_id)
    prompt = "\n".join(one["content"] for one in student_messages(prompt_id))

    def parse(text: str) -> float | None:
        return parse_answer(text, form).score

    def is_compliant(text: str) -> bool:
        return form_reward(text, form) == 1.0

    reward = answers.reward_of(profile.grpo, prompt_id, parse)
    found = [
        answers.check_example(prompt, is_compliant, parse, prompt_id),
        answers.check_scale_of_prompt(prompt, prompt_id),
        answers.check_perfect_answer(profile.grpo, reward, prompt_id),
        answers.check_compared(profile.grpo, reward, prompt_id),
    ]
    if profile.grpo.start_from == "none" and profile.grpo.weight_format:
        said = "grpo.start_from is none: that cold start never reasons, so no answer has the form"
        found.append(Finding("cold start", "problem", said, "start from short or long"))
    return found


def _labels(profile: Profile, run: RunPaths) -> tuple[Sequence[float] | None, list[Finding]]:
    file = run.split(profile.data.train_set, "train")
    if not file.is_file():
        return None, []
    try:
        rows = read_jsonl(file, ImageRecord)
    except (ArtifactError, ValueError) as error:
        return None, [Finding("labels", "problem", str(error), "correct the row, or its scale")]
    missing = sum(row.mos is None for row in rows)
    if missing:
        said = f"{missing} of {len(rows)} rows in {file} have no mos"
        return None, [Finding("labels", "problem", said, "label them or leave them out")]
    return [row.mos for row in rows if row.mos is not None], []


def _longest_taught(profile: Profile, run: RunPaths) -> int | None:
    if not run.kept.is_file():
        return None
    form = SftFormat(profile.grpo.start_from, profile.student.prompt_id)
    texts = []
    for row in read_jsonl(run.kept, FilteredResponse):
        try:
            texts.append(replace_score(row.text or "", 50.0, form))
        except ValueError:
            continue  # training skips it too, and counts it
    return Counter(profile.student.model).longest(texts) if texts else None


def _fits(needed: dict[str, dict[str, float]], machine: Machine) -> list[Finding]:
    if machine.gpu_gib is None:
        return []
    found = []
    for stage, parts in needed.items():
        said = f"{stage} needs about {parts['peak']:.1f} GiB on each GPU of {machine.gpu_gib:g}"
        fits = parts["peak"] <= machine.gpu_gib
        remedy = "" if fits else "shard over more GPUs, or take adapters (full-80gb, full-24gb)"
        found.append(Finding("memory", "ok" if fits else "problem", said, remedy))
    return found
