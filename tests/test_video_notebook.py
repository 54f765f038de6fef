"""Notebook 13 from its first cell to its last, with hardly any work."""

import shutil
from pathlib import Path

import pytest

from qponder_lib import artifacts, pipeline
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.paths import MINI_WEIGHTS, RunPaths
from qponder_lib.runner import notebooks

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "13_video.ipynb"
FEW = {
    "clips.n_train": 8,
    "clips.n_test": 10,
    "clips.n_ladders": 1,
    "motion.steps": 1,
    "motion.word_steps": 1,
    "video.sft_max_steps": 1,
    "video.sft_clips_per_step": 2,
    "video.grpo_max_steps": 1,
    "video.grpo_clips_per_step": 3,
    "video.grpo_num_generations": 3,
    "video.max_completion_length": 8,
}


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_every_stage_of_the_video_model(tmp_path):
    profile = load_profile("smoke").with_overrides(FEW)
    paths = RunPaths(tmp_path / "run")
    shutil.copytree(MINI_WEIGHTS, paths.grpo("qponder"))  # stands in for the image model
    artifacts.write_text_atomic(paths.profile, dump_profile(profile))
    image_model = pipeline.stage_named("grpo-qponder", profile)
    keys = pipeline.stage_keys(profile)
    inputs = {name: keys[name] for name in image_model.inputs}
    pipeline.record_stage(paths, image_model, inputs, [paths.grpo("qponder")], 0.0)
    parameters = notebooks.parameters_of(
        NOTEBOOK, profile, profile_file=str(paths.profile), run_dir=str(paths.root)
    )
    copy = paths.executed / NOTEBOOK.name
    notebooks.execute(NOTEBOOK, copy, parameters, paths.logs / "13.log", ROOT)
    for entry in pipeline.plan(profile, paths):
        if entry.stage.notebook == "13":
            assert entry.state == "complete", (entry.stage.name, entry.why)
