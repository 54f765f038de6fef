"""Notebook 05 checks itself with the settings of the profile, whichever that is."""

from pathlib import Path

from qponder_lib.config import load_profile_or_study
from qponder_lib.runner import notebooks

ROOT = Path(__file__).parents[1]


def test_notebook_05_runs_with_another_systems_weights(tmp_path):
    notebook = ROOT / "notebooks" / "05_rewards.ipynb"
    profile = load_profile_or_study("preresq")
    assert (profile.grpo.weight_accuracy, profile.grpo.weight_format) == (1.0, 1.0)
    parameters = notebooks.parameters_of(
        notebook, profile, profile_file="preresq", run_dir=str(tmp_path / "run")
    )
    log = tmp_path / "log"
    notebooks.execute(notebook, tmp_path / "05.ipynb", parameters, log, ROOT)
