"""Writes copies of public sets in their official layouts, from the real label tables.

Images are tiny. `distinct` writes another picture for each name; otherwise all names are hard
links to one file, which is enough where only names and labels are looked at.
"""

import csv
import os
import struct
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image
from scipy.io import savemat

TABLES = Path(__file__).parents[2] / "shared" / "data" / "labels"
# What KonIQ's 7,046/2,010 split lacks of the official parts.
LEFT_OUT_OF_TRAIN = (
    *("10344921126", "19502065", "28311109", "33000255", "361037189", "5168834860"),
    *("5466371904", "5869585652", "5952914370", "6285698915", "7574416384", "80184044"),
)
LEFT_OUT_OF_TEST = ("121123359", "213906996", "3483143101", "3632417985", "44009500")
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="the label tables are not there")


def table(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores_by_path(name: str) -> list[tuple[str, float, str]]:
    """Path below the set's folder, score and reference of every row."""
    return [
        (
            row["dis_img_path"].partition("/")[2],
            float(row["score"]),
            Path(row.get("ref_img_path") or "").name,
        )
        for row in table(name)
    ]


def agiqa_scores() -> list[list[str]]:
    """Name, label on 0 to 100 and deviation of every image of AGIQA-3K."""
    lines = (TABLES / "AGIQA-3K.txt").read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines]


