"""Text and pictures to model inputs, for the mini student and for hub models alike.

The stock processor of Qwen2.5-VL wants a video processor, which wants torchvision. The image-only
one here does not. Pictures always go through PIL: the PIL and torchvision backends give different
pixels, and a score must not depend on which of them happens to be installed.
"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video part."""

    def __init__(
        self,
        image_processor: Qwen2VLImageProcessorPil | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are saved and loaded."""
        return ["image_processor", "tokenizer"]


def load_processor(
    folder: str | Path, *, min_pixels: int, max_pixels: int, **image_options: int
) -> ImageTextProcessor:
    """Load tokenizer and image processor of a model folder or hub name.

    Args:
        folder: Where the tokenizer files are.
        min_pixels: A smaller image is enlarged to this many pixels.
        max_pixels: A larger image is reduced to this many pixels.
        image_options: Further settings of the image processor, such as ``patch_size``.

    Returns:
        A processor that decodes nothing itself: it takes PIL images.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return make_processor(tokenizer, min_pixels, max_pixels, **image_options)


def make_processor(
    tokenizer: PreTrainedTokenizerBase, min_pixels: int, max_pixels: int, **image_options: int
) -> ImageTextProcessor:
    """Put a tokenizer and a PIL image processor with pixel limits together."""
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": min_pixels, "longest_edge": max_pixels}, **image_options
    )
    return ImageTextProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
