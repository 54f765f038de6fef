"""A sanity probe of any scorer, on images whose right order is known without a human score.

Five photographs that ship with installed packages, and of each: ladders of distortion, along
which a score must fall; copies that look the same, on which it must stay; and beside them four
images without a subject, which must be below the photographs. How much is asked, in `ASKED` and
`STAYS`, is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from qponder_lib.data.distortions import N_LEVELS
from qponder_lib.data.scenes import PHOTOGRAPHS, load_photograph
from qponder_lib.data.tabular import InputTable, TableError
from qponder_lib.evaluation.joining import match_ids
from qponder_lib.metrics.statistics import srcc
from qponder_lib.report import style
from qponder_lib.report.gallery import distorted
from qponder_lib.report.render import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    grid,
    select,
    write_frame,
)
from qponder_lib.report.style import house_style
from qponder_lib.text.assertions import kinship, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LADDERS = ("blur", "noise", "jpeg", "overexposure", "underexposure")
STAYS = {"resaved": 0.99, "exif": 0.9, "mirrored": 0.9, "half": 0.8, "double": 0.8}
"""Copies that look the same -> 1 less the largest move, as a share of the span of all scores."""
FLAT = ("black", "white", "grey", "random")
ASKED = {
    "scored": 1.0,  # share of the images
    "distinct scores": N_LEVELS + 1,  # fewer cannot tell the steps of one ladder apart
    "distinct texts": N_LEVELS + 1,  # numbers in them do not count
    "moves": 0.1,  # mean range along a ladder, share of the span of all scores
    "falls": 1.0,  # share of the photographs whose last step is below the first
    "in order": 0.9,  # mean SRCC of scores with falling levels, over photographs that move
    "named": 0.5,  # share of texts that state the distortion, levels 3 to 5 less undistorted
    "below": 1.0,  # share of the photographs that are above
}
"""Check -> the least value that passes; of copies see `STAYS`."""
_TEXTS = ("reasoning", "text", "response", "answer")
_LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (PURPLE, "^"), (ORANGE, "v"))


# ---- images


def probes() -> pd.DataFrame:
    """List the images: kind, change, photograph, level (0: undistorted), image (file name)."""
    rows = [("flat", name, "", 0) for name in FLAT]
    for file in PHOTOGRAPHS["test"]:
        steps = [(name, level) for name in LADDERS for level in range(1, N_LEVELS + 1)]
        rows.append(("original", "undistorted", file, 0))
        rows += [("ladder", name, file, level) for name, level in steps]
        rows += [("copy", name, file, 0) for name in STAYS]
    found = pd.DataFrame(rows, columns=["kind", "change", "photograph", "level"])
    stems = found["photograph"].map(lambda file: Path(file).stem or "flat")
    suffixes = found["change"].map({"resaved": ".bmp", "exif": ".jpg"}).fillna(".png")
    names = stems + "-" + found["change"] + "-" + found["level"].astype(str) + suffixes
    return found.assign(image=names)


def write_images(folder: Path, size: int) -> None:
    """Write the images of the probe, and `manifest.csv`, which lists them.

    Args:
        folder: Where to; it is made.
        size: Longer side of the photographs, px. At 128 the levels of distortion are those that
            the kit's models are trained on; a larger image loses part of them as it is reduced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = probes()
    for row in listed.itertuples():
        image, options = _image(row.kind, row.change, row.photograph, row.level, size), {}
        if row.change == "exif":  # lies on its side, and says so
            image, options["exif"] = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
            options["exif"][0x0112] = 6
            options |= {"quality": 100, "subsampling": 0}
        image.save(folder / row.image, compress_level=1, **options)
    write_frame(folder / "manifest.csv", listed)


