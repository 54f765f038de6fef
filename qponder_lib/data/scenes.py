"""Undistorted scenes: crops of photographs that ship with installed packages, and synthetic ones.

A crop is only taken where the photograph has detail: on an empty patch blur cannot be seen, by a
person or by a model. ``PHOTOGRAPHS`` says which photograph serves which split; none serves two.

`varied_scene` makes scenes of many kinds from the training photographs, for training alone. Nine
training photographs alone teach a tower those photographs: it told the distortions on new crops of
them apart in 83 % of the cases, and on other photographs in 66 %. So they are cut up, filled into
other shapes, laid over each other, given other colours and taken apart into their spectra, and
printed pages stand beside them. Validation and test photographs are never touched, nor is the kind
of scene that the set of generated images is made of.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

_SKIMAGE = ("skimage", "data")
_SKLEARN = ("sklearn", "datasets/images")
_MATPLOTLIB = ("matplotlib", "mpl-data/sample_data")

PHOTOGRAPHS: dict[str, dict[str, tuple[str, str]]] = {
    "train": {
        **dict.fromkeys(("chelsea.png", "motorcycle_left.png", "hubble_deep_field.jpg"), _SKIMAGE),
        **dict.fromkeys(("ihc.png", "retina.jpg", "grass.png", "coins.png"), _SKIMAGE),
        **{"rocket.jpg": _SKIMAGE, "china.jpg": _SKLEARN},
    },
    "validation": {"grace_hopper.jpg": _MATPLOTLIB, "gravel.png": _SKIMAGE, "page.png": _SKIMAGE},
    "test": {
        **dict.fromkeys(("astronaut.png", "coffee.png", "camera.png", "brick.png"), _SKIMAGE),
        **{"flower.jpg": _SKLEARN},
    },
}
"""Split -> file name -> package that ships it and the folder inside it."""

VARIED_SHARES = {
    "photograph": 0.32,
    "dead_leaves": 0.20,
    "collage": 0.18,
    "overlay": 0.12,
    "texture": 0.12,
    "page": 0.06,
}
"""Share of each kind of varied scene."""

_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf")
_LETTERS = np.array(list("etaoinshrdlucmfwypvbgkETAOINSHR0123456789,.-"))
_GRID = 8
_MIN_DETAIL = 4.0
_MAX_TRIES = 40
_MAX_REDUCTION = 4.0


def shipped_file(name: str, package: str, folder: str) -> Path:
    """Where an installed package keeps a photograph or a font.

    Raises:
        FileNotFoundError: If the package is not installed or no longer ships the file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} ships with {package}, which is not installed")
    path = Path(spec.origin).parent / folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{package} does not ship {folder}/{name}; see requirements.lock")
    return path


@cache
def load_photograph(name: str, package: str, folder: str) -> Pixels:
    """Decode a photograph once. Returns H x W x 3 uint8, read-only."""
    with Image.open(shipped_file(name, package, folder)) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


@cache
def _summed_gradient(name: str, package: str, folder: str) -> NDArray[np.float64]:
    """Summed-area table of a photograph's luma gradient, one row and column longer than it."""
    luma = load_photograph(name, package, folder).mean(axis=2, dtype=np.float32)
    gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1)) / 8.0
    return np.pad(gradient.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))


def _detail(table: NDArray[np.float64], top: int, left: int, side: int) -> float:
    """Median over an 8 x 8 grid of cells of the mean gradient, grey levels per source pixel."""
    rows = top + np.arange(_GRID + 1) * side // _GRID
    columns = left + np.arange(_GRID + 1) * side // _GRID
    corners = table[np.ix_(rows, columns)]
    sums = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return float(np.median(sums) * _GRID**2 / side**2)


