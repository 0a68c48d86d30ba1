# SPDX-License-Identifier: Apache-2.0
"""The ways to fold one layer: how many kernels of how many lanes, and what each way costs.

A layer of ``channels`` outputs of ``length`` products each is folded onto ``pe`` kernels of
``simd`` lanes.  Both divide what they split (``pe`` the channels, ``simd`` the length), which is
FINN's rule for its matrix units and leaves no beat half empty::

    cycles = ceil(outputs / pe) * (length / simd + gap)

``gap`` is 0, or the pause between dot products of a style that has one.  The parts of a layer:

``kernels``     ``pe`` dot products of ``simd`` lanes with their accumulators; where ``simd`` is 1
                and DSPs are allowed, maybe tiles (`hw.tile`), which make several with one slice;
``weights``     one memory of ``pe * simd`` weights a word, one word a beat;
``input_fifo``  one dot product of codes, kept while channels take turns (two beats where they
                do not);
``requant``     ``pe`` requantizers, each for its share of the channels: the conversion back.

Not in it: line buffers of convolutions, pooling, residual bypasses, width converters, the shell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from hw.styles import STYLES, style_of
from hwquant.errors import SpecError
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow
from hwquant.workload import Layer, Workload

from .kernel import KernelCost
from .memory import Memory, fifo, weight_memory
from .prices import Prices
from .usage import RESOURCES, Usage, total

__all__ = ["CONVERSION", "Fold", "divisors", "layer_folds", "output_formats"]

CONVERSION: Final = "requant"
"""The part of a layer that converts its sums back to the output format."""


MAX_SIMD: Final = 4096
"""The most lanes of a kernel."""


@dataclass(frozen=True)
class Fold:
    """One way to build a layer: ``pe`` times ``spec``, and what its ``parts`` use.

    ``copies`` are the kernels it takes, fewer than ``pe`` where one makes several sums; ``cost`` is
    that of one.
    """

    layer: Layer
    pe: int
    copies: int
    spec: MacSpec
    out: Format | None
    cost: KernelCost
    memory: Memory
    parts: Mapping[str, Usage]

    @property
    def simd(self) -> int:
        """Products a kernel takes each cycle."""
        return self.spec.lanes

    @cached_property
    def cycles(self) -> int:
        """Cycles of one inference, which is also the layer's initiation interval."""
        timing = STYLES[self.cost.style].timing if self.cost.style in STYLES else None
        gap = 0 if timing is None else timing(self.spec).gap
        beats = math.ceil(self.layer.length / self.simd) + gap
        return math.ceil(self.layer.outputs / self.pe) * beats

    @cached_property
    def without_conversion(self) -> Usage:
        """All parts but the requantizers."""
        return total(used for name, used in self.parts.items() if name != CONVERSION)

    @cached_property
    def with_conversion(self) -> Usage:
        """All parts."""
        return total(self.parts.values())

    def to_json(self) -> dict[str, Any]:
        """Return one row of the layer table."""
        layer = self.layer
        return {
            "name": layer.name,
            "op": layer.op,
            "weight": str(layer.weight),
            "act": str(layer.act),
            "out": None if self.out is None else str(self.out),
            "acc_bits": self.spec.accumulator.width,
            "macs": layer.macs,
            "bops": layer.bops,
            "weight_bits": layer.weight_bits,
            "pe": self.pe,
            "simd": self.simd,
            "kernels": self.copies,
            "style": self.cost.style,
            "cycles": self.cycles,
            "memory_bits": self.memory.bits,
            "without_conversion": self.without_conversion.to_json(),
            "with_conversion": self.with_conversion.to_json(),
            "parts": {name: used.to_json() for name, used in self.parts.items()},
        }


