# SPDX-License-Identifier: Apache-2.0
"""Formulas of the portable twins with a counting accumulator, but for shifters.

Their logic up to the accumulator is mapped as their RTL says (`costmodel.mapping.twins`); what is
fitted is the counter above it, and how far Yosys' mapping is from ours.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.twins import twin_product
from hw.styles import booth, decode, digit, rom, table

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .registered import booth_registers
from .specs import FORMULAS, SpecArrays

__all__: list[str] = []

ROWS = (booth.STYLE.name, digit.STYLE.name, decode.STYLE.name)
"""Styles with cells that add rows on carry chains."""


def _terms(twin: str, specs: SpecArrays, count: str) -> Terms:
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
    if twin == booth.STYLE.name:
        found.add("registers moved", _moved(twin, specs), 0.5, 1)
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


def _moved(twin: str, specs: SpecArrays) -> NDArray[Any]:
    """Return the registers that synthesis adds."""
    if twin != booth.STYLE.name:
        return np.zeros(len(specs))
    return specs.lanes * specs.per_pair(booth_registers)


def _register(style: str, twin: str) -> None:
    def exact(specs: SpecArrays) -> Counts:
        return counts(ff=FORMULAS[twin](specs).ff + _moved(twin, specs))

    @register_inferred(style, exact=exact, books=twin != booth.STYLE.name)
    def terms(specs: SpecArrays, count: str) -> Terms:
        return _terms(twin, specs, count)


for _style in (table, booth, digit, decode, rom):
    _register(_style.PORTABLE.name, _style.STYLE.name)
