"""Sampling of several completions per prompt, whose image and prompt are run once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.generation import GenerationMode

from qponder_lib.training.shared_prefix.attention import PromptLayer
from qponder_lib.training.shared_prefix.packing import Prompt, images_of

WORTH_FORGETTING = 1 / 8
"""Share of the completions in memory that must have ended before it is copied without them."""


@dataclass
class GroupedDecoding:
    """The loop that draws completions, in the form in which ``generate`` takes one.

    It draws what transformers' own loop would draw from the same random state, but runs the model
    only on the last token of completions that have not ended.

    Attributes:
        cache: Memory of the prompts without their last tokens.
        place: Rotary position of the last token of each row's prompt.
    """

    cache: DynamicCache
    place: torch.Tensor

    def __call__(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        **_: Any,
    ) -> torch.Tensor:
        """Draw tokens until every row has ended. Returns the rows with their prompts."""
        rows = torch.arange(len(input_ids), device=input_ids.device)
        going = torch.ones_like(rows, dtype=torch.bool)
        ended = False
        while model._has_unfinished_sequences(ended, synced_gpus, device=rows.device):
            logits = self._step(model, input_ids[rows, -1:], rows)
            if ended:
                continue
            every = logits.new_zeros(len(input_ids), logits.shape[1], dtype=torch.float32)
            scores = logits_processor(input_ids, every.index_copy_(0, rows, logits.float()))
            drawn = _draw(scores, generation_config.do_sample)
            drawn = drawn.where(going, generation_config._pad_token_tensor)
            input_ids = torch.cat([input_ids, drawn[:, None]], dim=1)
            going = going & ~stopping_criteria(input_ids, None)
            rows, ended = self._forget(rows, going)
        return input_ids

    def _step(
        self, model: PreTrainedModel, tokens: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        outputs = model(
            input_ids=tokens,
            attention_mask={"full_attention": None},
            position_ids=self.place[rows][None, :, None].expand(3, -1, -1),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.place += 1
        return outputs.logits[:, -1]

    def _forget(self, rows: torch.Tensor, going: torch.Tensor) -> tuple[torch.Tensor, bool]:
        held = going[rows]
        left = int(held.sum())
        if left and len(rows) - left >= WORTH_FORGETTING * len(rows):
            rows = rows[held]
            for layer in self.cache.layers:
                layer.keep(held, rows)
        return rows, left == 0


def _draw(scores: torch.Tensor, do_sample: bool) -> torch.Tensor:
    if not do_sample:
        return scores.argmax(-1)
    return torch.multinomial(scores.softmax(-1), num_samples=1)[:, 0]


@torch.no_grad()
def sample(
    base: PreTrainedModel, inputs: dict[str, torch.Tensor], n: int, settings: GenerationConfig
) -> torch.Tensor:
    """Draw ``n`` completions to each prompt, as transformers' ``generate`` would.

    Args:
        base: A Qwen2.5-VL that understands shared prefixes.
        inputs: One left-padded row per prompt, with its images.
        n: Completions per prompt.
        settings: How completions are drawn.

    Returns:
        Tokens of the completions, (prompts x n, longest completion), group after group.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    places = rotary_places(base, inputs)
    cache = DynamicCache(config=base.config)
    images = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
    base(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=places[:, :, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **images,
    )
    seen = None if mask.all() else mask[:, :-1].bool()
    cache.layers = [PromptLayer(layer.keys, layer.values, seen, n) for layer in cache.layers]
    found = base.generate(
        input_ids=ids.repeat_interleave(n, 0),
        attention_mask=mask.repeat_interleave(n, 0),
        generation_config=settings,
        custom_generate=GroupedDecoding(cache, places[0, :, -1].repeat_interleave(n, 0)),
    )
    return found[:, ids.shape[1] :]


def draws_one_by_one(settings: GenerationConfig) -> bool:
    """Whether tokens are sampled or greedy, without beams, drafts or a cache of another kind."""
    mode = settings.get_generation_mode()
    plain = mode in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH)
    return plain and settings.cache_implementation is None


def rotary_places(base: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Rotary positions of left-padded prompts, (3, prompts, tokens), as the model gives them."""
    mask = inputs["attention_mask"]
    if "image_grid_thw" not in inputs:
        return (mask.cumsum(1) - 1).clamp(min=0).expand(3, -1, -1)
    kinds = ((inputs["input_ids"] == base.config.image_token_id) & mask.bool()).int()
    places, _ = base.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=kinds,
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=mask,
    )
    return places


def left_padded(prompts: list[Prompt], pad_id: int) -> dict[str, torch.Tensor]:
    """Prompts of unequal lengths as one table, with the images of all."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.stack([pad(one.ids, (width - len(one.ids), 0), value=pad_id) for one in prompts])
    mask = torch.stack(
        [pad(torch.ones_like(one.ids), (width - len(one.ids), 0)) for one in prompts]
    )
    return {"input_ids": ids, "attention_mask": mask, **images_of(prompts)}


def until_end(tokens: torch.Tensor, ends: list[int]) -> list[list[int]]:
    """Rows of tokens up to and with the first that ends a completion."""
    stop = torch.isin(tokens, torch.tensor(ends, device=tokens.device))
    before = stop.int().cumsum(1) - stop.int() == 0
    return [row[kept].tolist() for row, kept in zip(tokens.cpu(), before.cpu(), strict=True)]
