"""Images of the sets: with captions, under every distortion, and how their MOS is spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from qponder_lib import artifacts
from qponder_lib.data import distortions, scenes
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord
from qponder_lib.report import style
from qponder_lib.report.render import BLUE, GREY, kept, origin, set_label
from qponder_lib.report.style import house_style
from qponder_lib.scales import MOS_MAX, MOS_MIN, SEVERITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
TYPES = (*distortions.TRAINED, *distortions.UNSEEN)
_GAP = 3


# ---- images


def image_caption(record: ImageRecord) -> str:
    r"""Say in two lines what is known about an image: its MOS, and its distortions with levels.

    Example:
        >>> from qponder_lib.records import Distortion
        >>> image = ImageRecord(image_id="a", image="s/a.png", dataset="s", split="test", mos=41.2,
        ...     distortions=(Distortion(name="motion_blur", level=3),), sha256="0" * 64)
        >>> image_caption(image)
        'MOS 41\nmotion blur 3'
    """
    tags = ", ".join(f"{d.name.replace('_', ' ')} {d.level}" for d in record.distortions)
    mos = "no MOS" if record.mos is None else f"MOS {record.mos:.0f}"
    return f"{mos}\n{tags or 'no distortion tagged'}"


@house_style()
def image_grid(
    pixels: Sequence[Pixels], captions: Sequence[str], *, columns: int = 4, title: str | None = None
) -> Figure:
    """Draw images in rows with a caption under each.

    Args:
        pixels: Images, each H x W x 3, uint8.
        captions: One per image.
        columns: Images in a row.
        title: Above all, or None.

    Raises:
        ValueError: If there is not one caption per image.
    """
    if len(pixels) != len(captions):
        raise ValueError(f"expected a caption per image, got {len(captions)} for {len(pixels)}")
    rows = -(-len(pixels) // columns)
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    size = (1.5 * columns, rows * (1.45 + 0.16 * lines) + (0.25 if title else 0.0))
    figure, axes = style.new_figure(*size, rows, columns)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, picture, caption in zip(axes.flat, pixels, captions, strict=False):
        ax.imshow(picture, interpolation="nearest")
        ax.text(0.5, -0.04, caption, transform=ax.transAxes, ha="center", va="top", fontsize=7)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure


# ---- distortions


def example_scene(size: int = 80) -> Pixels:
    """Return a colourful photograph of the training split, size x size x 3, uint8."""
    source = scenes.load_photograph("china.jpg", *scenes.PHOTOGRAPHS["train"]["china.jpg"])
    square = Image.fromarray(source[20:400, 130:510])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


@house_style()
def contact_sheet(image: Pixels | None = None) -> tuple[Figure, pd.DataFrame]:
    """Draw every type of distortion (rows) at every level (columns), the undistorted image first.

    Args:
        image: The undistorted image, square, H x W x 3, uint8; None for the kit's example.

    Returns:
        The figure, and type, level, strength, trained and psnr (dB) of each tile.
    """
    image = example_scene() if image is None else image
    side, columns = image.shape[0], distortions.N_LEVELS + 1
    step = side + _GAP
    sheet = np.full((step * len(TYPES) - _GAP, step * columns - _GAP, 3), 255, dtype=np.uint8)
    rows = []
    for row, name in enumerate(TYPES):
        for level in range(columns):
            tile = distorted(image, name, level) if level else image
            top, left = row * step, level * step
            sheet[top : top + side, left : left + side] = tile
            if level:
                error = np.mean((tile.astype(np.float64) - image) ** 2)
                psnr = 10.0 * np.log10(255.0**2 / error) if error else None
                strength, trained = distortions.LEVELS[name][level - 1], name in distortions.TRAINED
                rows.append((name, level, strength, trained, psnr))
    figure, axes = style.new_figure(6.0, 11.0)
    ax = axes[0, 0]
    ax.imshow(sheet, interpolation="nearest")
    marks = ["" if name in distortions.TRAINED else " *" for name in TYPES]
    names = [name.replace("_", " ") + mark for name, mark in zip(TYPES, marks, strict=True)]
    ax.set_yticks([row * step + side / 2 for row in range(len(TYPES))], names)
    labels = ["none", *(f"level {level}" for level in range(1, columns))]
    ax.set_xticks([column * step + side / 2 for column in range(columns)], labels)
    ax.xaxis.tick_top()
    ax.set_xlabel("* only in one test set; nothing is ever trained on these", fontsize=8)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure, pd.DataFrame(rows, columns=["type", "level", "strength", "trained", "psnr"])


def distorted(image: Pixels, name: str, level: int, seed: int = 0) -> Pixels:
    """Return a distorted copy; chance comes from the seed."""
    return distortions.apply(image, name, level, np.random.default_rng(seed))


@house_style()
def distortion_figure(image: Pixels, name: str, level: int, seed: int = 0) -> Figure:
    """Draw an image, its distorted copy and four times their difference.

    Args:
        image: Undistorted pixels, H x W x 3, uint8.
        name: A key of `distortions.LEVELS`.
        level: 1 (slight) to 5 (extreme).
        seed: Of the types that need chance.
    """
    copy = distorted(image, name, level, seed)
    strength = distortions.LEVELS[name][level - 1]
    change = np.abs(copy.astype(np.int16) - image).clip(0, 63).astype(np.uint8) * 4
    panels = {
        "undistorted": image,
        f"{name.replace('_', ' ')}, level {level}\n(strength {strength:g})": copy,
        "difference, four times": change,
    }
    figure, axes = style.new_figure(7.2, 2.9, 1, 3)
    for ax, (title, picture) in zip(axes.flat, panels.items(), strict=True):
        ax.imshow(picture, interpolation="nearest")
        ax.set_title(title)
        ax.set_axis_off()
    return figure


# ---- MOS


def count_mos(groups: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Count images in 20 equal parts of the MOS scale: group, low, high, n.

    Args:
        groups: MOS values by the name of a set or a selection.
    """
    edges = np.linspace(MOS_MIN, MOS_MAX, 21)
    rows = [
        {"group": name, "low": low, "high": high, "n": n}
        for name, values in groups.items()
        for low, high, n in zip(edges, edges[1:], np.histogram(values, edges)[0], strict=False)
    ]
    return pd.DataFrame(rows)


