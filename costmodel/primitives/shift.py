# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``shift``: LUT cells exact or one off, LUT sites within 3 %."""

from __future__ import annotations

import numpy as np

from hw.styles import shift as style
from hwquant.formats import Format
from hwquant.mac import MacSpec

from .accumulate import hq_sign, hq_tally
from .counts import Counts
from .packing import Block, block
from .product import hq_sig_product
from .shifter import exponent_bit, hidden_bit, hq_add_exponents, hq_mux_shift
from .specs import Operand, SpecArrays, register_formula

__all__ = ["hq_shift_mac", "shifting", "significand"]


def _recode_act(weight: Format, act: Format) -> int:
    return int(str(style.STYLE.parameters(MacSpec(weight, act))["RecodeAct"]))


def shifting(operand: Operand) -> np.ndarray:
    """Return the exponent bits of operands that shift, else 0."""
    return np.where(operand.exp_bits > 1, operand.exp_bits, 0)


def significand(operand: Operand) -> np.ndarray:
    """Return the width of a significand: the mantissa, and a hidden bit on top."""
    return operand.bits - operand.flips - np.maximum(shifting(operand) - 1, 0)


@register_formula(style.STYLE.name)
def hq_shift_mac(specs: SpecArrays) -> Counts:
    """One lane of minifloats: product of significands, shifter, counting accumulator.

    The last 2:1 stage of the shifter is in the accumulator's own LUTs.  Of 21 kernels the LUT
    cells are exact but for one (71 for 70), sites 0.5 % off on average, 2.7 % at worst: LUTs of
    different blocks that share inputs are not paired here.
    """
    weight, act = specs.weight, specs.act
    w, a = shifting(weight), shifting(act)
    sigs = significand(weight), significand(act)
    swap = specs.per_pair(_recode_act) != 0
    twos = weight.twos | act.twos
    product = sigs[0] + sigs[1] - ((sigs[0] == 1) | (sigs[1] == 1))
    low = product + weight.shift_max + act.shift_max - twos
    multiply = hq_sig_product(
        np.where(swap, sigs[1], sigs[0]),
        np.where(swap, sigs[0], sigs[1]),
        np.where(swap, act.twos, weight.twos),
        np.where(swap, weight.twos, act.twos),
        np.maximum(np.where(sigs[0] == 1, w, 1), np.where(sigs[1] == 1, a, 1)),
    )
    kernel = (
        block(ff=weight.bits + act.bits)
        + multiply
        + _shift(product, twos, w, a)
        + hq_sign(weight.flips & act.flips, twos & (weight.flips | act.flips))
        + hq_tally(low, specs.acc)
    )
    return kernel.packed()


def _shift(product: np.ndarray, twos: np.ndarray, w: np.ndarray, a: np.ndarray) -> Block:
    """Decoders, exponent sum and shifter but for its last stage."""
    pair, most = (w > 0) & (a > 0), np.maximum(w, a)
    short = most == 2
    summed = most + pair
    by_bits = np.where(short, np.where(pair, 2, 1), summed - 1)
    found = hidden_bit(np.maximum(w, 1), short & (w > 0))
    found = found + hidden_bit(np.maximum(a, 1), short & (a > 0))
    found = found + block(sites=1, raw=1) * (short & pair)
    total = hq_add_exponents(np.where(pair, w, 2), np.where(pair, a, 2), ~short & pair)
    found = found + total + exponent_bit(np.where(pair, 2, most), ~short & ~pair)
    for k in range(int(by_bits.max(initial=0) + 1) // 2):
        there = 2 * k < by_bits
        bits = np.where(there, product + (1 << 2 * k) - 1, 1)
        by = np.where(2 * k + 1 < by_bits, 2, 1)
        found = found + hq_mux_shift(bits, 1 << 2 * k, by, twos) * there
    return found
