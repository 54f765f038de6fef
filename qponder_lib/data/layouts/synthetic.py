"""Sets of damaged originals: each image has an original, a type and mostly a level."""

from __future__ import annotations

import math

from qponder_lib.data import codes
from qponder_lib.data.copies import LabelRow
from qponder_lib.data.names import parse_name
from qponder_lib.data.reading import Reader
from qponder_lib.data.specs import DatasetSpec, LabelColumn


def read_kadid(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read KADID-10k's CSV."""
    file, rows = "dmos.csv", []
    for row in reader.csv_rows("dmos.csv", ("dist_img", "ref_img", "dmos", "var")):
        name = row.cells["dist_img"]
        named = parse_name(spec, name)
        if named is None:
            message = f"expected a name like I01_01_01.png, got {name!r}"
            reader.add("layout", message, file, row.number)
        elif row.cells["ref_img"].upper() != f"{named.reference}.PNG":
            message = f"{name} names another reference than {row.cells['ref_img']!r}"
            reader.add("inconsistent", message, file, row.number)
        variance = reader.number(row.cells["var"], file, row.number, "variance")
        if variance is not None and variance < 0:
            reader.add("off_scale", f"variance {variance} is below 0", file, row.number)
            variance = None
        rows.append(
            LabelRow(
                image=name,
                places=spec.folders,
                label=reader.number(row.cells["dmos"], file, row.number),
                std=None if variance is None else math.sqrt(variance),
                file=file,
                row=row.number,
                reference=named.reference if named else None,
                kind=named.kind if named else None,
                level=named.level if named else None,
            )
        )
    return rows


def read_csiq(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read the sheet of CSIQ whose header stands in its fourth row."""
    file, rows = "csiq.DMOS.xlsx", []
    columns = ("image", "dst_type", "dst_lev", "dmos_std", "dmos")
    for row in reader.xlsx_rows(file, columns, "all_by_image"):
        original = row.cells["image"]  # 1600 is a number in the sheet
        reference = f"{original:g}" if isinstance(original, float) else str(original)
        kind, level = codes.CSIQ.get(str(row.cells["dst_type"]).strip()), row.cells["dst_lev"]
        if kind is None or level not in range(1, spec.levels + 1):
            message = f"no type {row.cells['dst_type']!r} at level {level!r}"
            reader.add("layout", message, file, row.number)
            continue
        folder, part, name = kind
        rows.append(
            LabelRow(
                image=f"{reference}.{part}.{int(level)}.png",
                places=tuple(f"{base}/{folder}" for base in spec.folders),
                label=reader.number(row.cells["dmos"], file, row.number),
                std=reader.number(row.cells["dmos_std"], file, row.number, "dmos_std"),
                file=file,
                row=row.number,
                reference=reference,
                kind=name,
                level=int(level),
            )
        )
    return rows


def read_live(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read LIVE R2: mat files in the order of its folders."""
    realigned = label.name == "realigned"
    file = "dmos_realigned.mat" if realigned else "dmos.mat"
    columns = {
        file: reader.mat_values(file, "dmos_new" if realigned else "dmos"),
        f"{file}, orgs": reader.mat_values(file, "orgs"),
        "refnames_all.mat": reader.mat_values("refnames_all.mat", "refnames_all"),
    }
    if not reader.same_length(columns):
        return []
    images = [(folder, k) for folder, (n, _) in codes.LIVE.items() for k in range(1, n + 1)]
    if len(columns[file]) != len(images):
        message = f"expected {len(images)} values, got {len(columns[file])}"
        reader.add("count", message, file)
        return []
    return [
        LabelRow(
            image=f"{folder}/img{number}.bmp",
            places=("",),
            label=reader.number(score, file, place),
            std=None,
            file=file,
            row=place,
            reference=str(reference),
            kind=codes.LIVE[folder][1],
            extra=bool(original),
        )
        for place, ((folder, number), (score, original, reference)) in enumerate(
            zip(images, zip(*columns.values(), strict=True), strict=True), start=1
        )
    ]


def read_tid(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read TID2008 or TID2013: a score and a name per line, deviations in a second file."""
    file, rows = "mos_with_names.txt", []
    lines = reader.text_lines(file)
    spreads = reader.text_lines("mos_std.txt")
    reader.same_length({file: lines, "mos_std.txt": spreads})
    whole = len(spreads) == len(lines)
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        named = parse_name(spec, parts[1]) if len(parts) == 2 else None
        if named is None:
            message = f"expected a score and a name like i01_01_1.bmp, got {line!r}"
            reader.add("layout", message, file, number)
            continue
        spread = spreads[number - 1] if whole else None
        rows.append(
            LabelRow(
                image=parts[1],
                places=spec.folders,
                label=reader.number(parts[0], file, number),
                std=reader.number(spread, "mos_std.txt", number, "deviation") if whole else None,
                file=file,
                row=number,
                reference=named.reference,
                kind=named.kind,
                level=named.level,
            )
        )
    return rows


def read_pipal(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read every label file of PIPAL's training set."""
    files = sorted((reader.root / "Train_Label").glob("*.txt"))
    if not files:
        reader.add("missing_file", "no label files *.txt", "Train_Label")
    rows = []
    for path in files:
        file = path.relative_to(reader.root).as_posix()
        for number, line in enumerate(reader.text_lines(file), start=1):
            name, _, score = line.partition(",")
            named = parse_name(spec, name.strip())
            if named is None:
                message = f"expected a name like A0001_00_00.bmp and a score, got {line!r}"
                reader.add("layout", message, file, number)
                continue
            rows.append(
                LabelRow(
                    image=name.strip(),
                    places=("",),
                    label=reader.number(score, file, number),
                    std=None,
                    file=file,
                    row=number,
                    reference=named.reference,
                    kind=named.kind,
                )
            )
    return rows


def read_cidiq(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read CID:IQ's values, whose place alone says which image they are of."""
    variable = spec.name.replace("cidiq", "MOS")
    file = f"{variable}.mat"
    scores = reader.mat_values(file, variable)
    places = [
        (kind, original, level)
        for kind in range(1, len(spec.types) + 1)
        for original in range(1, (spec.n_references or 0) + 1)
        for level in range(1, spec.levels + 1)
    ]
    if len(scores) != len(places):
        if scores:
            reader.add("count", f"expected {len(places)} values, got {len(scores)}", file)
        return []
    return [
        LabelRow(
            image=f"final{original:02}_d{kind}_l{level}.bmp",
            places=tuple(f"{base}/{codes.CIDIQ_FOLDERS[kind - 1]}" for base in spec.folders),
            label=reader.number(score, file, row),
            std=None,
            file=file,
            row=row,
            reference=f"final{original:02}",
            kind=spec.types[kind - 1],
            level=level,
        )
        for row, ((kind, original, level), score) in enumerate(
            zip(places, scores, strict=True), start=1
        )
    ]
