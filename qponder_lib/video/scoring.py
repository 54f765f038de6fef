"""Scores of clips by a video model: of a run's sets, and of single files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from qponder_lib.config import ClipsConfig, Profile
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.student.generation import Completion, generate
from qponder_lib.student.model import Student, load_student
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form, video_blocks
from qponder_lib.video.packing import N_LOCAL, Packed, pack_video
from qponder_lib.video.pictures import load_pictures, open_pictures
from qponder_lib.video.rows import video_config

_BATCH = 16


class ClipScore(PredictionRecord):
    """What a video model says of one clip.

    Attributes:
        global_score: Quality over time, 1 to 5, or None where the answer could not be read.
        local_score: Quality of the frames, 1 to 5, or None. ``score``, 0 to 100, is their mean.
        shown: Which frames the model saw, and what is unusual about the file.
    """

    global_score: float | None = None
    local_score: float | None = None
    shown: dict[str, Any] | None = None


def predict_clips(
    run: Run, folder: Path, records: Sequence[ImageRecord], *, mosaic: bool = True
) -> list[ClipScore]:
    """Let a video model answer for clips of a run, greedily.

    Args:
        run: Profile and folder.
        folder: Model folder.
        records: Clips of one split of one set.
        mosaic: Show the picture of the whole clip; without, the model sees single frames alone.

    Returns:
        One row per clip, in their order.
    """
    student = load_student(run.profile.student, folder)
    pictures = load_pictures(run.paths, records[0].dataset, records[0].split)
    shown = [
        open_pictures(run.paths, pictures[record.image_id], mosaic=mosaic) for record in records
    ]
    name = f"{folder.name} on {records[0].dataset}{'' if mosaic else ', frames only'}"
    answers = _completions(student, shown, run.profile, mosaic=mosaic, label=name)
    prompt_id = video_config(run).prompt_id
    return [
        _scored(record.image_id, record.mos, answer, prompt_id)
        for record, answer in zip(records, answers, strict=True)
    ]


def score_clips(paths: Sequence[Path], folder: Path) -> list[ClipScore]:
    """Score clip files with a trained video model.

    Args:
        paths: Video files.
        folder: A complete model folder, ``video/<phase>/`` inside a run folder.

    Returns:
        One row per file, in their order; ``image_id`` is the file's path.

    Raises:
        VideoProblem: If a file has no frame that can be shown; nothing is scored then.
        FileNotFoundError: If a file is missing.
        ValueError: If the run of the model has no settings of a video model.
    """
    from qponder_lib.config import load_profile

    run_paths = RunPaths.at(folder.parents[1])
    profile = load_profile(str(run_paths.profile) if run_paths.profile.is_file() else "video")
    run = Run(run_paths, profile)
    clips = profile.clips or ClipsConfig()
    prompt_id = video_config(run).prompt_id
    packed = [
        pack_video(path, rows=clips.rows, columns=clips.columns, long_side=clips.long_side)
        for path in paths
    ]
    student = load_student(profile.student, folder)
    answers = _completions(student, [one.pictures for one in packed], profile)
    return [
        _scored(str(path), None, answer, prompt_id, one)
        for path, answer, one in zip(paths, answers, packed, strict=True)
    ]


def _completions(
    student: Student,
    shown: Sequence[Sequence[Image.Image]],
    profile: Profile,
    *,
    mosaic: bool = True,
    label: str | None = None,
) -> list[Completion]:
    settings = profile.video
    assert settings is not None
    blocks = video_blocks(settings.prompt_id, N_LOCAL, mosaic=mosaic)
    return generate(
        student,
        shown,
        [{"role": "user", "content": blocks}],
        max_new_tokens=settings.max_completion_length,
        batch_size=_BATCH,
        progress=label,
    )


def _scored(
    name: str, mos: float | None, answer: Completion, prompt_id: str, packed: Packed | None = None
) -> ClipScore:
    parsed = parse_answer(answer.text, answer_form(prompt_id), finish_reason=answer.finish_reason)
    scores = parsed.scores or (None, None)
    return ClipScore(
        image_id=name,
        text=answer.text,
        score=parsed.score,
        parse_status=parsed.status,
        mos=mos,
        n_tokens=answer.n_tokens,
        global_score=scores[0],
        local_score=scores[1],
        shown=None if packed is None else packed.record(),
    )
