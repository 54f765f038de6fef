"""Trainers and batches for the tests of the shared prefix."""

import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from trl import GRPOConfig, GRPOTrainer

from qponder_lib.config import load_profile
from qponder_lib.student.model import load_student
from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer

ADAPTERS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
BOTH = (GRPOTrainer, SharedPrefixTrainer)


def trainer(kind, folder, *, adapters=False, checkpointing=False, n=4, rows=8, **settings):
    torch.manual_seed(0)
    student = load_student(load_profile("smoke").student)
    student.processor.image_processor.size = {"shortest_edge": 1024, "longest_edge": 65536}
    lora = LoraConfig(r=4, target_modules=ADAPTERS, init_lora_weights=False) if adapters else None
    made = kind(
        model=student.model,
        reward_funcs=[lambda completions, **_: [float(len(str(one))) for one in completions]],
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=rows,
            num_generations=n,
            use_cpu=True,
            bf16=False,
            report_to="none",
            gradient_checkpointing=checkpointing,
            **{"beta": 0.04, "loss_type": "grpo", "max_completion_length": 40, **settings},
        ),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}] * 8),
        processing_class=student.processor,
        peft_config=lora,
    )
    if checkpointing:
        options = {"use_reentrant": False}
        made.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    return made


def sampling_rows(sides, words, n):
    rows = []
    for (wide, high), count in zip(sides, words, strict=True):
        picture = Image.linear_gradient("L").resize((wide, high)).convert("RGB")
        content = "Rate the quality." + " sharp" * count
        row = {"prompt": [{"role": "user", "content": content}], "image": picture}
        rows += [dict(row) for _ in range(n)]
    return rows
