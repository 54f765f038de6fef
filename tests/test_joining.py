"""Ids of two machines: what they have in common at the end decides, and nothing is guessed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qponder_lib.data.catalog import named_references
from qponder_lib.evaluation.joining import lost_ids, match_ids

NFC = [unicodedata.normalize("NFC", f"café_{k}.png") for k in range(3)]
NFD = [unicodedata.normalize("NFD", name) for name in NFC]


def partners(first, second):
    return {first[a]: second[b] for a, b in match_ids(first, second)[0].items()}


@pytest.mark.parametrize(
    ("first", "second", "by"),
    [
        (["a.png", "b.png"], ["b.png", "a.png"], {"id": 2}),
        (["/home/u/a.png", "b.png"], ["a.png", "SET/b.png"], {"path ending": 2}),
        ([r"D:\iqa\a.png", "./b.png"], ["x/a.png", "b.png"], {"path ending": 2}),
        (["I01.bmp", "i02.bmp"], ["t/i01.bmp", "t/i02.bmp"], {"path ending": 1, "case": 1}),
        (NFD, NFC, {"normal form": 3}),
        ([NFD[0], NFC[1]], NFC[:2], {"id": 1, "normal form": 1}),
        (["my%20photo.png"], ["my photo.png"], {"percent-encoding": 1}),
        (["100%.png"], ["100%.png"], {"id": 1}),
    ],
)
def test_ids_are_joined_by_what_they_share(first, second, by):
    assert match_ids(first, second)[1] == by


def test_the_longest_common_ending_tells_repeated_names_apart():
    first = ["/data/LSVQ/one/x.mp4", "/data/LSVQ/two/x.mp4", "/data/LSVQ/two/y.mp4"]
    second = ["two/x.mp4", "one/x.mp4", "two/y.mp4"]
    assert partners(first, second) == {
        first[0]: "one/x.mp4",
        first[1]: "two/x.mp4",
        first[2]: "two/y.mp4",
    }


def test_a_repeated_base_name_costs_those_rows_alone():
    first, second = ["p/x.png", "p/y.png"], ["a/x.png", "b/x.png", "a/y.png"]
    pairs, _ = match_ids(first, second)
    assert pairs == {1: 2}
    left, right = lost_ids(first, second, pairs)
    assert left == {"name there several times": ("p/x.png",)}
    assert right == {"name there several times": ("a/x.png", "b/x.png")}


def test_an_equal_id_wins_over_a_longer_one_with_that_ending():
    assert partners(["x.png"], ["d/x.png", "x.png"]) == {"x.png": "x.png"}
    assert partners(["x.png", "e/x.png"], ["x.png", "d/x.png"]) == {"x.png": "x.png"}


def test_case_is_ignored_only_where_that_is_unique():
    assert partners(["A.PNG"], ["a.png"]) == {"A.PNG": "a.png"}
    assert partners(["A.PNG"], ["a.png", "A.png"]) == {}
    assert partners(["a.png", "A.png"], ["A.png", "a.png"]) == {"a.png": "a.png", "A.png": "A.png"}
    _, right = lost_ids(["A.PNG"], ["a.png", "A.png"], {})
    assert list(right) == ["name there several times, case aside"]


@pytest.mark.parametrize(
    ("name", "label", "reason"),
    [
        ("i1.jpg", "i1.png", "another extension"),
        ("dist_i1.png", "i1.png", "another prefix"),
        ("i1.png", "koniq-i1.png", "another prefix"),
        ("holiday.png", "i1.png", "no such name"),
    ],
)
def test_the_likely_reason_is_named_on_both_sides(name, label, reason):
    left, right = lost_ids([name], [label], {})
    assert (left, right) == ({reason: (name,)}, {reason: (label,)})


@given(st.lists(st.sampled_from("ab/AB%2.é"), max_size=12), st.integers(1, 4))
def test_partners_are_one_to_one_and_equal_ids_are_always_partners(letters, length):
    names = ["".join(letters[k : k + length]) for k in range(0, len(letters), length)]
    first, second = list(dict.fromkeys(names)), list(dict.fromkeys(reversed(names[::2])))
    pairs, by = match_ids(first, second)
    assert len(set(pairs.values())) == len(pairs) == sum(by.values())
    equal = {(first.index(name), second.index(name)) for name in set(first) & set(second)}
    assert equal <= set(pairs.items())


@pytest.mark.parametrize(
    ("ids", "title", "references"),
    [
        (["a/i01_01_2.bmp", "a/I02_24_5.bmp"], "TID2013", ("I01", "I02")),
        (["1600.AWGN.1.png", "sunset.BLUR.5.png"], "CSIQ", ("1600", "sunset")),
        (["final01_d1_l1.bmp"], "CID:IQ", ("final01",)),
        (["I01_02_03.png", "i.png"], None, ()),
        (["I01_26_01.png"], None, ()),  # KADID has 25 types
        (["photo.a.1.png"], None, ()),
        ([f"{k}.jpg" for k in range(20)], None, ()),
    ],
)
def test_references_are_read_off_names_only_if_all_have_one_public_sets_form(
    ids, title, references
):
    found, mine = named_references(ids)
    assert tuple(mine) == references
    assert found == title or (title and found.startswith(title))
