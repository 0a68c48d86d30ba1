# SPDX-License-Identifier: Apache-2.0
"""How a point is built: for every layer a kernel, how many of it, and what that costs.

Either as the run priced the point (its folding, its lanes, its prices), or folded anew for a
throughput, a budget or a part (`costmodel.folded`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from costmodel.explore.pricing import workload_of
from costmodel.explore.space import Space
from costmodel.explore.store import Row
from costmodel.folded import CLOCK_MHZ, FoldedNetwork, fold_network
from costmodel.folding import CONVERSION, Fold, output_formats
from costmodel.kernel import KernelCost
from costmodel.memory import Memory
from costmodel.network import Folding, NetworkCost, kernel_groups, network_cost
from costmodel.parts import find_part
from costmodel.prices import network_prices
from costmodel.ranges import spread
from costmodel.usage import Usage
from hw.catalogue import style_name
from hw.generate import kernel_name
from hw.sites import Resources
from hwquant.mac import MacSpec
from hwquant.workload import Workload

__all__ = ["LEVEL", "Goal", "Plan", "Unit", "as_priced", "folded_anew", "stored_prices"]

LEVEL: Final = 0.9
"""The level of the intervals that stand beside estimates."""


@dataclass(frozen=True)
class Goal:
    """What a folding is searched for; nothing: the point stays as the run priced it."""

    fps: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    part: str | None = None
    clock_mhz: float = CLOCK_MHZ
    style: str = "plain"

    @property
    def searches(self) -> bool:
        """Whether there is anything to search for."""
        return self.fps is not None or bool(self.limits) or self.part is not None


@dataclass(frozen=True)
class Unit:
    """One layer: ``pe`` kernels called ``kernel`` with ``simd`` lanes; its cycles per inference."""

    layer: str
    pe: int
    simd: int
    kernel: str
    cycles: int


@dataclass(frozen=True)
class Plan:
    """The kernels of a point with their styles, who uses them, and the cost of the whole.

    ``network`` is None where layers share kernels: FINN's files know no such network.
    """

    folding: str
    units: tuple[Unit, ...]
    kernels: Mapping[str, tuple[MacSpec, str]]
    cost: Mapping[str, Any]
    network: FoldedNetwork | None

    def users(self, kernel: str) -> list[str]:
        """Return the layers that run on a kernel."""
        return [unit.layer for unit in self.units if unit.kernel == kernel]


def as_priced(space: Space, row: Row) -> Plan:
    """Return the plan a finished point was priced with; the totals are those of the run."""
    folding = Folding(row.metrics.get("folding", space.folding))
    lanes = int(row.metrics.get("lanes", space.lanes))
    work = workload_of(row.layers)
    prices = {spec: price for spec, price, _ in stored_prices(space, row)}
    cost = network_cost(work, folding=folding, lanes=lanes, price=prices.__getitem__)
    units = []
    for use in cost.layers:
        kernel = cost.kernels[use.kernel]
        name, lanes = kernel_name(kernel.spec), kernel.spec.lanes
        units.append(Unit(use.layer.name, kernel.copies, lanes, name, use.cycles))
    kernels = _longest((use.spec, use.cost.style) for use in cost.kernels)
    found = [(use.spec, use.cost, use.copies) for use in cost.kernels]
    record = cost.to_json() | _interval(found)
    network = None if folding is Folding.SHARED else _folds(cost)
    return Plan(folding.value, tuple(units), kernels, record, network)


def stored_prices(space: Space, row: Row) -> list[tuple[MacSpec, KernelCost, int]]:
    """Return the kernels a point was priced with: spec, price of one in its own style, copies."""
    folding = Folding(row.metrics.get("folding", space.folding))
    lanes = int(row.metrics.get("lanes", space.lanes))
    work = workload_of(row.layers)
    found = []
    for spec, members in kernel_groups(work, folding=folding, lanes=lanes):
        copies = work.layers[members[0]].channels if folding is Folding.PER_CHANNEL else 1
        found.append((spec, _stored_price(row, members[0], spec), copies))
    return found


def _stored_price(row: Row, index: int, spec: MacSpec) -> KernelCost:
    """Return the price of a layer's kernel as the row of the run holds it."""
    layer, metrics = row.layers[index], row.metrics
    counts = {name: int(layer.get(name, 0)) for name in Resources.__dataclass_fields__}
    style = style_name(str(row.point.get("style", "plain")), spec).style
    source, flow = (str(layer.get(name, metrics.get(name, ""))) for name in ("source", "flow"))
    return KernelCost(Resources(**counts), style, source, flow)


def _longest(kernels: Iterable[tuple[MacSpec, str]]) -> dict[str, tuple[MacSpec, str]]:
    """Return kernels by name, of those with one name that of the longest dot products."""
    found: dict[str, tuple[MacSpec, str]] = {}
    for spec, style in kernels:
        name = kernel_name(spec)
        if name not in found or found[name][0].length < spec.length:
            found[name] = (spec, style)
    return found


def _interval(kernels: list[tuple[MacSpec, KernelCost, int]]) -> dict[str, Any]:
    """Return the interval of the LUT sites of all kernels; no width where all were synthesized."""
    return {"interval_level": LEVEL, "lut_sites_interval": spread(kernels, LEVEL).to_json()}


def _folds(cost: NetworkCost) -> FoldedNetwork:
    """Return a network whose layers have kernels of their own in the words of `costmodel.folded`.

    Lanes need not divide a layer's length here; the last beat is then padded.
    """
    outs = output_formats(Workload(tuple(use.layer for use in cost.layers)))
    folds = []
    for use, out in zip(cost.layers, outs, strict=True):
        kernel = cost.kernels[use.kernel]
        copies, one = kernel.copies, kernel.memory
        counts = (one.bits, one.luts, one.bram18, one.uram)
        memory = Memory(*(copies * count for count in counts))
        parts = {
            "kernels": copies * Usage.of(kernel.cost.resources),
            "weights": memory.usage,
            CONVERSION: copies * kernel.requant,
        }
        price = kernel.cost
        folds.append(Fold(use.layer, copies, copies, kernel.spec, out, price, memory, parts))
    return FoldedNetwork(tuple(folds))


def folded_anew(row: Row, goal: Goal) -> Plan:
    """Return the plan of the cheapest folding that reaches ``goal``, or the fastest that fits.

    Raises `InputError` for a goal that no folding reaches, saying what would do.
    """
    found = fold_network(
        workload_of(row.layers),
        network_prices(),
        fps=goal.fps,
        limits=goal.limits,
        part=None if goal.part is None else find_part(goal.part),
        clock_mhz=goal.clock_mhz,
        style=goal.style,
    )
    units = tuple(
        Unit(fold.layer.name, fold.pe, fold.simd, kernel_name(fold.spec), fold.cycles)
        for fold in found.folds
    )
    kernels = _longest((fold.spec, fold.cost.style) for fold in found.folds)
    costs = [(fold.spec, fold.cost, fold.copies) for fold in found.folds]
    return Plan("searched", units, kernels, found.to_json() | _interval(costs), found)
