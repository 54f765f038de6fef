"""The table of public image and video sets.

Counts and ranges are those of the published label files. Where a scale is not printed by a set's
authors, the declared ends are ours (decision D22).
"""

from __future__ import annotations

from qponder_lib.data.catalog.clips import (
    KONVID,
    LIVE_VQC,
    LSVQ_1080P,
    LSVQ_TEST,
    YOUTUBE_UGC,
)
from qponder_lib.data.catalog.damaged import (
    CIDIQ50,
    CIDIQ100,
    CSIQ,
    KADID,
    LIVE,
    PIPAL,
    TID2008,
    TID2013,
)
from qponder_lib.data.catalog.photographs import (
    AGIQA,
    BID,
    KONIQ,
    LIU13,
    LIVEW,
    SPAQ,
    SRIQA,
)
from qponder_lib.data.specs import DatasetSpec

SPECS: tuple[DatasetSpec, ...] = (
    *(KONIQ, SPAQ, LIVEW, KADID, CSIQ, AGIQA),
    *(CIDIQ50, CIDIQ100, LIVE, TID2008, TID2013, PIPAL),
    *(BID, LIU13, SRIQA),
    *(LSVQ_TEST, LSVQ_1080P, KONVID, LIVE_VQC, YOUTUBE_UGC),
)

PRERESQ_BENCHMARKS = (
    *("bid", "livew", "koniq", "spaq", "kadid"),
    *("liu13", "sriqa", "tid2013", "pipal", "agiqa"),
)
"""Source: PreResQ-R1 (arXiv:2511.05393), the ten image benchmarks by the names in its figures."""


PRERESQ_VIDEO_BENCHMARKS = ("lsvq-test", "lsvq-1080p", "konvid", "live-vqc", "youtube-ugc")
"""Source: PreResQ-R1 (arXiv:2511.05393), the five video benchmarks by the names in its files."""


def spec_named(name: str) -> DatasetSpec:
    """Look a set up.

    Raises:
        ValueError: If there is no such set; the message lists those there are.

    Example:
        >>> spec_named("csiq").n_images
        866
    """
    for spec in SPECS:
        if spec.name == name:
            return spec
    raise ValueError(f"no set {name!r}; there are {', '.join(spec.name for spec in SPECS)}")
