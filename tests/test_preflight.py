"""The preflight finds each way to spend days on nothing, and its arithmetic is that of models."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from qponder_lib.cli import app
from qponder_lib.config import dump_profile, load_profile
from qponder_lib.gpu import preflight as checks
from qponder_lib.gpu.preflight import preflight, refused
from qponder_lib.gpu.sizes import GIB, Lengths, Machine, cache, hours, lengths, memory, shape_of
from qponder_lib.paths import RunPaths
from qponder_lib.student import model as adapters
from qponder_lib.student.model import load_base
from qponder_lib.text.prompts import student_messages

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import memory_estimate

ONE = Machine()
REFERENCE = Path(__file__).parents[1] / "papermill_runs/reference/study-long/seed-1"


def problems(report):
    return {one.check: one.said for one in report.findings if one.verdict == "problem"}


def checked(tmp_path, machine=ONE, name="full", **changes):
    profile = load_profile(name).with_overrides(changes)
    return preflight(profile, RunPaths(tmp_path), machine)


def put_labels(paths, values):
    rows = [
        {
            "image_id": f"i{number}",
            "image": f"koniq/images/{number}.png",
            "dataset": "koniq",
            "split": "train",
            "mos": value,
            "sha256": "0" * 64,
        }
        for number, value in enumerate(values)
    ]
    paths.split("koniq", "train").parent.mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    paths.split("koniq", "train").write_text(text)


@pytest.mark.parametrize("name", ["smoke", "mini", "full", "full-80gb", "full-24gb", "rehearsal"])
def test_the_shipped_profiles_have_no_problem(tmp_path, name):
    assert problems(checked(tmp_path, name=name)) == {}


def test_a_prompt_of_1150_tokens_against_a_limit_of_1024_is_found():
    profile = load_profile("full").with_overrides({"sft.max_length": 1024})
    tokens = Lengths(prompt=150, image=1000, completion=200, counted=True)
    shape = shape_of(profile.student.model)
    said = [f.said for f in checks.check_lengths(profile, shape, tokens) if f.verdict == "problem"]
    assert said == [
        "prompt 150 (counted) + image 1000 leave no room for a completion in sft.max_length, 1024"
    ]


def test_a_limit_of_1024_is_found_in_a_whole_profile(tmp_path):
    said = problems(checked(tmp_path, **{"sft.max_length": 1024}))["lengths"]
    assert "leave no room for a completion in sft.max_length, 1024" in said


def test_an_answer_that_would_be_cut_is_found(tmp_path):
    report = checked(tmp_path, **{"sft.max_length": 2000})
    assert "completions are cut off" in problems(report)["lengths"]


def test_labels_from_1_to_5_on_a_scale_to_100_are_found(tmp_path):
    put_labels(RunPaths(tmp_path), [1.2, 3.0, 4.8] * 10)
    report = checked(tmp_path)
    assert "1.2 to 4.8 on a scale 0 to 100" in problems(report)["labels"]


def test_a_label_outside_the_scale_is_found_with_its_row(tmp_path):
    put_labels(RunPaths(tmp_path), [50.0, 101.0])
    assert "mos" in problems(checked(tmp_path))["labels"]


def test_one_generation_per_prompt_is_found(tmp_path):
    text = dump_profile(load_profile("full")).replace("num_generations: 8", "num_generations: 1")
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="num_generations") as caught:
        load_profile(path)
    (finding,) = refused("one", caught.value).findings
    assert finding.verdict == "problem"
    assert "grpo.num_generations" in finding.said
    assert "advantage 0" in finding.said


def test_fewer_prompts_than_a_generation_batch_are_found(tmp_path):
    put_labels(RunPaths(tmp_path), [10.0, 50.0, 90.0])
    assert "0 steps" in problems(checked(tmp_path))["steps"]
    assert "0 steps" in problems(checked(tmp_path / "other", **{"data.n_train": 7}))["steps"]


def test_images_that_do_not_divide_over_the_gpus_are_found(tmp_path):
    assert "over 3" in problems(checked(tmp_path, Machine(gpus=3)))["steps"]


def test_save_steps_off_the_boundary_of_a_generation_is_found(tmp_path):
    values = yaml.safe_load(dump_profile(load_profile("full")))
    values["grpo"]["num_iterations"] = 4
    path = tmp_path / "off.yaml"
    path.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, ["preflight", str(path)])
    assert result.exit_code == 1
    assert "multiple of num_iterations" in result.output


def test_a_checkpoint_that_would_never_be_written_is_found(tmp_path):
    assert "none is written" in problems(checked(tmp_path, **{"grpo.max_steps": 40}))["checkpoints"]


def test_a_reward_that_compares_images_is_found_where_a_step_has_one(tmp_path):
    one = {"launch.processes": 1, "launch.accelerate": ""}
    alone = {"grpo.reward": "fidelity", "grpo.images_per_step": 1, **one}
    assert "nothing is learnt" in problems(checked(tmp_path, **alone))["reward"]
    assert "reward" not in problems(checked(tmp_path, **{**alone, "grpo.reward": "qponder"}))
    alone["grpo.images_per_step"] = 2
    assert "reward" not in problems(checked(tmp_path, **alone))


def test_a_cold_start_that_never_reasons_is_found(tmp_path):
    assert "never reasons" in problems(checked(tmp_path, **{"grpo.start_from": "none"}))["reward"]


def test_weights_of_nought_are_found(tmp_path):
    nothing = {"grpo.weight_accuracy": 0.0, "grpo.weight_format": 0.0}
    assert problems(checked(tmp_path, **nothing))["reward"] == "both weights are 0"


def test_the_papers_setting_fits_eight_gpus_sharded_and_not_one(tmp_path):
    assert problems(checked(tmp_path, Machine(8, "zero3", 80.0))) == {}
    assert "memory" in problems(checked(tmp_path, Machine(1, "", 80.0)))
    assert problems(checked(tmp_path, Machine(1, "", 80.0), "full-80gb")) == {}
    assert problems(checked(tmp_path, Machine(1, "", 24.0), "full-24gb")) == {}


@pytest.fixture(scope="module")
def mini():
    return load_base(load_profile("mini").student).model


def test_counts_of_weights_are_those_of_the_model(mini):
    shape = shape_of("builtin:mini")
    unique = {weight.data_ptr(): weight.numel() for weight in mini.parameters()}
    assert shape.parameters == sum(unique.values())
    assert shape.vision == sum(
        one.numel() for one in mini.get_submodule("model.visual").parameters()
    )
    adapted = adapters.new_adapter(load_base(load_profile("mini").student).model, 4, 8, 0)
    trained = sum(one.numel() for one in adapted.parameters() if one.requires_grad)
    assert shape.adapter(4) == trained
    assert shape_of("Qwen/Qwen2.5-VL-7B-Instruct").parameters == 8_292_166_656


@pytest.mark.parametrize("frozen", [False, True])
def test_bytes_of_cache_gradients_and_optimizer_are_those_of_a_step(mini, frozen):
    shape = shape_of("builtin:mini")
    ids = torch.randint(7, 700, (3, 20))
    out = mini(input_ids=ids, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in out.past_key_values.layers)
    assert cache(shape, 3, 20, 4) == held
    tokens = Lengths(prompt=10, image=0, completion=10, counted=True)
    profile = load_profile("mini").with_overrides({"grpo.freeze_vision": frozen})
    parts = memory(profile, shape, tokens, ONE, stage="grpo")
    model = load_base(profile.student).model
    if frozen:
        model.get_submodule("model.visual").requires_grad_(False)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    sum(one.sum() for one in trained).backward()
    optimizer.step()
    moments = [
        state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
    ]
    assert parts["weights"] * GIB == sum(one.nbytes for one in model.parameters())
    assert parts["gradients"] * GIB == sum(one.grad.nbytes for one in trained)
    assert parts["optimizer"] * GIB == sum(one.nbytes for one in moments)


def test_the_estimate_of_activations_is_near_what_a_step_allocates():
    found = memory_estimate.measure(memory_estimate.Case(6, 256, 200, 60, 8))
    assert 0.6 < found["estimate_over_measured"] < 1.1


def test_prompt_tokens_are_counted_as_the_processor_counts_them():
    student = load_base(load_profile("mini").student)
    profile = load_profile("mini")
    counted = lengths(profile, shape_of("builtin:mini"))
    content = [
        {"type": "image"},
        {"type": "text", "text": student_messages("student_short")[0]["content"]},
    ]
    ids = student.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    real = len(student.processor.tokenizer(ids, add_special_tokens=False).input_ids) - 1
    assert counted.counted
    assert counted.image == 16
    # The kit allows for the system turn that Qwen's own template adds.
    assert real <= counted.prompt <= real + 40


def test_hours_follow_from_the_stated_throughput(tmp_path):
    machine = Machine(
        gpus=8, sharded="zero3", train_tokens_per_s=1000.0, generate_tokens_per_s=500.0
    )
    report = checked(tmp_path, machine)
    tokens = lengths(load_profile("full"), shape_of("Qwen/Qwen2.5-VL-7B-Instruct"))
    answers = 700 * 8 * 8 / 8
    seconds = answers * (4 / 3 * tokens.whole / 1000.0 + 1024 / 500.0)
    assert report.hours["grpo"] == pytest.approx(seconds / 3600)
    assert checked(tmp_path).hours is None


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="there is no reference run")
def test_hours_of_a_measured_run_follow_from_a_measured_throughput():
    rows = json.loads(
        (Path(memory_estimate.__file__).parent / "results/shared_prefix.json").read_text()
    )
    mini = next(row for row in rows["rows"] if row["model"] == "mini")
    answers = mini["images"] * mini["n"]
    machine = Machine(
        train_tokens_per_s=answers
        * (mini["prompt"] + mini["completion"])
        / mini["update"]["shared_wall"],
        generate_tokens_per_s=answers * mini["completion"] / mini["rollout"]["shared_wall"],
    )
    # The reference run of c37fbcc, seed 0 of these settings, two quiet cores of an Intel Xeon.
    length, seconds = 117.3, 309.29
    tokens = Lengths(prompt=mini["prompt"] - 16, image=16, completion=round(length), counted=True)
    said = hours(load_profile(REFERENCE / "profile.yaml"), tokens, machine)["grpo"] * 3600
    assert said == pytest.approx(seconds, rel=0.25)


def test_the_command_prints_strict_json_and_exits_by_the_verdict(tmp_path):
    result = CliRunner().invoke(app, ["preflight", "full", "--json", "--run-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ok"] is True
    poor = ["preflight", "full", "--gpus", "1", "--gpu-gib", "80", "--run-dir", str(tmp_path)]
    assert CliRunner().invoke(app, poor).exit_code == 1
    missing = CliRunner().invoke(app, ["preflight", "maxi"])
    assert missing.exit_code == 2
    assert "qponder: no profile" in missing.output


def test_a_run_whose_completions_are_longer_than_grpo_allows_is_found():
    assert checks.check_completions_fit(900, 800).verdict == "problem"
    assert checks.check_completions_fit(700, 800).verdict == "ok"
    assert checks.check_completions_fit(None, 800).verdict == "unknown"
