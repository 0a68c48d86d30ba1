# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``tree``: LUT cells and flip-flops exact, LUT sites within 4 %."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.styles import tree as style
from hw.styles.table import magnitudes
from hwquant.formats import Format
from hwquant.mac import MacSpec

from .accumulate import hq_chain, hq_delay, hq_sign, hq_updown
from .counts import Counts
from .packing import Block, block, matched
from .product import TABLE_INPUTS, gathered, hq_sig_product
from .shift import shifting, significand
from .shifter import hidden_bit, hq_tree_shift
from .specs import SpecArrays, register_formula

__all__ = ["hq_fold", "hq_tree_acc", "hq_tree_lane", "hq_tree_mac", "hq_tree_sum", "hq_tree_table"]
__all__ += ["Shape", "product_width", "shape"]

Array = NDArray[Any]


@lru_cache(maxsize=65536)
def _choices(weight: Format, act: Format) -> tuple[int, int]:
    """Return which operand is recoded, and the product's width."""
    found = style.STYLE.parameters(MacSpec(weight, act))
    return int(str(found["RecodeAct"])), int(str(found["ProductBits"]))


def product_width(specs: SpecArrays) -> Array:
    """Return the width of a lane's product below its sign."""
    return specs.per_pair(_choices)[1]


@lru_cache(maxsize=65536)
def _table(weight: Format, act: Format) -> tuple[int, ...]:
    """Return the LUTs of ``hq_tree_table``, each with the code bits that its function needs."""
    rows, columns = magnitudes(weight), magnitudes(act)
    bits = _choices(weight, act)[1]
    inputs = (len(rows) * len(columns)).bit_length() - 1
    if inputs > TABLE_INPUTS:
        return (0,) * 6
    products = np.multiply.outer(np.array(rows), np.array(columns)).reshape((2,) * inputs)
    luts = []
    for place in range(bits):
        bit = products >> place & 1
        needed = [k for k in range(inputs) if (np.diff(bit, axis=k) != 0).any()]
        luts.append(frozenset(needed))
    return matched(luts)


def hq_tree_table(specs: SpecArrays) -> Block:
    """A lane's product of at most six magnitude bits: a table for each bit; exact.

    A table reads only the bits it depends on, so low bits and those of a common factor share
    sites.
    """
    sites, raw, one, two, three, four = specs.per_pair(_table)
    return block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)


def hq_tree_lane(specs: SpecArrays) -> Block:
    """The product of one lane, its sign apart; exact to five exponent bits."""
    weight, act = specs.weight, specs.act
    w, a = shifting(weight), shifting(act)
    small = weight.bits - weight.flips + act.bits - act.flips <= TABLE_INPUTS
    sigs = significand(weight), significand(act)
    recoded, product = specs.per_pair(_choices)
    swap = recoded != 0
    twos = weight.twos | act.twos
    multiply = hq_sig_product(
        np.where(swap, sigs[1], sigs[0]),
        np.where(swap, sigs[0], sigs[1]),
        np.where(swap, act.twos, weight.twos),
        np.where(swap, weight.twos, act.twos),
        np.maximum(np.where(sigs[0] == 1, w, 1), np.where(sigs[1] == 1, a, 1)),
    )
    bits = sigs[0] + sigs[1] - ((sigs[0] == 1) | (sigs[1] == 1))
    short = np.maximum(w, a) == 2
    hidden = hidden_bit(np.maximum(w, 1), short & (w > 0))
    hidden = hidden + hidden_bit(np.maximum(a, 1), short & (a > 0))
    shifted = hidden + hq_tree_shift(bits, twos, w, a, product)
    signs = hq_sign(weight.flips & act.flips, 0)
    return signs + hq_tree_table(specs) * small + (multiply + shifted) * ~small


def hq_fold(width: ArrayLike) -> Block:
    """Two products and their signs in one adder: a carry position for each bit; exact."""
    return hq_chain(width)


@lru_cache(maxsize=65536)
def _sum(count: int, width: int, carry: int, keep: int) -> tuple[int, int, int]:
    """Return sites, LUTs and flip-flops of ``hq_tree_sum``; ``keep`` low bits are used."""
    if count <= 1:
        return 0, 0, 0
    third = (count + 2) // 3
    a = third + (third % 2 == 0)
    half = (count - a) // 2
    b = half + (half % 2 == 0)
    parts = (a, b, count - a - b)
    used = min(width + _log2(count), keep)
    top = width + _log2(a)
    sites, raw, ff = min(used, top + 1), min(used, top), used + carry
    for part in parts:
        more = _sum(part, width, carry, used)
        waits = _levels(a) - _levels(part)
        sites, raw, ff = sites + more[0], raw + more[1], ff + more[2]
        ff += waits * (min(width + _log2(part), used) + carry)
    return sites, raw, ff


