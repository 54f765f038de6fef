"""Joins claims, the papers' own tables and a run to verdicts."""

from __future__ import annotations

from pathlib import Path

from qponder_lib.paths import RunPaths
from qponder_lib.report.audit import measured
from qponder_lib.report.audit.claims import Claim, PrintedAnswer, Verdict, VerdictName, load_claims
from qponder_lib.report.audit.measured import Measured, NotMeasured, RunFiles
from qponder_lib.report.audit.printed import paper_tables
from qponder_lib.report.audit.statements import printed_answer

_SHOWN = {
    True: "the direction claimed shows",
    False: "the direction claimed does not show",
    None: "the interval holds both directions",
}


def verdicts(run: RunPaths | Path) -> list[Verdict]:
    """Judge every claim of both papers by what a run has measured.

    Numbers of other image sets, or of a smaller model, never agree or disagree with a reported
    number: they are `mini_scale_only`, and only their direction is told (decision D29).

    Args:
        run: The paths of a run, or the folder of a run or of a kept reference.

    Returns:
        One verdict per claim, in the order of the papers. A file or row that is missing makes
        the verdict `not_run` and is named in the sentence.

    Raises:
        FileNotFoundError: If there is no such folder.
        ArtifactError: If a file of the run is damaged.
    """
    root = run.root if isinstance(run, RunPaths) else Path(run)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; expected a run or a reference")
    files, tables = RunFiles(root), paper_tables()
    return [_verdict(claim, files, printed_answer(claim, tables)) for claim in load_claims()]


def _verdict(claim: Claim, files: RunFiles, printed: PrintedAnswer | None) -> Verdict:
    if not claim.run_check:
        return _not_run(claim, claim.without_run, printed)
    try:
        found = measured.CHECKS[claim.run_check](files)
    except NotMeasured as missing:
        return _not_run(claim, str(missing), printed)
    smaller = files.smaller_than_the_paper
    if smaller:
        name: VerdictName = "mini_scale_only"
        setting = f"At mini scale ({', '.join(smaller)}): "
    else:
        name, setting = _at_scale(found), ""
    sentence = f"{setting}{found.sentence}: {_SHOWN[found.holds]}."
    path = found.file.relative_to(files.root)
    return Verdict(claim, name, sentence[0].upper() + sentence[1:], found.holds, path, printed)


def _at_scale(found: Measured) -> VerdictName:
    """Decide by the reported numbers where there are any, else by the direction."""
    agrees = found.fits if found.fits is not None else found.holds is not False
    return "agrees_within_interval" if agrees else "disagrees"


def _not_run(claim: Claim, why: str, printed: PrintedAnswer | None) -> Verdict:
    return Verdict(claim, "not_run", f"Not run, because {why}.", None, None, printed)
