"""Judges of reasoning: a rubric that needs no model, and models behind servers.

`rubric` rates what `qponder_lib.text.assertions` reads in a text; `server` asks a model
with Table 6's prompt; `sanitise` takes out of a text what was meant for its judge; `canaries` try
whether a judge can be moved; `agreement` holds judges against each other; `stage` does it all.
"""

from qponder_lib.judging.rubric import Candidate, RubricJudge
from qponder_lib.judging.sanitise import Sanitised, sanitise
from qponder_lib.judging.stage import judge_run

__all__ = [
    "Candidate",
    "RubricJudge",
    "Sanitised",
    "judge_run",
    "sanitise",
]
