"""What every section of a profile is: a frozen model of flat literals."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

OURS = "not stated; ours"
Variant = Literal["none", "short", "long"]


class Section(BaseModel):
    """Settings of one stage: flat literals, frozen, nothing unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    PACE: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how fast a stage runs, never what it leaves behind."""

    @classmethod
    def names(cls) -> set[str]:
        """Names of the settings that may be stated."""
        return set(cls.model_fields)
