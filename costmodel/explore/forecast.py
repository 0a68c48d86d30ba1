# SPDX-License-Identifier: Apache-2.0
"""What a sweep would do: how many points, how much of it shared, and about how long it takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from costmodel.explore.engine import worker_count
from costmodel.explore.measure import measurement_key, outline_key
from costmodel.explore.space import Space, weight_side
from costmodel.explore.store import Row
from hwquant import cache

__all__ = ["Forecast", "forecast", "remember"]

PACE = "pace"
ANY = "any"  # the key of the pace of the last sweep, whatever its network


@dataclass(frozen=True)
class Forecast:
    """``points`` are rows of the run, ``measurements`` distinct quantizations and tests of them.

    ``known`` measurements are in the cache; the others quantize ``weight_sides`` sets of weights.
    ``seconds`` is about what measuring takes on ``workers`` processes, None where there is no
    basis; ``basis`` says where it is from.  Synthesis of kernels is not in it.
    """

    points: int
    measurements: int
    known: int
    weight_sides: int
    workers: int
    seconds: float | None
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def forecast(space: Space, workers: int | None = None) -> Forecast:
    """Return what a sweep of ``space`` would do; runs nothing and imports no torch."""
    plan = space.plan()
    every = {measurement_key(space, p.recipe, p.seed): p for p in plan}
    new = {k: p for k, p in every.items() if not cache.entry_path("point", k).exists()}
    processes = workers or worker_count()
    each, basis = _seconds(space)
    total = None if each is None else round(each * len(new) / min(processes, max(len(new), 1)), 1)
    sides = len({weight_side(point) for point in new.values()})
    return Forecast(len(plan), len(every), len(every) - len(new), sides, processes, total, basis)


def _pace_key(space: Space) -> str:
    items = (space.test_items, space.calib_items)
    return cache.content_key(PACE, space.model, space.data, items, space.steps)


def _seconds(space: Space) -> tuple[float | None, str]:
    """Return the seconds of one measurement, and where that is from."""
    earlier = cache.load_json(PACE, _pace_key(space))
    if earlier is not None:
        count, each = earlier["points"], earlier["seconds"]
        return each, f"median of {count} earlier points of this network, {each:g} s each"
    other, shapes = cache.load_json(PACE, ANY), cache.load_json("outline", outline_key(space))
    if other is None or shapes is None:
        return None, "unknown: no point of this network has been measured on this machine"
    macs = sum(layer["length"] * layer["outputs"] for layer in shapes)
    each = macs * (space.test_items or other["items"]) * other["rate"]
    rate = 1e-6 / other["rate"]
    return each, f"{macs:,} MACs an item at {rate:.0f} million a second, as in the last sweep"


def remember(space: Space, rows: Iterable[Row]) -> None:
    """Keep how long the points of a run took, for later forecasts."""
    found = [row.metrics for row in rows if row.metrics.get("seconds")]
    if not found:
        return
    each = statistics.median(metrics["seconds"] for metrics in found)
    cache.store_json(PACE, _pace_key(space), {"points": len(found), "seconds": each})
    last = found[-1]
    work = last["macs"] * last["test_items"]
    if work:
        cache.store_json(PACE, ANY, {"items": last["test_items"], "rate": each / work})
