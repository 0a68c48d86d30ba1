# SPDX-License-Identifier: Apache-2.0
"""``hq_mac``, style plain: products that the synthesizer maps, an adder tree, an accumulator.

Certain are the carry positions: one for each bit of every adder (``hq_add``), one more where a
sign enters as carry.  The product's logic (``hq_term``: decoders, multiplier, aligner) is mapped
by `costmodel.mapping`; the coefficients say how much better or worse Yosys does it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.pairs import plain_product

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .specs import SpecArrays

__all__ = ["exact", "terms"]

LEVELS: Final = 12

Array = NDArray[Any]


def exact(specs: SpecArrays) -> Counts:
    """Return the flip-flops: operand codes, accumulator and output, two valid bits."""
    codes = specs.lanes * (specs.weight.bits + specs.act.bits)
    return counts(ff=codes + 2 * specs.acc + 2)


@lru_cache(maxsize=8192)
def _tree(lanes: int) -> tuple[int, ...]:
    """Return the adders of a tree (``hq_sum``) by how many bits they are wider than a product."""
    if lanes == 1:
        return (0,) * (LEVELS + 1)
    low = 1 << (lanes - 1).bit_length() - 1
    found = [a + b for a, b in zip(_tree(low), _tree(lanes - low), strict=True)]
    found[(lanes - 1).bit_length()] += 1
    return tuple(found)


def _certain(specs: SpecArrays, raw: bool) -> tuple[Array, Array, Array, Array]:
    """Return what is certain, then mapped products, adders of the tree and their positions."""
    lanes, acc = specs.lanes, specs.acc
    width = specs.product_bits
    unique, place = np.unique(lanes, return_inverse=True)
    levels = np.array([_tree(int(n)) for n in unique])[place].T
    adders = levels.sum(axis=0)
    many = lanes > 1
    # A sum that wraps needs no bit above the accumulator's, in any adder.
    top = np.where(specs.saturate == 1, 1 << 30, acc)
    tree = sum(level * np.minimum(width + more, top) for more, level in enumerate(levels))
    sum_bits = width + np.ceil(np.log2(lanes)).astype(np.int64)
    adder = np.where(specs.saturate == 1, np.maximum(acc, sum_bits) + 1, acc)

    ones, twos = specs.per_pair(plain_product).reshape(2, 2, 2, -1)[:, :, int(raw)].swapaxes(0, 1)
    products = np.where(many, lanes // 2 * twos + lanes % 2 * ones, ones)
    if raw:
        # Where no sign is extended the upper sums are the accumulator's own bits, without a LUT.
        signed = (specs.weight.signed | specs.act.signed) == 1
        fixed = tree + np.where(signed | many, adder, np.minimum(adder, width))
    else:
        fixed = tree + adder + (specs.weight.flips | specs.act.flips) * (1 + adders)
    return fixed, products * (np.minimum(width, top) / width), adders, np.asarray(tree)


def terms(specs: SpecArrays, count: str) -> Terms:
    """Return the terms of style plain."""
    raw = count == "lut_raw"
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    width = specs.product_bits
    flips = weight.flips | act.flips
    twos = weight.twos + act.twos
    many = lanes > 1
    small = np.minimum(weight.sig_bits, act.sig_bits)
    large = np.maximum(weight.sig_bits, act.sig_bits)
    shifts = (weight.shift_max + act.shift_max) > 0
    fields = [operand.exp_bits * (operand.exp_bits > 1) for operand in (weight, act)]
    most, least = np.maximum(*fields), np.minimum(*fields)
    ones = (small == 1) & (large == 1)
    fixed, (products, cells), adders, tree = _certain(specs, raw)

    found = Terms(len(specs))
    found.fixed(fixed)
    found.add("control", 1, 3 if raw else 2, 1.0)
    found.add("product", products, 1.18 if raw else 1.0, 0.1)
    found.add("product by cells", cells - products, 0.3, 0.3)
    found.add("product shifted", products * shifts, 0, 2)
    found.add("product two's complement", products * (twos > 0), 0, 2)
    found.add("product both two's complement", products * (twos > 1), 0, 2)
    found.add("product of single bits", products * ones, 0, 2)
    found.add("product by a single bit", products * ((small == 1) & ~ones), 0, 2)
    found.add("product by two bits", products * (small == 2), 0, 2)
    found.add("product by four bits", products * (small == 4), 0, 2)
    found.add("product shifted, two's complement", products * shifts * (twos > 0), 0, 2)
    found.add("product of lanes", products * many, 0, 1)
    found.add("product shifted far", products * shifts * (most > 3), 0, 3)
    found.add("product shifted by a field of two", products * ((most == 2) & (least == 0)), 0, 3)
    found.add("partial products", lanes * small * large * (small > 1), 0, 2)
    found.add("partial products, signed", lanes * small * large * (twos > 0) * (small > 1), 0, 2)
    wide = np.maximum(most - 4, 0)
    found.add("product of single bits, shifted far", lanes * ones * width * wide, 0, 2)
    found.add("aligner", lanes * shifts * width, 0, 3)
    found.add(
        "aligner of signed products", lanes * (twos > 0) * flips * (small + large) * most, 0, 2
    )
    found.add("exponents", lanes * (most + least), 0, 3)
    _corrections(found, specs, raw, cells, tree)
    found.add("tree adders", adders, 0, 2)
    found.add("tree positions", tree, 0, 3)
    found.add("tree positions, signs apart", tree * flips, 0, 3)
    if raw:
        found.add("carries", flips * (1 + adders), 1, 0.5)
    found.add("clamp", specs.saturate, 2, 1)
    found.add("clamp bits", specs.saturate * acc, 1 if raw else 0.5, 0.3)
    found.add("clamp of products", specs.saturate * products, 0, 3)
    return found


def _corrections(found: Terms, specs: SpecArrays, raw: bool, cells: Array, tree: Array) -> None:
    """Add what the mapper does not foresee: terms that lowered the error of held-out formats."""
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    width = specs.product_bits
    flips = weight.flips | act.flips
    twos = np.maximum(weight.twos, act.twos)
    small = np.minimum(weight.sig_bits, act.sig_bits)
    sums = weight.sig_bits + act.sig_bits
    fields = [operand.exp_bits * (operand.exp_bits > 1) for operand in (weight, act)]
    most, least = np.maximum(*fields), np.minimum(*fields)
    moved = lanes * width * most
    if raw:
        found.add("aligner of long codes", moved * (weight.bits + act.bits >= 14), 0, 1.5)
        found.add("tree positions, two's complement", tree * twos, 0, 1.5)
        found.add("significands, four bits", lanes * sums * (small == 4), 0, 1.5)
        found.add("aligner by one exponent", moved * (least == 0), 0, 1.5)
        found.add("accumulator, three bits", acc * (small == 3), 0, 1.5)
        found.add("aligner, two's complement, far", moved * twos * (most > 3), 0, 1.5)
        found.add("product by cells, signs apart", cells * flips, 0, 1.5)
        return
    found.add("aligner by exponents, signs apart", moved * flips, 0, 1.5)
    found.add("single bits by exponents", lanes * sums * most * (sums == 2), 0, 1.5)
    found.add("product by cells, two bits", cells * (small == 2), 0, 1.5)
    found.add("accumulator of unshifted products", acc * (most == 0), 0, 1.5)
    short = weight.bits + act.bits <= 6
    found.add("exponents of short codes", lanes * (most + least) * short, 0, 1.5)
    found.add("exponents beside four bits", lanes * (most + least) * (small == 4), 0, 1.5)


register_inferred("plain", exact=exact)(terms)
