"""Notebooks in JupyterLab, in a real browser: every cell runs, a slider moves its picture.

`make test-browser` makes the smoke run and installs Playwright; without a browser it says so.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from test_demo import photograph, serving

from qponder_lib.paths import RunPaths

ROOT = Path(__file__).parents[1]
SMOKE = RunPaths(ROOT / "papermill_runs" / "smoke")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOTEBOOKS = {"00_overview": False, "01_datasets": True, "05_rewards": True, "07_predict": True}
"""Notebook -> whether it has sliders."""
SETTINGS = Path("settings") / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
CODE = """jupyterapp.shell.currentWidget.content.model.sharedModel.cells
    .filter(cell => cell.cell_type === 'code')"""
DONE = f"""{CODE}.every(cell => cell.execution_count !== null) &&
    jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle' ||
    {CODE}.some(cell => cell.outputs.some(output => output.output_type === 'error'))"""
PICTURE = "document.querySelector('.widget-output img, .jp-OutputArea .widget-interact img').src"

pytestmark = pytest.mark.slow
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed; `make test-browser` installs it"
)


def wait_for(url: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < end, f"no answer from {url}"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab over copies of the notebooks that read the smoke run; its address."""
    if not SMOKE.manifest.is_file():
        pytest.skip("no smoke run in papermill_runs/smoke; `make test-browser` makes it")
    folder = tmp_path_factory.mktemp("lab")
    for name in NOTEBOOKS:
        (folder / f"{name}.ipynb").write_text(json.dumps(of_smoke(name)))
    (folder / SETTINGS).parent.mkdir(parents=True)
    (folder / SETTINGS).write_text('{"windowingMode": "none"}')  # every output is in the page
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", f"--notebook-dir={folder}"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    options += ["--LabApp.news_url=None", "--ServerApp.port_retries=0"]
    environment = {"QPONDER_ROOT": str(ROOT), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=os.environ | environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=(folder / "lab.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api")
        yield address
    finally:
        server.terminate()
        server.wait(30)


def of_smoke(name: str) -> dict:
    """Return a notebook with the parameters of the smoke run, and with widgets."""
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    executed = json.loads((SMOKE.executed / f"{name}.ipynb").read_text())
    given = ("".join(one["source"]) for one in tagged(executed, "injected-parameters"))
    source = "\n".join(given).replace("interactive = False", "interactive = True")
    (parameters,) = tagged(notebook, "parameters")
    parameters["source"] = "".join(parameters["source"]) + "\n" + source
    return notebook


def tagged(notebook: dict, tag: str) -> list[dict]:
    return [cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", ())]


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, else the one that Playwright has installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser starts ({str(error).splitlines()[0]}); install chromium")
        yield opened
        opened.close()


@pytest.mark.parametrize(("name", "has_slider"), NOTEBOOKS.items())
def test_notebook_runs_in_jupyterlab_and_its_slider_moves_the_picture(
    lab, browser, name, has_slider
):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(DONE, timeout=300_000)
    outputs = page.evaluate(f"{CODE}.flatMap(cell => cell.outputs)")
    assert [one["evalue"] for one in outputs if one["output_type"] == "error"] == []
    if has_slider:
        before = page.evaluate(PICTURE)
        handle = page.locator(".jp-OutputArea .noUi-handle").first
        handle.focus()
        handle.press("ArrowRight")
        page.wait_for_function("before => " + PICTURE + " != before", arg=before)
    page.close()


def test_the_demo_page_follows_its_sliders_and_a_photograph_and_asks_nobody_else(browser):
    page, asked, errors = browser.new_page(viewport={"width": 390, "height": 800}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    with serving() as address:
        page.goto(address)
        picture = page.locator("#answers img")
        picture.wait_for()
        assert page.locator("#answers strong").count() == 2
        for step in ("exposure", "noise"):
            before = picture.get_attribute("src")
            page.locator(f"input[name={step}]").press("ArrowRight")
            playwright.expect(picture).not_to_have_attribute("src", before)
        black = {"name": "a.png", "mimeType": "image/png", "buffer": photograph("black")}
        page.set_input_files("#file", black)
        playwright.expect(picture).to_have_attribute("alt", "the photograph, 91 x 45 px")
        assert errors == []
        bad = {"name": "b.png", "mimeType": "image/png", "buffer": b"no image"}
        page.set_input_files("#file", bad)
        page.wait_for_selector("#status.error")
        assert "no PNG" in page.inner_text("#status")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert {url for url in asked if not url.startswith((address, "data:"))} == set()
    page.close()
