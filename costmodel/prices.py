# SPDX-License-Identifier: Apache-2.0
"""Where a network's prices come from: measurements, formulas, or synthesis now."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hw.catalogue import style_name
from hw.packing import multiplicand, pack
from hw.sites import Resources
from hw.styles import style_of
from hw.tile import TileSpec
from hwquant.errors import SpecError
from hwquant.mac import MacSpec, Overflow

from .conversion import requant_price
from .folding import Prices
from .kernel import KernelCost
from .kernel import estimate as synthesized
from .primitives import FORMULAS, SpecArrays
from .primitives.tile import hq_dsp_tile

__all__ = ["TILE", "formula_prices", "kernel_price", "tile_price"]

TILE: Final = "tile"
"""What a layer's style is called where its sums come from DSP tiles."""


@lru_cache(maxsize=65_536)
def kernel_price(spec: MacSpec, style: str, *, synth: bool = False) -> KernelCost:
    """Return the price of one kernel in ``style``, a name or one of `hw.catalogue.AUTO`.

    A measurement where there is one, else the formula, else synthesis; with ``synth`` synthesis.
    """
    name = style_name(style, spec).style
    if not synth and name in FORMULAS:
        style_of(name, spec)
        columns = FORMULAS[name](SpecArrays.from_specs([spec])).to_columns()
        counts = {count: int(column[0]) for count, column in columns.items()}
        return KernelCost(Resources(**counts, carry=0), name, "estimate", FORMULA_FLOW)
    return synthesized(spec, name, synth=synth)


@lru_cache(maxsize=4096)
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
    return sums, KernelCost(Resources(**counts, carry=0), TILE, "estimate", FORMULA_FLOW)


FORMULA_FLOW: Final = "formulas fitted to synthesis (docs/costmodel.md)"


def formula_prices(*, synth: bool = False) -> Prices:
    """Return prices that need no synthesis where a measurement or a formula exists."""

    def kernel(spec: MacSpec, style: str) -> KernelCost:
        return kernel_price(spec, style, synth=synth)

    return Prices(kernel, requant_price, tile_price)
