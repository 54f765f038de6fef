"""Rewards in training: all images of the batch, all processes, one or two stages."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qponder_lib import artifacts, pipeline
from qponder_lib.artifacts import read_csv
from qponder_lib.config import GrpoConfig, load_profile
from qponder_lib.data import benchmark
from qponder_lib.data.images import load_records
from qponder_lib.evaluation.filtering import filter_responses
from qponder_lib.paths import RunPaths
from qponder_lib.pipeline import Run
from qponder_lib.rewards import alternatives, preresq
from qponder_lib.rewards.batch import PRERESQ_TERMS, reward_batch
from qponder_lib.teacher.distill import current_responses, distill, open_teacher
from qponder_lib.text import prompts
from qponder_lib.text.parsing import parse_answer
from qponder_lib.text.prompts import answer_form
from qponder_lib.text.sft_format import SftFormat, replace_score
from qponder_lib.training.grpo import grpo_dataset, trainings
from qponder_lib.training.launch import train
from qponder_lib.training.reward_functions import RewardFunctions, score_rollouts

FORM = answer_form("preresq_image")
STATED = np.array(
    [
        [[4.2, 4.3, 3.9, 3.0, 4.0], [3.6, 3.6, 2.8, 4.2, 3.9], [4.1, 3.7, 3.5, 2.1, 3.2]],
        [[2.0, 2.1, 2.2, 2.0, 2.1], [3.0, 2.5, 1.5, 2.0, 3.5], [2.5, 2.5, 2.0, 3.0, 1.0]],
        [[4.6, 4.8, 4.9, 4.5, 4.7], [3.0, 3.2, 3.4, 3.6, 3.8], [1.0, 5.0, 3.0, 4.0, 2.0]],
    ]
)
LABELS = np.array([3.7, 2.3, 4.6])
MOS = [float(one) for one in np.repeat((LABELS - 1) * 25, 3)]
IDS = [name for name in "abc" for _ in range(3)]
TEXTS = [
    "<think>Soft.</think>\n<answer>" + "".join(f"{one:.2f}\n" for one in row) + "</answer>"
    for row in STATED.reshape(-1, 5)
]
ASPECTS = {"student.prompt_id": "preresq_image"}
SMALL = {
    **ASPECTS,
    "data.n_train": 12,
    "data.n_validation": 4,
    "data.n_test": 4,
    "sft.max_steps": 2,
    "sft.save_steps": 2,
    "sft.per_device_train_batch_size": 4,
    "sft.variants": ["long"],
    "grpo.reward": "preresq",
    "grpo.exploration_steps": 1,
    "grpo.start_from": "long",
    "grpo.max_steps": 2,
    "grpo.save_steps": 1,
    "grpo.num_generations": 3,
    "grpo.images_per_step": 3,
    "grpo.per_device_train_batch_size": 3,
    "grpo.n_validation": 2,
    "grpo.max_completion_length": 8,
    "predict.models": ["qponder"],
    "predict.sampled_sets": [],
}


def config(**changes):
    values = {"reward": "preresq", "num_generations": 3, **changes}
    return GrpoConfig().model_copy(update=values)


def functions(folder, *, penalise_spread=False, **changes):
    file = folder / "completions.jsonl"
    deducts = {"penalise_spread": penalise_spread}
    return RewardFunctions(config(**changes), file, "preresq_image", **deducts)


def call(rewards, texts, mos, ids, logged=None):
    return rewards.accuracy(
        [[{"role": "assistant", "content": text}] for text in texts],
        mos=mos,
        image_id=ids,
        trainer_state=SimpleNamespace(global_step=1, is_world_process_zero=True),
        log_metric=lambda name, value: (logged if logged is not None else {}).update({name: value}),
    )


def test_training_rewards_are_the_papers_with_every_image_of_the_batch(tmp_path):
    logged = {}
    found = call(functions(tmp_path, penalise_spread=True), TEXTS, MOS, IDS, logged)
    expected = preresq.image_rewards(STATED, LABELS)
    assert found == pytest.approx(expected.total.ravel())
    assert logged["term_pairwise"] == pytest.approx(expected.pairwise.mean())
    assert {f"term_{name}" for name in PRERESQ_TERMS} < set(logged)


def test_the_second_stage_deducts_no_penalty(tmp_path):
    logged = {}
    call(functions(tmp_path), TEXTS, MOS, IDS, logged)
    assert logged["term_std_penalty"] == 0.0


def test_rollouts_hold_the_aspects_and_their_mean_on_the_kits_scale():
    rollouts, _ = score_rollouts(TEXTS, MOS, IDS, config(), prompt_id="preresq_image")
    assert rollouts[0].aspects == tuple(STATED[0, 0])
    assert rollouts[0].score == pytest.approx((3.88 - 1) * 25)
    assert rollouts[0].reward_format == 1.0
    texts = [*TEXTS[:8], "soft"]
    rollouts, _ = score_rollouts(texts, MOS, IDS, config(), prompt_id="preresq_image")
    last = rollouts[8]
    assert (last.score, last.aspects, last.parse_status) == (None, None, "no_answer")
    assert (last.reward_accuracy, last.reward_format) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("threshold", alternatives.threshold_rewards(STATED.mean(-1), LABELS)),
        ("gaussian", alternatives.gaussian_rewards(STATED.mean(-1), LABELS)),
        ("fidelity", alternatives.fidelity_rewards(STATED.mean(-1), LABELS)),
        ("qponder", np.exp(-25.0 / 30.0 * np.abs(STATED.mean(-1) - LABELS[:, None]))),
    ],
)
def test_every_reward_can_be_trained_on_the_same_answers(name, expected):
    asked = config(reward=name, alpha=30.0)
    rollouts, _ = score_rollouts(TEXTS, MOS, IDS, asked, prompt_id="preresq_image")
    assert [one.reward_accuracy for one in rollouts] == pytest.approx(expected.ravel())


def test_answers_of_one_score_are_rewarded_too_and_have_no_spread_to_penalise():
    scores = [[[70.0], [60.0], [math.nan]], [[20.0], [30.0], [40.0]], [[90.0], [80.0], [85.0]]]
    total, terms = reward_batch(scores, [70.0, 30.0, 90.0], "preresq", penalise_spread=True)
    assert terms["std_penalty"] == 0.0
    assert np.isfinite(total).all()
    assert total[0, 2] == preresq.UNPARSED_IMAGE_REWARD


def test_a_group_of_two_images_is_an_error():
    with pytest.raises(ValueError, match="not one image's group"):
        score_rollouts(TEXTS, MOS, ["a", *IDS[:-1]], config(), prompt_id="preresq_image")
    with pytest.raises(ValueError, match="not one image's group"):
        score_rollouts(TEXTS[:8], MOS[:8], IDS[:8], config(), prompt_id="preresq_image")


PROCESS = """
import json, sys
from pathlib import Path
from torch import distributed
from test_preresq_training import IDS, MOS, TEXTS, call, functions
rank, folder = int(sys.argv[1]), Path(sys.argv[2])
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
)
own = slice(0, 5) if rank == 0 else slice(5, 9)  # the border lies inside the second group
(folder / str(rank)).mkdir()
found = {}
for name, changes in (("plain", {}), ("control", {"shuffle_rewards": True})):
    rewards = functions(folder / str(rank), **changes)
    found[name] = call(rewards, TEXTS[own], MOS[own], IDS[own])
