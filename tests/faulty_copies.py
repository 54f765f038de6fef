"""Small copies and pictures for the tests of faults."""

import io

from PIL import Image

from qponder_lib.data import checking


def png(number, mode="RGB"):
    image = Image.new("RGB", (6, 4), (number % 256, number // 256, 90)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def check(spec, root):
    return checking.check(spec, root, progress=False)


def found(report, kind):
    """File and row of the findings of a kind."""
    return [(one.file, one.row) for one in report.findings if one.kind == kind]
