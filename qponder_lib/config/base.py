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

    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Settings that older runs do not have: they ran as the default now says."""

    def unstated(self) -> set[str]:
        """Return the added settings at their default: keys leave them out, so older runs stay done.

        Example:
            >>> from qponder_lib.config import DataConfig
            >>> DataConfig().unstated(), DataConfig(n_mirror=300).unstated()
            ({'n_mirror'}, set())
        """
        fields = type(self).model_fields
        return {name for name in self.ADDED if getattr(self, name) == fields[name].default}
