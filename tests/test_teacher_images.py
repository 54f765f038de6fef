"""Pictures as a teacher gets them: what it cannot use is refused, what it sees is what one sees."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qponder_lib.data.images import ImageError, read_rgb


@pytest.mark.parametrize(
    "content",
    [b"", b"<html></html>", b"\x89PNG\r\n\x1a\n" + b"x" * 40, b"GIF89a" + b"\0" * 30],
)
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png"):
        read_rgb(file, hashlib.sha256(content).hexdigest())


def saved(image: Image.Image, file: Path, **options: object) -> tuple[Path, str]:
    image.save(file, **options)  # type: ignore[arg-type]
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


def test_sixteen_bits_are_refused_not_clipped(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16))
    with pytest.raises(ImageError, match="8 bits"):
        read_rgb(*saved(deep, tmp_path / "deep.png"))


def test_a_hidden_colour_is_laid_on_white(tmp_path: Path) -> None:
    ghost = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    image = read_rgb(*saved(ghost, tmp_path / "ghost.png"))
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_turned_photograph_is_put_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_rgb(*saved(Image.new("RGB", (40, 20)), tmp_path / "a.jpg", exif=exif))
    assert (image.size, image.info) == ((20, 40), {})


def test_a_picture_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(ImageError, match="exceeds limit"):
        read_rgb(*saved(Image.new("RGB", (10, 10)), tmp_path / "a.png"))
