# SPDX-License-Identifier: Apache-2.0
"""Formulas of constant kernels, from the netlist that `hw.constant.design` plans.

The planner's own figure, `Design.sites`, is for its decisions; this one follows every block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hw.constant.design import Adder, Bit, Chain, Decode, Design, Table

from .accumulate import hq_delay
from .book import functions
from .counts import Counts
from .packing import Block, block

__all__ = ["constant_kernels", "hq_const_add", "hq_const_decode", "hq_const_row", "hq_const_table"]


def hq_const_row(width: int, extend: bool, used: int) -> Block:
    """A registered ternary adder: a site for each position, a flip-flop for each ``used`` bit."""
    positions = min(width + extend, max(used, 1))
    return block(sites=positions, raw=min(width, positions), ff=used)


def hq_const_add(width: int, out_bits: int) -> Block:
    """An adder without a chain: one LUT6_2 and one LUT of three inputs for two positions."""
    pairs, lower = out_bits // 2, (width + 1) // 2
    odd = width % 2 == 1 and out_bits > width  # the last LUT6_2 is a majority alone
    return block(sites=pairs - odd, raw=pairs + lower, three=lower - 1 + odd, two=1)


def hq_const_table(table: Table, width: int) -> Block:
    """A table: LUTs of at most six inputs, those of five or fewer two to a site."""
    sites, raw, one, two, three, four = functions(table.words, width, len(table.inputs))
    return block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)


def hq_const_decode(width: int) -> Block:
    """A minifloat of more than six bits as an integer: adder positions and a shifter; fitted.

    A carry position for each bit, behind a LUT of two bits of the shifter and the sign; the rest of
    the shifter in about as many LUTs, of which some share sites (one kernel of e4m3).
    """
    return block(sites=1.76 * width, raw=1.9 * width)


def _last(design: Design) -> dict[tuple[int, int], int]:
    """Return the last stage at which each bit (signal, index) is read."""
    found: dict[tuple[int, int], int] = {}

    def use(bits: Iterable[Bit | None], stage: int) -> None:
        for bit in bits:
            if bit is not None and bit.signal >= 0:
                key = bit.signal, bit.index
                found[key] = max(found.get(key, 0), stage)

    for item in design.items:
        if isinstance(item, Chain):
            use([*item.row.low, *(bit for bits in item.row.bits for bit in bits)], item.row.stage)
        elif isinstance(item, Adder):
            use([*item.first, *item.second], design.signals[item.out].stage)
        elif isinstance(item, Table):
            use(item.inputs, 0)
        else:
            use([Bit(item.index, at) for at in range(design.spec.act.bits)], 0)
    for output in design.outputs:
        use(output, design.latency)
    return found


def _kernel(design: Design) -> Block:
    last = _last(design)
    found = hq_delay(design.latency, 1)  # valid
    waits = sum(max(stage - design.signals[signal].stage, 0) for (signal, _), stage in last.items())
    found = found + hq_delay(1, waits)
    for item in design.items:
        width = design.signals[item.out].width
        if isinstance(item, Chain):
            used = [index for index in range(width) if (item.out, index) in last]
            row = hq_const_row(item.row.width, item.row.extend, max(used, default=-1) + 1)
            found = found + row + block(ff=len(used) - (max(used, default=-1) + 1))
        elif isinstance(item, Adder):
            found = found + hq_const_add(len(item.first), width)
        elif isinstance(item, Table):
            found = found + hq_const_table(item, width)
        elif isinstance(item, Decode):
            found = found + hq_const_decode(width)
    inverted = {
        (bit.signal, bit.index)
        for output in design.outputs
        for bit in output
        if bit is not None and bit.signal >= 0 and bit.inverted
    }
    return found + block(raw=len(inverted), one=len(inverted))


def constant_kernels(designs: Sequence[Design]) -> Counts:
    """Return the counts of constant kernels, one for each design.

    Of six kernels sites are at most 4.9 % off and LUT cells 5.1 % (tables that synthesis shares),
    three are exact; flip-flops always.
    """
    blocks = [_kernel(design).packed() for design in designs]
    names = ("lut_sites", "lut_raw", "lutram", "ff", "dsp")
    return Counts(*(np.array([float(getattr(b, name)) for b in blocks]) for name in names))
