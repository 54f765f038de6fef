"""Pictures beside what people, and models, said about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qponder_lib.figures import house_style, new_figure
from qponder_lib.records import ImageRecord

Pixels = NDArray[np.uint8]

_TILE, _LINE = 1.65, 0.17  # inches: side of a picture, height of a line of text


def caption(image: ImageRecord) -> str:
    r"""Write MOS and known distortions of an image on lines of their own.

    Example:
        >>> from qponder_lib.records import Distortion
        >>> caption(ImageRecord(image_id="a", image="a.png", dataset="mini-koniq", mos=62.4,
        ...     split="test", distortions=(Distortion(name="motion_blur", level=3),),
        ...     sha256="0" * 64))
        'MOS 62\nmotion blur 3'
    """
    mos = "no MOS" if image.mos is None else f"MOS {image.mos:.0f}"
    names = [f"{one.name.replace('_', ' ')} {one.level}" for one in image.distortions]
    return "\n".join([mos, *(names or ["no known distortion"])])


def picture_grid(
    pictures: Sequence[Pixels],
    captions: Sequence[str],
    *,
    columns: int = 4,
    title: str | None = None,
) -> Figure:
    """Draw pictures in rows, each with its caption above it.

    Args:
        pictures: H x W x 3, uint8.
        captions: One per picture; lines are kept.
        columns: Pictures in a row.
        title: What they have in common.

    Returns:
        The figure; pixels are shown as they are, without smoothing.

    Raises:
        ValueError: If there is not one caption per picture, or no picture.
    """
    if len(pictures) != len(captions) or not pictures:
        raise ValueError(f"expected captions for {len(pictures)} pictures, got {len(captions)}")
    n_rows = -(-len(pictures) // columns)
    n_lines = max(text.count("\n") + 1 for text in captions)
    height = n_rows * (_TILE + _LINE * n_lines) + (0.3 if title else 0.0)
    with house_style():
        figure, axes = new_figure(_TILE * columns, height, n_rows, columns)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, pixels, text in zip(axes.flat, pictures, captions, strict=False):
            ax.imshow(pixels, interpolation="nearest")
            ax.set_title(text, fontsize=7.5, loc="left")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure
