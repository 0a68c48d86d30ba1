# SPDX-License-Identifier: Apache-2.0
"""What the conversion of sums back to the output format costs: one requantizer (`hw.requant`).

Priced is ``hq_round`` with one power-of-two scale for the layer and a bias for each channel, which
is the smallest for more than a handful of channels and exact for power-of-two scales.
"""

from __future__ import annotations

import math
from typing import Final

from hwquant.formats import Format, Minifloat

from .memory import weight_memory
from .usage import Usage

__all__ = ["BIAS_BITS", "requant_price"]

BIAS_BITS: Final = 12
"""Bits of a bias; the width matters, as the table of biases is a site a bit up to 64 channels."""


def requant_price(fmt: Format, acc_bits: int, channels: int) -> Usage:
    """Return what a requantizer from ``acc_bits`` to ``fmt`` uses, with ``channels`` biases."""
    bias = min(BIAS_BITS, acc_bits)
    table = weight_memory(channels, bias, "lut").luts
    minifloat = isinstance(fmt, Minifloat) and fmt.exponent_bits > 1
    logic = acc_bits + 9 * fmt.bits - 14 if minifloat else acc_bits * 3 // 4 + fmt.bits // 2
    sites = table + max(logic, 1)
    return Usage(lut_sites=sites, lut_raw=math.ceil(1.2 * sites), ff=bias + acc_bits + 4 * fmt.bits)
