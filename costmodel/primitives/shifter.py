# SPDX-License-Identifier: Apache-2.0
"""Formulas of decoders, exponent sums and shifters of minifloats."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from .packing import Block, block, matched
from .product import each

__all__ = ["exponent_bit", "hidden_bit", "hq_add_exponents", "hq_mux_shift", "hq_tree_shift"]

SITE_INPUTS: Final = 5
LUT_INPUTS: Final = 6
SPLIT_FIELD: Final = 4
EVERY: Final = 600  # more bits than any shifter has


@lru_cache(maxsize=65536)
def _mux_shift(
    bits: int, step: int, by_bits: int, signed: int, low: int, high: int
) -> tuple[int, ...]:
    ways = 1 << by_bits
    out = bits + step * (ways - 1)
    luts = []
    for i in range(max(low, 0), min(high, out - signed)):
        nets = {("by", k) for k in range(by_bits)}
        for k in range(ways):
            place = i - step * k
            if 0 <= place < bits:
                nets.add(("x", place))
            elif place >= bits and signed:
                nets.add(("x", bits - 1))
        luts.append(frozenset(nets))
    return matched(luts)


def hq_mux_shift(
    bits: ArrayLike,
    step: ArrayLike,
    by_bits: ArrayLike,
    signed: ArrayLike,
    low: ArrayLike = 0,
    high: ArrayLike = EVERY,
) -> Block:
    """One stage of a left shifter: a LUT for each output bit ``low`` .. ``high - 1``; exact.

    Two bits of a 2:1 stage share a site; of a 4:1 stage those at the ends do, which leaves about
    a site for each input bit.  The sign of a two's complement number is a wire.
    """
    return each(_mux_shift, bits, step, by_bits, np.asarray(signed) != 0, low, high)


def _gate(inputs: ArrayLike, times: ArrayLike = 1) -> Block:
    """One LUT of 1 .. 6 inputs, which five or six inputs leave without a partner."""
    size, there = np.asarray(inputs), np.asarray(times)
    more = size > LUT_INPUTS
    return block(
        sites=there * ((size > SITE_INPUTS - 1) + more),
        raw=there * (1 + more),
        one=there * (size == 1),
        two=there * (size == 2),
        three=there * (size == 3),
        four=there * (size == 4),
    )


def hidden_bit(exp_bits: ArrayLike, there: ArrayLike = 1) -> Block:
    """The bit in front of a mantissa, an OR of the exponent field (``hq_decode``); exact to 6."""
    return _gate(exp_bits, there)


def exponent_bit(exp_bits: ArrayLike, there: ArrayLike = 1) -> Block:
    """The hidden bit and the low bit of ``max(e, 1)``: two functions of the same field.

    One site up to five exponent bits.  The other bits of ``max(e, 1)`` are wires.
    """
    size, some = np.asarray(exp_bits), np.asarray(there)
    together = size <= SITE_INPUTS
    apart = _gate(size) * 2
    return block(sites=1, raw=2) * (some * together) + apart * (some * ~together)


def hq_add_exponents(weight_exp: ArrayLike, act_exp: ArrayLike, there: ArrayLike = 1) -> Block:
    """The sum of two exponents ``max(e, 1)`` with their hidden bits: decoders and ``hq_add``.

    A carry position for each sum bit; a LUT in front of those that add two bits, the lowest of
    which makes the activation's low exponent bit itself.  From four bits on, synthesis makes a net
    of a field's upper bits (all but two) first, which leaves three inputs to the rest.  Exact.
    """
    w, a = np.asarray(weight_exp), np.asarray(act_exp)
    some = np.asarray(there)
    chain = block(sites=np.maximum(w, a) + 1, raw=np.minimum(w, a))
    uppers = _gate(np.maximum(w - 2, 1), some * (w >= SPLIT_FIELD))
    uppers = uppers + _gate(np.maximum(a - 2, 1), some * (a >= SPLIT_FIELD))
    weight_own = block(sites=1, raw=2)  # hidden bit and low exponent bit
    act_own = hidden_bit(np.minimum(a, SPLIT_FIELD - 1), some)
    return (chain + weight_own) * some + act_own + uppers


def _last_stage(product_bits: ArrayLike) -> Block:
    """2:1 multiplexers with an AND of two nets as select: four inputs, two bits to a site."""
    bits = np.asarray(product_bits)
    return block(sites=bits // 2, raw=bits, three=bits % 2)


def hq_tree_shift(
    sig_bits: ArrayLike,
    twos: ArrayLike,
    weight_exp: ArrayLike,
    act_exp: ArrayLike,
    product_bits: ArrayLike,
) -> Block:
    """A product of significands shifted by both exponents, hidden bits not included; exact to 5.

    Exponents of two bits: one table, one stage (4:1 for two operands, 2:1 for one) and a last 2:1
    stage.  Wider: `hq_add_exponents` and 4:1 stages, of the last of which only the bits of the
    product are there.
    """
    sig, w, a, out = (np.asarray(x) for x in (sig_bits, weight_exp, act_exp, product_bits))
    sig, w, a, out, sign = np.broadcast_arrays(sig, w, a, out, np.asarray(twos) != 0)
    pair = (w > 0) & (a > 0)
    most = np.maximum(w, a)
    some = most > 0
    short, wide = some & (most == 2), some & (most > 2)

    first = hq_mux_shift(sig, 1, np.where(pair, 2, 1), sign)
    found = (block(sites=1, raw=1) * pair + first + _last_stage(out)) * short

    summed = most + pair
    drop = 1 + pair
    total = hq_add_exponents(np.where(pair, w, 2), np.where(pair, a, 2), wide & pair)
    found = found + total + exponent_bit(np.where(pair, 2, most), wide & ~pair)
    for k in range(int(summed.max(initial=0) + 1) // 2):
        there = wide & (2 * k < summed)
        bits = np.where(there, sig + (1 << 2 * k) - 1, 1)
        by = np.where(2 * k + 1 < summed, 2, 1)
        final = 2 * k + 2 >= summed
        low = np.where(final, drop, 0)
        high = np.where(final, drop + out, EVERY)
        stage = hq_mux_shift(bits, 1 << 2 * k, by, sign, low, high)
        found = found + stage * there
    return found
