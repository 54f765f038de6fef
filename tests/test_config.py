"""Profiles are complete, strict, and read back as they were."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from qponder_lib import config, paths, pipeline
from qponder_lib.config import (
    SECTIONS,
    GrpoConfig,
    Profile,
    SettingsError,
    SftConfig,
    Study,
)
from qponder_lib.report.studies import label_of

PROFILES = Path(__file__).parents[1] / "papermill_runs" / "profiles"
HEAD = {"name": "p", "description": "d"}
STATED_BY_THE_PAPER = """
data.train_set data.n_train distill.teacher distill.teacher_model distill.hint filter.gamma
student.model sft.variants sft.learning_rate sft.max_steps sft.select_sets
grpo.reward grpo.start_from grpo.alpha grpo.weight_accuracy grpo.weight_format
grpo.num_generations grpo.beta grpo.epsilon grpo.loss_type grpo.scale_rewards
grpo.use_bias_correction_kl grpo.learning_rate grpo.lr_scheduler_type grpo.warmup_steps
grpo.max_steps grpo.images_per_step predict.models predict.sets judge.judges judge.models
judge.sets judge.distilled judge.answer_format launch.processes
"""
FULL = ["full", "full-80gb", "full-24gb"]
SINGLE = ["smoke", "mini", *FULL]


PLACE = re.compile(r"# .*\b(section|Eqs?|Tables?|released)\b")


@pytest.mark.parametrize("name", [*SINGLE, "preresq", "rehearsal", "video"])
def test_a_profile_states_only_what_its_base_does_not_or_what_the_paper_does(name):
    text = (PROFILES / f"{name}.yaml").read_text()
    stated = yaml.safe_load(text)
    base = config.load_profile(stated["base"]) if "base" in stated else Profile(**HEAD)
    lines = {line.strip().partition(":")[0]: line for line in text.splitlines()}
    for section in set(stated) & set(SECTIONS):
        usual = getattr(base, section) or SECTIONS[section]()
        for field, value in stated[section].items():
            usual_value = usual.model_dump(mode="json").get(field)
            assert value != usual_value or PLACE.search(lines[field]), f"{section}.{field}"


def test_full_states_every_value_that_the_paper_states():
    stated = yaml.safe_load((PROFILES / "full.yaml").read_text())
    for setting in STATED_BY_THE_PAPER.split():
        section, field = setting.split(".")
        assert field in stated[section], setting


# --- TRL's own settings


def test_what_trl_accepts_can_be_stated_and_reaches_trl_as_it_is():
    mini = config.load_profile("mini")
    changed = mini.with_overrides(
        {"grpo.top_k": 5, "grpo.epsilon_high": 0.28, "sft.neftune_noise_alpha": 5}
    )
    assert (changed.grpo.trl["top_k"], changed.grpo.trl["epsilon_high"]) == (5, 0.28)
    assert changed.sft.trl["neftune_noise_alpha"] == 5
    assert "top_k" not in mini.grpo.trl
    assert pipeline.stage_keys(changed)["grpo-qponder"] != pipeline.stage_keys(mini)["grpo-qponder"]


def test_every_default_of_ours_is_a_setting_of_trl():
    for section in (SftConfig, GrpoConfig):
        assert set(section.DEFAULTS) <= section.names()
        assert section().trl == dict(section.DEFAULTS)


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (
            SftConfig,
            {"learning_rat": 1e-4},
            r"unknown setting sft\.learning_rat; did you mean 'learning_rate'",
        ),
        (SftConfig, {"beta": 0.1}, r"unknown setting sft\.beta"),
        (GrpoConfig, {"output_dir": "x"}, r"unknown setting grpo\.output_dir; the kit derives it"),
        (GrpoConfig, {"gradient_accumulation_steps": 2}, "the kit derives it"),
        (SftConfig, {"learning_rate": "fast"}, "learning_rate: expected float, got 'fast'"),
        (GrpoConfig, {"num_generations": 2.5}, "num_generations: expected int | None, got 2.5"),
        (GrpoConfig, {"temperature": float("nan")}, "temperature: expected float, got nan"),
        (GrpoConfig, {"exploration_steps": 120}, "must leave steps"),
        (GrpoConfig, {"num_generations": 1}, "nothing is learnt"),
        (GrpoConfig, {"epsilon": -0.2}, "epsilon: expected a number above 0"),
        (SftConfig, {"max_steps": 0}, "max_steps 0: expected at least 1"),
    ],
)
def test_a_wrong_name_or_value_is_refused_when_the_profile_is_read(section, values, said):
    with pytest.raises(ValidationError, match=said):
        section(**values)


def test_a_number_that_yaml_reads_as_a_text_is_a_number(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndescription: d\nsft:\n  learning_rate: 1e-4\n")
    assert config.load_profile(path).sft.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("changes", "processes", "expected"),
    [({}, 1, (128, 1)), ({}, 4, (32, 1)), ({"per_device_train_batch_size": 8}, 2, (8, 8))],
)
def test_passes_of_a_step_hold_the_completions_of_its_images(changes, processes, expected):
    assert GrpoConfig(**changes).batch(processes) == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"launch.processes": 3}, "images_per_step 16 does not divide over 3"),
        ({"grpo.per_device_train_batch_size": 48}, "48 must divide the 16 x 8 completions"),
    ],
)
def test_images_that_do_not_divide_are_refused_when_the_profile_is_read(changes, said):
    with pytest.raises(ValueError, match=said):
        config.load_profile("mini").with_overrides(changes)


@pytest.mark.parametrize("name", SINGLE)
def test_profile_reads_back_as_it_was_written(name, tmp_path):
    profile = config.load_profile(name)
    path = tmp_path / "copy.yaml"
    path.write_text(config.dump_profile(profile))
    assert config.load_profile(path) == profile


def test_defaults_are_the_mini_profile():
    mini = config.load_profile("mini")
    assert Profile(name=mini.name, description=mini.description) == mini


@pytest.mark.parametrize("name", FULL)
def test_full_states_the_hyperparameters_of_section_4_1(name):
    grpo = config.load_profile(name).grpo
    assert (grpo.num_generations, grpo.beta, grpo.epsilon, grpo.alpha) == (8, 0.04, 0.2, 10.0)
    assert (grpo.weight_accuracy, grpo.weight_format) == (2.0, 1.0)
    assert (grpo.learning_rate, grpo.lr_scheduler_type) == (2e-5, "cosine")


@pytest.mark.parametrize("name", FULL)
def test_full_gives_a_place_or_says_ours_on_every_line(name):
    lines = (PROFILES / f"{name}.yaml").read_text().splitlines()
    settings = [line for line in lines if re.match(r"  \w+:", line)]
    said = re.compile(r"# .*(ours|section|Eq|Table|not used|public sets)")
    assert [line for line in settings if not said.search(line)] == []


def test_study_has_five_seeds_three_controls_the_long_cold_start_and_a_gamma_sweep():
    study = config.load_profile_or_study("study")
    assert isinstance(study, Study)
    runs = study.profiles()
    seeds: dict[str, set[int]] = {}
    for name, profile in runs.items():
        assert profile.sft.seed == profile.grpo.seed
        seeds.setdefault(label_of(name), set()).add(profile.grpo.seed)
    assert (seeds[""], seeds["shuffled"], seeds["long"]) == (set(range(5)), {0, 1, 2}, {0, 1, 2})
    assert {p.filter.gamma for p in runs.values()} == {0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
    trained = ("grpo", "data", "distill", "student")
    varied = {"grpo": {"seed", "shuffle_rewards", "start_from"}}
    usual = runs["seed-0"].model_dump(include=trained, exclude=varied)
    for name, profile in runs.items():
        same = profile.model_dump(include=trained, exclude=varied)
        assert same == usual, "a control differs in nothing else"
        assert profile.grpo.shuffle_rewards == name.startswith("shuffled")
        assert profile.grpo.start_from == ("long" if name.startswith("long") else "short")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("filter.gama", "unknown setting 'filter.gama'; did you mean 'filter.gamma'?"),
        ("gamma", "unknown setting 'gamma'; did you mean 'filter.gamma'?"),
        ("filtre.gamma", "unknown setting 'filtre.gamma'; did you mean 'filter.gamma'?"),
        ("filter", "unknown setting 'filter'"),
        ("filter.gamma.x", "unknown setting 'filter.gamma.x'; did you mean 'filter.gamma'?"),
        ("filter.gamma", "mini: filter.gamma: Input should be a valid number, .*, got 'x'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_that_helps(name, said):
    with pytest.raises(SettingsError, match=said) as caught:
        config.load_profile("mini").with_overrides({name: "x"})
    assert "\n" not in str(caught.value)
    assert "https" not in str(caught.value)


def test_override_changes_one_field_and_nothing_else():
    mini = config.load_profile("mini")
    changed = mini.with_overrides({"filter.gamma": 0.5})
    assert changed.filter.gamma == 0.5
    assert changed.with_overrides({"filter.gamma": mini.filter.gamma}) == mini


def test_save_inside_a_generation_is_refused():
    with pytest.raises(ValidationError, match="multiple of num_iterations"):
        GrpoConfig(save_steps=25, num_iterations=2)


def test_grpo_cannot_start_from_a_variant_that_is_not_trained():
    with pytest.raises(ValidationError, match="start_from"):
        Profile(name="p", description="d", sft={"variants": ["none"]})


def test_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndescription: d\nfilter:\n  gamma: 0.5\n  gamma: 0.6\n")
    with pytest.raises(ValueError, match="duplicate key"):
        config.load_profile(path)


def test_missing_profile_names_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"no profile 'minni'; did you mean 'mini'\?"):
        config.load_profile("minni")
    with pytest.raises(FileNotFoundError, match=r"there are biq2021, full, full-24gb, .*, video"):
        config.load_profile("qqqq")


@pytest.mark.parametrize("name", ["../mini", "a/../b", "{x}", "/abs", "", "a//b", ".hidden", "a b"])
def test_unsafe_run_name_is_refused(name):
    with pytest.raises(ValueError, match="run name"):
        paths.safe_name(name)


def test_every_model_of_every_profile_has_a_maker():
    for name in SINGLE:
        profile = config.load_profile(name)
        for model in profile.predict.models:
            pipeline.model_stage(model, profile)


def test_a_profile_with_a_base_is_the_base_but_for_its_overrides():
    full, rehearsal = config.load_profile("full"), config.load_profile("rehearsal")
    assert (rehearsal.name, rehearsal.student.model) == ("rehearsal", "builtin:mini")
    assert rehearsal.predict.models == full.predict.models
    assert rehearsal.predict.sets == full.predict.sets
    assert (rehearsal.grpo.alpha, rehearsal.filter, rehearsal.data) == (
        10.0,
        full.filter,
        full.data,
    )


@pytest.mark.parametrize("base", ["study", "circle"])
def test_a_study_and_a_profile_itself_are_no_base(tmp_path, base, monkeypatch):
    (tmp_path / "circle.yaml").write_text("name: c\ndescription: d\nbase: circle\n")
    (tmp_path / "study.yaml").write_text("name: s\ndescription: d\nbase: mini\nruns: {}\n")
    monkeypatch.setattr(paths, "profiles_root", lambda: tmp_path)
    path = tmp_path / "on.yaml"
    path.write_text(f"name: mine\ndescription: d\nbase: {base}\nfilter: {{gamma: 0.5}}\n")
    with pytest.raises(ValueError, match=f"base '{base}' is"):
        config.load_profile(path)


def test_a_base_may_have_a_base(tmp_path):
    path = tmp_path / "on.yaml"
    path.write_text("name: mine\ndescription: d\nbase: full-24gb\nfilter: {gamma: 0.5}\n")
    mine, full = config.load_profile(path), config.load_profile("full")
    assert (mine.filter.gamma, mine.student.quantization, mine.name) == (0.5, "nf4", "mine")
    assert (mine.grpo.alpha, mine.data) == (10.0, full.data)


def test_a_setting_that_is_not_known_is_refused_in_a_file_too(tmp_path):
    path = tmp_path / "on.yaml"
    path.write_text("name: mine\ndescription: d\nbase: mini\nfilter: {gama: 0.5}\n")
    with pytest.raises(SettingsError, match=r"on\.yaml: unknown setting 'filter\.gama'; did you"):
        config.load_profile(path)


def test_a_study_is_no_profile():
    with pytest.raises(ValueError, match="study is a study"):
        config.load_profile("study")


def test_a_profile_has_at_most_105_settings():
    assert sum(len(model.model_fields) for model in SECTIONS.values()) <= 105


def test_profiles_of_published_runs_can_be_read():
    files = list((PROFILES.parent / "reference").rglob("profile.yaml"))
    assert len(files) == 37
    for file in files:
        config.load_profile(file)


def test_a_run_of_another_version_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("name: old\ndescription: d\nevaluate: {confidence: 0.9, n_resamples: 7}\n")
    with pytest.raises(SettingsError, match=r"made with other settings .* brings its folder up"):
        config.load_profile(path)