def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of ``number``, ascending.

    >>> divisors(12)
    (1, 2, 3, 4, 6, 12)
    """
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


def output_formats(workload: Workload) -> tuple[Format | None, ...]:
    """Return the format every layer's sums are converted to; None for the last layer.

    It is the activation format of the layer that runs next.  The last layer hands out its sums.
    """
    return (*(layer.act for layer in workload.layers[1:]), None)


def layer_folds(
    layer: Layer,
    out: Format | None,
    prices: Prices,
    *,
    style: str = "plain",
    overflow: Overflow | str = Overflow.WRAP,
    memories: Iterable[str] = ("lut", "block"),
    uram_loads: bool = False,
    shapes: Iterable[tuple[int, int]] | None = None,
) -> list[Fold]:
    """Return the folds of a layer that no other beats in cycles and every resource.

    ``memories`` are the kinds of weight memory to try (`costmodel.memory`), ``shapes`` the pairs
    (pe, simd), by default all.  Sorted by cycles, then LUTs, then pe: the order is fixed.
    Raises `SpecError` for a shape that does not divide the layer, or a style that cannot do it.
    """
    pairs = _shapes(layer) if shapes is None else list(shapes)
    for pe, simd in pairs:
        _check_shape(layer, pe, simd)
    specs = [_spec(layer, simd, overflow) for simd in sorted({simd for _, simd in pairs})]
    kinds = tuple(memories)
    back = _conversions(layer, out, specs[0], [pe for pe, _ in pairs], prices)
    found = []
    for spec, sums, cost in _kernels(specs, style, prices):
        simd = spec.lanes
        for pe in sorted(pe for pe, lanes in pairs if lanes == simd):
            copies = math.ceil(pe / sums)
            fixed = {
                "kernels": copies * Usage.of(cost.resources),
                "input_fifo": _input(layer, pe, simd),
                CONVERSION: pe * back[pe],
            }
            words = _words(layer, pe, simd)
            for kind in kinds:
                memory = weight_memory(
                    words, pe * simd * layer.weight.bits, kind, uram_loads=uram_loads
                )
                parts = {**fixed, "weights": memory.usage}
                found.append(Fold(layer, pe, copies, spec, out, cost, memory, parts))
    if not found:
        style_of(style, specs[0])
        raise SpecError(f"layer {layer.name}: style {style} has no price for any of its kernels")
    return _undominated(found)


def _kernels(
    specs: Sequence[MacSpec], style: str, prices: Prices
) -> list[tuple[MacSpec, int, KernelCost]]:
    """Return (spec, sums of one kernel, its price) of everything to try.

    With ``auto-dsp`` a DSP may be worth its while or the LUTs may, so both are tried.
    """
    names = ("auto", "dsp", "dsp_acc") if style == "auto-dsp" else (style,)
    found = [
        (spec, 1, cost)
        for name in names
        for spec, cost in zip(specs, prices.kernels(specs, name), strict=True)
        if cost is not None
    ]
    tiles = [spec for spec in specs if spec.lanes == 1 and style == "auto-dsp"]
    for spec in tiles:
        tile = prices.tile(spec)
        found += [] if tile is None else [(spec, *tile)]
    return found


def _conversions(
    layer: Layer, out: Format | None, spec: MacSpec, pes: Iterable[int], prices: Prices
) -> dict[int, Usage]:
    """Return the requantizer of one kernel, by number of kernels that share the channels."""
    counts = sorted(set(pes))
    if out is None:
        return dict.fromkeys(counts, Usage())
    channels = [layer.channels // pe for pe in counts]
    found = prices.requants(out, spec.accumulator.width, channels)
    return dict(zip(counts, found, strict=True))


def _spec(layer: Layer, simd: int, overflow: Overflow | str) -> MacSpec:
    width = max(layer.acc_bits, 2)
    return MacSpec(layer.weight, layer.act, simd, layer.length, width, overflow)


def _shapes(layer: Layer) -> list[tuple[int, int]]:
    lanes = [simd for simd in divisors(layer.length) if simd <= MAX_SIMD]
    return [(pe, simd) for pe in divisors(layer.channels) for simd in lanes]


def _check_shape(layer: Layer, pe: int, simd: int) -> None:
    for name, value, whole, what in (
        ("pe", pe, layer.channels, "channels"),
        ("simd", simd, layer.length, "products"),
    ):
        if value < 1 or whole % value:
            raise SpecError(
                f"layer {layer.name}: {name} {value}, allowed: the divisors of its {whole} {what}, "
                f"{', '.join(map(str, divisors(whole)))}"
            )


def _words(layer: Layer, pe: int, simd: int) -> int:
    """Return the words of ``pe * simd`` weights that a layer stores; 0 without stored weights."""
    return math.ceil(layer.weights / (pe * simd))


def _input(layer: Layer, pe: int, simd: int) -> Usage:
    """Return the buffer in front of the kernels; codes pass once where all channels are at work."""
    beats = layer.length // simd if pe < layer.channels else 2
    return fifo(max(beats, 2), simd * layer.act.bits)


def _key(fold: Fold) -> tuple[int, ...]:
    used = fold.with_conversion
    return (fold.cycles, *(used.amount(name) for name in RESOURCES))


def _undominated(folds: list[Fold]) -> list[Fold]:
    """Return the folds that no other beats, one of each set of equals: the fewest kernels."""
    ordered = sorted(folds, key=lambda fold: (_key(fold), fold.pe, fold.simd, fold.cost.style))
    kept: list[Fold] = []
    keys: list[tuple[int, ...]] = []
    for fold in ordered:
        key = _key(fold)
        if not any(all(a <= b for a, b in zip(other, key, strict=True)) for other in keys):
            kept.append(fold)
            keys.append(key)
    return kept
