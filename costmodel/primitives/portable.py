# SPDX-License-Identifier: Apache-2.0
"""Formulas of the portable twins: what the style with cells costs, and what inference adds.

A portable block says the same function without cells, so a LUT in front of a carry position no
longer takes in what it could: an exclusive or, a table, a Booth digit.  How much is lost is fitted
for each style, on terms that say where.  The twins that price codebooks are mapped up to their
accumulator (`costmodel.mapping.twins`); what is fitted for them is the counter above it, and how
far Yosys' mapping is from ours.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.pairs import plain_product
from costmodel.mapping.twins import twin_product
from hw.styles import booth, decode, digit, dsp_acc, rom, shift, table, tree

from .accumulate import hq_updown
from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .registered import booth_registers, lane_registers, shift_registers, table_registers
from .specs import CODEBOOK, FORMULAS, INTEGER, SpecArrays
from .tree import product_width

__all__ = ["hq_dsp_add"]

TWINS = {
    style.PORTABLE.name: style.STYLE.name
    for style in (table, booth, shift, tree, digit, decode, rom)
}
ADDED = {
    booth.STYLE.name: booth_registers,
    shift.STYLE.name: shift_registers,
    tree.STYLE.name: lane_registers,
}
"""What registers are added to each lane, by style with cells; to others none."""


def _added(twin: str, specs: SpecArrays) -> NDArray[Any]:
    """Return the registers that synthesis adds."""
    function = ADDED.get(twin)
    return np.zeros(len(specs)) if function is None else specs.lanes * specs.per_pair(function)


def _twin(style: str, specs: SpecArrays) -> Counts:
    """Return what the style with cells costs."""
    return FORMULAS[style](specs)


def _product(specs: SpecArrays, count: str) -> NDArray[Any]:
    """Return the mapped logic of style plain's product, 0 for codebooks."""
    sites, raw, *_ = specs.per_pair(plain_product)
    return raw if count == "lut_raw" else sites


def _low_bits(specs: SpecArrays) -> NDArray[Any]:
    """Return the accumulator bits below the sign of a product: those with a carry position."""
    weight, act = specs.weight, specs.act
    # An integer without its least value is the same hardware.
    sizes = [
        np.where(
            (operand.twos == 1) & (operand.kind == INTEGER),
            2.0 ** (operand.bits - 1),
            np.maximum(operand.low, operand.high) * 2.0**operand.scale,
        )
        for operand in (weight, act)
    ]
    return np.minimum(np.frexp(sizes[0] * sizes[1])[1].astype(np.int64), specs.acc)


def _terms(twin: str, specs: SpecArrays, count: str) -> Terms:
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    raw = count == "lut_raw"
    low = _low_bits(specs)
    above = acc - low
    counter = getattr(hq_updown(above).packed(), count)
    product = np.maximum(np.asarray(getattr(_twin(twin, specs), count)) - low - counter - 1, 0)
    flips = weight.flips | act.flips
    twos = np.maximum(weight.twos, act.twos)
    small = np.minimum(weight.sig_bits, act.sig_bits)
    minis = (weight.kind != CODEBOOK) & (act.kind != CODEBOOK)
    found = Terms(len(specs))
    found.fixed(low)
    found.add("control", 1, 3, 0.5)
    found.add("counter", above, 2.2 if raw else 1.3, 0.3)
    # Without a sign the counter never goes down.
    upward = above * ((weight.signed | act.signed) == 0)
    found.add("counter, upward only", upward, -0.5, 0.5)
    found.add("counter, first bits", np.minimum(above, 3), 0, 1)
    found.add("product of the twin", product, 1.2 if raw else 1.1, 0.3)
    found.add("product bits", lanes * low, 0.3 if raw else 0.1, 0.5)
    found.add("product bits, signs apart", lanes * low * flips, 0, 1)
    found.add("product bits, two's complement", lanes * low * twos, 0, 1)
    found.add("mapped product", lanes * _product(specs, count), 0.0, 0.7)
    products = weight.sig_bits * act.sig_bits * ((small > 1) & minis)
    found.add("partial products", lanes * products, 0, 2)
    found.add("exponents", lanes * (weight.exp_bits + act.exp_bits), 0, 2)
    found.add("lanes", lanes - 1, 0, 2)
    both = weight.flips & act.flips
    shifts = [operand.exp_bits * (operand.exp_bits > 1) for operand in (weight, act)]
    found.add("significand, signs apart", lanes * small * flips * minis, 0, 2)
    found.add("partial products, both signs apart", lanes * products * both, 0, 2)
    found.add("exponents, counter", above * (np.minimum(*shifts) > 0), 0, 2)
    found.add("registers moved", _added(twin, specs), 1, 1)
    return found