class Pictures:
    """Writes tiny pictures: 3 x 2, told apart by the colour of their first pixels."""

    def __init__(self, root: Path, *, distinct: bool = False) -> None:
        self.root, self.distinct, self.count = root, distinct, 0
        self.shared = root / "shared.bin"
        root.mkdir(parents=True, exist_ok=True)
        self._save(self.shared, 0)

    def add(self, path: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        self.count += 1
        if self.distinct:
            self._save(place, self.count)
        else:
            os.link(self.shared, place)

    @staticmethod
    def _save(place: Path, number: int) -> None:
        pixels = np.zeros((2, 3, 3), np.uint8)
        pixels[0, 0] = list(struct.pack(">I", number)[1:])
        kinds = {".jpg": "PNG", ".png": "PNG", ".bmp": "BMP"}  # a JPEG would merge near colours
        Image.fromarray(pixels).save(place, kinds.get(place.suffix.lower(), "PNG"))


def write_csv(path: Path, header: str, rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


def cells(values: list[str]) -> np.ndarray:
    made = np.empty((len(values), 1), dtype=object)
    made[:, 0] = values
    return made


def koniq(root: Path, *, z_scores: bool = True) -> None:
    """KonIQ-10k: the z-scores here are the raw labels mapped linearly to their published range."""
    pictures = Pictures(root)
    rows = scores_by_path("KonIQ-10k.txt")
    names = [Path(path).name for path, _, _ in rows]
    free = [n for n in names if Path(n).stem not in {*LEFT_OUT_OF_TRAIN, *LEFT_OUT_OF_TEST}]
    train = {*free[:7046], *(f"{stem}.jpg" for stem in LEFT_OUT_OF_TRAIN)}
    validation = set(free[7046:8046])
    low, high = 1.09615384615385, 4.31
    scores, sets = [], []
    for (path, mos, _), name in zip(rows, names, strict=True):
        pictures.add(path)
        z = 3.91 + (mos - low) / (high - low) * (88.39 - 3.91)
        below = int(mos)
        counts = [0.0] * 5  # shares of two neighbouring ratings whose mean is the MOS
        counts[below - 1], counts[min(below, 4)] = 1 - (mos - below), mos - below
        part = "training" if name in train else "validation" if name in validation else "test"
        scores.append([name, *counts, 1.0, mos, 0.58, z])
        sets.append([name, *counts, 100, z, 15.0, part])
    if z_scores:
        head = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore"
        write_csv(root / "koniq10k_scores_and_distributions.csv", head, scores)
    head = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set"
    write_csv(root / "koniq10k_distributions_sets.csv", head, sets)


def spaq(root: Path) -> None:
    pictures = Pictures(root)
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("MOS")
    page.append(["Image name", "MOS", "Brightness"])
    for path, score, _ in scores_by_path("SPAQ.txt"):
        pictures.add(path.removeprefix("Dataset/"))
        page.append([Path(path).name, score, 50.0])
    (root / "Annotations").mkdir()
    book.save(root / "Annotations" / "MOS and Image attribute scores.xlsx")


def livew(root: Path, *, distinct: bool = True) -> None:
    """LIVE in the Wild; the label table lacks the first image, 100.bmp, which is added."""
    pictures = Pictures(root, distinct=distinct)
    rows = [("Images/100.bmp", 32.561, ""), *scores_by_path("LIVE_Challenge.txt")]
    extra = [(f"Images/trainingImages/t{k}.bmp", 40.0 + k, "") for k in range(1, 8)]
    rows = [*extra, *rows]
    for path, _, _ in rows:
        pictures.add(path)
    (root / "Data").mkdir()
    names = cells([Path(path).name for path, _, _ in rows])
    savemat(root / "Data/AllImages_release.mat", {"AllImages_release": names})
    scores = np.array([[score for _, score, _ in rows]])
    savemat(root / "Data/AllMOS_release.mat", {"AllMOS_release": scores})
    savemat(root / "Data/AllStdDev_release.mat", {"AllStdDev_release": scores * 0 + 18.0})


def kadid(root: Path) -> None:
    pictures = Pictures(root)
    rows = scores_by_path("KADID-10k.txt")
    for path, _, _ in rows:
        pictures.add(path)
    for number in range(1, 82):
        pictures.add(f"images/I{number:02}.png")
    lines = [[Path(path).name, reference, score, 0.496] for path, score, reference in rows]
    write_csv(root / "dmos.csv", "dist_img,ref_img,dmos,var", lines)


def csiq(root: Path, *, distinct: bool = True) -> None:
    pictures = Pictures(root, distinct=distinct)
    codes = {"AWGN": "noise", "BLUR": "blur", "JPEG": "jpeg", "jpeg2000": "jpeg 2000"}
    book = openpyxl.Workbook()
    book.active.title = "about"
    page = book.create_sheet("all_by_image")
    page["D1"] = "CSIQ DMOS"
    for column, name in zip(
        "DEFGHI", ("image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"), strict=True
    ):
        page[f"{column}4"] = name
    for line, (path, score, _) in enumerate(scores_by_path("CSIQ.txt"), start=5):
        original, kind, level, _ = Path(path).name.rsplit(".", 3)
        pictures.add(f"dst_imgs/{kind.lower()}/{Path(path).name}")
        image = int(original) if original.isdigit() else original
        values = (image, 1, codes.get(kind, kind), int(level), 0.05, score)
        for column, value in zip("DEFGHI", values, strict=True):
            page[f"{column}{line}"] = value
    book.save(root / "csiq.DMOS.xlsx")


def live(root: Path) -> None:
    """LIVE R2: entries the label table does not have are the copies of references."""
    pictures = Pictures(root, distinct=True)
    labelled = {path: (score, ref) for path, score, ref in scores_by_path("LIVE.txt")}
    folders = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
    realigned, originals, names = [], [], []
    for folder, count in folders.items():
        for number in range(1, count + 1):
            path = f"{folder}/img{number}.bmp"
            pictures.add(path)
            score, reference = labelled.get(path, (0.0, "bikes.bmp"))
            realigned.append(score)
            originals.append(0 if path in labelled else 1)
            names.append(reference)
    orgs = np.array([originals], dtype=np.uint8)
    savemat(root / "dmos_realigned.mat", {"dmos_new": np.array([realigned]), "orgs": orgs})
    plain = np.clip((np.array([realigned]) + 2.64) / 114.42 * 84.5, 0, 84.5)
    plain[orgs == 1] = 0.0
    savemat(root / "dmos.mat", {"dmos": plain, "orgs": orgs})
    savemat(root / "refnames_all.mat", {"refnames_all": cells(names).T})


def tid(root: Path, year: int) -> None:
    pictures = Pictures(root, distinct=True)
    rows = scores_by_path(f"TID{year}.txt")
    for path, _, _ in rows:
        pictures.add(path)
    lines = [f"{score:.5f} {Path(path).name}\n" for path, score, _ in rows]
    (root / "mos_with_names.txt").write_text("".join(lines), encoding="utf-8")
    (root / "mos_std.txt").write_text("0.13000\n" * len(rows), encoding="utf-8")


def pipal(root: Path) -> None:
    pictures = Pictures(root)
    lines: dict[str, list[str]] = {}
    for path, score, reference in scores_by_path("PIPAL.txt"):
        pictures.add(path)
        lines.setdefault(Path(reference).stem, []).append(f"{Path(path).name},{score:.4f}\n")
    (root / "Train_Label").mkdir()
    for reference, mine in lines.items():
        (root / "Train_Label" / f"{reference}.txt").write_text("".join(mine), encoding="utf-8")


def agiqa(root: Path) -> None:
    """AGIQA-3K: the table has labels mapped to 0-100 by the range 0 to 4.488740784."""
    pictures, rows = Pictures(root), []
    for name, score, spread in agiqa_scores():
        pictures.add(name)
        mos = float(score) / 100 * 4.488740784
        rows.append([name, "a prompt, with a comma", "", "", "", mos, spread, 1.0, 0.1])
    head = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"
    write_csv(root / "data.csv", head, rows)


def cidiq(root: Path) -> None:
    pictures = Pictures(root, distinct=True)
    for distance in (50, 100):
        rows = scores_by_path(f"CIDIQ_MOS{distance}.txt")
        ordered = sorted(rows, key=lambda row: _cidiq_place(row[0]))
        scores = np.array([[score] for _, score, _ in ordered])
        savemat(root / f"MOS{distance}.mat", {f"MOS{distance}": scores})
    for path, _, _ in ordered:
        pictures.add(path)


def _cidiq_place(path: str) -> tuple[int, int, int]:
    """Order of the mat files: distortion, then image, then level."""
    image, kind, level = Path(path).stem.split("_")
    return int(kind[1:]), int(image.removeprefix("final")), int(level[1:])
