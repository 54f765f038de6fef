"""The stage `judge`: from a run's files to tables, whole, resumable and with every text counted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stub_openai_server import MODEL, StubServer, ok
from synthetic_run import write_run

from qponder_lib import artifacts, pipeline
from qponder_lib.evaluation import filtering
from qponder_lib.judging.stage import DISTILLED, judge_run
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord, JudgementRecord, PredictionRecord, ResponseRecord

SETS = ["mini-koniq", "mini-kadid"]
SMALL = {"judge.sets": SETS, "judge.models": ["qponder", "teacher"]}


def made(root: Path, **overrides: object) -> Run:
    """A run of noise whose teacher and student say what they see more or less rightly."""
    run = write_run(root, n=20, **{**SMALL, **overrides})
    for dataset in SETS:
        images = artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
        for model, off in (("teacher", 0), ("qponder", 3)):
            rows = [
                PredictionRecord(
                    image_id=image.image_id,
                    text=text_about(image, off, number),
                    score=image.mos,
                    parse_status="ok",
                    mos=image.mos,
                )
                for number, image in enumerate(images)
            ]
            artifacts.write_jsonl(run.paths.predictions(model, dataset), rows)
    train = artifacts.read_jsonl(run.paths.split("mini-koniq", "train"), ImageRecord)
    said = artifacts.read_jsonl(run.paths.raw_responses, ResponseRecord)
    result = filtering.filter_responses(said, {one.image_id: one.mos for one in train}, 0.8)
    artifacts.write_jsonl(run.paths.kept, result.kept)
    artifacts.write_jsonl(run.paths.rejected, result.rejected)
    return run


def text_about(image: ImageRecord, off: int, number: int) -> str:
    """Name the blur with its severity, or, every second time, one that is `off` steps away."""
    words = ["extreme", "severe", "noticeable", "moderate", "slight"]
    place = words.index(image.severity or "slight")
    place = place if number % 2 else (place + off) % 5
    return f"<think>There is {words[place]} blur.</think><answer>{image.mos:.0f}</answer>"


def table(path: Path) -> list[dict[str, str | None]]:
    return artifacts.read_csv(path)


def test_a_run_is_judged_from_its_files(tmp_path):
    run = made(tmp_path)
    written = judge_run(run)
    assert len(written) == len(set(written)) == 2 * 2 + 1 + 4
    assert all(path.is_file() for path in written)
    rows = artifacts.read_jsonl(
        run.paths.judgements("rubric-v1", "teacher", "mini-kadid"), JudgementRecord
    )
    assert len(rows) == 20
    assert {row.judge for row in rows} == {"rubric-v1"}
    means = {(row["model"], row["dataset"], row["aspect"]): row for row in table(run.paths.judged)}
    assert len(means) == 2 * 3 * 3  # models, sets and their mean, aspects
    assert float(means["teacher", "mean", "accuracy"]["value"]) == 5.0
    assert float(means["qponder", "mean", "accuracy"]["value"]) < 5.0
    assert DISTILLED not in {row["model"] for row in table(run.paths.judged)}


def test_every_text_is_rated_or_counted_as_failed(tmp_path):
    run = made(tmp_path)
    judge_run(run)
    for row in table(run.paths.judged):
        n = 40 if row["dataset"] == "mean" else 20
        assert int(row["n"]) + int(row["n_failed"]) == n
        assert row["value"] is not None or row["reason"]


def test_the_filter_is_compared_with_the_whole_and_with_chance(tmp_path):
    run = made(tmp_path)
    judge_run(run)
    names = [
        row["selection"] for row in table(run.paths.filter_judged) if row["aspect"] == "accuracy"
    ]
    assert names == [
        "unfiltered",
        "filtered",
        "random",
        "filtered - unfiltered",
        "random - unfiltered",
    ]


def test_models_and_sets_that_are_not_predicted_are_left_out_and_said_so(tmp_path, capsys):
    run = made(tmp_path, **{"judge.models": ["teacher", "nobody"], "judge.distilled": False})
    judge_run(run)
    assert "not judged: nobody" in capsys.readouterr().out
    assert {row["model"] for row in table(run.paths.judged)} == {"teacher"}
    assert not run.paths.filter_judged.exists()


def test_nothing_to_judge_is_an_error(tmp_path):
    run = made(tmp_path, **{"judge.models": ["nobody"]})
    with pytest.raises(ValueError, match="nobody"):
        judge_run(run)


def test_an_answer_that_is_missing_is_an_error_that_names_the_file(tmp_path):
    run = made(tmp_path)
    path = run.paths.predictions("teacher", "mini-kadid")
    artifacts.write_jsonl(path, artifacts.read_jsonl(path, PredictionRecord)[1:])
    with pytest.raises(ValueError, match=r"teacher/mini-kadid\.jsonl has no prediction for image"):
        judge_run(run)


def test_an_offline_judge_of_another_version_is_refused(tmp_path):
    run = made(tmp_path, **{"judge.judges": ["rubric-v0"]})
    with pytest.raises(ValueError, match="rubric-v0"):
        judge_run(run)


def test_a_limit_takes_the_same_images_for_every_model(tmp_path):
    run = made(tmp_path, **{"judge.max_images": 12})
    judge_run(run)
    ids = [
        {row.image_id for row in artifacts.read_jsonl(path, JudgementRecord)}
        for path in (
            run.paths.judgements("rubric-v1", model, "mini-kadid")
            for model in ("teacher", "qponder")
        )
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 12


def test_concurrency_is_in_no_key_but_the_judges_are(tmp_path):
    profile = made(tmp_path).profile
    keys = pipeline.stage_keys(profile)
    faster = pipeline.stage_keys(profile.with_overrides({"judge.concurrency": 1}))
    other = pipeline.stage_keys(profile.with_overrides({"judge.repeats": 2}))
    assert faster == keys
    assert {name for name in keys if keys[name] != other[name]} == {"judge", "tables"}


@pytest.mark.enable_socket
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_rubric_and_a_server_judge_the_same_texts_and_their_agreement_is_measured(tmp_path):
    """The server rates by the severity it reads, as the rubric does in part: they agree."""

    def script(request):
        text = request.body["messages"][1]["content"][1]["text"]
        tag = re.search(r"<tag>(\w+?)_", text)[1].lower()
        rating = 5 if f"{tag} blur" in text else 2
        return ok(f'{{"completeness": 1, "accuracy": {rating}, "reasonableness": 5}}')

    with StubServer(script) as server:
        run = made(
            tmp_path,
            **{
                "judge.judges": ["rubric-v1", MODEL],
                "judge.base_urls": [server.base_url],
                "judge.repeats": 2,
                "judge.distilled": False,
            },
        )
        paint(run)
        judge_run(run)
        seen = server.n_seen
        judge_run(run)
        assert server.n_seen == seen  # every verdict came from the store
    rows = {
        (row["statistic"], row["aspect"], row["judge_a"]): row
        for row in table(run.paths.judge_agreement)
    }
    assert float(rows["quadratic_kappa", "accuracy", "rubric-v1"]["value"]) > 0.5
    assert rows["quadratic_kappa", "completeness", "rubric-v1"]["reason"] == "constant_ratings"
    assert float(rows["self_consistency", "accuracy", MODEL]["value"]) == 1.0
    assert {row["judge"] for row in table(run.paths.judged)} == {"rubric-v1", MODEL}


def paint(run: Run) -> None:
    """Put a real image behind every row of the judged sets."""
    for dataset in SETS:
        rows = []
        for number, image in enumerate(
            artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
        ):
            path = run.paths.data / image.image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
            rows.append(image.model_copy(update={"sha256": artifacts.file_sha256(path)}))
        artifacts.write_jsonl(run.paths.split(dataset, "test"), rows)
