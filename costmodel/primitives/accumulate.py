# SPDX-License-Identifier: Apache-2.0
"""Formulas of the counting accumulator and of what it is made of: exact.

LUT6 sites and LUT cells follow from the parameters alone, because every cell is instantiated; a
carry position is a site (`hw.sites`, rule 1), its two LUT outputs included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .packing import Block, block

__all__ = ["hq_chain", "hq_delay", "hq_sign", "hq_tally", "hq_updown"]


def hq_chain(width: ArrayLike) -> Block:
    """A carry chain of ``width`` positions and the LUT in front of each; exact.

    A LUT that feeds DI of the same position is in that site too: it is no cell more, being the
    other output of an instantiated LUT6_2.
    """
    return block(sites=width, raw=width)


def hq_updown(width: ArrayLike) -> Block:
    """Counter logic of ``width`` bits: two sites for three bits, without a chain; exact.

    A last group of one bit, or the low bit of a last group of three, is a LUT of three inputs
    that shares its site with another.
    """
    bits = np.asarray(width)
    groups = (bits + 2) // 3
    last = bits - 3 * (groups - 1)
    some = bits > 0
    whole = 2 * (groups - 1)
    return block(
        sites=some * (whole + (last > 1)),
        raw=some * (whole + 1 + (last == 3)),
        three=some * (last != 2),
    )


def hq_tally(low_bits: ArrayLike, acc_bits: ArrayLike) -> Block:
    """The accumulator behind an addend of ``low_bits`` bits and a sign; exact.

    One carry position for each low bit (the caller's LUT in front included), `hq_updown` above,
    one site of control; the sum twice, as state and as result, and two valid bits in flip-flops.
    """
    low, acc = np.asarray(low_bits), np.asarray(acc_bits)
    control = block(sites=1, raw=1, ff=2 * acc + 2)
    return hq_chain(low) + hq_updown(acc - low) + control


def hq_delay(stages: ArrayLike, width: ArrayLike) -> Block:
    """Registers: ``stages`` of ``width`` bits; exact."""
    return block(ff=np.asarray(stages) * np.asarray(width))


def hq_sign(both: ArrayLike, twos_and_flip: ArrayLike) -> Block:
    """The sign of a product: an XOR of two sign bits, or of one and a two's complement sign.

    Each is a LUT of two inputs; anything less is a wire.  Exact.
    """
    gates = np.asarray(both) + np.asarray(twos_and_flip)
    return block(raw=gates, two=gates)
