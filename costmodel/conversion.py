# SPDX-License-Identifier: Apache-2.0
"""What the conversion of sums back to the output format costs: one requantizer (`hw.requant`).

Priced by formula (`costmodel.primitives.requant`) is ``hq_round`` with one power-of-two scale for
the layer and a bias for each channel: the smallest for more than a handful of channels, and exact
for power-of-two scales.  A codebook's output takes thresholds (``hq_thr``, binary search).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from hwquant.formats import Codebook, Format
from hwquant.requant import Requantizer, RoundPack, Thresholds

from .primitives.requant import requantizers
from .usage import Usage

__all__ = ["BIAS_BITS", "requant_price", "requant_prices", "requant_spec"]

BIAS_BITS: Final = 12
"""Bits of a bias; the width matters, as the table of biases is a site a bit up to 64 channels."""


def requant_spec(fmt: Format, acc_bits: int, channels: int) -> Requantizer:
    """Return the requantizer that is priced for a layer whose scales are not known yet.

    The scale maps the whole accumulator onto the format, the biases are random and span
    `BIAS_BITS` bits.

    >>> from hwquant.formats import parse
    >>> spec = requant_spec(parse("int4"), 16, 2)
    >>> spec.bias, spec.shift
    ((-2048, 2047), (12,))
    """
    if isinstance(fmt, Codebook):
        count = len(fmt.codes)
        step = max((1 << acc_bits) // count, 1)
        row = tuple(
            min(-(1 << acc_bits - 1) + step * i, (1 << acc_bits - 1)) for i in range(1, count)
        )
        return Thresholds(tuple(range(count)), (row,) * channels, acc_bits)
    half = 1 << min(BIAS_BITS, acc_bits) - 1
    rng = random.Random(1)
    bias = [-half, half - 1, *(rng.randrange(-half, half) for _ in range(channels))][:channels]
    return RoundPack(fmt, acc_bits, bias, [max(acc_bits - fmt.max_int.bit_length() - 1, 1)])


def requant_prices(fmt: Format, acc_bits: int, channels: Sequence[int]) -> list[Usage]:
    """Return what requantizers from ``acc_bits`` to ``fmt`` use, one for each number of biases."""
    if not channels:
        return []
    columns = requantizers([requant_spec(fmt, acc_bits, count) for count in channels]).to_columns()
    return [
        Usage(**{name: int(column[row]) for name, column in columns.items()})
        for row in range(len(channels))
    ]


def requant_price(fmt: Format, acc_bits: int, channels: int) -> Usage:
    """Return what one requantizer uses.

    >>> from hwquant.formats import parse
    >>> requant_price(parse("int4"), 16, 64).ff
    42
    """
    return requant_prices(fmt, acc_bits, [channels])[0]
