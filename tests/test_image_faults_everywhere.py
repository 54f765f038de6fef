"""Real files' faults: each is scored or refused with one sentence, wherever images are used."""

import asyncio
import base64
import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image
from synthetic_run import image_row

import qponder_lib
from qponder_lib.artifacts import file_sha256, read_jsonl
from qponder_lib.config import load_profile
from qponder_lib.data.catalog import spec_named
from qponder_lib.data.check import examine, load_labels
from qponder_lib.data.images import ImageError, decode_rgb, load_image
from qponder_lib.evaluation.baseline import features_of_files
from qponder_lib.paths import RunPaths
from qponder_lib.records import ResponseRecord
from qponder_lib.student import assessment
from qponder_lib.student.generation import Completion
from qponder_lib.student.prediction import LazyImages
from qponder_lib.teacher.chat_client import ChatClient
from qponder_lib.teacher.distill import distill
from qponder_lib.teacher.expert import ExpertTeacher

NOISE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
PHOTO = Image.fromarray(NOISE)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep_colour():
    """A PNG of 16 bits a channel, which Pillow reads and does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in NOISE.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", NOISE.shape[1], NOISE.shape[0], 16, 2, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        made += struct.pack(">I", len(body)) + name + body
        made += struct.pack(">I", zlib.crc32(name + body))
    return made


BOTH = {"save_all": True, "append_images": [PHOTO.rotate(180)]}
FILES = {
    "turned by EXIF": (partial(saved, PHOTO, "JPEG", exif=TURNED), (96, 128)),
    "CMYK": (partial(saved, PHOTO.convert("CMYK"), "JPEG"), (128, 96)),
    "16-bit colour": (deep_colour, (128, 96)),
    "16-bit grey": (partial(saved, Image.fromarray(NOISE[..., 0].astype(np.uint16)), "PNG"), None),
    "palette": (partial(saved, PHOTO.quantize(16), "PNG"), (128, 96)),
    "grey": (partial(saved, PHOTO.convert("L"), "PNG"), (128, 96)),
    "alpha": (partial(saved, PHOTO.convert("RGBA"), "WEBP", lossless=True), (128, 96)),
    "animated PNG": (partial(saved, PHOTO, "PNG", **BOTH), None),
    "animated WebP": (partial(saved, PHOTO, "WEBP", **BOTH), None),
    "GIF": (partial(saved, PHOTO, "GIF"), None),
    "truncated": (lambda: saved(PHOTO, "JPEG")[:-400], None),
    "200 to 1": (partial(saved, Image.new("RGB", (2000, 10), "red"), "PNG"), (2000, 10)),
    "201 to 1": (partial(saved, Image.new("RGB", (2010, 10), "red"), "PNG"), None),
    "one pixel": (partial(saved, Image.new("RGB", (1, 1), "red"), "PNG"), (1, 1)),
    "below 28 px": (partial(saved, PHOTO.resize((40, 20)), "PNG"), (40, 20)),
    "51 megapixels": (partial(saved, Image.new("RGB", (8500, 6000), "red"), "PNG"), (8500, 6000)),
}


@pytest.fixture(scope="module")
def student():
    return qponder_lib.load("builtin:mini")


@pytest.fixture(params=FILES)
def fault(request, tmp_path):
    """A run with one image; its row, its file, and its size if it can be used."""
    make, size = FILES[request.param]
    paths, row = RunPaths(tmp_path), image_row("bid", "train", 0, 50.0)
    file = paths.data / row.image
    file.parent.mkdir(parents=True)
    file.write_bytes(make())
    return paths, row.model_copy(update={"sha256": file_sha256(file)}), file, size


def seen_by(use, *arguments):
    """The pixels that somebody gets to see, or the sentence of the refusal."""
    try:
        return use(*arguments)
    except ImageError as error:
        return error


def test_an_image_is_used_alike_or_refused_alike_everywhere(fault, student, monkeypatch):
    paths, row, file, size = fault
    checked = examined(file)
    shown = []

    def generate(_, images, *__, **___):
        shown.extend(images)
        return [Completion("<answer>50</answer>", 3, "stop") for _ in images]

    monkeypatch.setattr(assessment, "generate", generate)
    (said,) = student.score([file])
    raw = ask(ExpertTeacher(max_pixels=student_pixels(student)), paths, row)
    used = {
        "training": seen_by(load_image, paths, row),
        "prediction": seen_by(lambda: LazyImages([row], partial(load_image, paths))[0]),
        "judge": seen_by(from_url, paths, row),
    }
    if size is None or size[0] * size[1] < 1_000_000:  # larger ones take it half a minute
        used["handcrafted"] = seen_by(features_of_files, [file])
    if size is None:
        problem = used["training"]
        assert {type(one) for one in used.values()} == {ImageError}
        assert {one.kind for one in used.values()} == {problem.kind, said.parse_status}
        assert {str(one) for one in used.values()} == {said.problem}
        assert (raw.finish_reason, raw.text, shown) == ("invalid_image", None, [])
        assert [one.code for one in checked] == [problem.kind]
        assert str(problem).removeprefix(f"{file}: ") in checked[0].sentence
    else:
        assert used["training"].size == size
        same = {used[name].tobytes() for name in ("training", "prediction", "judge")}
        assert same == {shown[0].tobytes()} == {decode_rgb(file.read_bytes()).tobytes()}
        assert (raw.finish_reason, said.score) == ("stop", 50.0)
        assert np.isfinite(used.get("handcrafted", 0.0)).all()
        assert {one.code for one in checked} <= {"constant_image"}


def student_pixels(student):
    return student.student.processor.image_processor.size["longest_edge"]


def examined(file):
    """What a check of a set of this one image finds about the file."""
    table = file.parent / "labels.csv"
    table.write_text(f"image,mos,std\n{file.name},3,0.5\n", encoding="utf-8")
    spec = spec_named("bid").model_copy(update={"n_images": 1})
    labels = load_labels(spec, file.parent)
    found = examine(labels, progress=False).findings
    return [one for one in found if one not in labels.findings]


def ask(teacher, paths, row):
    config = load_profile("smoke").distill
    distill([row], teacher, config, paths)
    (raw,) = read_jsonl(paths.raw_responses, ResponseRecord)
    return raw


def from_url(paths, row):
    """Decode what a judge or teacher behind a server is sent."""
    chat = ChatClient("m", "http://127.0.0.1:9/v1", temperature=0.0, max_tokens=9)
    url = asyncio.run(chat.image_url(paths.data / row.image, row.sha256))
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


@pytest.mark.parametrize("size", [(1, 1), (3, 600), (6000, 30)])
def test_tiny_and_long_images_go_through_the_student(student, size):
    few = assessment.Model(student.name, student.student, student.prompt_id, 2)
    assert few.score(Image.new("RGB", size, "red")).problem is None
