"""The official layouts: which files a set comes with, and what each row of them labels."""

from __future__ import annotations

from collections.abc import Callable

from qponder_lib.data.copies import LabelRow
from qponder_lib.data.layouts import authentic, clips, synthetic
from qponder_lib.data.reading import Reader
from qponder_lib.data.specs import DatasetSpec, LabelColumn, Layout

_READERS: dict[Layout, Callable[[DatasetSpec, LabelColumn, Reader], list[LabelRow]]] = {
    "koniq": authentic.read_koniq,
    "spaq": authentic.read_spaq,
    "livew": authentic.read_livew,
    "agiqa": authentic.read_agiqa,
    "list": authentic.read_list,
    "kadid": synthetic.read_kadid,
    "csiq": synthetic.read_csiq,
    "live": synthetic.read_live,
    "tid": synthetic.read_tid,
    "pipal": synthetic.read_pipal,
    "cidiq": synthetic.read_cidiq,
    "lsvq": clips.read_lsvq,
    "konvid": clips.read_konvid,
    "live-vqc": clips.read_live_vqc,
}


def read_official(spec: DatasetSpec, label: LabelColumn, reader: Reader) -> list[LabelRow]:
    """Read the label files of a copy in the layout of the set's authors."""
    return _READERS[spec.layout](spec, label, reader)
