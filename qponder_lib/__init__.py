"""Reproduction kit for Q-Ponder and PreResQ-R1, two reasoning-based quality assessors.

    >>> import qponder_lib
    >>> round(qponder_lib.rewards.qponder.accuracy_reward(60.0, 70.0), 4)
    0.3679

`load(model).score(image)` scores a photograph,
`evaluate(predictions, labels)` measures predictions, whoever wrote them, and
`compare(first, second, labels)` two of them; both take files or data frames.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "qponder_lib.student.assessment",
    "evaluate": "qponder_lib.evaluation.external",
    "compare": "qponder_lib.evaluation.external",
}
"""Where the names of the public interface stand; each is imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name == "rewards":
        return import_module("qponder_lib.rewards")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "rewards"])
