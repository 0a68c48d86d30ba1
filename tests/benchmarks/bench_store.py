# SPDX-License-Identifier: Apache-2.0
"""A store of 10,000 points: opening it and finding its front, against reading every row.

Seconds are of this process's own time, so that other work on the machine does not count.
Run ``python tests/benchmarks/bench_store.py``.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from costmodel.explore.rows import column, read
from costmodel.explore.store import Status, Store
from costmodel.report import plots
from costmodel.report.front import find_front

POINTS = 10_000
LAYERS = 10


def _layers(rng: random.Random) -> list[dict[str, Any]]:
    return [
        {"name": f"stage{k}.conv", "op": "conv", "length": 144, "outputs": 32_768, "weights": 4608}
        | {"channels": 32, "weight": "e2m1", "act": "int8", "acc_bits": rng.randint(16, 24)}
        | {"kernel": k, "lanes": 8, "cycles": 589_824, "lut_sites": rng.randint(100, 400)}
        | {"lut_raw": 300, "ff": 60, "carry": 12, "dsp": 0}
        for k in range(LAYERS)
    ]


def _fill(path: Path) -> None:
    rng = random.Random(0)
    point = {"weight": "e2m1", "act": "int8", "scale": "po2", "granularity": "per_channel"}
    point |= {"calibration": "mse", "steps": "calibrate+bias_correction"}
    constant = {f"metric_{k}": k for k in range(20)} | {"flow": "Yosys 0.60, packed LUT6 sites"}
    with Store(path) as store:
        store.enroll((f"{k:040x}", point) for k in range(POINTS))
        for k in range(POINTS):
            metrics = constant | {"lut_sites": rng.randint(500, 9000), "top1": rng.random()}
            store.save(f"{k:040x}", Status.DONE, metrics, _layers(rng))


def _cost(call: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Return the least processor time of ``call``, and the peak of its memory in MB."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return round(min(times), 4), round(peak, 2)


def _resume(path: Path) -> None:
    with Store(path) as store:
        store.rows().only(Status.WAITING, Status.MEASURED, Status.FAILED)


def main() -> None:
    """Print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        _fill(path)
        axes = plots.axis("lut_sites"), plots.axis("top1")
        jobs: dict[str, Callable[[], Any]] = {
            "open": lambda: read(path),
            "open_to_write": lambda: _resume(path),
            "one_metric": lambda: column(read(path), "top1"),
            "front": lambda: find_front(read(path), *axes).choice,
            "all_rows": lambda: list(read(path)),
            "all_rows_and_layers": lambda: [list(row.layers) for row in read(path)],
        }
        record: dict[str, Any] = {"points": POINTS, "megabytes": path.stat().st_size / 1e6}
        for name, call in jobs.items():
            record[f"{name}_seconds"], record[f"{name}_peak_mb"] = _cost(call)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
