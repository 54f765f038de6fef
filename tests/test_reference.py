"""A reference keeps what can be compared, and neither weights nor images."""

import io

import numpy as np
import pytest
from PIL import Image

from qponder_lib.paths import RunPaths
from qponder_lib.runner.reference import LARGEST_DRAWING, keep_reference, smaller_png

KEPT = ["manifest.json", "eval/scores.csv", "figures/a.png", "figures/a.pdf", "grpo/q/history.csv"]
LEFT = ["data/s/images/1.png", "grpo/q/model.safetensors", "eval/predictions/m/s.jsonl"]


def write(root, name, content=b"x"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_it_keeps_numbers_and_drawings_and_leaves_weights_images_and_answers(tmp_path):
    for name in [*KEPT, *LEFT]:
        write(tmp_path / "run", name)
    write(tmp_path / "run", "figures/big.pdf", b"x" * (LARGEST_DRAWING + 1))
    write(tmp_path / "reference", "stale.csv")
    keep_reference(RunPaths(tmp_path / "run"), tmp_path / "reference")
    there = [path for path in (tmp_path / "reference").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "reference").as_posix() for path in there} == set(KEPT)


def test_an_unfinished_run_is_refused_and_the_old_reference_stays(tmp_path):
    write(tmp_path / "reference", "manifest.json")
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError, match="finish"):
        keep_reference(RunPaths(tmp_path / "run"), tmp_path / "reference")
    assert (tmp_path / "reference" / "manifest.json").is_file()


def test_a_large_picture_is_kept_with_fewer_colours_and_a_small_one_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    pictures = []
    for pixels in (noise, noise[:20, :20]):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    large, small = pictures
    assert smaller_png(small) == small
    kept = smaller_png(large)
    assert len(kept) < len(large) / 2
    with Image.open(io.BytesIO(kept)) as image:
        assert image.size == (300, 300)
        assert len(image.convert("RGB").getcolors(90_000)) <= 256
