"""Sizes of a Qwen2.5-VL, read from its configuration, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from qponder_lib import paths
from qponder_lib.artifacts import read_json

BUILTIN = "builtin:mini"


@dataclass(frozen=True)
class Shape:
    """Widths and depths of a model.

    Attributes:
        layers: Blocks of the language model; `hidden`, `inner`: their widths.
        heads: Query heads; `kv_heads` those of keys and values; `head` the width of each.
        vocabulary: Tokens.
        tied: True if the head is the embedding.
        positions: Tokens a sequence may have.
        vision_layers: Blocks of the vision tower; `vision_hidden`, `vision_inner`: their widths.
        patch: Pixels of a patch's side; `merge` patches a side make one image token.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    positions: int
    vision_layers: int
    vision_hidden: int
    vision_inner: int
    patch: int
    merge: int

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def language_linear(self) -> int:
        """Weights of the linear layers of all language blocks: what 4 bits and adapters reach."""
        query = self.hidden * self.hidden
        key = self.hidden * self.kv_heads * self.head
        return self.layers * (2 * query + 2 * key + 3 * self.hidden * self.inner)

    @property
    def language(self) -> int:
        """Weights of the language model, embedding and head included."""
        biases = self.hidden + 2 * self.kv_heads * self.head
        norms = 2 * self.hidden
        tokens = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.language_linear + self.layers * (biases + norms) + self.hidden + tokens

    @property
    def vision(self) -> int:
        """Weights of the vision tower and the merger."""
        width, inner = self.vision_hidden, self.vision_inner
        attention = 4 * width * width + 4 * width
        feed_forward = 3 * width * inner + 2 * inner + width
        blocks = self.vision_layers * (attention + feed_forward + 2 * width)
        patches = 3 * 2 * self.patch**2 * width
        merged = width * self.merge**2
        merger = width + merged * merged + merged + merged * self.hidden + self.hidden
        return patches + blocks + merger

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.language + self.vision

    def adapter(self, rank: int) -> int:
        """Weights of adapters of a rank on the seven linear layers of every language block."""
        key = self.kv_heads * self.head
        ends = 2 * (2 * self.hidden) + 2 * (self.hidden + key) + 3 * (self.hidden + self.inner)
        return rank * self.layers * ends

    def image_tokens(self, pixels: int) -> int:
        """Tokens of an image of so many pixels, at most."""
        return pixels // (self.patch * self.merge) ** 2


# Published configurations, for a machine on which the model has not been fetched yet.
_PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(
        36, 2048, 11008, 16, 2, 151936, True, 128000, 32, 1280, 3420, 14, 2
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(
        28, 3584, 18944, 28, 4, 152064, False, 128000, 32, 1280, 3420, 14, 2
    ),
    "Qwen/Qwen2.5-VL-72B-Instruct": Shape(
        80, 8192, 29568, 64, 8, 152064, False, 128000, 32, 1280, 3456, 14, 2
    ),
}


def shape_of(model: str) -> Shape | None:
    """Return the sizes of a model, or None if they are not known on this machine.

    Args:
        model: ``builtin:mini``, a folder, or a hub name; nothing is fetched.

    Example:
        >>> round(shape_of("Qwen/Qwen2.5-VL-7B-Instruct").parameters / 1e9, 2)
        8.29
    """
    file = model_file(model, "config.json")
    return shape_from_config(read_json(file)) if file is not None else _PUBLISHED.get(model)


def shape_from_config(config: Mapping[str, Any]) -> Shape:
    """Read sizes from a `config.json`; older ones state the language model at the top."""
    text, vision = config.get("text_config", config), config["vision_config"]
    return Shape(
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        inner=text["intermediate_size"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        positions=text["max_position_embeddings"],
        vision_layers=vision["depth"],
        vision_hidden=vision["hidden_size"],
        vision_inner=vision["intermediate_size"],
        patch=vision["patch_size"],
        merge=vision["spatial_merge_size"],
    )


def model_file(model: str, name: str) -> Path | None:
    """Return a file of a model if it lies on this machine."""
    folder = paths.MINI_WEIGHTS if model == BUILTIN else Path(model)
    if (folder / name).is_file():
        return folder / name
    if folder.is_dir() or model.count("/") != 1:
        return None
    found = try_to_load_from_cache(model, name)
    return Path(found) if isinstance(found, str) else None
