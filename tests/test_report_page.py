"""The report: one page, static, escaped; every claim has a verdict, every missing file a word."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic_run import SETS, write_run
from test_tables import filter_answers
from typer.testing import CliRunner

from qponder_lib import artifacts
from qponder_lib.cli import app
from qponder_lib.evaluation.scoring import evaluate_run
from qponder_lib.paths import RunPaths
from qponder_lib.records import ImageRecord, PredictionRecord
from qponder_lib.report import cases
from qponder_lib.report.claims import load_claims
from qponder_lib.report.filtering import write_filter
from qponder_lib.report.outputs import write_tables
from qponder_lib.report.page import Page, prose, short, write_report
from qponder_lib.report.render import Table, visible
from qponder_lib.runner.reference import keep_reference

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> severe blur \u202eevil " + "B" * 9000
)
VOID = {"img", "meta", "br", "link", "hr"}
TABLE_TAGS = {"section", "h2", "p", "h3", "table", "thead", "tbody", "tr", "th", "br", "small"}


class Reader(HTMLParser):
    """Collects tags and addresses, and that every element is closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes another element"


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    few = {"predict.sets": SETS[:2]}
    made = write_run(tmp_path_factory.mktemp("runs") / "here", n=20, **few)
    for dataset in SETS[:2]:
        for image in artifacts.read_jsonl(made.paths.split(dataset, "test"), ImageRecord):
            picture = made.paths.data / image.image
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(picture)
        for model in ("qponder", "ci-long"):
            path = made.paths.predictions(model, dataset)
            rows = artifacts.read_jsonl(path, PredictionRecord)
            artifacts.write_jsonl(path, [r.model_copy(update={"text": HOSTILE}) for r in rows])
    evaluate_run(made)
    filter_answers(made)
    write_filter(made)
    write_tables(made)
    cases.write_cases(made)
    stages = [
        {"name": "sft-long", "notebook": "04", "seconds": 90.0, "created": "t"},
        {"name": "<b>x</b>", "notebook": "05", "seconds": None, "created": None},
    ]
    manifest = {"exit_state": "complete", "written": "2026-01-01", "profile": made.profile}
    manifest |= {"stages": stages, "versions": {"torch": "2.13.0"}, "machine": {"cpu_count": 2}}
    artifacts.write_json(made.paths.manifest, manifest | {"kit": {"version": "9", "commit": "c0"}})
    write_report(made.paths)
    return made


def text_of(run):
    return (run.paths.report / "index.html").read_text(encoding="utf-8")


def test_page_is_well_formed_and_has_no_script_and_no_handler(run):
    reader = read(run.paths.report / "index.html")
    assert not {"script", "iframe", "object", "form"} & set(reader.tags)
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    policies = [value for _, name, value in reader.attributes if name == "content"]
    assert any(value.startswith("default-src 'none'") for value in policies)


def test_hostile_model_text_is_shown_by_its_code_and_cut(run):
    page = text_of(run)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert "B" * 7000 not in page
    assert "6,000 of" in page


def test_nothing_is_loaded_from_anywhere_but_the_run(run):
    reader = read(run.paths.report / "index.html")
    wanted = [v for _, name, v in reader.attributes if name in ("src", "href")]
    for address in wanted:
        assert address.startswith(("../", "#")), address
        if address.startswith("../"):
            assert (run.paths.report / unquote(address)).exists(), address


def test_every_claim_stands_on_the_page_once_with_a_verdict(run):
    page = text_of(run)
    for claim in load_claims():
        assert page.count(f'id="claim-{claim.id}"') == 1
    assert page.count('<p class="verdict">') == len(load_claims())
    assert "“achieves state-of-the-art (SOTA) performance" in page
    assert "R_{\\text{acc}} \\in (0, 1)" in page


def test_minutes_settings_and_versions_are_those_of_the_manifest(run):
    page = text_of(run)
    assert '<th scope="row">sft-long</th><td>04</td><td>1.5</td>' in page
    assert '<th scope="row">&lt;b&gt;x&lt;/b&gt;</th><td>05</td><td>–</td>' in page
    assert '<th scope="row">torch</th><td>2.13.0</td>' in page
    assert '<th scope="row">predict.n_samples</th><td>3</td>' in page


