"""The video sections of a profile, their stages, and the rewards of clips."""

import numpy as np
import pytest
import yaml

from qponder_lib import config, pipeline
from qponder_lib.config import ClipsConfig, Profile, VideoConfig, load_profile
from qponder_lib.paths import RunPaths
from qponder_lib.rewards import preresq
from qponder_lib.rewards.batch import PRERESQ_TERMS, reward_batch
from qponder_lib.text import prompts

STAGES = ["clips", "video-motion", "video-sft", "video-grpo", "video-scores"]


def names(profile):
    return [stage.name for stage in pipeline.stages(profile)]


def test_the_video_profile_is_mini_with_the_defaults_of_the_video_model():
    for section, model in config.OPTIONAL_SECTIONS.items():
        assert getattr(load_profile("video"), section) == model()


def test_only_a_profile_with_both_sections_has_the_stages_of_the_video_model():
    mini, video = load_profile("mini"), load_profile("video")
    assert (mini.clips, mini.video) == (None, None)
    assert names(video) == [*names(mini), *STAGES]
    keys, wider = pipeline.stage_keys(mini), pipeline.stage_keys(video)
    assert {name: wider[name] for name in keys} == keys
    with pytest.raises(ValueError, match="both sections"):
        Profile(name="p", description="d", clips=ClipsConfig())


def test_a_video_setting_brings_both_sections_into_a_profile():
    made = load_profile("mini").with_overrides({"video.grpo_max_steps": 7})
    assert made.video == VideoConfig(grpo_max_steps=7)
    assert made.clips == ClipsConfig()


def test_a_profile_without_clips_is_written_as_before_and_one_with_them_reads_back(tmp_path):
    assert "clips" not in yaml.safe_load(config.dump_profile(load_profile("mini")))
    path = tmp_path / "copy.yaml"
    path.write_text(config.dump_profile(load_profile("video")))
    assert load_profile(path) == load_profile("video")


def test_the_video_model_depends_on_the_image_model_and_the_clips_do_not():
    video = load_profile("video")
    changed = video.with_overrides({"grpo.alpha": 20.0})
    before, after = pipeline.stage_keys(video), pipeline.stage_keys(changed)
    assert before["clips"] == after["clips"]
    assert all(before[name] != after[name] for name in STAGES[1:])
    assert RunPaths.at("/r").video("sft").as_posix() == "/r/video/sft"


@pytest.mark.parametrize(
    "changes",
    [{"clips": {"rows": 0}}, {"clips": {"size": 63}}, {"video": {"prompt_id": "short"}}],
)
def test_settings_that_make_no_clips_are_refused(changes):
    sections = {"clips": {}, "video": {}} | changes
    with pytest.raises(ValueError, match=next(iter(next(iter(changes.values()))))):
        Profile(name="p", description="d", **sections)


def test_the_message_names_each_image_before_it_and_asks_last():
    blocks = prompts.video_blocks("video_short", 3)
    assert [block["type"] for block in blocks] == ["text", "image"] * 4 + ["text"]
    assert blocks[0]["text"] == "Global multiframe picture:"
    assert blocks[4]["text"] == "Local single frame picture 2:"
    alone = prompts.video_blocks("video_short", 3, mosaic=False)
    assert alone == blocks[2:]
    assert prompts.answer_form("video_short") == prompts.answer_form("preresq_video")


def test_training_rewards_of_clips_are_the_video_total():
    # the two first columns of the worked example of three images and three completions
    stated = np.array(
        [
            [[4.2, 4.3], [3.6, 3.6], [4.1, 3.7]],
            [[2.0, 2.1], [3.0, 2.5], [2.5, 2.5]],
            [[4.6, 4.8], [3.0, 3.2], [1.0, 5.0]],
        ]
    )
    labels = np.array([3.7, 2.3, 4.6])
    mos = (labels - 1) * 25
    found, terms = reward_batch((stated - 1) * 25, mos, "preresq_video", penalise_spread=True)
    expected = preresq.video_rewards(stated, labels)
    assert found == pytest.approx(expected.total)
    assert list(terms) == list(PRERESQ_TERMS[:-1])
    assert terms["pairwise"] == pytest.approx(expected.pairwise.mean())
    later, terms = reward_batch((stated - 1) * 25, mos, "preresq_video")
    with pytest.raises(ValueError, match="2 scores, got 5"):
        reward_batch(np.full((3, 3, 5), 50.0), mos, "preresq_video")
    assert terms["std_penalty"] == 0.0
    assert (later >= found).all()


def test_an_unparsed_completion_about_a_clip_earns_less_than_any_parsed_one():
    stated = np.full((3, 3, 2), 50.0)
    stated[1, 2] = np.nan
    found, _ = reward_batch(stated, [10.0, 50.0, 90.0], "preresq_video")
    assert found[1, 2] == preresq.UNPARSED_VIDEO_REWARD
    assert found[1, 2] < np.delete(found.ravel(), 5).min()
