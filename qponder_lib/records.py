"""Frozen models of every row that crosses a stage.

Missing is `None`, and a field beside it says why: `parse_status` beside a score, `finish_reason`
beside a text, `reason` beside a value. Rows are joined by id, never by position.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Split = Literal["train", "validation", "test"]
Severity = Literal["extreme", "severe", "noticeable", "moderate", "slight"]
FinishReason = Literal[
    "stop",
    "length",
    "http_error",
    "timeout",
    "connection_error",
    "rate_limited",
    "invalid_image",
    "empty",
    "content_filter",
    "malformed_response",
    "wrong_model",
    "refused_request",
]
Decoding = Literal["greedy", "sampled"]
Aspect = Literal["completeness", "accuracy", "reasonableness"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)


def _escape_surrogates(value: object) -> object:
    """Models now and then emit half a surrogate pair, which UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return value


def _inside_data_folder(value: object) -> object:
    if isinstance(value, str):
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value:
            raise ValueError(f"expected a path relative to the data folder, got {value!r}")
    return value


Text = Annotated[str, BeforeValidator(_escape_surrogates)]
DataPath = Annotated[str, BeforeValidator(_inside_data_folder)]
Mos = Annotated[float, Field(ge=0.0, le=100.0)]
Rating = Annotated[int, Field(ge=1, le=5)]


class Record(BaseModel):
    """A row: frozen, without unknown fields, without NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Distortion(Record):
    """A known distortion of an image.

    Example:
        >>> Distortion(name="blur", level=3).level
        3
    """

    name: str
    level: int = Field(ge=1, le=5, description="1 (just visible) to 5 (strongest)")


class ImageRecord(Record):
    """An image with its human (or simulated) score."""

    image_id: str
    image: DataPath = Field(description="path relative to the run's data folder")
    dataset: str
    split: Split
    mos: Mos | None = Field(description="mean opinion score, 0-100, higher is better")
    mos_raw: float | None = Field(default=None, description="the score as published")
    mos_std: float | None = Field(default=None, ge=0.0, description="spread, on the mos scale")
    severity: Severity | None = None
    distortions: tuple[Distortion, ...] = ()
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="hash of the image file")
    reference: str | None = Field(default=None, description="id of the photograph it was made of")
    subset: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # rows of sets without stay as they were
        description="part of the set that its name states",
    )

    @property
    def photograph(self) -> str:
        """What images are drawn by in a resample: the reference, or the image itself."""
        return self.reference or self.image_id


class ResponseRecord(Record):
    """One response of a teacher, or the named reason why there is none."""

    response_id: str
    image_id: str
    teacher: str
    prompt_id: str
    prompt_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    hinted: bool
    text: Text | None
    finish_reason: FinishReason
    n_tokens: int | None = Field(default=None, ge=0)
    seconds: float = Field(ge=0.0)
    version: Text | None = Field(
        default=None, description="model and fingerprint as the server stated them"
    )

    @model_validator(mode="after")
    def _missing_text_has_a_reason(self) -> Self:
        if self.text is None and self.finish_reason in ("stop", "length"):
            raise ValueError(f"finish_reason {self.finish_reason!r} needs a text, got none")
        return self


class FilteredResponse(ResponseRecord):
    """A teacher's response with its place in the filter of Q-Ponder's Eq. 1."""

    score: Mos | None = Field(description="score the teacher stated, 0-100")
    abs_error: float | None = Field(ge=0.0, description="|score - mos|, MOS units")
    rank: int | None = Field(ge=1, description="1 for the smallest error")
    reason: str = Field(description="kept, beyond_gamma, or why there is no score")

    @model_validator(mode="after")
    def _ranked_rows_have_scores(self) -> Self:
        ranked = self.reason in ("kept", "beyond_gamma")
        if ranked != (self.score is not None and self.rank is not None):
            raise ValueError(f"reason {self.reason!r} with score {self.score}, rank {self.rank}")
        return self


class PredictionRecord(Record):
    """What a model says about one image."""

    image_id: str
    text: Text | None
    score: float | None
    parse_status: str = Field(description="ok, or why there is no score")
    mos: Mos | None
    n_tokens: int | None = Field(default=None, ge=0)
    sample: int = Field(default=0, ge=0, description="0 for greedy decoding")
    expectation: Mos | None = Field(
        default=None, description="of the distribution at the score's place, where it was read"
    )
    spread: float | None = Field(default=None, ge=0.0, description="its standard deviation, points")

    @model_validator(mode="after")
    def _missing_score_has_a_status(self) -> Self:
        if (self.score is None) == (self.parse_status == "ok"):
            raise ValueError(f"parse_status {self.parse_status!r} with score {self.score}")
        return self


class Evidence(Record):
    """What decided a rating."""

    aspect: Aspect
    finding: str
    sentence: int | None = Field(
        default=None, ge=0, description="number of the sentence of the sanitized text, from 0"
    )


class JudgementRecord(Record):
    """A judge's ratings of one reasoning text, each 1 to 5, or the reason why it is missing."""

    judgement_id: str
    judge: str
    version: Text | None = Field(description="model and fingerprint as the server stated them")
    model: str = Field(description="who wrote the text")
    dataset: str
    image_id: str
    repeat: int = Field(default=0, ge=0, description="0 is the rating; others show its constancy")
    completeness: Rating | None
    accuracy: Rating | None
    reasonableness: Rating | None
    reasons: dict[Aspect, str] = Field(default_factory=dict, description="why a rating is missing")
    evidence: tuple[Evidence, ...] = ()
    n_words: int = Field(ge=0, description="length of the sanitized text")
    removed: dict[str, int] = Field(
        default_factory=dict, description="pieces meant for the judge that were taken out, by kind"
    )
    text_sha256: str | None = Field(description="hash of the text as its author wrote it")
    raw: Text | None = Field(default=None, description="the judge's own response")
    prompt_sha256: str | None = None

    @model_validator(mode="after")
    def _missing_ratings_have_reasons(self) -> Self:
        for aspect in ASPECTS:
            if (getattr(self, aspect) is None) != (aspect in self.reasons):
                raise ValueError(f"{aspect} {getattr(self, aspect)} with reasons {self.reasons}")
        return self
