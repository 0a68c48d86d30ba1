# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``shift_portable``: what the style with cells costs, and what inference adds.

A LUT in front of a carry position no longer takes in what it could: an exclusive or, a shifter's
stage.  How much is lost is fitted, on terms that say where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.pairs import plain_product
from hw.styles import shift as style

from .accumulate import hq_updown
from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .registered import shift_registers
from .shift import hq_shift_mac
from .specs import CODEBOOK, INTEGER, SpecArrays

__all__: list[str] = []


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


def _moved(specs: SpecArrays) -> NDArray[Any]:
    """Return the registers that synthesis adds."""
    return specs.lanes * specs.per_pair(shift_registers)


def _exact(specs: SpecArrays) -> Counts:
    return counts(ff=hq_shift_mac(specs).ff + _moved(specs))


@register_inferred(style.PORTABLE.name, exact=_exact)
def _terms(specs: SpecArrays, count: str) -> Terms:
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    raw = count == "lut_raw"
    low = _low_bits(specs)
    above = acc - low
    counter = getattr(hq_updown(above).packed(), count)
    product = np.maximum(np.asarray(getattr(hq_shift_mac(specs), count)) - low - counter - 1, 0)
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
    found.add("registers moved", _moved(specs), 1, 1)
    return found
