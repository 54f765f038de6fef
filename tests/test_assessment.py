"""`qponder_lib.load`: scores of photographs, with the distribution that the model holds."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qponder_lib
from qponder_lib import rewards
from qponder_lib.data.images import ImageError
from qponder_lib.pipeline import latest_model
from qponder_lib.student import assessment
from qponder_lib.student.assessment import Assessment
from qponder_lib.student.generation import Completion
from qponder_lib.student.readout import ScoreDistribution

TEXT = "<think>Blur is visible.</think>\n<answer>62</answer>"


@pytest.fixture(scope="module")
def model():
    return qponder_lib.load("builtin:mini")


@pytest.fixture(scope="module")
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def saying(monkeypatch):
    """Let every model write TEXT, 62 and 63 as likely as each other."""
    probabilities = np.zeros(101)
    probabilities[[62, 63]] = 0.5
    even = ScoreDistribution(probabilities, 1.0)

    def generate(student, images, prompt, *, distribution, **_):
        return [Completion(TEXT, 20, "stop", even if distribution else None) for _ in images]

    monkeypatch.setattr(assessment, "generate", generate)


def test_an_image_a_path_and_a_list_give_the_same(model, image, saying, tmp_path):
    file = tmp_path / "photo.png"
    image.save(file)
    alone, named = model.score(image), model.score(str(file))
    (listed,) = model.score([file])
    assert alone.image is None
    assert named.image == listed.image == str(file)
    for one in (alone, named, listed):
        assert (one.score, one.parse_status, one.reasoning) == (62.0, "ok", "Blur is visible.")
        assert one.distribution.mean == 62.5
    assert model.score(image, distribution=False).distribution is None


def test_a_broken_file_is_an_error_alone_and_a_state_in_a_list(model, image, saying, tmp_path):
    image.save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"broken\.png"):
        model.score(tmp_path / "broken.png")
    broken, missing, good = model.score(
        [tmp_path / "broken.png", tmp_path / "gone.png", tmp_path / "good.png"]
    )
    assert (broken.parse_status, missing.parse_status) == ("invalid_image", "missing_image")
    assert broken.score is None
    assert "broken.png" in broken.problem
    assert good.score == 62.0


def test_what_is_no_image_is_refused_by_name(model):
    with pytest.raises(ValueError, match="got ndarray"):
        model.score([np.zeros((8, 8, 3))])


def test_written_assessments_are_read_by_evaluate(model, image, saying, tmp_path):
    import pandas as pd

    image.save(tmp_path / "a.png")
    rows = pd.DataFrame([one.as_json() for one in model.score([tmp_path / "a.png"] * 1)])
    assert rows.loc[0, "score"] == 62.0
    assert rows.loc[0, "expectation"] == 62.5


def test_the_cards_show_score_reasoning_and_no_markup_of_the_model():
    probabilities = np.full(101, 1 / 101)
    said = Assessment(
        "<b>.png", "m", 62.0, "ok", "<script>x</script>", ScoreDistribution(probabilities, 1.0)
    )
    page = said._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "62 of 100" in page
    assert len(re.findall("<rect", page)) == 101
    assert "62.0" in str(said)
    assert "expected 50.0" in str(said)
    probabilities = np.zeros(101)
    probabilities[[0, 100]] = 0.25, 0.75
    two = dataclasses.replace(said, distribution=ScoreDistribution(probabilities, 1.0))
    assert f"|▃{38 * ' '}█|" in str(two)
    assert "no score" in Assessment(None, "m", None, "truncated", text="x")._repr_html_()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("nosuchrun", FileNotFoundError, "no run 'nosuchrun'"),
        (".", ValueError, "neither a run nor a model folder"),
    ],
)
def test_what_is_no_model_is_named(given, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        qponder_lib.load(given)


def test_a_run_without_weights_says_so(tmp_path):
    (tmp_path / "profile.yaml").write_text("name: mini\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no trained model"):
        latest_model(tmp_path)


def test_every_name_of_the_interface_page_exists():
    page = (Path(__file__).parents[1] / "docs" / "interface.md").read_text(encoding="utf-8")
    for module, name in re.findall(r"\b(qponder_lib|qponder|preresq)\.(\w+)\(", page):
        home = qponder_lib if module == "qponder_lib" else getattr(rewards, module)
        assert callable(getattr(home, name)), name
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    stated = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert stated == {field.name for field in dataclasses.fields(Assessment)}
