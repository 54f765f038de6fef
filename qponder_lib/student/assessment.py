"""Scores of photographs by one model: `load` it, then `score` with it."""

from __future__ import annotations

import logging
import re
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from qponder_lib import paths
from qponder_lib.artifacts import read_record
from qponder_lib.config import load_profile
from qponder_lib.data.images import ImageError, plain_rgb, read_rgb
from qponder_lib.evaluation.scoring import MEAN, RAW
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import TRAINED_ON_CLIPS, latest_model
from qponder_lib.student.generation import generate
from qponder_lib.student.model import BUILTIN, Student, is_adapter, load_student
from qponder_lib.student.readout import ScoreDistribution
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form

log = logging.getLogger(__name__)

_BATCH = 16
Picture = Image.Image | Path | str


@dataclass(frozen=True, eq=False, repr=False)
class Assessment:
    """What a model says about one image.

    Attributes:
        image: Where the image lies, or None for one that came decoded.
        model: Name of the model.
        score: The score it wrote, greedy decoding, 0 to 100, or None.
        parse_status: "ok", or why there is no score: one of `parsing.PARSE_STATUSES`, or the kind
            of an `ImageError`.
        reasoning: Text before the answer, or None.
        distribution: Of the score, or None where none was asked for, where there is no score and
            where the prompt asks for several scores.
        text: The whole completion, or None for an image that could not be read.
        problem: What is wrong with the image, or None.
        seen: Width and height at which the model saw the image, px, or None.
        seconds: That it took, an equal share of its batch, or None.
        usual_error: Mean absolute error of the model over the test sets of its run, points; None
            where it was not measured.
    """

    image: str | None
    model: str
    score: float | None
    parse_status: str
    reasoning: str | None = None
    distribution: ScoreDistribution | None = None
    text: str | None = None
    problem: str | None = None
    seen: tuple[int, int] | None = None
    seconds: float | None = None
    usual_error: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return a row of predictions, as `qponder_lib.evaluate` reads it."""
        found = self.distribution
        return {
            "image_id": self.image,
            "score": self.score,
            "parse_status": self.parse_status,
            "expectation": None if found is None else round(found.mean, 3),
            "spread": None if found is None else round(found.deviation, 3),
            "model": self.model,
            "text": self.text,
            "mos": None,
            "sample": 0,
        }

    def __repr__(self) -> str:
        """A card for the terminal."""
        if self.problem is not None:
            return self.problem
        if self.score is None:
            return f"{self.image or 'image'}: no score, {self.parse_status}\n{self.text}"
        filled = round(self.score / 2.5)
        error = f", usually off by {self.usual_error:.0f}" if self.usual_error else ""
        lines = [self.image or "image", f"{self.score:5.1f} |{'█' * filled:<40}| of 100{error}"]
        if self.distribution is not None:
            mean, deviation = self.distribution.mean, self.distribution.deviation
            shares = np.histogram(range(101), 40, weights=self.distribution.probabilities)[0]
            heights = np.round(8 * shares / shares.max()).astype(int)
            lines.append(f"      |{''.join(' ▁▂▃▄▅▆▇█'[high] for high in heights)}|")
            lines.append(f"      expected {mean:.1f}, standard deviation {deviation:.1f}")
        for paragraph in (self.reasoning or "").splitlines():
            lines.append(textwrap.indent(textwrap.fill(paragraph, 86), "  "))
        return "\n".join([*lines, f"  {self._origin()}"])

    def _origin(self) -> str:
        """Say which model saw the image, at which size, for how long."""
        size = f", saw {self.seen[0]} x {self.seen[1]} px" if self.seen else ""
        return f"{self.model}{size}" + (f", {self.seconds:.1f} s" if self.seconds else "")

    def _repr_html_(self) -> str:
        """A card for Jupyter: the score on its scale, its distribution, the reasoning."""
        head = f"{self.score:.0f} of 100" if self.score is not None else "no score"
        if self.distribution is not None:
            head += f" (expected {self.distribution.mean:.1f} ± {self.distribution.deviation:.1f})"
        said = self.problem or self.reasoning or self.parse_status.replace("_", " ")
        return (
            '<div style="max-width:42em;border:1px solid #ccc;border-radius:6px;padding:.7em 1em">'
            f"<strong>{escape(head)}</strong>{self._bars()}"
            f'<p style="margin:.4em 0;white-space:pre-line">{escape(said)}</p>'
            f'<small style="color:#666">{escape(self._origin())} · {escape(self.image or "image")}'
            f" · {escape(self.parse_status)}</small></div>"
        )

    def _bars(self) -> str:
        """The distribution as bars over 0 to 100, in SVG; the written score is a line."""
        if self.distribution is None:
            return ""
        heights = 36.0 * self.distribution.probabilities / self.distribution.probabilities.max()
        bars = "".join(
            f'<rect x="{3 * score}" y="{38 - high:.1f}" width="2.4" height="{high:.1f}"/>'
            for score, high in enumerate(heights)
            if high >= 0.1
        )
        return (
            '<svg viewBox="-4 0 312 52" width="312" height="52" role="img" style="display:block" '
            'aria-label="distribution over scores from 0 to 100">'
            f'<g fill="#4477aa">{bars}</g><path d="M0 38.5H303" stroke="#999"/>'
            f'<path d="M{3 * self.score + 1.2:.1f} 0V38" stroke="#cc3311" stroke-dasharray="2 2"/>'
            '<g font-size="9" fill="#666"><text x="-2" y="49">0</text>'
            '<text x="145" y="49">50</text><text x="292" y="49">100</text></g></svg>'
        )


@dataclass(frozen=True)
class Model:
    """A model that is ready to score; made by `load`."""

    name: str
    student: Student
    prompt_id: str
    max_new_tokens: int
    usual_error: float | None = None

    @property
    def max_pixels(self) -> int:
        """Pixels to which a larger image is reduced."""
        return self.student.processor.image_processor.size["longest_edge"]

    def score(
        self, images: Picture | Sequence[Picture], *, distribution: bool = True
    ) -> Assessment | list[Assessment]:
        """Score an image, or several.

        Args:
            images: A decoded image (any mode), the path of a file, or a list of these. Each is
                scaled to the pixel limits that the model was trained with.
            distribution: Also read the distribution over scores, some milliseconds an image.

        Returns:
            One assessment, or one per entry in their order; there a file that cannot be used
            has its kind of fault as `parse_status` and the sentence as `problem`.

        Raises:
            ImageError: A `ValueError`, for a single file that cannot be used.
        """
        if isinstance(images, Image.Image | Path | str):
            (one,) = self._batch([images], distribution)
            if one.problem is not None:
                raise ImageError(one.parse_status, one.problem)
            return one
        found = []
        for start in range(0, len(images), _BATCH):
            found += self._batch(images[start : start + _BATCH], distribution)
        return found

    def _batch(self, images: Sequence[Picture], distribution: bool) -> list[Assessment]:
        read = [_read(one) for one in images]
        shown = [one for one in read if isinstance(one, Image.Image)]
        form, start = answer_form(self.prompt_id), time.perf_counter()
        completions = generate(
            self.student,
            shown,
            self.prompt_id,
            max_new_tokens=self.max_new_tokens,
            distribution=distribution and form.n_scores == 1,
        )
        seconds = (time.perf_counter() - start) / max(len(shown), 1)
        said = iter(completions)
        found = []
        for given, image in zip(images, read, strict=True):
            place = None if isinstance(given, Image.Image) else str(given)
            if isinstance(image, ImageError):
                found.append(Assessment(place, self.name, None, image.kind, problem=str(image)))
                continue
            one = next(said)
            parsed = parse_answer(one.text, form, finish_reason=one.finish_reason)
            spread = None if parsed.score is None else one.distribution
            stated = (place, self.name, parsed.score, parsed.status, parsed.think, spread, one.text)
            origin = {"seen": self._seen(image), "seconds": seconds}
            found.append(Assessment(*stated, **origin, usual_error=self.usual_error))
        return found

    def _seen(self, image: Image.Image) -> tuple[int, int]:
        """Return the width and height that the processor scales an image to."""
        made = self.student.processor.image_processor
        limits = (made.size["shortest_edge"], made.size["longest_edge"])
        height, width = smart_resize(*image.size[::-1], made.patch_size * made.merge_size, *limits)
        return width, height


def load(model: str | Path | None = None) -> Model:
    """Load a model to score photographs with.

    Args:
        model: A run (its name below `papermill_runs/`, or its folder), a model folder inside a
            run, ``"builtin:mini"`` (the shipped base weights, which were not trained to score), or
            a hub name such as ``"Qwen/Qwen2.5-VL-7B-Instruct"``, or ``"packaged"`` (the small
            student of real photographs that ships with the kit); None for the model that was
            trained last, or the packaged one where nothing is trained.

    Raises:
        ValueError: If a folder holds no model, or one for clips, or the packaged weights do not
            match their checksum.
        FileNotFoundError: If there is no such model.
        OSError: If a hub model is neither cached nor reachable.

    Example:
        >>> load("mini").score("photo.jpg").score  # doctest: +SKIP
        63.0
    """
    folder = latest_or_packaged() if model is None else _folder(str(model))
    error = None
    if folder == paths.PACKAGED:
        profile = load_profile(str(folder / "profile.yaml"))
        name = f"packaged student ({profile.name})"
        error = _usual_error(folder / "scores.csv", folder)
    elif folder is None:
        profile = load_profile("mini" if model == BUILTIN else "full")
        profile = profile.with_overrides({"student.model": str(model)})
        name = str(model)
    else:
        run = RunPaths.at(folder.parents[1])
        profile = load_profile(str(run.profile) if run.profile.is_file() else "mini")
        name = folder.relative_to(run.root.parent).as_posix()
        record = read_record(folder)
        if record is not None and record.stage in TRAINED_ON_CLIPS:
            raise ValueError(f"{folder} is a model for clips; state one for images")
        error = _usual_error(run.scores, folder)
    student = load_student(profile.student, folder)
    if folder == paths.PACKAGED:
        name += f", {student.model.num_parameters() / 1e6:.1f} million weights"
    return Model(name, student, profile.student.prompt_id, profile.predict.max_new_tokens, error)


def _usual_error(scores: Path, folder: Path) -> float | None:
    """Read the mean absolute error over all test sets from the table of the model's run."""
    model = f"ci-{folder.name}" if folder.parent.name == "sft" else "qponder"
    text = scores.read_text(encoding="utf-8") if scores.is_file() else ""
    found = re.search(rf"(?m)^{model},{MEAN},greedy,mae,{RAW},([\d.]+)", text)
    return float(found[1]) if found else None