def _log2(count: int) -> int:
    return (count - 1).bit_length()


def _levels(count: int) -> int:
    found = 0
    while 3**found < count:
        found += 1
    return found


def hq_tree_sum(count: ArrayLike, width: ArrayLike, carry: ArrayLike, keep: ArrayLike) -> Block:
    """Registered ternary adders: a site for each position, one position more for two carries.

    Registered sums leave the second output of a site free (`hw.sites`, rule 6).  Delays of the
    shorter branches are flip-flops; ``carry`` says that each operand has a bit to be added, and
    only the low ``keep`` bits of the sum are used.  Exact.
    """
    sites, raw, ff = gathered(_sum, count, width, carry, keep)
    return block(sites=sites, raw=raw, ff=ff)


def hq_tree_acc(
    levels: ArrayLike, sum_bits: ArrayLike, signed: ArrayLike, acc_bits: ArrayLike
) -> Block:
    """The accumulator behind the tree: a ternary chain, `hq_updown` above, one control site.

    A signed sum counts down where the chain's top bit is 0: an inverter.  Exact.
    """
    depth, acc = np.asarray(levels), np.asarray(acc_bits)
    chain = np.minimum(acc, np.asarray(sum_bits) + 1)
    high = acc - chain
    invert = np.asarray(signed) * (high > 0)
    control = block(sites=1, raw=1, ff=2 * acc + 2 * depth + 4)
    return hq_chain(chain) + hq_updown(high) + block(raw=invert, one=invert) + control


@dataclass(frozen=True, slots=True)
class Shape:
    """What is added: ``operands`` of ``width`` bits a beat, an odd ``count`` of them in a tree.

    Its sum has ``bits`` after ``levels`` of adders; ``fold`` bits are added in a pair of lanes.
    """

    fold: Array
    width: Array
    operands: Array
    count: Array
    bits: Array
    levels: Array


def shape(specs: SpecArrays) -> Shape:
    """Return the shape of the adders of ``specs``."""
    flip, twos = specs.weight.flips | specs.act.flips, specs.weight.twos | specs.act.twos
    product = product_width(specs)
    fold = product + 1 - twos
    width = np.where(flip, fold + 1, product).astype(np.int64)
    operands = np.where(flip, (specs.lanes + 1) // 2, specs.lanes)
    count = operands - (operands + 1) % 2
    return Shape(fold, width, operands, count, width + _each_log2(count), _each_levels(count))


@register_formula(style.STYLE.name)
def hq_tree_mac(specs: SpecArrays) -> Counts:
    """Any number of lanes: products, pairs folded, ternary tree, accumulator.

    Of 26 kernels of 1 to 13 lanes the LUT cells are exact, sites 0.4 % off on average and 3.0 % at
    worst.  Flip-flops need not grow with the lanes: a fuller tree has fewer bits that wait.
    """
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    flip, twos = weight.flips | act.flips, weight.twos | act.twos
    tree = shape(specs)
    operands, levels = tree.operands, tree.levels
    spare = operands - tree.count
    keep = np.minimum(acc, tree.bits + 1)

    kept = np.minimum(tree.width, keep)
    odd = flip * (lanes % 2)  # no partner: a bit to be added that is always 0
    registers = lanes * (weight.bits + act.bits) + operands * (kept + flip) - odd * (1 + levels)
    kernel = (
        block(ff=registers)
        + hq_tree_lane(specs) * lanes
        + hq_fold(np.minimum(tree.fold, keep)) * (flip * operands)
        + hq_tree_sum(tree.count, tree.width, flip, keep)
        + hq_delay(levels, spare * (kept + flip))
        + hq_tree_acc(levels, tree.bits, flip | twos, acc)
    )
    return kernel.packed()


def _each_log2(count: Array) -> Array:
    return np.frexp(np.maximum(count - 1, 0).astype(np.float64))[1].astype(np.int64)


def _each_levels(count: Array) -> Array:
    found = np.zeros_like(count)
    for power in range(8):
        found += count > 3**power
    return found
