"""The image benchmarks of PreResQ-R1: which part of each set is tested on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Test images of a paper.

    Attributes:
        name: Name of the set in the catalog.
        split: Name for `splits.assign`; its test part is meant.
        n: Images in the paper's list.
    """

    name: str
    split: str
    n: int


PRERESQ = (
    Benchmark("bid", "whole", 586),
    Benchmark("livew", "with-training-images", 1169),
    Benchmark("koniq", "whole", 10073),
    Benchmark("spaq", "whole", 11125),
    Benchmark("kadid", "kadid-reference-49-16-16", 2000),
    Benchmark("liu13", "whole", 1199),
    Benchmark("sriqa", "whole", 1100),
    Benchmark("tid2013", "whole", 3000),
    Benchmark("pipal", "whole", 23200),
    Benchmark("agiqa", "whole", 2982),
)
"""Source: PreResQ-R1 (arXiv:2511.05393), names from its figures, counts from its public lists
(decision D71)."""
