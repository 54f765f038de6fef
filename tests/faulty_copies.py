"""Small copies and images for the tests of faults."""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from qponder_lib.data.check import examine, load_labels
from qponder_lib.data.labels import errors


def png(number, mode="RGB"):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = number % 256, number // 256, 90
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(path, number):
    """Write noise in the format that the suffix says."""
    noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


def check(spec, root, label=None, **options):
    return examine(load_labels(spec, root, label), progress=False, **options)


def ok(copy):
    return not errors(copy.findings)


def codes(copy):
    return {one.code for one in copy.findings}


def found(copy, code):
    """File and row that the findings of a code name."""
    places = [
        re.match(r"(.+?)(?:, row (\d+))?: ", one.sentence)
        for one in copy.findings
        if one.code == code
    ]
    return [
        (Path(file).name, None if row is None else int(row))
        for file, row in (p.groups() for p in places)
    ]
