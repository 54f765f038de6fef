"""What the benchmarks share: where and when was measured, and timing in turn."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qponder_lib import artifacts

RESULTS = Path(__file__).parent / "results"


def about(*packages: str) -> dict[str, Any]:
    """Machine, versions, date, and how busy the machine was before measuring."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": artifacts.now(),
        "machine": {
            "processor": names[0] if names else platform.processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "load_average_at_start": [round(one, 2) for one in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            **{one: version(one) for one in packages},
        },
    }


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write `results/<name>.json` with the load average at the end."""
    path = RESULTS / f"{name}.json"
    load = [round(one, 2) for one in os.getloadavg()]
    artifacts.write_json(path, {**result, "load_average_at_end": load})
    return path


def keep(name: str, row: Mapping[str, Any], case: Sequence[str]) -> Path:
    """Write a row into `results/<name>.json`, in place of an earlier one of the same case.

    Args:
        name: Of the file.
        row: What was measured, with where and when.
        case: Names of the row's values that make it the same case.
    """
    path = RESULTS / f"{name}.json"
    rows = artifacts.read_json(path)["rows"] if path.exists() else []
    others = [one for one in rows if any(one[key] != row[key] for key in case)]
    load = [round(one, 2) for one in os.getloadavg()]
    made = sorted(
        [*others, {**row, "load_average_at_end": load}], key=lambda one: [one[key] for key in case]
    )
    artifacts.write_json(path, {"rows": made})
    return path


def spent(call: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call by the clock, and of processor time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def in_turn(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, dict[str, float]]:
    """Time several calls one after another, turn by turn, so that a busy spell meets them all.

    Returns:
        The least seconds of each call, by "wall" and "cpu": what else runs only ever adds.
    """
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            taken[name].append(spent(call))
    return {
        name: {clock: min(one[clock] for one in times) for clock in ("wall", "cpu")}
        for name, times in taken.items()
    }


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log size: 1 where twice the input takes twice as long.

    Example:
        >>> round(exponent([10, 20, 40], [3.0, 6.0, 12.0]), 6)
        1.0
    """
    x, y = [math.log(one) for one in sizes], [math.log(one) for one in seconds]
    return statistics.linear_regression(x, y).slope