BOOKS = (table.STYLE.name, digit.STYLE.name, decode.STYLE.name, rom.STYLE.name)
"""Styles with cells whose twins are mapped as their RTL says."""
ROWS = (digit.STYLE.name, decode.STYLE.name)
"""Those of them that add rows on carry chains."""


def _mapped_terms(twin: str, specs: SpecArrays, count: str) -> Terms:
    """Return the terms of a twin whose logic up to the accumulator is mapped."""
    weight, act, acc = specs.weight, specs.act, specs.acc
    raw = count == "lut_raw"
    sites, luts, places, cell_sites, cell_luts, _, low = specs.per_pair(partial(twin_product, twin))
    mapped, cells = (luts, cell_luts) if raw else (sites, cell_sites)
    above = acc - low
    flips = weight.flips | act.flips
    found = Terms(len(specs))
    found.fixed(mapped)
    found.add("control", 1, 0, 0.5)
    found.add("mapped", mapped - low, 0.2, 1)
    found.add("mapped by cells", cells - mapped, 0.2, 0.3)
    found.add("counter", above, 2.0 if raw else 1.3, 0.1)
    found.add("counter, upward only", above * ((weight.signed | act.signed) == 0), -0.3, 0.3)
    found.add("counter, first bits", np.minimum(above, 3), 1, 0.5)
    if twin in ROWS:
        found.add("positions of rows", places - low, 0, 0.5)
    else:
        mixed = flips & np.maximum(weight.twos, act.twos)
        found.add("low bits, sign beside two's complement", low * mixed, 0, 0.5)
        found.add("low bits, both signs apart", low * (weight.flips & act.flips), 0, 0.5)
    if twin in (decode.STYLE.name, rom.STYLE.name):
        # Low bits that are 0 in every product: their positions have room for other LUTs.
        idle = np.minimum(weight.scale + act.scale, low)
        found.add("low bits, idle", idle, 0, 0.5)
        found.add("counter beside idle bits", np.minimum(idle, above), 0, 0.5)
    return found


def _register(style: str, twin: str) -> None:
    def exact(specs: SpecArrays) -> Counts:
        return counts(ff=_twin(twin, specs).ff + _added(twin, specs))

    books = twin in BOOKS

    @register_inferred(style, exact=exact, books=books)
    def terms(specs: SpecArrays, count: str) -> Terms:
        return _mapped_terms(twin, specs, count) if books else _terms(twin, specs, count)


for _style, _twin_style in TWINS.items():
    _register(_style, _twin_style)


def hq_dsp_add(specs: SpecArrays) -> Counts:
    """Return the registers of ``dsp_acc`` without a slice: codes, products, accumulator."""
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    flips = weight.flips | act.flips
    held = lanes * np.minimum(product_width(specs), acc)
    codes = lanes * (weight.bits + act.bits)
    # A table of the first lane is registered itself.
    added = lanes * specs.per_pair(lane_registers) - specs.per_pair(table_registers)
    return counts(ff=codes + held + acc + 5 + lanes * flips + added)


@register_inferred(dsp_acc.PORTABLE.name, exact=hq_dsp_add)
def _dsp_acc(specs: SpecArrays, count: str) -> Terms:
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    whole = np.asarray(getattr(_twin(dsp_acc.STYLE.name, specs), count))
    width = np.minimum(specs.product_bits, acc)
    flips = weight.flips | act.flips
    twos = np.maximum(weight.twos, act.twos)
    small = np.minimum(weight.sig_bits, act.sig_bits)
    found = Terms(len(specs))
    found.fixed(acc)
    found.add("twin", whole, 1.1, 0.3)
    found.add("control", 1, 3, 0.5)
    found.add("product bits", lanes * width, 0.2, 0.5)
    found.add("product bits, signs apart", lanes * width * flips, 0, 1)
    found.add("product bits, two's complement", lanes * width * twos, 0, 1)
    found.add("mapped product", lanes * _product(specs, count), 0.0, 0.7)
    found.add("partial products", lanes * weight.sig_bits * act.sig_bits * (small > 1), 0, 2)
    found.add("accumulator", acc, 0, 1)
    found.add("accumulator, signs apart", acc * flips, 0, 1)
    large = np.maximum(weight.sig_bits, act.sig_bits)
    shifts = [operand.exp_bits * (operand.exp_bits > 1) for operand in (weight, act)]
    found.add("significand, signs apart", lanes * large * flips, 0, 2)
    found.add("partial products, signs apart", lanes * small * large * flips, 0, 2)
    found.add("second exponent", lanes * np.minimum(*shifts), 0, 2)
    found.add("lanes", lanes - 1, 0, 2)
    return found
