# SPDX-License-Identifier: Apache-2.0
"""Price tables: what every option of every layer costs, so that a network's price is a sum.

Under the foldings that give each layer its own kernels (`costmodel.network`) a network costs what
its layers cost, kernel and weight memory, and for ``lut_sites_with_conversion`` the requantizers:
these stand between two layers, as wide as the accumulator of the one and in the format of the
other.  Accumulators are certified for each option from its own weights and scales; steps that move
weights or biases afterwards may change a width by a bit, so final points are priced again whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np

from costmodel.conversion import requant_price
from costmodel.explore.mixed.problem import Counts, Option, Pair, Problem
from costmodel.kernel import KernelCost, estimate
from costmodel.network import Folding, NetworkCost, network_cost
from costmodel.usage import Usage
from hwquant.formats import Format
from hwquant.mac import MacSpec
from hwquant.workload import Layer, Workload

__all__ = ["ADDITIVE", "METRICS", "UNITS", "losses_of", "network_metrics", "problem_of"]

CONVERTED: Final = "lut_sites_with_conversion"
ADDITIVE: Final = (
    "lut_sites", "ff", "dsp", "weight_bits", "memory_luts", "memory_bram18", "bops",
    "lut_sites_without_conversion", CONVERTED,
)  # fmt: skip
"""Costs that are sums over layers, or over layers and neighbours."""

METRICS: Final = (*ADDITIVE, "latency_cycles", "interval_cycles")
"""Costs that a budget may name: those of a network under any folding."""

UNITS: Final = 1 << 20
"""The largest loss of a layer, in the whole numbers that the integer programme adds."""


@cache
def _kernel(spec: MacSpec) -> KernelCost:
    return estimate(spec)


@cache
def _requant(fmt: Format, acc_bits: int, channels: int) -> Usage:
    return requant_price(fmt, acc_bits, channels)


def _nothing(fmt: Format, acc_bits: int, channels: int) -> Usage:  # noqa: ARG001
    return Usage()


def network_metrics(work: Workload, *, folding: str, lanes: int) -> dict[str, int]:
    """Return every cost of `METRICS` of a whole network, by formula."""
    return _metrics(_cost(work.layers, folding, lanes, _requant))


def _metrics(cost: NetworkCost) -> dict[str, int]:
    record = {name: getattr(cost.resources, name) for name in ("lut_sites", "ff", "dsp")}
    record |= {"memory_luts": cost.memory.luts, "memory_bram18": cost.memory.bram18}
    record |= {
        name: sum(getattr(use.layer, name) for use in cost.layers)
        for name in ("weight_bits", "bops")
    }
    return record | {
        "lut_sites_without_conversion": cost.without_conversion.lut_sites,
        CONVERTED: cost.with_conversion.lut_sites,
        "latency_cycles": cost.latency_cycles,
        "interval_cycles": cost.interval_cycles,
    }


def problem_of(
    paths: Sequence[str],
    options: Sequence[Sequence[Option]],
    works: Mapping[Option, Workload],
    losses: Mapping[tuple[str, str, str], float],
    ties: Sequence[Sequence[int]],
    *,
    folding: str,
    lanes: int,
) -> Problem:
    """Return the problem of a network, from its workloads under every uniform choice.

    ``works`` maps a pair of formats to the workload of the network that has them everywhere;
    ``losses`` are `Bench.sensitivities`.  Under the folding ``shared`` kernels are common to
    layers, so only weight bits and bit operations add up: other costs are left out.
    """
    names = ADDITIVE if folding != Folding.SHARED else ("weight_bits", "bops")
    layers = [_entries(path, own, works) for path, own in zip(paths, options, strict=True)]
    units, unit = losses_of(paths, options, losses)
    records = [
        [_metrics(_cost(entries, folding, lanes, _nothing)) for entries in rows] for rows in layers
    ]
    tables = {
        name: [_whole([record[name] for record in rows]) for rows in records] for name in names
    }
    pairs = []
    if CONVERTED in names:
        calls = [paths.index(layer.name) for layer in next(iter(works.values())).layers]
        for pair in _pairs(layers, calls, folding):
            if pair.left == pair.right:  # a layer called twice in a row stands behind itself
                own = [pair.costs[CONVERTED][i, j] for i, j in zip(*pair.classes, strict=True)]
                tables[CONVERTED][pair.left] = tables[CONVERTED][pair.left] + _whole(own)
            else:
                pairs.append(pair)
    return Problem(
        layers=tuple(paths),
        options=tuple(map(tuple, options)),
        losses=units,
        costs={name: tuple(rows) for name, rows in tables.items()},
        ties=tuple(map(tuple, ties)),
        pairs=tuple(pairs),
        unit=unit,
    )


def losses_of(
    paths: Sequence[str],
    options: Sequence[Sequence[Option]],
    losses: Mapping[tuple[str, str, str], float],
) -> tuple[tuple[Counts, ...], float]:
    """Return each option's loss, of both parts, in whole numbers of a unit; and that unit."""
    lost = [
        [sum(losses[path, *part] for part in _parts(option)) for option in own]
        for path, own in zip(paths, options, strict=True)
    ]
    unit = max((max(row) for row in lost if row), default=0.0) / UNITS or 1.0
    return tuple(_whole([loss / unit for loss in row]) for row in lost), unit


def _parts(option: Option) -> list[tuple[str, str]]:
    return [("act", option.act)] + ([("weight", option.weight)] if option.weight else [])


def _entries(
    path: str, options: Sequence[Option], works: Mapping[Option, Workload]
) -> list[tuple[Layer, ...]]:
    """Return the calls of a layer under each of its options."""
    found = []
    for option in options:
        same = (o for o in works if o.act == option.act and option.weight in ("", o.weight))
        found.append(tuple(layer for layer in works[next(same)].layers if layer.name == path))
    return found


def _whole(values: Sequence[Any]) -> Counts:
    return np.rint(np.asarray(values, dtype=np.float64)).astype(np.int64)


def _cost(layers: Sequence[Layer], folding: str, lanes: int, requant: Any) -> NetworkCost:
    return network_cost(
        Workload(tuple(layers)), folding=folding, lanes=lanes, price=_kernel, requant=requant
    )


def _pairs(
    layers: Sequence[Sequence[Sequence[Layer]]], calls: Sequence[int], folding: str
) -> list[Pair]:
    """Return the requantizers: behind each call, in the format of the one that runs next."""
    found = []
    for left, right in pairwise(calls):
        first, second = [rows[0] for rows in layers[left]], [rows[0] for rows in layers[right]]
        widths = sorted({max(layer.acc_bits, 2) for layer in first})
        formats = list(dict.fromkeys(layer.act for layer in second))
        classes = (
            tuple(widths.index(max(layer.acc_bits, 2)) for layer in first),
            tuple(formats.index(layer.act) for layer in second),
        )
        copies = first[0].channels if folding == Folding.PER_CHANNEL else 1
        share = math.ceil(first[0].channels / copies)
        sites = [
            [copies * _requant(fmt, width, share).lut_sites for fmt in formats] for width in widths
        ]
        found.append(Pair(left, right, classes, {CONVERTED: np.asarray(sites, dtype=np.int64)}))
    return found
