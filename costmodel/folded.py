# SPDX-License-Identifier: Apache-2.0
"""A network folded onto kernels, layer by layer: its throughput, and what it costs.

All layers work at once; a new inference starts every ``interval_cycles``, the cycles of the slowest
layer.  ``latency_cycles`` is the sum over all layers, as if each waited for the one before: an
upper bound (FINN's critical path is the same).  Totals are sums of the layers' parts, once without
and once with the conversion of sums back to the output format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from hw.catalogue import measured_timing
from hw.styles import STYLES
from hwquant.errors import InputError
from hwquant.mac import Overflow
from hwquant.workload import Workload

from .fold_search import cheapest, fastest, rates_of
from .folding import Fold, layer_folds, output_formats
from .parts import Part, over
from .prices import Prices
from .usage import Usage, total

__all__ = ["CLOCK_MHZ", "FoldedNetwork", "fold_network"]

CLOCK_MHZ: Final = 200.0
"""The clock that throughput is stated at when none is given."""


@dataclass(frozen=True)
class FoldedNetwork:
    """The chosen fold of every layer, in execution order, and the clock it is stated at."""

    folds: tuple[Fold, ...]
    clock_mhz: float = CLOCK_MHZ
    part: Part | None = None

    @cached_property
    def without_conversion(self) -> Usage:
        """The sum over all layers, requantizers left out."""
        return total(fold.without_conversion for fold in self.folds)

    @cached_property
    def with_conversion(self) -> Usage:
        """The sum over all parts of all layers."""
        return total(fold.with_conversion for fold in self.folds)

    @property
    def bottleneck(self) -> Fold:
        """The slowest layer, the first of equals."""
        return max(self.folds, key=lambda fold: fold.cycles)

    @property
    def interval_cycles(self) -> int:
        """Cycles between two inferences."""
        return self.bottleneck.cycles

    @property
    def latency_cycles(self) -> int:
        """Cycles of one inference if every layer waits for the one before it."""
        return sum(fold.cycles for fold in self.folds)

    @property
    def fps(self) -> float:
        """Inferences per second at the clock."""
        return self.clock_mhz * 1e6 / self.interval_cycles

    @property
    def over_budget(self) -> dict[str, tuple[int, int]]:
        """(used, available) of every resource the part has too little of."""
        return {} if self.part is None else over(self.with_conversion, self.part.resources)

    def clock_estimate(self) -> dict[str, Any]:
        """Return the slowest clock estimate of the kernels that have one (`hw.timing`).

        ``None`` while no kernel has; ``clock_estimated_layers`` says how many have.
        """
        named = [fold for fold in self.folds if fold.cost.style in STYLES]
        known = [measured_timing(fold.spec, fold.cost.style) for fold in named]
        clocks = [timing.clock_estimate_mhz for timing in known if timing is not None]
        return {
            "clock_estimate_mhz": min(clocks, default=None),
            "clock_estimated_layers": len(clocks),
        }

    def to_json(self) -> dict[str, Any]:
        """Return totals and the layer table."""
        costs = [fold.cost for fold in self.folds]
        rows = [fold.to_json() for fold in self.folds]
        return {
            "folding": "searched",
            "clock_mhz": self.clock_mhz,
            "fps": round(self.fps, 3),
            "interval_cycles": self.interval_cycles,
            "bottleneck": self.bottleneck.layer.name,
            "latency_cycles": self.latency_cycles,
            "latency_us": round(self.latency_cycles / self.clock_mhz, 3),
            **self.clock_estimate(),
            "macs": sum(row["macs"] for row in rows),
            "bops": sum(row["bops"] for row in rows),
            "weight_bits": sum(row["weight_bits"] for row in rows),
            "without_conversion": self.without_conversion.to_json(),
            "with_conversion": self.with_conversion.to_json(),
            "style": "+".join(sorted({cost.style for cost in costs})),
            "source": "+".join(sorted({cost.source for cost in costs})),
            "flow": " | ".join(sorted({cost.flow for cost in costs})),
            "layers": rows,
        }


def fold_network(
    workload: Workload,
    prices: Prices,
    *,
    fps: float | None = None,
    limits: Mapping[str, int] | None = None,
    part: Part | None = None,
    clock_mhz: float = CLOCK_MHZ,
    style: str = "plain",
    overflow: Overflow | str = Overflow.WRAP,
) -> FoldedNetwork:
    """Return the folding of a network for a throughput, a budget, or both.

    With ``fps`` the cheapest that is as fast at ``clock_mhz``; without, the fastest within
    ``limits`` (amounts of `costmodel.usage.RESOURCES`) and the ``part``.  A limit wins over what
    the part has only where it is smaller.

    Raises `InputError` for a workload without layers, neither target nor budget, a throughput that
    no folding reaches, or one that the budget does not allow, saying what would do.
    """
    if not workload.layers:
        raise InputError("the network has no multiply-accumulate layer to price")
    _check_positive("clock", clock_mhz)
    bound = _limits(limits or {}, part)
    if fps is None and not bound:
        raise InputError("no target for the folding; give a throughput, a budget or a part")
    _check_positive("throughput", 1.0 if fps is None else fps)
    _reachable(workload, fps, clock_mhz)
    loads = part is not None and part.uram_loads
    memories = ("lut", "block", "ultra") if loads else ("lut", "block")
    choices = [
        layer_folds(
            layer, out, prices, style=style, overflow=overflow, memories=memories, uram_loads=loads
        )
        for layer, out in zip(workload.layers, output_formats(workload), strict=True)
    ]
    rates = rates_of(part)
    if fps is None:
        return FoldedNetwork(fastest(choices, bound, rates), clock_mhz, part)
    interval = math.floor(clock_mhz * 1e6 / fps)
    found = cheapest(choices, interval, bound, rates)
    if found is None:
        best = FoldedNetwork(fastest(choices, bound, rates), clock_mhz, part)
        given = ", ".join(f"{name}={limit}" for name, limit in bound.items()) or "any budget"
        raise InputError(
            f"{fps:g} frames per second at {clock_mhz:g} MHz do not fit in {given}; "
            f"what fits makes {best.fps:.6g}: lower the throughput or raise the budget"
        )
    return FoldedNetwork(found, clock_mhz, part)


def _reachable(workload: Workload, fps: float | None, clock_mhz: float) -> None:
    """Raise `InputError` for a throughput that not even one cycle for a position gives."""
    if fps is None:
        return
    interval = math.floor(clock_mhz * 1e6 / fps)
    least = {layer.name: math.ceil(layer.outputs / layer.channels) for layer in workload.layers}
    slowest = max(least, key=lambda name: least[name])
    if least[slowest] > interval:
        most = clock_mhz * 1e6 / least[slowest]
        raise InputError(
            f"{fps:g} frames per second at {clock_mhz:g} MHz leave {interval} cycles, layer "
            f"{slowest} needs {least[slowest]} with everything in parallel; "
            f"allowed: up to {most:g} frames per second, or a faster clock"
        )


def _limits(limits: Mapping[str, int], part: Part | None) -> dict[str, int]:
    """Return the smaller of budget and part, by resource."""
    if part is None:
        return dict(limits)
    part.require_lut6()
    have = part.resources
    return {name: min(have[name], limits.get(name, have[name])) for name in have}


def _check_positive(what: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{what} {value:g}, allowed: a positive number")
