"""The graph of `full`, stage by stage, on copies of the public sets in their official layouts.

The mini student stands in the place of the 7B one, and a stub on the loopback interface in that
of the teacher's and the judges' servers.
"""

import base64
import hashlib
import io
import json
import re

import made_sets
import numpy as np
import pytest
from PIL import Image
from stub_openai_server import Reply, Request, StubServer, completion
from test_smoke import ROOT, qponder

from qponder_lib import artifacts, pipeline
from qponder_lib.config import load_profile, profile_path
from qponder_lib.data import prepare
from qponder_lib.data.catalog import spec_named
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.records import ASPECTS, PredictionRecord
from qponder_lib.report.verdicts import verdicts
from qponder_lib.student import model as adapters
from qponder_lib.student.prediction import predict_model
from qponder_lib.teacher.expert import ExpertTeacher
from qponder_lib.training.launch import train

TEACHER = "Qwen/Qwen2.5-VL-72B-Instruct"
JUDGE = "OpenGVLab/InternVL3-78B"
SETS = ("koniq", "spaq", "livew", "kadid", "csiq", "agiqa")
TITLES = ("KonIQ-10k", "SPAQ", "LIVE in the Wild", "KADID-10k", "CSIQ", "AGIQA-3K")
AT_MOST = {"koniq": 24}
FEW = 12

pytestmark = pytest.mark.slow


def served(request: Request) -> Reply:
    """The offline expert looks at the image; a judge's verdict follows from what it was sent."""
    body = request.body
    if request.path.endswith("/models"):
        return Reply({"data": [{"id": TEACHER}, {"id": JUDGE}]})
    if "response_format" in body:
        number = int(hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest(), 16)
        verdict = {aspect: number // 5**place % 5 + 1 for place, aspect in enumerate(ASPECTS)}
        return Reply(completion(json.dumps(verdict), model=body["model"]))
    url = re.search(r"data:image/png;base64,([^\"]+)", json.dumps(body)).group(1)
    with Image.open(io.BytesIO(base64.b64decode(url))) as image:
        said = ExpertTeacher("expert-v1").respond(
            image.convert("RGB"), None, np.random.default_rng(body["seed"])
        )
    return Reply(completion(said.text, model=body["model"]))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A clone without runs, in whose run `rehearsal` all six sets are prepared."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "papermill_runs").mkdir()
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "papermill_runs" / "profiles").symlink_to(ROOT / "papermill_runs" / "profiles")
    run = RunPaths(folder / "papermill_runs" / "rehearsal")
    with pytest.MonkeyPatch.context() as patch:
        for name in SETS:
            few = AT_MOST.get(name, FEW)
            made_sets.write(name, folder / "sets" / name, patch)
            made_sets.draw(name, folder / "sets" / name, few)
            prepare.prepare(
                spec_named(name),
                folder / "sets" / name,
                run,
                split=made_sets.SPLITS.get(name),
                at_most=few,
                progress=False,
            )
    return folder


@pytest.fixture(scope="module")
def run(root):
    """The finished run; its server was asked by two judges and the teacher."""
    with StubServer(served) as server:
        settings = {
            "distill.teacher": "server",
            "distill.teacher_model": TEACHER,
            "distill.base_url": server.base_url,
            "judge.judges": ["rubric-v1", TEACHER, JUDGE],
            "judge.base_urls": [server.base_url] * 2,
            "grpo.max_completion_length": 160,  # what is taught fits, as a run looks for
        }
        words = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
        done = qponder(root, "run", "rehearsal", *words)
        asked = {request.body["model"] for request in server.requests if request.body}
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert asked == {TEACHER, JUDGE}
    return RunPaths(root / "papermill_runs" / "rehearsal")


def test_every_stage_of_full_is_complete(root, run):
    manifest = artifacts.read_json(run.manifest)
    assert manifest["exit_state"] == "complete"
    done = {stage["name"] for stage in manifest["stages"] if stage["done"]}
    assert done == {stage.name for stage in pipeline.stages(load_profile("full"))}
    assert not (root / "network.log").exists()


def test_predictions_and_scores_go_by_the_names_of_the_public_sets(run):
    models = load_profile("full").predict.models
    for model in models:
        for name in SETS:
            rows = artifacts.read_jsonl(run.predictions(model, name), PredictionRecord)
            assert len(rows) == AT_MOST.get(name, FEW), (model, name)
            assert all(row.image_id.startswith(f"{name}-") for row in rows)
    scores = artifacts.read_csv(run.scores)
    assert {row["dataset"] for row in scores} == {*SETS, "mean"}
    measured = {row["model"] for row in scores if row["metric"] == "srcc" and row["value"]}
    assert measured >= {"teacher", "handcrafted", "ci-none"}


def test_every_judge_of_full_rated_every_model_on_every_set(run):
    rated = artifacts.read_csv(run.judged)
    assert {row["judge"] for row in rated} == {"rubric-v1", TEACHER, JUDGE}
    assert {row["model"] for row in rated} == set(load_profile("full").judge.models)
    assert {row["dataset"] for row in rated} == {*SETS, "mean"}


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_tables_name_the_public_sets_and_say_how_few_images_they_are_of(run, name):
    text = (run.tables / f"{name}.html").read_text(encoding="utf-8")
    for title in TITLES:
        assert title in text, title
    assert "KonIQ-10k 24 of 2,010" in text
    assert "AGIQA-3K 12 of 2,982" in text
    assert "mini-" not in text


def test_the_report_shows_them_and_takes_no_rehearsal_for_the_papers_setting(run):
    page = (run.report / "index.html").read_text(encoding="utf-8")
    for title in TITLES:
        assert title in page, title
    judged = verdicts(run)
    assert any(one.numbers for one in judged)
    assert "few images of each set" in page


@pytest.mark.parametrize("base", ["full-80gb", "full-24gb"])
def test_the_profiles_with_adapters_train_and_predict_from_the_same_data(run, base, tmp_path):
    if base == "full-24gb":
        pytest.importorskip("bitsandbytes")
    text = profile_path("rehearsal").read_text(encoding="utf-8")
    profile_file = tmp_path / f"{base}.yaml"
    profile_file.write_text(text.replace("base: full\n", f"base: {base}\n"), encoding="utf-8")
    fewer = {"sft.max_steps": 4, "sft.save_steps": 2, "sft.logging_steps": 1}
    fewer |= {"predict.models": ["ci-long", "qponder"], "predict.sets": ["koniq"]}
    fewer |= {"predict.sampled_sets": [], "predict.max_new_tokens": 8, "grpo.n_validation": 0}
    profile = load_profile(profile_file).with_overrides(fewer)
    assert profile.student.lora_rank == 64
    assert profile.student.quantization == ("nf4" if base == "full-24gb" else "none")
    own = Run(RunPaths(tmp_path), profile)
    for name in ("data", "distill"):
        (tmp_path / name).symlink_to(run.root / name)
    train(own, "sft-long", tmp_path / "work-sft")
    folder = train(own, "grpo-qponder", tmp_path / "work-grpo")
    assert adapters.is_adapter(folder)
    for model in profile.predict.models:
        for file in predict_model(own, model, tmp_path / "work-predict" / model):
            assert len(artifacts.read_jsonl(file, PredictionRecord)) == AT_MOST["koniq"]
