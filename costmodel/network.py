# SPDX-License-Identifier: Apache-2.0
"""The price of a network: kernels for a stated folding, weight memory, and conversion back.

It prices the multiply-accumulates, the weights and the requantizers, nothing else: no activation
buffers, no control.  The totals stand without and with the requantizers.  The folding says how many
kernels there are and who uses them (`costmodel.folded` searches one for each layer instead):

``per-layer``    one kernel for each layer, all layers at work at once (a pipeline of layers); a
                 new inference starts as often as the slowest layer allows.
``per-channel``  in each layer one kernel for each output channel, otherwise as ``per-layer``.
``shared``       one kernel for each pair of formats, its accumulator as wide as its widest layer
                 needs; the layers run one after another.

A kernel takes ``lanes`` products a cycle, so a dot product takes ``ceil(length / lanes)`` cycles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from hw.sites import Resources
from hwquant.errors import InputError, SpecError
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow
from hwquant.workload import Layer, Workload

from .conversion import requant_price
from .folding import output_formats
from .kernel import KernelCost, estimate
from .memory import Memory, weight_memory
from .usage import Usage, total

__all__ = [
    "Folding",
    "KernelUse",
    "LayerUse",
    "Memory",
    "NetworkCost",
    "kernel_groups",
    "network_cost",
    "weight_memory",
]


class Folding(StrEnum):
    """How layers share kernels; see the module."""

    PER_LAYER = "per-layer"
    PER_CHANNEL = "per-channel"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class KernelUse:
    """``copies`` equal kernels, each with its own ``memory`` and requantizers; prices of one."""

    spec: MacSpec
    copies: int
    cost: KernelCost
    memory: Memory
    requant: Usage = field(default_factory=Usage)

    @property
    def without_conversion(self) -> Usage:
        """All copies with their memories."""
        return self.copies * (Usage.of(self.cost.resources) + self.memory.usage)

    @property
    def with_conversion(self) -> Usage:
        """All copies with memories and requantizers."""
        return self.without_conversion + self.copies * self.requant

    def to_json(self) -> dict[str, Any]:
        """Return one row of the kernel table."""
        return {
            "weight": str(self.spec.weight),
            "act": str(self.spec.act),
            "lanes": self.spec.lanes,
            "acc_bits": self.spec.accumulator.width,
            "copies": self.copies,
            **self.cost.to_json(),
            "memory_bits": self.memory.bits,
            "memory_luts": self.memory.luts,
            "memory_bram18": self.memory.bram18,
            "without_conversion": self.without_conversion.to_json(),
            "with_conversion": self.with_conversion.to_json(),
        }


@dataclass(frozen=True, slots=True)
class LayerUse:
    """A layer, the index of the kernel it runs on, and its cycles per inference."""

    layer: Layer
    kernel: int
    cycles: int

    def to_json(self) -> dict[str, Any]:
        """Return one row of the layer table."""
        return {
            "name": self.layer.name,
            "op": self.layer.op,
            "weight": str(self.layer.weight),
            "act": str(self.layer.act),
            "acc_bits": self.layer.acc_bits,
            "macs": self.layer.macs,
            "bops": self.layer.bops,
            "weight_bits": self.layer.weight_bits,
            "kernel": self.kernel,
            "cycles": self.cycles,
        }


@dataclass(frozen=True)
class NetworkCost:
    """The kernels of a network and who uses them; totals are properties."""

    folding: Folding
    lanes: int
    kernels: tuple[KernelUse, ...]
    layers: tuple[LayerUse, ...]

    @property
    def resources(self) -> Resources:
        """The sum over all kernels, weight memory left out."""
        totals = {
            name: sum(use.copies * count for use, count in self._counts(name))
            for name in Resources.__dataclass_fields__
        }
        return Resources(**totals)

    def _counts(self, name: str) -> Iterable[tuple[KernelUse, int]]:
        return ((use, use.cost.resources.to_json()[name]) for use in self.kernels)

    @property
    def memory(self) -> Memory:
        """The sum over all weight memories."""
        return Memory(
            bits=sum(use.copies * use.memory.bits for use in self.kernels),
            luts=sum(use.copies * use.memory.luts for use in self.kernels),
            bram18=sum(use.copies * use.memory.bram18 for use in self.kernels),
        )

    @property
    def without_conversion(self) -> Usage:
        """The sum over kernels and weight memories, requantizers left out."""
        return total(use.without_conversion for use in self.kernels)

    @property
    def with_conversion(self) -> Usage:
        """The sum over everything that is priced."""
        return total(use.with_conversion for use in self.kernels)

    @property
    def latency_cycles(self) -> int:
        """Cycles of one inference when every layer waits for the one before it."""
        return sum(use.cycles for use in self.layers)

    @property
    def interval_cycles(self) -> int:
        """Cycles between two inferences."""
        if self.folding is Folding.SHARED:
            return self.latency_cycles
        return max(use.cycles for use in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return totals, the kernel table and the layer table."""
        memory = self.memory
        sources = sorted({use.cost.source for use in self.kernels})
        counts = self.resources.to_json()
        if "formula" in sources:
            del counts["carry"]  # formulas do not count carry chains
        return {
            **counts,
            "weight_bits": sum(use.layer.weight_bits for use in self.layers),
            "memory_luts": memory.luts,
            "memory_bram18": memory.bram18,
            "without_conversion": self.without_conversion.to_json(),
            "with_conversion": self.with_conversion.to_json(),
            "macs": sum(use.layer.macs for use in self.layers),
            "bops": sum(use.layer.bops for use in self.layers),
            "interval_cycles": self.interval_cycles,
            "latency_cycles": self.latency_cycles,
            "folding": self.folding.value,
            "lanes": self.lanes,
            "style": "+".join(sorted({use.cost.style for use in self.kernels})),
            "source": "+".join(sources),
            "flow": " | ".join(sorted({use.cost.flow for use in self.kernels})),
            "kernels": [use.to_json() for use in self.kernels],
            "layers": [use.to_json() for use in self.layers],
        }


