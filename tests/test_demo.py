"""The demo page: two models beside each other say what they see in the same distorted pixels."""

import base64
import io
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from qponder_lib.cli import app
from qponder_lib.student import assessment
from qponder_lib.student.assessment import Assessment
from qponder_lib.student.demo import answers, server


class Brightness:
    """Stands for a model: its score is how bright an image is."""

    max_pixels = 64 * 64

    def __init__(self, name):
        self.name = name

    def score(self, image):
        score = round(np.asarray(image).mean() / 2.55)
        return Assessment(None, self.name, score, "ok", f"It is {score} <b>bright</b>.")


MODELS = [Brightness("one"), Brightness("two")]


@contextmanager
def serving():
    """The address of a running server."""
    made = server(MODELS)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}/"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@pytest.fixture(scope="module")
def address():
    with serving() as found:
        yield found


def photograph(colour="grey", size=(200, 100)):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def ask(address, content=b"", **levels):
    query = "&".join(f"{name}={value}" for name, value in levels.items())
    with urllib.request.urlopen(f"{address}?{query}", data=content, timeout=60) as reply:
        return reply.read().decode()


def pixels_in(page):
    (source,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))), dtype=float)


def test_both_models_judge_the_pixels_that_are_shown(address):
    page = ask(address, photograph(), exposure=4)
    score = round(pixels_in(page).mean() / 2.55)
    assert page.count(f"<strong>{score} of 100") == 2
    assert re.findall(r">(one|two) ", page) == ["one", "two"]
    assert "<b>" not in page


def test_an_image_is_first_reduced_to_what_the_models_see(address):
    assert pixels_in(ask(address, photograph())).shape == (45, 91, 3)
    assert pixels_in(ask(address, photograph(size=(20, 10)))).shape == (10, 20, 3)
    assert pixels_in(ask(address)).shape == (52, 78, 3)  # the example, 600 x 400


@pytest.mark.parametrize("levels", [{"blur": 5}, {"noise": 1}, {"jpeg": 5}])
def test_each_slider_changes_the_pixels(levels):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    before, after = (pixels_in(answers(MODELS, image, **one).data) for one in ({}, levels))
    assert np.abs(before - after).mean() > 1


def test_exposure_goes_both_ways():
    image = Image.new("RGB", (8, 8), "grey")
    dark, same, bright = (
        pixels_in(answers(MODELS, image, exposure=level).data).mean() for level in (-3, 0, 3)
    )
    assert dark < same < bright


@pytest.mark.parametrize(
    ("content", "levels", "said"),
    [
        (b"no image", {}, "no PNG, JPEG"),
        (b"", {"blur": 9}, "level must be 1 to 5"),
        (b"", {"sharpness": 1}, "sharpness"),
        (b"", {"blur": "much"}, "much"),
    ],
)
def test_what_cannot_be_used_is_said_and_the_page_goes_on(address, content, levels, said):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(address, content, **levels)
    assert refused.value.code == 400
    assert said in refused.value.read().decode()
    assert "of 100" in ask(address)


def test_the_page_is_for_this_machine_and_loads_nothing_from_elsewhere(address):
    made = server(MODELS)
    assert made.server_address[0] == "127.0.0.1"
    made.server_close()
    with urllib.request.urlopen(address, timeout=60) as reply:
        page, policy = reply.read().decode(), reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not re.findall(r"https?:|//[a-z]", page.replace("// another slider", ""))
    assert "Content-Security-Policy" in reply.headers


def test_the_command_shows_the_latest_model_beside_its_cold_start(monkeypatch, tmp_path):
    latest, start = tmp_path / "grpo" / "qponder", tmp_path / "sft" / "short"
    start.mkdir(parents=True)

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(assessment, "latest_or_packaged", lambda: latest)
    monkeypatch.setattr(assessment, "load", Brightness)
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    done = CliRunner().invoke(app, ["demo", "--port", "0"])
    assert done.exit_code == 0
    assert done.stdout.startswith("http://127.0.0.1:")
    assert f"{latest}, {start}" in done.stdout
