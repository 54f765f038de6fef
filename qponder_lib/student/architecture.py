"""The shape of the mini student: every part of Qwen2.5-VL, only smaller.

The classes are those of transformers. What differs from the 7B model is the width, the depth, the
vocabulary and the patch side (16 px instead of 14, so that a 128 px picture is 8 x 8 patches and
JPEG's 8-px grid falls on the same places in each).
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from qponder_lib.student.vision_attention import use_fast_vision

IMAGE_SIDE = 128
PATCH_SIDE = 16
MERGE = 2
TEMPORAL_PATCH = 2
VISION_WIDTH = 192
VISION_DEPTH = 4
TEXT_WIDTH = 256
TEXT_DEPTH = 3
INITIAL_DEVIATION = 0.06


def mini_config(vocab_size: int, special_ids: dict[str, int]) -> Qwen2_5_VLConfig:
    """Configuration of the mini student.

    Args:
        vocab_size: Number of tokens of the mini tokenizer.
        special_ids: Ids of the control tokens, from ``tokenizer.special_ids``.

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
