"""The cold start: supervised fine-tuning on kept reasoning, by TRL's ``SFTTrainer``."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset, Image
from tqdm import tqdm
from transformers import PrinterCallback
from trl import SFTConfig as TrlSftConfig
from trl import SFTTrainer

from qponder_lib.artifacts import JsonlAppender, read_jsonl, write_csv
from qponder_lib.config import SftConfig
from qponder_lib.data.images import load_records
from qponder_lib.pipeline import Run
from qponder_lib.records import FilteredResponse, Record
from qponder_lib.student.model import load_student
from qponder_lib.student.prediction import predict
from qponder_lib.text.sft_format import SftFormat, sft_rows
from qponder_lib.training.callbacks import (
    AverageTheHead,
    RecordCheckpoints,
    StepProgress,
    StopAtNonsense,
    agreement,
)
from qponder_lib.training.checkpoints import (
    Training,
    checkpoints,
    common_arguments,
    identity,
    last_checkpoint,
    load_start,
    problem_of,
    record_model,
    save_model,
    train_in_float32,
    write_history,
)

HISTORY = ("step", "loss", "learning_rate", "grad_norm", "mean_token_accuracy", "epoch", "seconds")
SELECT_IMAGES = 300
"""Images of each set that choose among checkpoints."""
_IGNORED_LABEL = -100


def trainings(run: Run) -> list[Training]:
    """Return the variants of a profile, the rows of Table 3."""
    profile, paths = run.profile, run.paths
    return [
        Training(
            stage=f"sft-{variant}",
            settings={"student": profile.student, "training": profile.sft},
            start=None,
            folder=paths.sft(variant),
            files=(paths.kept, paths.split(profile.data.train_set, "train")),
            dataset=lambda variant=variant: sft_dataset(run, variant),
            prompt_id=profile.student.prompt_id,
        )
        for variant in profile.sft.variants
    ]


def train(run: Run, training: Training, work: Path) -> Path:
    """Fine-tune on prompts and completions.

    Args:
        run: Profile and folder.
        training: One of `trainings`, or another whose rows have a prompt and a completion.
        work: Folder for checkpoints; a killed run continues from the last good one there.

    Returns:
        The model folder, with ``history.csv`` and a record; it holds the last weights, or those
        that `sft.select_sets` choose.

    Raises:
        ValueError: If there is nothing to train on, a completion is cut off, a checkpoint is of
            another run, or the loss stops being a number.

    Source:
        Q-Ponder (arXiv:2506.05384), section 3.2 and section 4.1.
    """
    began = time.monotonic()
    config, same_run = training.config, identity(training)
    checkpoint = last_checkpoint(work, same_run)
    arguments = trainer_arguments(config, work)  # before the weights, which ZeRO-3 shares out
    student = load_start(training, checkpoint)
    trainer = SFTTrainer(
        model=student.model,
        args=arguments,
        train_dataset=training.dataset(),
        processing_class=student.processor,
        callbacks=[
            StopAtNonsense(),
            AverageTheHead(),
            RecordCheckpoints(same_run),
            StepProgress(training.stage),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    train_in_float32(trainer)
    weigh_all_tokens_alike(trainer)
    check_labels(trainer, config.max_length)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    save_model(trainer, training)
    if trainer.is_world_process_zero():
        write_history(trainer.state.log_history, HISTORY, training.folder / "history.csv")
        del trainer, student
        if config.select_sets:
            choose_checkpoint(run, training, work)
        record_model(training, run, time.monotonic() - began)
    return training.folder


def sft_dataset(run: Run, variant: str) -> Dataset:
    """Prompt/completion rows of one variant from the kept responses, the truth as the score.

    Raises:
        ValueError: If no response is left to train on.
    """
    records = load_records(run.paths, run.profile.data.train_set, "train")
    rows, skipped = sft_rows(
        read_jsonl(run.paths.kept, FilteredResponse),
        {one.image_id: one for one in records},
        lambda record: str(run.paths.data / record.image),
        SftFormat(variant, run.profile.student.prompt_id),
    )
    if not rows:
        raise ValueError(f"no row to train {variant!r} on; skipped: {skipped}")
    return Dataset.from_list(rows).cast_column("image", Image(mode="RGB"))


def trainer_arguments(config: SftConfig, work: Path) -> TrlSftConfig:
    """The profile's settings as TRL takes them."""
    given = {"packing": False, **common_arguments(config, work)}
    if config.select_sets:
        given["save_total_limit"] = None  # every checkpoint is a candidate
    return TrlSftConfig(**given)


def weigh_all_tokens_alike(trainer: SFTTrainer) -> None:
    """Let a step's loss be the mean over the tokens of all its completions, wherever they are read.

    Qwen2.5-VL tells transformers that its own loss takes no count of tokens, so each process and
    each accumulated part would have a mean of its own. TRL's loss, which is used, takes the count.

    Source:
        The papers do not say; ours (decision D51).
    """
    trainer.model_accepts_loss_kwargs = True


