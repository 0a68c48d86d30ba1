# SPDX-License-Identifier: Apache-2.0
"""Rows as the page takes them: flat records with the ends of their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from costmodel.explore.certainty import accuracy_interval
from costmodel.explore.hardware_plan import stored_prices
from costmodel.explore.row import Row
from costmodel.explore.space import Space, label
from costmodel.explore.table import record_of
from costmodel.kernel import KernelCost
from costmodel.ranges import kernel_range
from costmodel.report import plots
from hwquant.errors import FormatError
from hwquant.mac import MacSpec

__all__ = ["LEVEL", "family_of", "name_of", "records_of"]

LEVEL: Final = 0.9
MIXED: Final = "mixed"


def family_of(row: Row) -> str:
    """Return the family that a point is drawn as: that of its weight format, or ``mixed``."""
    formats = {str(layer["weight"]) for layer in row.layers if layer.get("weights")}
    if len(formats) > 1 and _own(row):
        return MIXED
    try:
        return plots.family(str(row.point["weight"]))
    except (FormatError, KeyError):
        return MIXED


def _own(row: Row) -> int:
    """Return how many layers have settings of their own."""
    told = str(row.point.get("layers", ""))
    return len(row.point.get("overrides") or ()) or (told.count(";") + 1 if told else 0)


def name_of(row: Row) -> str:
    """Return a point's short name; ``+2`` says that two layers have formats of their own."""
    own = _own(row)
    return label(row.point) + (f" +{own}" if own else "")


def _flat(row: Row) -> dict[str, str]:
    """Return the formats of single layers as one text."""
    own = row.point.get("overrides")
    if not isinstance(own, dict):
        return {}
    parts = (
        f"{path}: {'/'.join(str(table[k]) for k in ('weight', 'act') if k in table)}"
        for path, table in own.items()
    )
    return {"overrides": ", ".join(parts)}


def records_of(
    rows: Sequence[Row], run: str = "", space: Space | None = None
) -> list[dict[str, Any]]:
    """Return flat records for the page: table, label, family, and intervals where there are any.

    Accuracies get Wilson's interval of their number of items; LUT sites that are estimates that
    of the cost model, where ``space`` says how the points were priced.
    """
    found = []
    for row in rows:
        full = {"label": name_of(row)} | record_of(row)
        full |= _flat(row)
        full["key"] = row.key[:12]
        full["family"] = family_of(row)
        full |= dict(_accuracy(row))
        if space is not None:
            full |= dict(_sites(row, space))
        found.append(full | ({"run": run} if run else {}))
    return found


def _accuracy(row: Row) -> Iterator[tuple[str, float]]:
    items, share = row.metrics.get("test_items"), row.metrics.get("top1")
    if items and share is not None and "top1_low" not in row.metrics:
        low, high = accuracy_interval(share, int(items), LEVEL)
        yield "top1_low", float(low)
        yield "top1_high", float(high)


def _sites(row: Row, space: Space) -> Iterator[tuple[str, int]]:
    """Yield the ends of the interval of the kernels' LUT sites, where they are estimates."""
    metrics = row.metrics
    if "formula" not in str(metrics.get("source", "")) or "lut_sites_low" in metrics:
        return
    ranges = [(_range(spec, cost), copies) for spec, cost, copies in stored_prices(space, row)]
    if sum(copies * value for (value, _, _), copies in ranges) == metrics.get("lut_sites"):
        yield "lut_sites_low", sum(copies * low for (_, low, _), copies in ranges)
        yield "lut_sites_high", sum(copies * high for (_, _, high), copies in ranges)


@lru_cache(maxsize=4096)
def _range(spec: MacSpec, cost: KernelCost) -> tuple[int, int, int]:
    found = kernel_range(spec, cost, LEVEL)
    return found.value, found.low, found.high