def _image(kind: str, name: str, photograph: str, level: int, size: int) -> Image.Image:
    if name == "random":
        pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        return Image.fromarray(pixels)
    if kind == "flat":
        return Image.new("RGB", (size, size), name)
    source = Image.fromarray(load_photograph(photograph, *PHOTOGRAPHS["test"][photograph]))
    scale = size / max(source.size)
    scale *= {"half": 0.5, "double": 2.0}.get(name, 1.0)
    sides = [round(side * scale) for side in source.size]
    image = source.resize(sides, Image.Resampling.LANCZOS)
    if kind == "ladder":
        return Image.fromarray(distorted(np.asarray(image), name, level))
    return ImageOps.mirror(image) if name == "mirrored" else image


# ---- answers


def read_answers(
    table: InputTable, id: str | None = None, score: str | None = None
) -> pd.DataFrame:
    """Join a table of a stranger's scores with the images of the probe.

    Args:
        table: One row per image, with a score on any scale; images that it lacks have none. The
            reasoning is its first column called reasoning, text, response or answer.
        id: Column of the image; None finds it by its name.
        score: Column of the score; likewise.

    Returns:
        The rows of `probes` with the columns score (NaN: none) and text (None: none).

    Raises:
        TableError: If a column is not clear or no image of the probe is there.
    """
    listed = probes()
    ids = table.ids(table.column("id", id))
    scores, _ = table.numbers(table.column("score", score))
    said = next((table.frame[name] for name in _TEXTS if name in table.frame), None)
    texts = None if said is None else [text or None for text in said]
    pairs, _ = match_ids(listed["image"].tolist(), ids)
    if not pairs:
        raise TableError(table.path, f"no image of the probe is in it; it has {ids[0]!r:.80}")
    answers = pd.DataFrame({"score": scores, "text": texts})
    joined = answers.reindex([pairs.get(place, -1) for place in listed.index])
    return listed.assign(score=joined["score"].to_numpy(), text=joined["text"].to_numpy())


# ---- checks


def judge(rows: pd.DataFrame) -> pd.DataFrame:
    """Judge the scores and texts that a scorer gave to the images of the probe.

    Args:
        rows: `probes` with score, a higher one is better, NaN for none; and text, None for none.

    Returns:
        A row per check: kind, probe, check, value, reason (why there is no value), asked, and the
        verdict: passes, fails or not measurable.
    """
    span = rows["score"].max() - rows["score"].min()
    first = select(rows, kind="original").set_index("photograph")
    found = [("all", "all images", *one) for one in _overall(rows)]
    for name in LADDERS:
        steps = pd.concat([first.reset_index(), select(rows, kind="ladder", change=name)])
        found += [("ladder", name, *one) for one in _along(name, steps, span)]
    for name in STAYS:
        copies = select(rows, kind="copy", change=name).set_index("photograph")
        moved = (copies["score"] - first["score"]).abs().max()
        reason = "no score" if np.isnan(moved) else "all scores are equal"
        found.append(("copy", name, "stays", 1 - moved / span if span > 0 else None, reason))
    for image in select(rows, kind="flat").itertuples():
        above = None if np.isnan(image.score) else (first["score"].dropna() > image.score).mean()
        found.append(("flat", image.change, "below", above, "no score"))
    made = pd.DataFrame(found, columns=["kind", "probe", "check", "value", "reason"])
    made["value"] = made["value"].astype(float)
    made["reason"] = made["reason"].where(made["value"].isna())
    made["asked"] = made["check"].map(ASKED).fillna(made["probe"].map(STAYS))
    good = np.where(made["value"] >= made["asked"], "passes", "fails")
    made["verdict"] = np.where(made["value"].isna(), "not measurable", good)
    return made


def _overall(rows: pd.DataFrame) -> Iterator[tuple[str, float | None, str]]:
    """Yield check, value, and the reason if there is no value."""
    texts = rows["text"].dropna().str.replace(r"[\d.\s]+", " ", regex=True)
    yield "scored", rows["score"].notna().mean(), ""
    yield "distinct scores", rows["score"].nunique(), ""
    yield "distinct texts", texts.nunique() or None, "no text"


