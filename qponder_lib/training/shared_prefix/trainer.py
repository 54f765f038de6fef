"""TRL's GRPO trainer with image and prompt run once per group."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import trl
from packaging.version import Version
from peft import PeftModel
from transformers import PreTrainedModel
from trl import GRPOTrainer
from trl.extras.profiling import profiling_context
from trl.models import unwrap_model_for_generation

from qponder_lib.training.shared_prefix.attention import use_shared_prefix
from qponder_lib.training.shared_prefix.packing import (
    ROW,
    Batch,
    Prompt,
    find_groups,
    pack,
    regroup,
    split_images,
    unpad,
)
from qponder_lib.training.shared_prefix.rollout import (
    draws_one_by_one,
    left_padded,
    rotary_places,
    sample,
    until_end,
)

logger = logging.getLogger(__name__)
TESTED_TRL = "1.16"
MODELS = {"qwen2_5_vl"}
KNOWN_FIELDS = {"pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids"}
INDIFFERENT = {"grpo", "dr_grpo", "dapo"}
"""Losses whose sum over the parts of a batch is the same however rows fall into parts."""


class SharedPrefixTrainer(GRPOTrainer):
    """A ``GRPOTrainer`` that runs vision tower and prompt once per group, where that is exact.

    Loss, gradients and sampled completions are those of TRL up to rounding. Where they would not
    be, or where no two rows share a prompt, TRL's own way is taken; the log says why, once for
    each reason. Rows that TRL shuffles between the parts of an accumulated batch are put back into
    their groups.

    Source:
        The papers do not say; ours (decisions D35, D36).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._said: set[str] = set()
        self.stock_reason = why_stock(
            self.model,
            base_model(self.model),
            {
                "an auxiliary loss": self.aux_loss_enabled,
                "tool use": bool(self.tools),
                "sharing of the weights over processes": self._dist.is_fsdp or self._dist.is_zero3,
            },
        )
        if self.stock_reason:
            self._say(self.stock_reason)
            return
        use_shared_prefix(base_model(self.model))
        if self.ref_model is not None:
            use_shared_prefix(base_model(self.accelerator.unwrap_model(self.ref_model)))

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            logger.warning("no shared prefix, TRL's own way instead: %s", reason)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        rows = torch.arange(len(output["completion_ids"]), device=output["completion_ids"].device)
        return {**output, ROW: rows}

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """TRL's batch of this step, with whole groups wherever the loss allows it."""
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        together = self.args.gradient_accumulation_steps
        untouched = self._buffered_inputs is before or self.stock_reason
        if untouched or together == 1 or self.loss_type not in INDIFFERENT:
            return inputs
        parts = self._buffered_inputs
        windows = [parts[at : at + together] for at in range(0, len(parts), together)]
        self._buffered_inputs = [part for window in windows for part in regroup(window)]
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **fields: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities of the completions' tokens, as TRL defines them."""
        rows = (input_ids, attention_mask, logits_to_keep, batch_size)
        batches = self._batches(*rows, fields)
        if batches is None:
            return super()._get_per_token_logps_and_entropies(
                model, *rows, compute_entropy, compute_aux_loss, **fields
            )
        results = [self._run(model, batch, logits_to_keep, compute_entropy) for batch in batches]
        entropies = torch.cat([entropy for _, entropy in results]) if compute_entropy else None
        return torch.cat([logps for logps, _ in results]), entropies, None

    def _batches(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        n_completion: int,
        batch_size: int | None,
        fields: dict[str, Any],
    ) -> list[Batch] | None:
        """The rows in chunks of at most ``batch_size``, or None where TRL's way must be taken."""
        strange = {name for name, value in fields.items() if value is not None} - KNOWN_FIELDS
        if self.stock_reason or strange:
            self._say(self.stock_reason or f"unknown inputs {sorted(strange)}")
            return None
        whole = unpad(input_ids, attention_mask, n_completion, fields)
        if whole is None:
            self._say("padding within a row, or a prompt of one token")
            return None
        prompts, completions = whole
        size = batch_size or len(prompts)
        batches = [
            Batch.of(prompts[start : start + size], completions[start : start + size])
            for start in range(0, len(prompts), size)
        ]
        if not any(batch.shares for batch in batches):
            self._say("no two rows of a batch share their prompt")
            return None
        return batches

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: list[Any] | None,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], list[Any] | None]:
        """Sampled completions, one per row of ``prompt_ids``."""
        inputs = self._prompts_once(prompt_ids, images, multimodal_fields, num_generations)
        if inputs is None:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        with (
            profiling_context(self, "transformers.generate"),
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            tokens = sample(base_model(model), inputs, num_generations, self.generation_config)
        return until_end(tokens, self.eos_token_ids), None

    def _prompts_once(
        self,
        prompt_ids: list[list[int]],
        images: list[Any] | None,
        fields: dict[str, Any],
        n: int,
    ) -> dict[str, torch.Tensor] | None:
        """One left-padded row per group, or None where TRL's way must be taken."""
        elsewhere = self.use_vllm or self.use_transformers_continuous_batching
        if self.stock_reason or elsewhere or n == 1:
            return None
        if set(fields) - KNOWN_FIELDS:
            self._say(f"unknown inputs {sorted(set(fields) - KNOWN_FIELDS)}")
            return None
        if not draws_one_by_one(self.generation_config):
            self._say("completions are not drawn token by token with transformers' default cache")
            return None
        counts = None if images is None else [len(one or []) for one in images]
        pictures = (
            None if fields.get(name) is None else torch.as_tensor(np.asarray(fields[name]))
            for name in ("pixel_values", "image_grid_thw")
        )
        cut = split_images(*pictures, counts, len(prompt_ids))
        prompts = [
            Prompt(torch.tensor(ids), *image) for ids, image in zip(prompt_ids, cut, strict=True)
        ]
        owner = find_groups(prompts)
        whole = len(owner) % n == 0 and all(
            owner[row] == owner[row - row % n] for row in range(len(owner))
        )
        if not whole or min(map(len, prompt_ids)) < 2:
            self._say("the rows to sample for are not whole groups, one after another")
            return None
        return self._prepare_input(left_padded(prompts[::n], self._tokenizer.pad_token_id))

    def _run(
        self, model: torch.nn.Module, batch: Batch, n_completion: int, compute_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        base = base_model(self.accelerator.unwrap_model(model))
        packed = pack(batch, n_completion, query_groups(base), lambda prompt: places(base, prompt))
        with self.accelerator.autocast():
            outputs = model(**packed.inputs, fused_lm_head=True)
        entropy = packed.table(outputs.entropy) if compute_entropy else None
        return packed.table(outputs.log_probs), entropy


def base_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model below adapters."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def query_groups(base: PreTrainedModel) -> int:
    """Query heads per key head of the language model."""
    text = base.config.get_text_config()
    return text.num_attention_heads // text.num_key_value_heads


def places(base: PreTrainedModel, prompt: Prompt) -> torch.Tensor:
    """Rotary positions of a prompt, shape (3, tokens), as the model itself gives them."""
    inputs = {"input_ids": prompt.ids[None], "attention_mask": torch.ones_like(prompt.ids)[None]}
    if prompt.grids is not None:
        inputs["image_grid_thw"] = prompt.grids
    return rotary_places(base, inputs)[:, 0]


def why_stock(model: torch.nn.Module, base: PreTrainedModel, settings: dict[str, bool]) -> str:
    """Why TRL's own way must be taken; empty where the shared prefix gives the same numbers.

    Args:
        model: The policy, with its adapters.
        base: The policy's transformers model.
        settings: Names of trainer settings that a shared prefix cannot follow, and whether they
            are on.
    """
    text = base.config.get_text_config()
    release = ".".join(str(part) for part in Version(trl.__version__).release[:2])
    reasons = {
        f"it is tested with TRL {TESTED_TRL}, this is {trl.__version__}": release != TESTED_TRL,
        f"model type {base.config.model_type} is not known": base.config.model_type not in MODELS,
        f"attention is {text._attn_implementation}, not sdpa": text._attn_implementation
        not in ("sdpa", "shared_prefix_sdpa"),
        "a layer attends through a sliding window": set(getattr(text, "layer_types", []))
        != {"full_attention"},
        "dropout would differ between the completions of a group": _drops(model, text),
        **{f"{name} is on": on for name, on in settings.items()},
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)


def _drops(model: torch.nn.Module, text: object) -> bool:
    layers = any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules())
    return layers or getattr(text, "attention_dropout", 0.0) > 0
