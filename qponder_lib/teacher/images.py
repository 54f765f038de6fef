"""Read an image for a teacher: the very file its row names, as plain RGB, or a named refusal."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

from PIL import Image

from qponder_lib.data.images import ImageProblem, decode_rgb


class InvalidImage(ValueError):
    """The file is missing, is not the file its row names, or does not decode."""


def load_image(path: Path, sha256: str) -> Image.Image:
    """Read an image file as upright RGB, provided it is the file that was recorded.

    Args:
        path: A PNG, JPEG, WebP or BMP file.
        sha256: Hash of the file in its `ImageRecord`.

    Returns:
        An RGB image without metadata. Transparent parts are laid on white.

    Raises:
        InvalidImage: If the file is missing, has another hash, is too large to be a photograph
            (`PIL.Image.MAX_IMAGE_PIXELS`), is of another format or depth, or does not decode.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidImage(f"{path}: the file has changed since its row was written")
    try:
        return decode_rgb(content)
    except ImageProblem as error:
        raise InvalidImage(f"{path}: {error}") from error


def png_data_url(image: Image.Image) -> str:
    """Encode an image as a `data:` URL of a fresh PNG: the same pixels and nothing else.

    A server never gets a URL to fetch or a file of the user, whose metadata may say where and
    when a photograph was taken.

    Example:
        >>> png_data_url(Image.new("RGB", (1, 1)))[:22]
        'data:image/png;base64,'
    """
    buffer = io.BytesIO()
    plain = image.convert("RGB")
    plain.info = {}
    plain.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
