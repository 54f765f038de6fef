"""Predictions meet labels by id, never by position; whatever finds no partner is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from qponder_lib.data.catalog import named_references
from qponder_lib.data.tabular import TableError
from qponder_lib.evaluation.external.reading import Labels, Submission

EXAMPLES = 5


@dataclass(frozen=True)
class Join:
    """What joined and what did not.

    Attributes:
        by: "id", or "file name" where no id is the same but file names are.
        n_predictions: Images in the predictions.
        n_labels: Images with a label.
        n_joined: Images in both.
        without_label: The first images that have a prediction only.
        without_prediction: The first images that have a label only.
    """

    by: str
    n_predictions: int
    n_labels: int
    n_joined: int
    without_label: tuple[str, ...]
    without_prediction: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """Predictions with their labels, in the order of the ids.

    Attributes:
        ids: Image ids, as in the predictions.
        samples: One list of scores per sample; None where there is none.
        mos: Label per image.
        clusters: Reference per image, or None where one is not known for every image.
        softmax: As in the submission, or None.
        report: What joined.
        named_as: The public set whose file names say the references, or None.
    """

    ids: tuple[str, ...]
    samples: tuple[tuple[float | None, ...], ...]
    mos: tuple[float, ...]
    clusters: tuple[str, ...] | None
    softmax: tuple[float | None, ...] | None
    report: Join
    named_as: str | None = None


def join(submission: Submission, labels: Labels | None = None) -> Joined:
    """Join predictions with labels.

    Args:
        submission: The predictions.
        labels: Labels of another file; None takes those in the file of predictions.

    Raises:
        TableError: If there are no labels, or not one image is in both.
    """
    labels = labels or submission.labels
    if labels is None:
        raise TableError(
            submission.path, "holds no label column; say --labels FILE or --mos COLUMN"
        )
    predicted = submission.samples[0]
    by, label_id = _partners(predicted, labels.mos)
    ids = sorted(label_id)
    if not ids:
        raise TableError(
            submission.path,
            f"no id is in {labels.path} too: {_first(predicted)} against {_first(labels.mos)}",
        )
    unused = set(labels.mos) - set(label_id.values())
    report = Join(
        by=by,
        n_predictions=len(predicted),
        n_labels=len(labels.mos),
        n_joined=len(ids),
        without_label=_first(set(predicted) - set(ids)),
        without_prediction=_first(unused),
    )
    stated = [labels.references.get(label_id[image_id]) for image_id in ids]
    named_as, references = (None, stated) if all(stated) else named_references(ids)
    softmax = submission.softmax
    return Joined(
        ids=tuple(ids),
        samples=tuple(tuple(sample[i] for i in ids) for sample in submission.samples),
        mos=tuple(labels.mos[label_id[image_id]] for image_id in ids),
        clusters=tuple(references) if references else None,  # type: ignore[arg-type]
        softmax=None if softmax is None else tuple(softmax[i] for i in ids),
        report=report,
        named_as=named_as,
    )


def _partners(
    predicted: Mapping[str, object], labelled: Mapping[str, object]
) -> tuple[str, dict[str, str]]:
    """Return the label's id for each prediction that has one."""
    same = {image_id: image_id for image_id in predicted if image_id in labelled}
    if same:
        return "id", same
    by_name = _unique_names(labelled)
    names = _unique_names(predicted)
    return "file name", {names[name]: by_name[name] for name in names if name in by_name}


def _unique_names(ids: Iterable[str]) -> dict[str, str]:
    """Map file names to ids; none at all if two ids share a file name."""
    ids = list(ids)
    names = {PurePosixPath(image_id.replace("\\", "/")).name: image_id for image_id in ids}
    return names if len(names) == len(ids) else {}


def _first(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(ids)[:EXAMPLES])
