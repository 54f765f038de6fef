"""The embedded benchmark in pictures: every distortion at every level, and the spread of MOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from qponder_lib import artifacts
from qponder_lib.data import distortions, scenes
from qponder_lib.pipeline import Run
from qponder_lib.records import ImageRecord
from qponder_lib.report.figures.style import BLUE, GREY
from qponder_lib.scales import MOS_MAX, MOS_MIN, SEVERITIES

Pixels = NDArray[np.uint8]
TYPES = (*distortions.TRAINED, *distortions.UNSEEN)
_GAP = 3


def example_scene(size: int = 80) -> Pixels:
    """Return a colourful photograph of the training split, size x size x 3, uint8."""
    source = scenes.load_photograph("china.jpg", *scenes.PHOTOGRAPHS["train"]["china.jpg"])
    square = Image.fromarray(source[20:400, 130:510])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def contact_data(image: Pixels, types: Sequence[str] = TYPES, seed: int = 0) -> pd.DataFrame:
    """Describe each tile of a contact sheet: type, level, strength, trained, psnr (dB)."""
    rows = []
    for name in types:
        for level in range(1, distortions.N_LEVELS + 1):
            tile = distortions.apply(image, name, level, np.random.default_rng(seed))
            error = np.mean((tile.astype(np.float64) - image) ** 2)
            rows.append(
                {
                    "type": name,
                    "level": level,
                    "strength": distortions.LEVELS[name][level - 1],
                    "trained": name in distortions.TRAINED,
                    "psnr": 10.0 * np.log10(255.0**2 / error) if error else None,
                }
            )
    return pd.DataFrame(rows)


def contact_sheet(ax: Axes, image: Pixels, types: Sequence[str] = TYPES, *, seed: int = 0) -> Axes:
    """Draw distortion types in rows and levels in columns, the undamaged image first.

    Args:
        ax: Where to draw.
        image: The undamaged image, H x W x 3, uint8, square.
        types: Rows.
        seed: Of the distortions that need chance.
    """
    side = image.shape[0] + _GAP
    columns = distortions.N_LEVELS + 1
    sheet = np.full((side * len(types) - _GAP, side * columns - _GAP, 3), 255, dtype=np.uint8)
    for row, name in enumerate(types):
        tiles = [image] + [
            distortions.apply(image, name, level, np.random.default_rng(seed))
            for level in range(1, columns)
        ]
        for column, tile in enumerate(tiles):
            top, left = row * side, column * side
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = tile
    ax.imshow(sheet, interpolation="nearest")
    middle = image.shape[0] / 2
    names = [
        name.replace("_", " ") + ("" if name in distortions.TRAINED else " *") for name in types
    ]
    ax.set_yticks([row * side + middle for row in range(len(types))], names)
    labels = ["none", *(f"level {level}" for level in range(1, columns))]
    ax.set_xticks([column * side + middle for column in range(columns)], labels)
    ax.xaxis.tick_top()
    if any(name not in distortions.TRAINED for name in types):
        ax.set_xlabel("* only in one test set; nothing is ever trained on these", fontsize=8)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def test_mos(run: Run) -> dict[str, list[float]]:
    """Read the MOS of every test set."""
    found = {}
    for dataset in run.profile.predict.sets:
        images = artifacts.read_jsonl(run.paths.split(dataset, "test"), ImageRecord)
        found[dataset] = [image.mos for image in images if image.mos is not None]
    return found


def mos_data(groups: Mapping[str, Sequence[float]], n_bins: int = 20) -> pd.DataFrame:
    """Count images over the MOS: group, low, high, n.

    Args:
        groups: MOS values by the name of a set or a selection.
        n_bins: Equal parts of the scale.
    """
    edges = np.linspace(MOS_MIN, MOS_MAX, n_bins + 1)
    frames = []
    for name, values in groups.items():
        counts = np.histogram(values, bins=edges)[0]
        frames.append(
            pd.DataFrame({"group": name, "low": edges[:-1], "high": edges[1:], "n": counts})
        )
    return pd.concat(frames, ignore_index=True)


def mos_histogram(ax: Axes, data: pd.DataFrame) -> Axes:
    """Draw how the MOS of one group is spread, with the borders of the five severities.

    Args:
        ax: Where to draw.
        data: The rows of one group, as from `mos_data`.
    """
    width = data["high"] - data["low"]
    ax.bar(data["low"], data["n"], width=width * 0.92, align="edge", color=BLUE)
    top = max(data["n"].max(), 1) * 1.18
    part = (MOS_MAX - MOS_MIN) / len(SEVERITIES)
    for position, severity in enumerate(SEVERITIES):
        if position:
            ax.axvline(position * part, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)))
        ax.text(
            (position + 0.5) * part, top, severity, ha="center", va="top", fontsize=6, color=GREY
        )
    ax.set_xlim(MOS_MIN, MOS_MAX)
    ax.set_ylim(0, top)
    ax.grid(False, axis="x")
    ax.set_title(f"{data['group'].iloc[0]}  (n = {data['n'].sum()})")
    ax.set_xlabel("MOS")
    ax.set_ylabel("Images")
    return ax
