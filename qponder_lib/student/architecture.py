"""The mini student: every part of Qwen2.5-VL, only smaller, its tokenizer and its fast tower.

The classes are those of transformers. What differs from the 7B model is the width, the depth, the
vocabulary and the patch side (16 px instead of 14, so that a 128 px image is 8 x 8 patches and
JPEG's 8-px grid falls on the same places in each).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionPatchEmbed

IMAGE_SIDE = 128
PATCH_SIDE = 16
MERGE = 2
TEMPORAL_PATCH = 2
VISION_WIDTH = 192
VISION_DEPTH = 4
TEXT_WIDTH = 256
TEXT_DEPTH = 3
INITIAL_DEVIATION = 0.06

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
CONTROL_TOKENS = [PAD, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO]

_PIECES = r"\d|</?\w+>\n?|\s?[^\s\w<]+|\s?[^\W\d]+|<|\s+"
"""A digit, a tag, marks, a word, or white space."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

STACKED = "stacked_flash_sdpa"
"""Holds "flash" so that the tower passes the sequence boundaries instead of splitting itself."""


def mini_config(vocab_size: int, special_ids: dict[str, int]) -> Qwen2_5_VLConfig:
    """Configuration of the mini student.

    Args:
        vocab_size: Number of tokens of the mini tokenizer.
        special_ids: Ids of the control tokens, from `special_ids`.

    Returns:
        A Qwen2.5-VL configuration of about 5 million weights.
    """
    return Qwen2_5_VLConfig(
        vision_config={
            "depth": VISION_DEPTH,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 448,
            "num_heads": 6,
            "patch_size": PATCH_SIDE,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL_PATCH,
            "window_size": IMAGE_SIDE,
            "fullatt_block_indexes": list(range(VISION_DEPTH)),
            "out_hidden_size": TEXT_WIDTH,
            "initializer_range": INITIAL_DEVIATION,
        },
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 640,
            "num_hidden_layers": TEXT_DEPTH,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [8, 12, 12],
            },
            "bos_token_id": special_ids["eos"],
            "eos_token_id": special_ids["eos"],
            "pad_token_id": special_ids["pad"],
            "tie_word_embeddings": True,
        },
        image_token_id=special_ids["image"],
        video_token_id=special_ids["video"],
        vision_start_token_id=special_ids["vision_start"],
        vision_end_token_id=special_ids["vision_end"],
        eos_token_id=special_ids["eos"],
        pad_token_id=special_ids["pad"],
        tie_word_embeddings=True,
    )


