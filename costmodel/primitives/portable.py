# SPDX-License-Identifier: Apache-2.0
"""Formulas of the portable twins: what the style with cells costs, and what inference adds.

A portable block says the same function without cells, so a LUT in front of a carry position no
longer takes in what it could: an exclusive or, a table, a Booth digit.  How much is lost is fitted
for each style, on terms that say where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.pairs import plain_product
from hw.styles import booth, decode, digit, dsp_acc, rom, shift, table, tree

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .specs import FORMULAS, SpecArrays
from .tree import product_width

__all__ = ["hq_dsp_add"]

TWINS = {
    style.PORTABLE.name: style.STYLE.name
    for style in (table, booth, shift, tree, digit, decode, rom)
}


def _twin(style: str, specs: SpecArrays) -> Counts:
    """Return what the style with cells costs."""
    return FORMULAS[style](specs)


def _product(specs: SpecArrays, count: str) -> NDArray[Any]:
    """Return the mapped logic of style plain's product, 0 for codebooks."""
    sites, raw, _, _ = specs.per_pair(plain_product)
    return raw if count == "lut_raw" else sites


def _terms(twin: str, specs: SpecArrays, count: str) -> Terms:
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    whole = np.asarray(getattr(_twin(twin, specs), count))
    width = np.minimum(specs.product_bits, acc)
    flips = weight.flips | act.flips
    twos = np.maximum(weight.twos, act.twos)
    small = np.minimum(weight.sig_bits, act.sig_bits)
    raw = count == "lut_raw"
    found = Terms(len(specs))
    found.fixed(acc)
    found.add("twin beyond the accumulator", whole - acc, 1.1, 0.3)
    found.add("control", 1, 3, 0.5)
    found.add("accumulator", acc, 0.1 if raw else 0.0, 1)
    found.add("product bits", lanes * width, 0.5 if raw else 0.2, 0.5)
    found.add("product bits, signs apart", lanes * width * flips, 0, 1)
    found.add("product bits, two's complement", lanes * width * twos, 0, 1)
    found.add("mapped product", lanes * _product(specs, count), 0.0, 0.7)
    found.add("partial products", lanes * weight.sig_bits * act.sig_bits * (small > 1), 0, 2)
    found.add("exponents", lanes * (weight.exp_bits + act.exp_bits), 0, 2)
    found.add("lanes", lanes - 1, 0, 2)
    found.add("bits above the product", np.maximum(acc - width, 0), 0, 1)
    return found


def _register(style: str, twin: str) -> None:
    def exact(specs: SpecArrays) -> Counts:
        return counts(ff=_twin(twin, specs).ff)

    books = twin in (table.STYLE.name, digit.STYLE.name, decode.STYLE.name, rom.STYLE.name)

    @register_inferred(style, exact=exact, books=books)
    def terms(specs: SpecArrays, count: str) -> Terms:
        return _terms(twin, specs, count)


for _style, _twin_style in TWINS.items():
    _register(_style, _twin_style)


def hq_dsp_add(specs: SpecArrays) -> Counts:
    """Return the registers of ``dsp_acc`` without a slice: codes, products, accumulator."""
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    flips = weight.flips | act.flips
    held = lanes * np.minimum(product_width(specs), acc)
    codes = lanes * (weight.bits + act.bits)
    return counts(ff=codes + held + acc + 5 + flips)


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
    found.add("lanes", lanes - 1, 0, 2)
    return found