def _along(name: str, steps: pd.DataFrame, span: float) -> Iterator[tuple[str, float | None, str]]:
    """Yield likewise of a ladder, the undistorted photographs as its level 0."""
    scores = steps.pivot(index="photograph", columns="level", values="score").dropna()
    moved = scores.max(axis=1) - scores.min(axis=1)
    yield "moves", moved.mean() / (span or 1.0), "no score"
    yield "falls", (scores[N_LEVELS] < scores[0]).mean(), "no score"
    falling = -scores.columns.to_numpy(dtype=float)
    ranks = scores[moved > 0].rank(axis=1).to_numpy()
    orders = [srcc(row, falling, min_n=2) for row in ranks]
    yield "in order", np.mean(orders) if orders else None, "no score moves"
    told = steps.dropna(subset=["text"])
    kin = told["text"].map(lambda text: {kinship(one.defect, name) for one in read(text).stated})
    named = kin.map(lambda found: "same" in found).astype(float)
    late, none = named[told["level"] >= 3], named[told["level"] == 0]
    yield "named", late.mean() - none.mean(), "no text"


# ---- for readers


def describe(rows: pd.DataFrame, checks: pd.DataFrame, scorer: str) -> str:
    """Say in a few lines and a grid per kind what a scorer passes and fails."""
    counts = checks["verdict"].value_counts()
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    ends = f"{rows['score'].min():g} to {rows['score'].max():g}"
    lines = [f"{scorer}: {len(rows)} images, scores {ends}; checks: {told}"]
    for kind in checks["kind"].unique():
        cells = grid(select(checks, kind=kind), "probe", "check", _cell)
        lines += ["", cells.to_string(index=False)]
    if select(checks, check="distinct texts")["value"].eq(1).any():
        lines += ["", "ALARM: the same text for every image"]
    return "\n".join(lines)


def _cell(found: pd.DataFrame) -> str:
    (one,) = found.to_dict("records")
    if one["verdict"] == "not measurable":
        return f"not measurable: {one['reason']}"
    failed = f" fails (≥ {one['asked']:g})" * (one["verdict"] == "fails")
    return f"{one['value']:.3g}{failed}"


@house_style()
def probe_figure(rows: pd.DataFrame, scorer: str, *, lower_is_better: bool = False) -> Figure:
    """Draw the score along each ladder, and how far it moves on copies that look the same.

    Args:
        rows: As for `judge`, scores as they came.
        scorer: Its name, for the caption.
        lower_is_better: Said at the axis.
    """
    figure, axes = style.new_figure(9.6, 5.4, 2, 3)
    first = select(rows, kind="original").set_index("photograph")["score"]
    looks = dict(zip(first.index, _LOOKS, strict=False))
    for ax, name in zip(axes.flat, LADDERS, strict=False):
        for file, (colour, marker) in looks.items():
            steps = select(rows, kind="ladder", change=name, photograph=file)["score"]
            scores = [first[file], *steps]
            ax.plot(scores, color=colour, marker=marker, markersize=4, label=Path(file).stem)
        ax.set(title=name, xlabel="Level", ylabel="Score" + " (lower is better)" * lower_is_better)
        ax.sharey(axes[0, 0])
    ax, places = axes[1, 2], np.arange(len(STAYS))
    for shift, (file, (colour, marker)) in enumerate(looks.items()):
        moved = select(rows, kind="copy", photograph=file)["score"] - first[file]
        ax.plot(places + 0.12 * (shift - 2), moved, marker, color=colour, markersize=5)
    ax.axhline(0.0, color=GREY, linewidth=0.9)
    ax.set(title="copies that look the same", ylabel="Score − score of the original")
    ax.set_xticks(places, STAYS)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    style.caption(figure, f"{scorer}. Level 0: the undistorted photograph. One answer per image.")
    return figure
