"""Which checkpoint of the cold start is Q-Ponder-CI: the last, or the best on sets that choose.

The paper takes the best on its test sets. Here test sets choose only where a profile says so by
name; otherwise it is sets that no table shows (decision D59).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from qponder_lib.artifacts import read_seal, verify_seal, write_csv
from qponder_lib.config import Profile
from qponder_lib.data.benchmark import MIRRORS, mirror_of
from qponder_lib.pipeline import Run
from qponder_lib.training.candidates import Choice, Places, SetScore, best, score_candidates
from qponder_lib.training.checkpoints import SEAL
from qponder_lib.training.finish import seal_model

log = logging.getLogger(__name__)

COLUMNS = ("select", "step", "set", "split", "n", "n_unparsed", "srcc", "plcc", "value", "chosen")
"""Of ``sft/<variant>/selection.csv``: one row per candidate and set, one more for their mean."""


def choose(run: Run, variant: str, work: Path, *, progress: bool = True) -> Choice | None:
    """Put the checkpoint that `sft.select` asks for into the model folder of a finished training.

    Scores are kept in ``work/selection.jsonl`` as they come, so that an interrupted call goes on.
    To be called in one process, however many trained.

    Args:
        run: Profile and folder.
        variant: The variant that was trained.
        work: The checkpoints of its training, all of them.
        progress: Show a bar.

    Returns:
        The choice, also written to ``sft/<variant>/selection.csv``; None for ``select: last``.

    Raises:
        FileNotFoundError: If a set that chooses is not there.
        ImageError: If an image of such a set is missing or changed.
        ValueError: If a checkpoint is missing or damaged, or none could be scored.

    Source:
        Q-Ponder (arXiv:2506.05384), section 4.1: "The model with the best OOD regression
        performance is selected as Q-Ponder-CI"; what is averaged is ours (decision D59).
    """
    config = run.profile.sft
    if config.select == "last":
        return None
    began = time.monotonic()
    folder, places = run.paths.sft(variant), choosing_sets(run.profile)
    if config.select == "test_sets":
        log.warning("test sets choose the checkpoint: results on %s are optimistic", places)
    candidates = candidates_in(work)
    scores = score_candidates(run, candidates, places, work / "selection.jsonl", progress=progress)
    choice = best(scores)
    _put_weights(candidates[choice.step], folder)
    write_csv(folder / "selection.csv", _table(scores, choice, config.select), COLUMNS)
    seal = read_seal(folder)
    trained = seal.seconds if seal is not None else 0.0
    seal_model(folder, f"sft-{variant}", run, trained + time.monotonic() - began)
    print(f"{variant}: step {choice.step} chosen by {config.select}", flush=True)
    return choice


def choosing_sets(profile: Profile) -> Places:
    """Return the sets and parts that choose.

    Without names these are the mirrors of the test sets outside the training domain, or, for
    prepared sets, the validation part of the training set.

    Example:
        >>> choosing_sets(Profile(name="p", description="d"))[0]
        ('mini-valid-spaq', 'test')
    """
    config, train_set = profile.sft, profile.data.train_set
    names: Sequence[str] = config.select_sets
    if not names and profile.data.source == "embedded":
        names = [one.name for one in MIRRORS if one.name != mirror_of(train_set)]
    held_out = config.select != "test_sets"
    return tuple(
        (name, "validation" if held_out and name == train_set else "test")
        for name in names or (train_set,)
    )


def candidates_in(work: Path) -> dict[int, Path]:
    """Return the checkpoints of a training by their steps, in order.

    Raises:
        ValueError: If there is none, or one is not sealed or damaged.
    """
    found = {int(one.name.removeprefix("checkpoint-")): one for one in work.glob("checkpoint-*")}
    for folder in found.values():
        sealed = (folder / SEAL).is_file()
        if not sealed or (problems := verify_seal(folder / SEAL, folder)):
            reason = problems[0] if sealed else "it has no seal"
            raise ValueError(f"{folder} cannot be a candidate: {reason}; remove {work}, train anew")
    if not found:
        raise ValueError(f"{work} holds no checkpoint to choose from")
    return dict(sorted(found.items()))


def _put_weights(checkpoint: Path, folder: Path) -> None:
    weights = sorted(checkpoint.glob("*.safetensors*"))
    if not weights:
        raise ValueError(
            f"{checkpoint} holds no weights in one place: save whole checkpoints (FSDP: "
            "fsdp_state_dict_type FULL_STATE_DICT), or set sft.select to last"
        )
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    for file in weights:
        shutil.copy(file, folder / file.name)


def _table(scores: Sequence[SetScore], choice: Choice, select: str) -> list[dict[str, object]]:
    rows = [
        {
            "select": select,
            "set": score.dataset,
            **score.model_dump(exclude={"dataset"}),
            "value": score.value,
            "chosen": int(score.step == choice.step),
        }
        for score in scores
    ]
    for step, value in choice.values.items():
        mine = [score for score in scores if score.step == step]
        rows.append(
            {
                "select": select,
                "step": step,
                "set": "mean",
                "split": None,
                "n": sum(score.n for score in mine),
                "n_unparsed": sum(score.n_unparsed for score in mine),
                "srcc": None,
                "plcc": None,
                "value": value,
                "chosen": int(step == choice.step),
            }
        )
    return rows
