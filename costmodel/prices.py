# SPDX-License-Identifier: Apache-2.0
"""Where a network's prices come from: measurements, formulas, or synthesis now."""

from __future__ import annotations

from functools import lru_cache

from hw.catalogue import style_name
from hwquant.mac import MacSpec

from .conversion import requant_price
from .folding import Prices
from .kernel import KernelCost
from .kernel import estimate as synthesized

__all__ = ["formula_prices", "kernel_price"]


@lru_cache(maxsize=65_536)
def kernel_price(spec: MacSpec, style: str, *, synth: bool = False) -> KernelCost:
    """Return the price of one kernel in ``style``, a name or one of `hw.catalogue.AUTO`.

    A measurement where there is one, else the formula, else synthesis; with ``synth`` synthesis.
    """
    return synthesized(spec, style_name(style, spec).style, synth=synth)


def formula_prices(*, synth: bool = False) -> Prices:
    """Return prices that need no synthesis where a measurement or a formula exists."""

    def kernel(spec: MacSpec, style: str) -> KernelCost:
        return kernel_price(spec, style, synth=synth)

    return Prices(kernel, requant_price)