def network_cost(
    workload: Workload,
    *,
    folding: Folding | str = Folding.PER_LAYER,
    lanes: int = 1,
    synth: bool = False,
    overflow: Overflow | str = Overflow.WRAP,
    price: Callable[[MacSpec], KernelCost] | None = None,
    requant: Callable[[Format, int, int], Usage] = requant_price,
) -> NetworkCost:
    """Return the price of ``workload`` with kernels of ``lanes`` lanes under ``folding``.

    A layer shorter than ``lanes`` gets as many lanes as it has products.  Equal kernels are
    synthesized once.  ``synth`` is passed on to `costmodel.kernel.estimate`, unless ``price`` says
    what a kernel costs; ``requant`` what a requantizer does, from output format, accumulator bits
    and channels.  Every kernel has one for each format its layers are converted to.

    Raises `SpecError` for an unknown folding, `InputError` for a workload without layers,
    `ToolError` when Yosys is needed and missing.
    """
    chosen = _folding(folding)
    groups = kernel_groups(workload, folding=chosen, lanes=lanes, overflow=overflow)
    outs = output_formats(workload)
    kernels = []
    uses: dict[int, LayerUse] = {}
    for number, (spec, members) in enumerate(groups):
        layers = [workload.layers[index] for index in members]
        copies = layers[0].channels if chosen is Folding.PER_CHANNEL else 1
        words = sum(_words(layer, spec.lanes, copies) for layer in layers)
        memory = weight_memory(words, spec.lanes * spec.weight.bits)
        cost = estimate(spec, synth=synth) if price is None else price(spec)
        channels: dict[Format, int] = {}
        for index, layer in zip(members, layers, strict=True):
            out = outs[index]
            if out is not None:
                channels[out] = channels.get(out, 0) + math.ceil(layer.channels / copies)
        width = spec.accumulator.width
        back = total(requant(out, width, count) for out, count in channels.items())
        kernels.append(KernelUse(spec, copies, cost, memory, back))
        for index, layer in zip(members, layers, strict=True):
            beats = math.ceil(layer.length / spec.lanes)
            uses[index] = LayerUse(layer, number, math.ceil(layer.outputs / copies) * beats)
    ordered = tuple(uses[index] for index in range(len(workload.layers)))
    return NetworkCost(chosen, lanes, tuple(kernels), ordered)


def _folding(folding: Folding | str) -> Folding:
    if folding not in tuple(Folding):
        raise SpecError(f"folding {folding!r}, allowed: {', '.join(Folding)}")
    return Folding(folding)


def kernel_groups(
    workload: Workload,
    *,
    folding: Folding | str = Folding.PER_LAYER,
    lanes: int = 1,
    overflow: Overflow | str = Overflow.WRAP,
) -> list[tuple[MacSpec, list[int]]]:
    """Return the kernels that ``folding`` asks for, each with the indices of its layers.

    Raises `SpecError` for an unknown folding, `InputError` for a workload without layers.
    """
    chosen = _folding(folding)
    if not workload.layers:
        raise InputError("the network has no multiply-accumulate layer to price")
    if not 1 <= lanes <= 4096:
        raise SpecError(f"lanes {lanes}, allowed 1..4096")
    specs = [_layer_spec(layer, lanes, overflow) for layer in workload.layers]
    if chosen is Folding.SHARED:
        return _groups(specs)
    return [(spec, [index]) for index, spec in enumerate(specs)]


def _layer_spec(layer: Layer, lanes: int, overflow: Overflow | str) -> MacSpec:
    width = max(layer.acc_bits, 2)
    used = min(lanes, layer.length)
    return MacSpec(layer.weight, layer.act, used, layer.length, width, overflow)


def _words(layer: Layer, lanes: int, copies: int) -> int:
    """Return the words of ``lanes`` weights one kernel stores; each dot product fills its beats."""
    if layer.weights == 0:
        return 0
    dots = math.ceil(layer.weights / layer.length / copies)
    return dots * math.ceil(layer.length / lanes)


def _groups(specs: list[MacSpec]) -> list[tuple[MacSpec, list[int]]]:
    """Return, for each pair of formats, a kernel that serves all its layers, and those layers."""
    members: dict[tuple[Any, Any], list[int]] = {}
    for index, spec in enumerate(specs):
        members.setdefault((spec.weight, spec.act), []).append(index)
    groups = []
    for indices in members.values():
        lanes = max(specs[index].lanes for index in indices)
        length = max(specs[index].length for index in indices)
        width = max(specs[index].accumulator.width for index in indices)
        groups.append((replace(specs[indices[0]], lanes=lanes, length=length, acc=width), indices))
    return groups