def photograph_scene(split: str, size: int, rng: Rng) -> tuple[Pixels, str]:
    """Crop a photograph of a split.

    The crop covers 1 to 4 source pixels per output pixel and is flipped at random; of at most 40
    places the first with enough detail is taken, or else the one with most.

    Args:
        split: "train", "validation" or "test".
        size: Side of the square crop, px.
        rng: Source of randomness.

    Returns:
        The crop, size x size x 3 uint8, and the photograph's file name.
    """
    names = sorted(PHOTOGRAPHS[split])
    name = names[rng.integers(len(names))]
    source = load_photograph(name, *PHOTOGRAPHS[split][name])
    table = _summed_gradient(name, *PHOTOGRAPHS[split][name])
    best, best_detail = (0, 0, size), -1.0
    reduction = min(_MAX_REDUCTION, min(source.shape[:2]) / size)
    for _ in range(_MAX_TRIES):
        side = round(size * rng.uniform(1.0, reduction))
        top = rng.integers(source.shape[0] - side + 1)
        left = rng.integers(source.shape[1] - side + 1)
        found = _detail(table, top, left, side)
        if found > best_detail:
            best, best_detail = (top, left, side), found
        if found >= _MIN_DETAIL:
            break
    top, left, side = best
    image = Image.fromarray(source[top : top + side, left : left + side])
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(pixels[:, :: rng.choice((-1, 1))]), name


def dead_leaves_scene(size: int, rng: Rng) -> Pixels:
    """Overlapping textured discs whose radii follow a power law, as in dead-leaves models.

    The colours are scattered around grey, so that a colour cast or a wrong exposure shows.

    Returns:
        size x size x 3 uint8.

    Source:
        Lee, Mumford & Huang (2001), "Occlusion models for natural images", section 3; the
        textures, gradients and colours of the discs are ours.
    """
    spread = rng.uniform(0.15, 0.9)
    canvas = _colours(_cloud(size, rng.uniform(1.0, 1.6), rng), spread, rng)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for radius in np.sort(_power_law(rng, int(rng.integers(40, 160)), size))[::-1]:
        top, left = rng.uniform(0, size, 2)
        squeeze, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        box = tuple(
            slice(int(max(0, middle - radius)), int(min(size, middle + radius + 1)))
            for middle in (top, left)
        )
        down, right = rows[box] - top, columns[box] - left
        along = down * np.cos(angle) + right * np.sin(angle)
        across = -down * np.sin(angle) + right * np.cos(angle)
        inside = (along**2 + (across / squeeze) ** 2) < radius**2
        if inside.any():
            canvas[box][inside] = _leaf_colours(along, across, radius, spread, rng)[inside]
    return _softened(canvas)


def generated_scene(size: int, rng: Rng) -> Pixels:
    """A scene of another kind: fractal sky, polygons with stripes and rings, and small glyphs.

    Stands in the role of a set of AI-generated images: its look is never trained on.

    Returns:
        size x size x 3 uint8.
    """
    canvas = _colours(_cloud(size, rng.uniform(1.3, 2.0), rng), 0.6, rng)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(rng.integers(5, 10)):
        centre = rng.uniform(0, size, 2)
        sides = rng.integers(3, 7)
        turn = rng.uniform(0, 2 * np.pi)
        reach = size * rng.uniform(0.12, 0.38)
        inside = np.ones((size, size), dtype=bool)
        for k in range(sides):
            angle = turn + 2 * np.pi * k / sides
            offset = (rows - centre[0]) * np.sin(angle) + (columns - centre[1]) * np.cos(angle)
            inside &= offset < reach
        distance = np.hypot(rows - centre[0], columns - centre[1])
        wave = distance if rng.random() < 0.5 else rows * np.sin(turn) + columns * np.cos(turn)
        stripes = 0.5 + 0.5 * np.sign(np.sin(wave * rng.uniform(0.25, 1.1)))
        first, second = _colour(0.7, rng), _colour(0.7, rng)
        pattern = first + (second - first) * stripes[..., None] * rng.uniform(0.2, 1.0)
        canvas[inside] = pattern[inside]
    for _ in range(rng.integers(20, 60)):
        top, left = rng.integers(0, size - 7, 2)
        glyph = rng.random((5, 5)) < 0.5
        canvas[top : top + 5, left : left + 5][glyph] = rng.uniform(0, 255, 3)
    return _softened(canvas)