def check_labels(trainer: SFTTrainer, max_length: int | None) -> None:
    """Look at what the collator leaves to learn, before a step is spent on it.

    With a length limit every row is looked at, else the first batch.

    Raises:
        ValueError: If a row has no token to learn from, or its completion is cut off.
    """
    rows = trainer.train_dataset
    size = trainer.args.per_device_train_batch_size
    starts = range(0, len(rows) if max_length else min(size, len(rows)), size)
    end = trainer.processing_class.tokenizer.eos_token_id
    empty = cut = 0
    for start in tqdm(starts, desc="labels", mininterval=5, disable=not max_length):
        batch = [rows[index] for index in range(start, min(start + size, len(rows)))]
        labels = trainer.data_collator(batch)["labels"]
        empty += int((labels == _IGNORED_LABEL).all(dim=1).sum())
        cut += int((labels != end).all(dim=1).sum())
    if empty or cut:
        raise ValueError(
            f"of {len(rows)} rows, {empty} have no token to learn from and {cut} lose the end of "
            f"their completion: sft.max_length is {max_length}; set it to null and limit "
            "student.max_pixels instead"
        )


# --- which checkpoint counts


class CheckpointScore(Record):
    """How one checkpoint did on one set; SRCC and PLCC are None where they have no value."""

    step: int
    set: str
    split: str
    n: int
    n_unparsed: int
    srcc: float | None
    plcc: float | None

    @property
    def value(self) -> float | None:
        """What is compared: the mean of SRCC and PLCC, times the parse rate.

        Example:
            >>> given = dict(step=1, set="a", split="test", n=10, n_unparsed=5)
            >>> CheckpointScore(**given, srcc=0.6, plcc=0.8).value
            0.35
        """
        if self.srcc is None or self.plcc is None:
            return None
        return (self.srcc + self.plcc) / 2 * (self.n - self.n_unparsed) / self.n


def choose_checkpoint(run: Run, training: Training, work: Path) -> None:
    """Put the weights of the checkpoint that does best on `sft.select_sets` into the model folder.

    All scores are in its ``selection.csv``. Sets that are also tested on make results optimistic.
    Errors as in `score_checkpoints` and `mean_values`.

    Source:
        Q-Ponder (arXiv:2506.05384), section 4.1: "The model with the best OOD regression
        performance is selected as Q-Ponder-CI"; what is averaged is ours (decision D59).
    """
    select_sets = training.config.select_sets
    if tested := sorted({*select_sets} & {*run.profile.predict.sets}):
        print(f"NOTE: test sets choose the checkpoint: results on {tested} are optimistic")
    scores = score_checkpoints(run, work, select_sets, work / "selection.jsonl")
    values = {step: value for step, value in mean_values(scores).items() if value is not None}
    if not values:
        raise ValueError(
            f"no checkpoint has a correlation on every set of sft.select_sets {list(select_sets)}: "
            "completions cannot be parsed, or state all the same; train longer, or select none"
        )
    chosen = max(values, key=lambda step: (values[step], step))
    for old in training.folder.glob("*.safetensors*"):
        old.unlink()
    for file in checkpoints(work)[chosen].glob("*.safetensors*"):
        shutil.copy(file, training.folder / file.name)
    rows = [{**s.model_dump(), "value": s.value, "chosen": int(s.step == chosen)} for s in scores]
    write_csv(training.folder / "selection.csv", rows, list(rows[0]))
    print(f"{training.stage}: step {chosen} is best on {', '.join(select_sets)}", flush=True)


def score_checkpoints(
    run: Run, work: Path, sets: Sequence[str], file: Path
) -> list[CheckpointScore]:
    """Score every checkpoint of a training on every set.

    Args:
        run: Profile and folder.
        work: The checkpoints, all of them.
        sets: Their test images score, or the validation images of the training set.
        file: Scores so far, appended to, so that an interrupted call goes on.

    Raises:
        FileNotFoundError: If a set is not there.
        ValueError: If a checkpoint is damaged or holds no whole weights.
    """
    profile = run.profile
    for folder in checkpoints(work).values():
        if (problem := problem_of(folder)) or not list(folder.glob("*.safetensors*")):
            why = (
                problem or "it holds no whole weights (FSDP: fsdp_state_dict_type FULL_STATE_DICT)"
            )
            raise ValueError(f"{folder} cannot be chosen: {why}; remove {work}, train anew")
    gc.collect()  # the trainer's weights
    torch.cuda.empty_cache()
    with JsonlAppender(file, CheckpointScore) as store:
        done = {(one.step, one.set): one for one in store.rows}
        for step, folder in checkpoints(work).items():
            missing = [name for name in sets if (step, name) not in done]
            student = load_student(profile.student, folder) if missing else None
            for name in missing:
                split = "validation" if name == profile.data.train_set else "test"
                records = [r for r in load_records(run.paths, name, split) if r.mos is not None]
                predictions = predict(
                    student,
                    run,
                    records[:SELECT_IMAGES],
                    max_new_tokens=profile.predict.max_new_tokens,
                )
                found = agreement(predictions)
                score = CheckpointScore(
                    step=step,
                    set=name,
                    split=split,
                    n=len(predictions),
                    n_unparsed=sum(one.score is None for one in predictions),
                    srcc=found["srcc"],
                    plcc=found["plcc"],
                )
                store.append(score)
                done[step, name] = score
    return [done[step, name] for step in checkpoints(work) for name in sets]


def mean_values(scores: Sequence[CheckpointScore]) -> dict[int, float | None]:
    """Return the mean value over the sets by step; None where a set has none.

    Example:
        >>> given = dict(set="a", split="test", n=10, n_unparsed=0, plcc=0.5)
        >>> some = ((1, 0.4), (2, None))
        >>> mean_values([CheckpointScore(step=s, srcc=r, **given) for s, r in some])
        {1: 0.45, 2: None}
    """
    values: dict[int, list[float | None]] = {}
    for score in scores:
        values.setdefault(score.step, []).append(score.value)
    return {step: None if None in all_ else sum(all_) / len(all_) for step, all_ in values.items()}