def build_mini(config: Qwen2_5_VLConfig, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """A mini student with random weights."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration._from_config(
        config, attn_implementation="sdpa", dtype=torch.float32
    )
    return use_fast_vision(model)


@torch.no_grad()
def start_as_energy_detector(tower: torch.nn.Module, patches: torch.Tensor) -> None:
    """Let a vision tower begin with the energies of a cosine transform of each patch.

    Noise, blur and blocking show in how much of each frequency a patch holds, not in its sign. A
    random tower takes tens of thousands of images to find products of its inputs; this one starts
    with them: the patch filters are cosines, scaled to unit deviation over sample patches, and
    the first feed-forward layer multiplies each filter's answer with itself.

    Args:
        tower: Vision tower of a mini student; changed in place.
        patches: Sample patches, (count, 1536), as the image processor cuts them.
    """
    tower.patch_embed.proj.weight.copy_(cosine_filters())
    deviation = tower.patch_embed(patches).std(dim=0)
    tower.patch_embed.proj.weight.div_(deviation.view(-1, 1, 1, 1, 1))
    gate, up = tower.blocks[0].mlp.gate_proj.weight, tower.blocks[0].mlp.up_proj.weight
    same = torch.eye(VISION_WIDTH)
    gate[:VISION_WIDTH] = same
    gate[VISION_WIDTH : 2 * VISION_WIDTH] = -same
    up[:VISION_WIDTH] = same
    up[VISION_WIDTH : 2 * VISION_WIDTH] = same


def cosine_filters() -> torch.Tensor:
    """Patch filters that start the vision tower as a cosine transform of each patch.

    160 filters see luma, over low and high frequencies of both axes; 16 each see blue and red
    against luma, over low ones.

    Returns:
        Shape (192, 3, 2, 16, 16), float32.
    """
    place = (np.arange(PATCH_SIDE) + 0.5) * np.pi / PATCH_SIDE
    basis = np.cos(np.arange(PATCH_SIDE)[:, None] * place)
    pairs = sorted(np.ndindex(PATCH_SIDE, PATCH_SIDE), key=lambda pair: (sum(pair), pair))
    luma_pairs = pairs[:96] + pairs[96::2][:64]
    colours = {
        (0.299, 0.587, 0.114): luma_pairs,
        (-0.299, -0.587, 0.886): pairs[:16],
        (0.701, -0.587, -0.114): pairs[:16],
    }
    filters = []
    for colour, chosen in colours.items():
        for down, right in chosen:
            wave = np.outer(basis[down], basis[right])
            plane = np.asarray(colour)[:, None, None] * wave / np.linalg.norm(wave)
            filters.append(np.repeat(plane[:, None] / TEMPORAL_PATCH, TEMPORAL_PATCH, axis=1))
    return torch.from_numpy(np.stack(filters).astype(np.float32))


def train_tokenizer(texts: Iterable[str], vocab_size: int = 800) -> PreTrainedTokenizerFast:
    """Train byte-level BPE on the English of this kit, digits one by one.

    It has Qwen's control tokens and chat layout and some 800 tokens instead of 152,000, so that
    the weights go into layers and not into a vocabulary that is never used. Any other text still
    encodes, byte by byte.

    Args:
        texts: English that the student is to read and write.
        vocab_size: Tokens at most, control tokens and the 256 bytes included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=CONTROL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=TURN_END,
        extra_special_tokens=[TURN_START, VISION_START, VISION_END, IMAGE, VIDEO],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids of the control tokens under the names that `mini_config` wants."""
    names = {
        "image": IMAGE,
        "video": VIDEO,
        "vision_start": VISION_START,
        "vision_end": VISION_END,
        "eos": TURN_END,
        "pad": PAD,
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def stacked_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a packed batch, all at once where they are of one length.

    transformers attends once per image (or window) in a Python loop. Images of one size give
    sequences of one length, which can be stacked and, being short, need no flash kernel, whose
    backward pass is slow on a CPU.

    Args:
        module: The calling attention module; unused, part of the interface.
        query: 1 x heads x tokens x width. ``key`` and ``value`` alike.
        key: See ``query``.
        value: See ``query``.
        attention_mask: Must be None; the tower never masks.
        cu_seq_lens_q: Boundaries of the sequences among the tokens, shape (sequences + 1,).
        scaling: Factor on the logits; default 1 / sqrt(width).

    Returns:
        1 x tokens x heads x width, and None for the weights.
    """
    lengths = (cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).tolist()
    if len(set(lengths)) == 1:
        _, heads, tokens, width = query.shape
        shape = (heads, len(lengths), lengths[0], width)
        first, second, third = (part[0].reshape(shape) for part in (query, key, value))
        factor = width**-0.5 if scaling is None else scaling
        weights = (first * factor @ second.transpose(-1, -2)).softmax(-1).to(third.dtype)
        out = (weights @ third).permute(1, 2, 0, 3)
        return out.reshape(1, tokens, heads, width), None
    pieces = [
        scaled_dot_product_attention(*parts, scale=scaling)
        for parts in zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


AttentionInterface.register(STACKED, stacked_attention)


class LinearPatchEmbed(Qwen2_5_VisionPatchEmbed):
    """Patch embedding as one matrix product, with the weights of the convolution.

    transformers cuts patches by a 3-d convolution although they arrive already cut.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Embed patches that are already cut: (patches, values) to (patches, width)."""
        weight = self.proj.weight
        return linear(hidden_states.to(weight.dtype), weight.flatten(1), self.proj.bias)


def use_fast_vision(model: torch.nn.Module) -> torch.nn.Module:
    """Switch a built Qwen2.5-VL to stacked attention and linear patch embedding.

    The attention is set after construction: at construction transformers would take its name for
    a flash kernel to be downloaded.

    Returns:
        The same model.
    """
    tower = model.get_submodule("model.visual")
    tower.config._attn_implementation_internal = STACKED
    tower.patch_embed.__class__ = LinearPatchEmbed
    return model
