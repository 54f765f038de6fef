"""A run on few images of the public sets says so, and is not taken for the paper's setting."""

from qponder_lib.artifacts import write_json
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.data.prepare import PreparedSet
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.report.render import origin, set_label, sets_note
from qponder_lib.report.verdicts import smaller_than_the_paper


def prepared_run(folder, n_whole):
    """The profile full, and its test set KonIQ as prepared."""
    paths = RunPaths(folder)
    made = PreparedSet(
        name="koniq",
        root="/copy",
        layout="official",
        label="mos",
        mapping="minmax",
        label_range=(1.0, 4.3),
        split="koniq-7k-2k",
        n={"test": 12 if n_whole else 2010},
        n_whole=n_whole,
        n_duplicates=0,
    )
    (paths.data / "koniq").mkdir(parents=True)
    write_json(paths.data / "koniq" / "source.json", made)
    profile = load_profile("full")
    paths.profile.write_text(dump_profile(profile), encoding="utf-8")
    return Run(paths, profile)


def test_tables_of_few_images_say_how_many_and_of_how_many(tmp_path):
    told = origin(prepared_run(tmp_path, {"test": 2010}))
    assert "a rehearsal on few images" in told
    assert "KonIQ-10k 12 of 2,010 test images" in told


def test_tables_of_whole_sets_call_them_public(tmp_path):
    run = prepared_run(tmp_path, None)
    assert origin(run).endswith("profile full, public sets as prepared.")
    assert "mini-" not in sets_note(run)


def test_few_images_are_not_the_papers_setting_and_whole_sets_are(tmp_path):
    few = prepared_run(tmp_path / "few", {"test": 2010})
    assert smaller_than_the_paper(few) == ["few images of each set"]
    assert smaller_than_the_paper(prepared_run(tmp_path / "whole", None)) == []


def test_public_sets_have_names_for_readers_and_others_keep_theirs():
    public = ("koniq", "livew", "csiq")
    assert [set_label(name) for name in public] == ["KonIQ-10k", "LIVE in the Wild", "CSIQ"]
    assert [set_label(name) for name in ("mini-koniq", "mean")] == ["mini-koniq", "mean"]