@house_style()
def mos_histograms(run: Run) -> tuple[Figure, pd.DataFrame]:
    """Draw how the MOS is spread in every test set, with the borders of the severities."""
    data = kept(run, "mos_histograms")
    if data is None:
        rows = {
            name: artifacts.read_jsonl(run.paths.split(name, "test"), ImageRecord)
            for name in run.profile.predict.sets
        }
        data = count_mos(
            {s: [one.mos for one in images if one.mos is not None] for s, images in rows.items()}
        )
    names = list(dict.fromkeys(data["group"]))
    figure, axes = style.panels(len(names), (3.0, 2.2), ("MOS", "Images"))
    part = (MOS_MAX - MOS_MIN) / len(SEVERITIES)
    words = {"ha": "center", "va": "bottom", "fontsize": 7, "color": GREY, "rotation": 20}
    for ax, name in zip(axes, names, strict=True):
        rows = data[data["group"] == name]
        width = (rows["high"] - rows["low"]) * 0.92
        ax.bar(rows["low"], rows["n"], width=width, align="edge", color=BLUE)
        for position, severity in enumerate(SEVERITIES):
            if position:
                ax.axvline(position * part, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)))
            place = ((position + 0.5) * part, 1.0)
            ax.text(*place, severity, transform=ax.get_xaxis_transform(), **words)
        ax.set_xlim(MOS_MIN, MOS_MAX)
        ax.grid(False, axis="x")
        ax.set_title(f"{set_label(name)}  (n = {rows['n'].sum():,})", pad=22)
    style.caption(figure, f"Dotted: borders of the five severity bins. {origin(run)}")
    return figure, data
