# SPDX-License-Identifier: Apache-2.0
"""The prices that a folding is searched with: formulas, many kernels at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hw.catalogue import AUTO, style_name
from hw.packing import multiplicand, pack
from hw.sites import Resources
from hw.styles import variant
from hw.tile import TileSpec
from hwquant.errors import SpecError
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow

from .conversion import requant_prices
from .formulas import covers, estimate_many, fitted_flow
from .kernel import KernelCost, estimate
from .primitives.tile import hq_dsp_tile
from .usage import Usage

__all__ = ["TILE", "Prices", "kernel_price", "network_prices", "tile_price"]

TILE: Final = "tile"
"""What a layer's style is called where its sums come from DSP tiles."""

_TRIED: Final = ("table", "booth", "shift", "tree", "digit", "decode", "rom", "plain")
_SLICES: Final = ("dsp", "dsp_acc")


@dataclass(frozen=True, slots=True)
class Prices:
    """Where prices come from.

    ``kernels(specs, style)`` prices kernels of one style, None where the style cannot do one;
    ``requants(format, acc_bits, channels)`` a requantizer for each number of channels;
    ``tile(spec)`` says how many single-lane kernels with common activations one DSP slice makes,
    and the price of them together, None where there is no such tile.
    """

    kernels: Callable[[Sequence[MacSpec], str], list[KernelCost | None]]
    requants: Callable[[Format, int, Sequence[int]], list[Usage]]
    tile: Callable[[MacSpec], tuple[int, KernelCost] | None] = lambda _: None


def kernel_price(spec: MacSpec, style: str, *, synth: bool = False) -> KernelCost:
    """Return the price of one kernel in ``style``, a name or one of `hw.catalogue.AUTO`."""
    return estimate(spec, style_name(style, spec).style, synth=synth)


def _able(spec: MacSpec, style: str) -> bool:
    known = variant(style, spec)
    return known is not None and known.refuse(spec) is None


def _by_formula(specs: Sequence[MacSpec], style: str) -> list[KernelCost | None]:
    """Return the formula's price of every kernel that ``style`` can do and has a formula for."""
    places = [i for i, spec in enumerate(specs) if covers(spec, style) and _able(spec, style)]
    found: list[KernelCost | None] = [None] * len(specs)
    if places:
        flow = fitted_flow()
        columns = estimate_many([specs[i] for i in places], style).to_columns()
        for row, place in enumerate(places):
            counts = {name: int(column[row]) for name, column in columns.items()}
            found[place] = KernelCost(Resources(**counts, carry=0), style, "formula", flow)
    return found


def _least(costs: Sequence[KernelCost | None]) -> KernelCost | None:
    """Return the smallest in LUTs, the first of equals."""
    known = [cost for cost in costs if cost is not None]
    return min(known, key=lambda cost: Usage.of(cost.resources).lut, default=None)


def _formulas(specs: Sequence[MacSpec], style: str) -> list[KernelCost | None]:
    """Price kernels without synthesis; a named style without a formula is synthesized.

    ``auto``, ``auto-beat`` and ``auto-dsp`` are all the smallest by formula with a sum every beat
    and no DSP: a pipeline needs the one, and slices are tried beside it.
    """
    if style in AUTO:
        table = [_by_formula(specs, name) for name in _TRIED]
        return [_least(column) for column in zip(*table, strict=True)]
    found = _by_formula(specs, style)
    if style in _SLICES:
        return found
    return [
        estimate(spec, style) if cost is None and _able(spec, style) else cost
        for spec, cost in zip(specs, found, strict=True)
    ]


def _synthesis(specs: Sequence[MacSpec], style: str) -> list[KernelCost | None]:
    """Synthesize kernels; of a choice the style that is the smallest by formula."""
    names: list[str | None] = [style if _able(spec, style) else None for spec in specs]
    if style in AUTO:
        names = [None if cost is None else cost.style for cost in _formulas(specs, style)]
    return [
        None if name is None else estimate(spec, name, synth=True)
        for spec, name in zip(specs, names, strict=True)
    ]


def tile_price(spec: MacSpec) -> tuple[int, KernelCost] | None:
    """Return how many sums with one activation a DSP tile makes, and its price by formula.

    None where a tile cannot do the kernel, or makes but one sum.
    """
    if spec.overflow is not Overflow.WRAP or spec.lanes != 1:
        return None
    try:
        sums = pack(multiplicand(spec.weight), multiplicand(spec.act), acts=1).weights
        width = spec.accumulator.width
        tile = TileSpec(spec.weight, spec.act, spec.length, width, weights=sums, acts=1)
    except SpecError:
        return None
    if sums == 1:
        return None
    columns = hq_dsp_tile([tile]).to_columns()
    counts = {name: int(column[0]) for name, column in columns.items()}
    return sums, KernelCost(Resources(**counts, carry=0), TILE, "formula", fitted_flow())


def network_prices(*, synth: bool = False) -> Prices:
    """Return the prices that a folding is searched with; ``synth`` asks for synthesis of kernels.

    Tiles and requantizers are priced by formula either way.
    """
    return Prices(_synthesis if synth else _formulas, requant_prices, tile_price)