def test_headline_shows_the_number_of_the_scores_with_interval_and_n(run):
    rows = artifacts.read_csv(run.paths.scores)
    wanted = {"model": "qponder", "dataset": "mean", "decoding": "greedy", "metric": "srcc"}
    wanted["protocol"] = "raw"
    (row,) = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    ends = f"[{float(row['ci_low']):.3f}, {float(row['ci_high']):.3f}]"
    card = text_of(run).split("Q-Ponder</p>")[1].split("</div>")[0]
    assert f'<p class="value">{float(row["value"]):.3f} <small>{ends}</small></p>' in card
    assert f"SRCC mean over the sets, n = {row['n']}" in card


def test_every_model_has_a_card(run):
    models = {row["model"] for row in artifacts.read_csv(run.paths.scores)}
    assert text_of(run).count('<div class="card">') == len(models)


def test_page_opens_with_three_sentences_and_folds_what_was_not_decided(run):
    first = text_of(run).split('<section id="summary">')[1].split('<div class="cards">')[0]
    assert first.count("<p>") == 3
    assert "orders held-out images best, by its SRCC" in first
    assert f"Of {len(load_claims())} claims of the two papers" in first
    shown = text_of(run).split('<div class="claims">')[1].split("</div>")[0]
    assert "not_decidable" not in shown
    assert "not_run" not in shown


def test_figures_have_width_and_height_and_are_not_loaded_late(run):
    name = run.paths.figures / "main_result.png"
    name.parent.mkdir(exist_ok=True)
    Image.new("RGB", (1000, 500)).save(name)
    write_report(run.paths)
    found = re.search(r"<img [^>]*main_result[^>]*>", text_of(run)).group()
    name.unlink()
    write_report(run.paths)
    assert 'width="620" height="310"' in found
    assert "loading" not in found


def test_tables_that_print_the_same_are_printed_once(run):
    page = Page(run.paths)
    for name, value in (("one", 1), ("same", 1), ("other", 2)):
        artifacts.write_csv(run.paths.tables / f"{name}.csv", [{"value": value}], ["value"])
    assert page.same_tables("one", "same")
    assert not page.same_tables("one", "other")
    assert not page.same_tables("one", "absent")


def test_writing_twice_gives_the_same_bytes(run):
    first = text_of(run)
    write_report(run.paths)
    assert text_of(run) == first


def test_empty_run_says_what_is_missing_and_how_to_get_it(tmp_path):
    (tmp_path / "empty").mkdir()
    page = write_report(RunPaths(tmp_path / "empty"))
    read(page)
    text = page.read_text(encoding="utf-8")
    for what in ("eval/scores.csv", "tables/table1.html", "cases/", "manifest.json"):
        assert f"{what}: not in this run." in text


def test_run_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="qponder run mini"):
        write_report(RunPaths(tmp_path / "none"))


def test_kept_reference_has_a_page_whose_links_all_lead_somewhere(run, tmp_path):
    keep_reference(run.paths, tmp_path / "kept")
    reader = read(tmp_path / "kept" / "report" / "index.html")
    for _, name, address in reader.attributes:
        if name in ("src", "href") and address.startswith("../"):
            assert (tmp_path / "kept" / "report" / unquote(address)).exists(), address


def test_command_prints_where_the_page_is(run):
    done = CliRunner().invoke(app, ["report", str(run.paths.root)])
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("report/index.html")
    assert CliRunner().invoke(app, ["report", "no-such-run"]).exit_code == 2


# ---- markup


@settings(deadline=None)
@given(st.text(min_size=1), st.text())
def test_text_of_a_table_never_leaves_its_place(heading, text):
    reader = Reader()
    reader.feed(Table(text, text, {heading: pd.DataFrame({"a": [text]})}).html())
    assert reader.open == []
    assert set(reader.tags) <= TABLE_TAGS


@given(st.text())
def test_visible_text_has_no_control_and_no_direction_character(text):
    shown = visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)


def test_numbers_of_a_csv_are_cut_for_readers_and_text_is_kept():
    texts = ("0.12345", "1800", None, "too_few", "-0.0001", "1e-9", "v2.1")
    assert [short(t) for t in texts] == ["0.123", "1,800", "–", "too_few", "0.000", "0.000", "v2.1"]


def test_sentences_keep_hyphens_and_tell_minus_signs():
    assert prose("CI-long, -0.2 [-0.3, 0.1]") == "CI-long, −0.2\xa0[−0.3,\xa00.1]."
    assert prose("a step-800 run, 2026-11-21.") == "A step-800 run, 2026-11-21."
