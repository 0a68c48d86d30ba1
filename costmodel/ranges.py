# SPDX-License-Identifier: Apache-2.0
"""Intervals of prices: of one kernel, and of the kernels of a network."""

from __future__ import annotations

from collections.abc import Iterable

from hw.styles import STYLES
from hwquant.mac import MacSpec

from .intervals import Interval, exact, total
from .kernel import KernelCost

__all__ = ["kernel_range", "spread"]


def kernel_range(spec: MacSpec, cost: KernelCost, level: float) -> Interval:
    """Return the interval of a kernel's LUT sites; what a tool counted has no width.

    Tiles have no predictor: theirs is the value alone, marked as not seen.
    """
    sites = cost.resources.lut_sites
    if cost.source in ("measured", "synthesis", "vivado"):
        return exact(sites)
    if cost.style not in STYLES:
        return Interval(sites, sites, sites, seen=False)
    from .intervals import interval

    return interval(spec, cost.style, sites, level)


def spread(kernels: Iterable[tuple[MacSpec, KernelCost, int]], level: float) -> Interval:
    """Return the interval of the LUT sites of kernels, each with its number of copies."""
    return total((kernel_range(spec, cost, level), copies) for spec, cost, copies in kernels)