(folder / f"{rank}.json").write_text(json.dumps(found))
distributed.destroy_process_group()
"""


def test_two_processes_compare_the_images_of_both(tmp_path):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {paths!r}\n{PROCESS}"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(tmp_path)]) for rank in (0, 1)
    ]
    assert [one.wait(timeout=300) for one in running] == [0, 0]
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert parts[0]["plain"] + parts[1]["plain"] == call(functions(tmp_path), TEXTS, MOS, IDS)
    alone = call(functions(tmp_path, shuffle_rewards=True), TEXTS, MOS, IDS)
    assert parts[0]["control"] + parts[1]["control"] == alone


# --- prompts and stages ---


def test_five_prompts_name_the_aspects_in_order_and_differ():
    texts = [prompts.preresq_messages(n)[0]["content"] for n in range(5)]
    assert len(set(texts)) == 5
    for text in texts:
        places = [text.index(aspect) for aspect in prompts.PRERESQ_ASPECTS]
        assert places == sorted(places)
        assert "one per line" in text
    assert prompts.student_messages("preresq_image") == prompts.preresq_messages(0)


def test_the_cold_start_learns_the_label_for_every_aspect():
    form = SftFormat(prompt_id="preresq_image")
    text = replace_score("<think>Soft.</think><answer>40</answer>", 62.5, form)
    assert text == "<think>Soft.</think>\n<answer>3.50\n3.50\n3.50\n3.50\n3.50\n</answer>"
    assert preresq.image_format_reward(text) == 1.0
    assert parse_answer(text, FORM).score == 62.5
    video = replace_score(text, 62.5, SftFormat(prompt_id="preresq_video"))
    assert preresq.video_format_reward(video) == 1.0


def test_two_stages_split_the_steps_and_the_second_goes_on_from_the_first(tmp_path):
    profile = load_profile("smoke").with_overrides({**SMALL, "grpo.max_steps": 10})
    first, second = trainings(Run(RunPaths(tmp_path), profile))
    assert (first.config.max_steps, second.config.max_steps) == (1, 9)
    assert (first.penalise_spread, second.penalise_spread) == (True, False)
    assert second.start == RunPaths(tmp_path).grpo("preresq-explore")
    names = [stage.name for stage in pipeline.stages(profile)]
    assert names.index(second.stage) == names.index(first.stage) + 1
    assert first.stage in pipeline.stage_named(second.stage, profile).inputs
    one = trainings(Run(RunPaths(tmp_path), load_profile("smoke")))
    assert [training.stage for training in one] == ["grpo-qponder"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"grpo.exploration_steps": 1}, "prompts for five aspects"),
        ({**ASPECTS, "grpo.exploration_steps": 10, "grpo.max_steps": 10}, "second stage"),
        ({"grpo.reward": "likert"}, "reward"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides, said):
    with pytest.raises(ValueError, match=said):
        load_profile("smoke").with_overrides(overrides)


@pytest.fixture(scope="module")
def cold_start(tmp_path_factory):
    run = Run(RunPaths(tmp_path_factory.mktemp("run")), load_profile("smoke").with_overrides(SMALL))
    benchmark.build(run.profile.data, run.paths, progress=False)
    records = load_records(run.paths, "mini-koniq", "train")
    distill(records, open_teacher(run.profile.distill), run.profile.distill, run.paths)
    responses = current_responses(records, run.profile.distill, run.paths)
    kept = filter_responses(responses, {one.image_id: one.mos for one in records}, 0.8).kept
    artifacts.write_jsonl(run.paths.kept, kept)
    train(run, "sft-long", run.paths.root / "work" / "sft")
    return run


def test_a_pool_gives_each_image_one_of_the_five_prompts_by_the_seed(cold_start):
    rows = grpo_dataset(cold_start, prompt_pool=True)["prompt"]
    texts = {row[0]["content"] for row in rows}
    assert 1 < len(texts) <= 5
    assert texts <= {prompts.preresq_messages(n)[0]["content"] for n in range(5)}
    assert list(rows) == list(grpo_dataset(cold_start, prompt_pool=True)["prompt"])
    plain = grpo_dataset(cold_start)["prompt"]
    assert {row[0]["content"] for row in plain} == {prompts.preresq_messages(0)[0]["content"]}


def test_both_stages_train_and_log_their_terms(cold_start):
    for training in trainings(cold_start):
        folder = train(cold_start, training.stage, cold_start.paths.root / "work" / training.stage)
        rows = read_csv(folder / "history.csv")
        assert [int(row["step"]) for row in rows] == [1]
        assert {f"term_{name}" for name in PRERESQ_TERMS} < set(rows[0])
        assert artifacts.read_record(folder).stage == training.stage
    assert folder == cold_start.paths.grpo("preresq")
