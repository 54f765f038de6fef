"""Predictions that nobody here wrote: read, join with labels, measure, compare.

`reading` makes a `Submission` of a file, `joining` meets it with labels, `measuring` gives
numbers with intervals, `protocols` shows how far each habit of the literature moves them,
`comparing` sets two files against each other.
"""

from qponder_lib.data.tabular import TableError
from qponder_lib.evaluation.external.comparing import Compared, compare
from qponder_lib.evaluation.external.joining import Join, Joined, join
from qponder_lib.evaluation.external.measuring import Measured, measure
from qponder_lib.evaluation.external.protocols import Moved, protocols
from qponder_lib.evaluation.external.reading import (
    Columns,
    Labels,
    Submission,
    read_labels,
    read_submission,
)

__all__ = [
    "Columns",
    "Compared",
    "Join",
    "Joined",
    "Labels",
    "Measured",
    "Moved",
    "Submission",
    "TableError",
    "compare",
    "join",
    "measure",
    "protocols",
    "read_labels",
    "read_submission",
]