def latest_or_packaged() -> Path:
    """Return the model that was trained last; without one, or outside a clone, the packaged one."""
    try:
        return latest_model(paths.runs_root())
    except FileNotFoundError:
        if not paths.PACKAGED.is_dir():
            raise
        return paths.PACKAGED


def _folder(model: str) -> Path | None:
    """Find the folder of a model that was trained here; None for a name of the hub."""
    if model == "packaged":
        return paths.PACKAGED
    place = Path(model) if Path(model).is_dir() else paths.runs_root() / model
    if not place.is_dir():
        if model == BUILTIN or re.fullmatch(r"[\w.-]+/[\w.-]+", model):
            return None
        return latest_model(RunPaths.find(model).root)  # raises with the names near it
    place = place.resolve()
    if (place / "config.json").is_file() or is_adapter(place):
        return place
    if not (place / "profile.yaml").is_file():
        raise ValueError(f"{model} is neither a run nor a model folder, such as RUN/grpo/qponder")
    return latest_model(place)


def _read(image: Picture) -> Image.Image | ImageError:
    if not isinstance(image, Image.Image | Path | str):
        raise ValueError(f"expected a PIL image or the path of one, got {type(image).__name__}")
    try:
        return plain_rgb(image) if isinstance(image, Image.Image) else read_rgb(Path(image))
    except ImageError as error:
        log.warning("%s: %s", error.kind, error)
        return error