def _power_law(rng: Rng, count: int, size: int, exponent: float = 2.4) -> NDArray[np.float64]:
    low, high = 3.0, size / 2.2
    power = 1.0 - exponent
    return (low**power + rng.random(count) * (high**power - low**power)) ** (1.0 / power)


def _cloud(size: int, slope: float, rng: Rng) -> NDArray[np.float32]:
    """A random field with a 1/f**slope amplitude spectrum, zero mean, unit deviation."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**slope
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return field / max(float(field.std()), 1e-6)


def _colour(spread: float, rng: Rng) -> NDArray[np.float32]:
    """A colour around grey; spread 0 is grey, 1 is as colourful as it gets."""
    luma = rng.uniform(15, 240)
    return np.clip(luma + spread * rng.uniform(-110, 110, 3), 0, 255).astype(np.float32)


def _colours(field: NDArray[np.float32], spread: float, rng: Rng) -> NDArray[np.float32]:
    swing = rng.uniform(15, 50)
    return _colour(spread, rng) + swing * field[..., None]


def _leaf_colours(
    along: NDArray[np.float32],
    across: NDArray[np.float32],
    radius: float,
    spread: float,
    rng: Rng,
) -> NDArray[np.float32]:
    shade = 1.0 + rng.uniform(-0.4, 0.4) * along / radius
    kind = rng.integers(5)
    pitch = rng.uniform(0.4, 1.8)
    if kind == 0:
        shade = shade + rng.uniform(0.05, 0.4) * np.sin(across * pitch)
    elif kind == 1:
        shade = shade + rng.uniform(0.05, 0.3) * np.sin(along * pitch) * np.sin(across * pitch)
    elif kind == 2:
        shade = shade + rng.uniform(0.1, 0.4) * np.sin(np.hypot(along, across) * pitch)
    return _colour(spread, rng) * np.maximum(shade, 0.0)[..., None].astype(np.float32)


def varied_scene(size: int, rng: Rng) -> Pixels:
    """Draw one undistorted scene of any kind, size x size x 3 uint8."""
    kind = str(rng.choice(list(VARIED_SHARES), p=list(VARIED_SHARES.values())))
    draw = {
        "photograph": _photograph,
        "dead_leaves": dead_leaves_scene,
        "collage": collage_scene,
        "overlay": overlay_scene,
        "texture": texture_scene,
        "page": page_scene,
    }[kind]
    scene = np.rot90(draw(size, rng), rng.integers(4))
    if rng.random() < 0.6:
        scene = recolour(scene, rng)
    return np.ascontiguousarray(scene)


def _photograph(size: int, rng: Rng) -> Pixels:
    return photograph_scene("train", size, rng)[0]


def collage_scene(size: int, rng: Rng) -> Pixels:
    """Ellipses and half planes filled with crops of training photographs."""
    crops = [_photograph(size, rng) for _ in range(3)]
    canvas = crops[0].astype(np.float32)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(rng.integers(3, 14)):
        centre = rng.uniform(0, size, 2)
        angle, radius = rng.uniform(0, np.pi), size * rng.uniform(0.05, 0.45)
        along = (rows - centre[0]) * np.cos(angle) + (columns - centre[1]) * np.sin(angle)
        across = (columns - centre[1]) * np.cos(angle) - (rows - centre[0]) * np.sin(angle)
        squeeze = rng.uniform(0.3, 1.0)
        half_plane = rng.random() < 0.2
        inside = along > radius if half_plane else along**2 + (across / squeeze) ** 2 < radius**2
        filling = np.roll(crops[rng.integers(3)], rng.integers(size, size=2), axis=(0, 1))
        canvas[inside] = filling[inside] * rng.uniform(0.6, 1.3)
    return _softened(canvas)


def overlay_scene(size: int, rng: Rng) -> Pixels:
    """Two scenes seen through each other."""
    first, second = _photograph(size, rng), dead_leaves_scene(size, rng)
    if rng.random() < 0.6:
        second = np.rot90(_photograph(size, rng))
    weight = rng.uniform(0.25, 0.75)
    mixed = weight * first.astype(np.float32) + (1 - weight) * second
    mixed = (mixed - mixed.mean()) * rng.uniform(1.0, 1.5) + mixed.mean()
    return np.clip(mixed, 0, 255).astype(np.uint8)


def texture_scene(size: int, rng: Rng) -> Pixels:
    """A crop's spectrum, or a power law, with other phases: texture without objects."""
    crop = _photograph(size, rng).astype(np.float32)
    if rng.random() < 0.5:
        frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
        frequency[0, 0] = 1.0
        amplitude = frequency ** -rng.uniform(0.7, 1.8)
        amplitude[0, 0] = 0.0
    else:
        amplitude = np.abs(np.fft.rfft2(crop.mean(axis=2) - crop.mean()))
    phases = np.fft.rfft2(rng.standard_normal((size, size)))
    field = np.fft.irfft2(amplitude * phases / np.maximum(np.abs(phases), 1e-9), s=(size, size))
    field = field / max(float(field.std()), 1e-6)
    first, second = crop[tuple(rng.integers(size, size=2))], crop[tuple(rng.integers(size, size=2))]
    swing = rng.uniform(12, 55)
    tint = (second - first) / max(float(np.abs(second - first).max()), 30.0)
    middle = np.clip(first, 40, 215)
    bend = ndimage.uniform_filter(crop, (size // 4, size // 4, 0)) - crop.mean(axis=(0, 1))
    canvas = middle + swing * field[..., None] * (0.7 + 0.3 * tint) + bend * rng.uniform(0, 1)
    return _softened(canvas)


def page_scene(size: int, rng: Rng) -> Pixels:
    """Lines of made-up words in one of matplotlib's fonts, unevenly lit."""
    ink, paper = np.sort(rng.uniform(0, 255, (2, 3)), axis=0)
    paper = np.minimum(255, np.maximum(paper, ink + rng.uniform(60, 160)))
    if rng.random() < 0.3:
        ink, paper = paper, ink
    face = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(face)
    height = int(rng.integers(8, 34))
    font = _font(str(rng.choice(_FONTS)), height)
    for top in range(-int(rng.integers(height)), size, round(height * rng.uniform(1.1, 1.6))):
        words = ["".join(rng.choice(_LETTERS, rng.integers(2, 9))) for _ in range(12)]
        pen.text((-rng.integers(height), top), " ".join(words), fill=255, font=font)
    cover = np.asarray(face, dtype=np.float32)[..., None] / 255
    slope = rng.uniform(-0.3, 0.3, 2) @ np.mgrid[:size, :size].reshape(2, -1) / size
    light = 1 + slope.reshape(size, size, 1) + rng.normal(0, 0.012, (size, size, 1))
    return _softened((paper + (ink - paper) * cover) * light)


@cache
def _font(name: str, height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(shipped_file(name, "matplotlib", "mpl-data/fonts/ttf"), height)


def _softened(canvas: NDArray[np.floating]) -> Pixels:
    """Soften hard edges as a lens would."""
    return np.clip(ndimage.gaussian_filter(canvas, (0.5, 0.5, 0)), 0, 255).astype(np.uint8)


def recolour(scene: Pixels, rng: Rng) -> Pixels:
    """Other colours, another tone curve; mild enough not to look like a distortion.

    Args:
        scene: Pixels, H x W x 3, uint8.
        rng: Source of randomness.

    Returns:
        Pixels of the same shape.
    """
    values = scene.astype(np.float32)
    if rng.random() < 0.35:
        values = values[..., rng.permutation(3)]
    if rng.random() < 0.1:
        values = 255 - values
    luma = values.mean(axis=2, keepdims=True)
    values = luma + (values - luma) * rng.uniform(0.2, 1.3)
    values = 255 * (np.clip(values, 0, 255) / 255) ** np.exp(rng.uniform(-0.35, 0.35))
    return np.clip(values, 0, 255).astype(np.uint8)
