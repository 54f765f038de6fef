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
from qponder_lib.config import load_profile
from qponder_lib.iqa_datasets import prepared
from qponder_lib.paths import RunPaths
from qponder_lib.records import ASPECTS
from qponder_lib.teacher.expert import ExpertTeacher

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
    if "response_format" in body:
        number = int(hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest(), 16)
        verdict = {aspect: number // 5**place % 5 + 1 for place, aspect in enumerate(ASPECTS)}
        return Reply(completion(json.dumps(verdict), model=body["model"]))
    url = re.search(r"data:image/png;base64,([^\"]+)", json.dumps(body)).group(1)
    with Image.open(io.BytesIO(base64.b64decode(url))) as image:
        said = ExpertTeacher("expert-v1").answer(
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
            choices = prepared.Choices(split=made_sets.SPLITS.get(name), at_most=few)
            prepared.prepare(name, folder / "sets" / name, run, choices, progress=False)
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
        }
        words = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
        done = qponder(root, "run", "rehearsal", *words)
        asked = {request.body["model"] for request in server.requests}
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert asked == {TEACHER, JUDGE}
    return RunPaths(root / "papermill_runs" / "rehearsal")


def test_every_stage_of_full_is_sealed(root, run):
    manifest = artifacts.read_json(run.manifest)
    assert manifest["exit_state"] == "complete"
    done = {stage["name"] for stage in manifest["stages"] if stage["done"]}
    assert done == {stage.name for stage in pipeline.stages(load_profile("full"))}
    assert not (root / "network.log").exists()
