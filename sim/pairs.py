# SPDX-License-Identifier: Apache-2.0
"""The kernels behind ``hwquant verify --all-pairs``."""

from __future__ import annotations

from hw.generate import product_bits
from hwquant.formats import Format, integers, minifloats
from hwquant.mac import MacSpec, Overflow

__all__ = ["GUARD_BITS", "all_pairs"]

GUARD_BITS = 6


def all_pairs(*, unsigned: bool = False) -> list[MacSpec]:
    """Return one saturating and one wrapping kernel for every ordered pair of formats.

    Weights are int3..8 and every ExMy of 3..8 bits (33 formats); activations are the same, or
    with ``unsigned`` uint3..8 and every ueExMy of 3..8 bits.  The accumulator is `GUARD_BITS`
    wider than a product: every product shows, and streams reach both rails.
    """
    weights: tuple[Format, ...] = (*integers(), *minifloats())
    acts: tuple[Format, ...] = weights
    if unsigned:
        acts = (*integers(signed=False), *minifloats(signed=False))
    return [
        MacSpec(w, a, 1, 256, product_bits(w, a) + GUARD_BITS, overflow)
        for w in weights
        for a in acts
        for overflow in (Overflow.SATURATE, Overflow.WRAP)
    ]
