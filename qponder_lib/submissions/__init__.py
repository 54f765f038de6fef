"""Predictions that nobody here wrote: read, join with labels, measure, compare.

`tables` reads rows of JSON and of text tables, `columns` says which of them are id, score and
label, `reading` makes a `Submission` of a file, `joining` meets it with labels, `measuring` gives
numbers with intervals, `protocols` shows how far each habit of the literature moves them,
`comparing` sets two files against each other.
"""

from qponder_lib.submissions.columns import Columns
from qponder_lib.submissions.comparing import Compared, compare
from qponder_lib.submissions.joining import Join, Joined, join
from qponder_lib.submissions.measuring import Measured, measure
from qponder_lib.submissions.protocols import Moved, protocols
from qponder_lib.submissions.reading import Labels, Submission, read_labels, read_submission
from qponder_lib.submissions.tables import SubmissionError

__all__ = [
    "Columns",
    "Compared",
    "Join",
    "Joined",
    "Labels",
    "Measured",
    "Moved",
    "Submission",
    "SubmissionError",
    "compare",
    "join",
    "measure",
    "protocols",
    "read_labels",
    "read_submission",
]
