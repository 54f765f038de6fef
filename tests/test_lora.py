"""Adapters: on the language model only, restartable bit for bit, read back by prediction."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_training import OVERRIDES, prepared  # noqa: F401

from qponder_lib import artifacts
from qponder_lib.artifacts import file_sha256, read_csv
from qponder_lib.config import SettingsError, dump_profile, load_profile
from qponder_lib.pipeline import Run
from qponder_lib.student import model as adapters
from qponder_lib.student.assessment import load
from qponder_lib.student.model import load_base, load_student
from qponder_lib.training.checkpoints import last_checkpoint
from qponder_lib.training.launch import train
from qponder_lib.training.reward_functions import RewardFunctions

ADAPTERS = {
    "student.lora_rank": 4,
    "student.lora_alpha": 8,
    "grpo.learning_rate": 1e-3,
}
BLOCKS = 3  # of the mini student


@pytest.fixture(scope="module")
def base():
    return load_base(load_profile("smoke").student)


def adapted(run, **more):
    profile = run.profile.with_overrides({**ADAPTERS, **more})
    return Run(run.paths, profile)


def weights(folder):
    return file_sha256(folder / "adapter_model.safetensors")


def interrupted(work, train):
    """Drop every checkpoint but the first, as if the run had been killed after it."""
    train(work)
    for folder in work.glob("checkpoint-*"):
        if folder.name != "checkpoint-2":
            (folder / "SEALED.json").unlink()
    assert last_checkpoint(work) == work / "checkpoint-2"
    train(work)


def test_adapters_are_on_all_seven_layers_of_each_language_block_and_nowhere_else(base):
    model = adapters.new_adapter(load_base(load_profile("smoke").student).model, 4, 8, seed=0)
    assert adapters.check_reach(model) == 7 * BLOCKS
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * BLOCKS
    assert not [name for name in trained if "visual" in name]


def test_the_usual_list_of_layer_names_reaches_the_vision_tower_and_is_refused():
    student = load_base(load_profile("smoke").student)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(student.model, LoraConfig(r=4, target_modules=names))
    with pytest.raises(adapters.WeightsError, match="vision tower"):
        adapters.check_reach(model)


def test_a_new_adapter_changes_no_answer(base):
    ids = torch.arange(7, 27)[None]
    with torch.no_grad():
        before = base.model(input_ids=ids).logits.clone()
        other = load_base(load_profile("smoke").student).model
        after = adapters.new_adapter(other, 4, 8, seed=0)(input_ids=ids).logits
    assert torch.equal(before, after)


def test_four_bit_leaves_vision_tower_and_head_whole():
    pytest.importorskip("bitsandbytes")
    config = load_profile("smoke").student.model_copy(update={"quantization": "nf4"})
    student = load_base(config)
    assert adapters.check_four_bit(student.model) == 7 * BLOCKS
    seeing = student.model.get_submodule("model.visual").modules()
    assert not [one for one in seeing if type(one).__name__ == "Linear4bit"]


def test_four_bits_without_adapters_are_refused():
    with pytest.raises(SettingsError, match="by adapters only"):
        load_profile("smoke").with_overrides({"student.quantization": "nf4"})


@pytest.fixture(scope="module")
def tuned(prepared):  # noqa: F811
    run = adapted(prepared)
    train(run, "sft-long", run.paths.root / "work" / "lora-sft")
    return run


def test_sft_resumed_ends_with_the_very_adapter_of_an_uninterrupted_run(tuned):
    folder = tuned.paths.sft("long")
    whole = weights(folder)
    history = [row["loss"] for row in read_csv(folder / "history.csv")]
    interrupted(
        tuned.paths.root / "work" / "lora-sft-2", lambda work: train(tuned, "sft-long", work)
    )
    assert weights(folder) == whole
    assert [row["loss"] for row in read_csv(folder / "history.csv")] == history


def test_the_base_stays_as_it_was_and_the_folder_holds_no_second_copy_of_it(tuned, base):
    folder = tuned.paths.sft("long")
    assert not (folder / "model.safetensors").exists()
    assert artifacts.verify_record(folder) == []
    assert artifacts.read_json(folder / "adapter_config.json")["base_model_name_or_path"] == (
        "builtin:mini"
    )
    merged = load_student(tuned.profile.student, folder).model
    same = dict(base.model.named_parameters())
    changed = [n for n, w in merged.named_parameters() if not torch.equal(w, same[n])]
    assert len(changed) == 7 * BLOCKS
    assert all("language_model" in name for name in changed)


def spread(self, completions, trainer_state, **_):
    """A reward that answers of an untrained student differ in: the letters they use."""
    return [len(set(one[0]["content"])) / 10 for one in completions]


def test_grpo_goes_on_with_the_adapter_against_a_frozen_copy_and_resumes_exactly(
    tuned, monkeypatch
):
    run, folder = tuned, tuned.paths.grpo("qponder")
    monkeypatch.setattr(RewardFunctions, "format", spread)
    train(run, "grpo-qponder", run.paths.root / "work" / "lora-grpo")
    whole = weights(folder)
    rows = read_csv(folder / "history.csv")
    assert max(float(row["reward_std"]) for row in rows) > 0.0
    # The copy is the start: at the first step nothing has moved, later something has.
    assert float(rows[0]["kl"]) == pytest.approx(0.0, abs=1e-6)
    assert float(rows[-1]["kl"]) > 1e-6
    assert whole != weights(run.paths.sft("long"))
    again = run.paths.root / "work" / "lora-grpo-2"
    interrupted(again, lambda work: train(run, "grpo-qponder", work))
    assert weights(folder) == whole
    assert [row["loss"] for row in read_csv(folder / "history.csv")] == [
        row["loss"] for row in rows
    ]


def test_prediction_reads_an_adapter_folder(tuned):
    image = next(tuned.paths.images("mini-koniq").glob("*.png"))
    artifacts.write_text_atomic(tuned.paths.profile, dump_profile(tuned.profile))
    assert load(tuned.paths.sft("long")).score(image).text


@pytest.mark.parametrize(
    ("changes", "said"),
    [({}, "is an adapter"), ({**ADAPTERS, "student.lora_rank": 8}, r"rank and alpha \(4, 8\)")],
)
def test_an_adapter_is_not_trained_as_whole_weights_or_as_another_adapter(tuned, changes, said):
    run = Run(tuned.paths, load_profile("smoke").with_overrides({**OVERRIDES, **changes}))
    with pytest.raises(ValueError, match=said):
        train(run, "grpo-qponder", tuned.paths.root / "work" / "none")


def test_training_in_four_bits_saves_and_reads_back_an_adapter(prepared, tmp_path):  # noqa: F811
    pytest.importorskip("bitsandbytes")
    run = adapted(prepared, **{"student.quantization": "nf4", "sft.max_steps": 2})
    folder = train(run, "sft-long", tmp_path)
    student = load_student(run.profile.student, folder)
    assert adapters.check_four_bit(student.model) == 7 * BLOCKS
    assert adapters.check_reach(student.model) == 7 * BLOCKS
