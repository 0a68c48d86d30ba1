# SPDX-License-Identifier: Apache-2.0
"""Where a network's prices come from: measurements, formulas, or synthesis now."""

from __future__ import annotations

from hw.catalogue import style_name
from hwquant.mac import MacSpec

from .conversion import requant_price
from .folding import Prices
from .kernel import KernelCost
from .kernel import estimate as synthesized

__all__ = ["formula_prices", "kernel_price"]


def kernel_price(spec: MacSpec, style: str) -> KernelCost:
    """Return the price of one kernel in ``style``, a name or one of `hw.catalogue.AUTO`."""
    return synthesized(spec, style_name(style, spec).style)


def formula_prices() -> Prices:
    """Return prices that need no synthesis where a measurement or a formula exists."""
    return Prices(kernel_price, requant_price)
