"""Images that cannot be used are named, and what a viewer would show is what is read."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from faulty_copies import check, found, ok, png
from PIL import Image

from qponder_lib.data.catalog import spec_named
from qponder_lib.data.check import summary
from qponder_lib.data.images import ImageError, decode_rgb, read_rgb

SMALL_LIST = spec_named("bid").model_copy(update={"n_images": 4})


def jpeg(number, **options):
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.fixture
def listed(tmp_path):
    """Four JPEGs in our own list layout."""
    rows = ["image,mos,std"]
    for number in range(1, 5):
        (tmp_path / f"a{number}.jpg").write_bytes(jpeg(number))
        rows.append(f"a{number}.jpg,{number},0.5")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_two_files_of_one_name_are_not_guessed_between(listed):
    (listed / "more").mkdir()
    (listed / "more" / "a1.jpg").write_bytes(jpeg(9))
    assert found(check(SMALL_LIST, listed), "ambiguous_image") == [("labels.csv", 2)]


def test_a_truncated_jpeg_is_reported_with_its_row(listed):
    content = (listed / "a3.jpg").read_bytes()
    (listed / "a3.jpg").write_bytes(content[: len(content) // 2])
    report = check(SMALL_LIST, listed)
    assert found(report, "truncated_image") == [("labels.csv", 4)]
    assert summary(report)["n_decoded"] == 3


def test_a_link_out_of_the_copy_is_refused(listed, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes(jpeg(11))
    (listed / "a2.jpg").unlink()
    (listed / "a2.jpg").symlink_to(outside)
    assert found(check(SMALL_LIST, listed), "outside_root") == [("labels.csv", 3)]


def test_a_turned_photograph_is_turned_upright(listed):
    exif = Image.Exif()
    exif[0x0112] = 6
    (listed / "a4.jpg").write_bytes(jpeg(4, exif=exif))
    assert ok(check(SMALL_LIST, listed))
    assert decode_rgb((listed / "a4.jpg").read_bytes()).size == (48, 64)


def png_of_size(width, height):
    """A PNG that only claims its size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + name + body
        chunks += struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FRAMES = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
DEEP = Image.fromarray(np.full((4, 4), 40000, np.uint16))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty_image"),
        (b"<!DOCTYPE html><html>", "invalid_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "invalid_image"),
        (saved(FRAMES[0], "GIF"), "invalid_image"),
        (saved(FRAMES[0], "TIFF"), "invalid_image"),
        (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "invalid_image"),
        (saved(DEEP, "PNG"), "invalid_image"),
        (png_of_size(20000, 20000), "oversized_image"),
        (png_of_size(20001, 10000), "oversized_image"),
        (saved(Image.new("RGB", (402, 2)), "PNG"), "extreme_aspect"),
        (jpeg(1)[:-200], "truncated_image"),
        (saved(Image.new("RGB", (40, 40), "red"), "BMP")[:-100], "truncated_image"),
    ],
)
def test_files_that_are_no_usable_image_are_named(content, kind):
    with pytest.raises(ImageError) as caught:
        decode_rgb(content)
    assert caught.value.kind == kind


def test_a_png_with_damaged_data_is_refused():
    content = bytearray(saved(Image.effect_noise((64, 64), 80).convert("RGB"), "PNG"))
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    with pytest.raises(ImageError):
        decode_rgb(bytes(content))


def test_a_bit_of_a_png_that_turns_is_noticed_or_changes_no_pixel():
    content = png(70)
    pixels = decode_rgb(content).tobytes()
    for place in range(len(content)):
        turned = bytearray(content)
        turned[place] ^= 16
        try:
            assert decode_rgb(bytes(turned)).tobytes() == pixels, place
        except ImageError:
            continue


def test_a_png_whose_last_pixels_were_overwritten_is_refused_although_it_decodes():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), "PNG")
    with pytest.raises(ImageError):
        decode_rgb(content[:-40] + b"x" * 20)


def test_transparent_parts_lie_on_white_whatever_colour_hides_there():
    ghost = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert decode_rgb(saved(ghost, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_a_phones_jpeg_with_a_second_picture_is_one_photograph(tmp_path):
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    content = saved(first, "MPO", save_all=True, append_images=[second])
    red, _, blue = decode_rgb(content).getpixel((3, 3))
    assert (red > 200, blue < 50) == (True, True)
    # A header may claim a second picture that a messenger has cut off.
    assert decode_rgb(content[: content.rindex(b"\xff\xd8")]).size == (8, 6)
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_rgb(tmp_path / "a.jpg").size == (8, 6)


def test_a_photograph_of_two_hundred_megapixels_is_no_attack():
    with pytest.raises(ImageError) as caught:
        decode_rgb(png_of_size(16320, 12240))
    assert caught.value.kind != "oversized_image"  # it only claims its size, and holds no pixels
    with pytest.raises(ImageError, match="more than 200,000,000 pixels"):
        decode_rgb(png_of_size(16400, 12240))


@pytest.mark.parametrize(
    ("image", "kind", "size"),
    [
        (Image.new("CMYK", (30, 20), (0, 255, 255, 0)), "JPEG", (30, 20)),
        (Image.new("P", (30, 20)), "PNG", (30, 20)),
        (Image.new("LA", (30, 20)), "PNG", (30, 20)),
        (Image.new("L", (1, 1)), "PNG", (1, 1)),
        (Image.new("1", (27, 27)), "BMP", (27, 27)),
    ],
)
def test_other_modes_and_tiny_images_become_rgb(image, kind, size):
    decoded = decode_rgb(saved(image, kind))
    assert (decoded.mode, decoded.size) == ("RGB", size)


def test_an_image_that_is_not_the_recorded_one_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    assert read_rgb(tmp_path / "a.png", hashlib.sha256(png(1)).hexdigest()).size == (6, 4)
    with pytest.raises(ImageError, match=r"a\.png: the file has changed"):
        read_rgb(tmp_path / "a.png", hashlib.sha256(png(2)).hexdigest())
