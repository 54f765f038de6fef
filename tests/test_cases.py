"""Cases are chosen by a rule, and tags decide statements; worked by hand, and laws."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_run import NO_SHA, SETS, prediction, write_run

from qponder_lib import artifacts
from qponder_lib.records import Distortion, ImageRecord
from qponder_lib.report import cases
from qponder_lib.report.cases import CaseAnswer
from qponder_lib.report.statements import Known, read_statements
from qponder_lib.text.assertions import read

HOSTILE = (
    '<script>alert("x")</script><img src=x onerror=alert(1)> There is severe blur.'
    "\u202egnp.exe\x07 " + "A" * 50_000
)


def known(*tags, mos=30.0, complete=True):
    return Known([Distortion(name=name, level=level) for name, level in tags], mos, complete)


def standings(text, facts):
    return [
        (text[s.start : s.end].strip(), s.standing)
        for s in read_statements(text, facts)
        if s.standing != "undecided"
    ]


# ---- statements, by hand


@pytest.mark.parametrize(
    ("text", "tags", "expected"),
    [
        ("There is severe blur.", [("blur", 4)], "right"),
        ("There is noticeable blur.", [("blur", 4)], "right"),  # one step off
        ("There is moderate blur.", [("blur", 4)], "wrong"),  # two steps off
        ("The image is blurry.", [("blur", 1)], "right"),  # no severity stated
        ("There is severe noise.", [("blur", 4)], "wrong"),
        ("There is slight noise.", [("blur", 4)], "undecided"),  # perhaps the photograph's own
        ("There is severe pixelation.", [("blur", 4)], "undecided"),  # they look alike
        ("There is severe motion blur.", [("noise", 2)], "wrong"),
        ("There might be severe noise.", [("blur", 4)], "undecided"),
        ("There is severe blur.", [("lens_blur", 5)], "right"),  # a wider name
        ("There is severe motion blur.", [("lens_blur", 5)], "undecided"),  # its sister
        ("There is heavy white noise.", [("white_noise", 5)], "right"),  # a public set's name
        ("There is severe noise.", [("jitter", 5)], "undecided"),  # not a word that is known
        ("No noise, blur or banding is seen.", [("jpeg", 2)], "right"),
        ("Exposure is balanced and colors are natural.", [("color_cast", 4)], "wrong"),
        ("Reduce the severe noise.", [("blur", 3)], "undecided"),
        ("There is no visible noise.", [("blur", 4)], "right"),
        ("There is no visible noise.", [("noise", 1)], "undecided"),  # just visible
        ("There is no visible noise.", [("noise", 2)], "wrong"),
        ("Edges are sharp.", [("blur", 3)], "wrong"),
        ("Edges are sharp.", [("underexposure", 3)], "right"),
        ("Edges are sharp.", [("jpeg", 3)], "undecided"),
        ("To improve, reduce the severe noise.", [("blur", 3)], "undecided"),
        ("The mood is calm.", [("blur", 3)], "undecided"),
    ],
)
def test_clause_is_decided_by_tags(text, tags, expected):
    (found,) = {s.standing for s in read_statements(text, known(*tags))} - {"undecided"} or {
        "undecided"
    }
    assert found == expected


def test_case_studies_and_judge_read_the_same_defects_in_an_answer():
    text = "No noise, blur, or banding is evident, but there is slight pixelation."
    stated = read(text)
    tags = [(mention.defect, 5) for mention in stated.denied]
    found = read_statements(text, known(*tags))
    wrong = [s for s in found if s.standing == "wrong"]
    assert len(wrong) == len(stated.denied) == 3
    assert [s.why.split(" is")[0] for s in wrong] == [m.defect for m in stated.denied]


def test_clauses_of_one_sentence_are_decided_one_by_one():
    text = "Overall the quality is poor, with severe blur and extreme noise."
    assert standings(text, known(("blur", 4), mos=30.0)) == [
        ("Overall the quality is poor,", "right"),
        ("with severe blur and", "right"),
        ("extreme noise.", "wrong"),
    ]


@pytest.mark.parametrize(("mos", "expected"), [(30.0, "right"), (50.0, None), (70.0, "wrong")])
def test_word_for_the_quality_is_held_against_the_severity_bin_of_the_mos(mos, expected):
    found = standings("Overall the quality is poor.", known(mos=mos))
    assert [standing for _, standing in found] == ([expected] if expected else [])


def test_where_tags_are_not_complete_nothing_untagged_is_decided():
    wild = known(complete=False)
    assert standings("There is severe noise. Edges are sharp. No color cast.", wild) == []


@settings(deadline=None)
@given(st.text(max_size=300))
def test_statements_together_are_the_text(text):
    found = read_statements(text, known(("blur", 3)))
    assert "".join(text[s.start : s.end] for s in found) == text


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_statement_is_wrong_exactly_from_two_steps_on(stated, tagged):
    words = ("slight", "moderate", "noticeable", "severe", "extreme")
    (found,) = read_statements(f"There is {words[stated - 1]} noise.", known(("noise", tagged)))
    assert found.standing == ("right" if abs(stated - tagged) <= 1 else "wrong")


def test_huge_text_is_read_in_part_and_kept_whole():
    text = "There is severe noise. " * 100_000
    found = read_statements(text, known(("blur", 3)))
    assert found[-1].end == len(text)
    assert found[-1].standing == "undecided"


# ---- rates


def test_rate_is_right_among_decided_and_counts_the_rest():
    found = cases.rate([(2, 1, 5), (1, 0, 0)], ["a", "b"])
    assert (found["value"], found["right"], found["wrong"], found["undecided"]) == (0.75, 3, 1, 5)


def test_rate_of_nothing_is_missing_with_a_reason():
    assert cases.rate([], [])["reason"] == "no_text"
    assert cases.rate([(0, 0, 4)], ["a"]) == {
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "n": 1,
        "n_references": 0,
        "n_unparsed": 0,
        "right": 0,
        "wrong": 0,
        "undecided": 4,
        "reason": "nothing_decided",
    }


# ---- choice


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    few = {"predict.sets": SETS[:2]}
    made = write_run(tmp_path_factory.mktemp("runs") / "here", n=20, **few)
    for dataset in SETS[:2]:
        for image in artifacts.read_jsonl(made.paths.split(dataset, "test"), ImageRecord):
            picture = made.paths.data / image.image
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(b"\x89PNG " + image.image_id.encode())
    return made


def test_quantiles_of_the_change_are_chosen_greatest_gain_first(run):
    images, answers = cases.read_all(run)
    changes = cases.changes(cases.compared_pair(run), answers)
    chosen = cases.choose(run, images, answers)
    ordered = sorted(changes.values())
    n = len(ordered)
    wanted = [ordered[round(q * (n - 1))] for q in (0.0, 0.25, 0.5, 0.75, 1.0)]
    rules, found = zip(*chosen.values(), strict=True)
    assert list(found[:5]) == wanted
    assert list(rules[5:]) == ["drawn at random from all others"] * 3
    assert len(chosen) == 8


def test_change_is_the_later_error_minus_the_earlier_and_needs_both():
    image = ImageRecord(
        image_id="a", image="a.png", dataset="s", split="test", mos=50.0, sha256=NO_SHA
    )
    answers = {
        "qponder": {("s", "a"): prediction(image, 55.0), ("s", "b"): prediction(image, None)},
        "ci-long": {("s", "a"): prediction(image, 30.0), ("s", "b"): prediction(image, 30.0)},
    }
    assert cases.changes(("qponder", "ci-long"), answers) == {("s", "a"): -15.0}


def test_choice_depends_on_errors_and_seed_and_on_no_text(run):
    images, answers = cases.read_all(run)
    rewritten = {
        model: {key: row.model_copy(update={"text": "x"}) for key, row in rows.items()}
        for model, rows in answers.items()
    }
    assert cases.choose(run, images, answers) == cases.choose(run, images, rewritten)


def test_cases_are_written_with_their_pictures_and_read_back(run):
    files = cases.write_cases(run)
    chosen = cases.read_cases(run.paths.cases)
    assert len(chosen) == 8
    for case in chosen:
        source = run.paths.data / case.image.image
        assert (run.paths.cases / case.picture).read_bytes() == source.read_bytes()
        assert run.paths.cases / case.picture in files
    first = (run.paths.cases / "cases.jsonl").read_bytes()
    cases.write_cases(run)
    assert (run.paths.cases / "cases.jsonl").read_bytes() == first


def test_run_without_a_pair_has_random_cases_alone(run, tmp_path):
    shutil.copytree(run.paths.root, tmp_path / "copy")
    profile = run.profile.with_overrides({"predict.models": ["teacher"]})
    alone = type(run)(type(run.paths)(tmp_path / "copy"), profile)
    images, answers = cases.read_all(alone)
    chosen = cases.choose(alone, images, answers)
    assert {rule for rule, _ in chosen.values()} == {"drawn at random from all others"}


# ---- pages


def hostile_case(run):
    case = cases.read_cases(run.paths.cases)[0]
    statements = tuple(read_statements(HOSTILE, known(("blur", 4))))
    answer = CaseAnswer(
        model="<b>m</b>", score=None, parse_status="no_answer", text=HOSTILE, statements=statements
    )
    return case.model_copy(update={"answers": (answer,)})


def test_hostile_text_is_shown_and_never_run(run):
    page = cases.case_html(hostile_case(run), "x.png")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>m" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert "⟨U+0007⟩" in page
    assert "6,000 of" in page
    assert len(page) < 12_000


def test_colour_is_never_alone(run):
    page = cases.case_html(hostile_case(run), "x.png")
    assert '<span class="right" title="blur is tagged, level 4 (severe)">' in page
    assert '<sup aria-label="right">✓</sup>' in page
    for name in ("right", "wrong"):
        rule = cases.cases_style().split(f".case .{name}{{")[1].split("}")[0]
        assert "text-decoration:underline" in rule
