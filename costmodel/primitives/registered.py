# SPDX-License-Identifier: Apache-2.0
"""Registers that synthesis adds to the portable twins: a table behind registers becomes a memory.

A portable table is a constant indexed by a word.  Where the index ends in constant zeros, Yosys
makes a read-only memory of it (``peepopt``, ``memory_bmux2rom``), and where all other bits of the
index come from registers, it moves these behind the table (``memory_dff``): one flip-flop more.
That happens to two kinds of tables: those of a first Booth row above the end of an unsigned
multiplicand, and those of a product table that do not read the lowest bit of the activation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from hw.styles import shift, tree
from hw.styles.booth import STYLE as BOOTH
from hw.styles.plain import significand_bits
from hw.styles.table import magnitudes
from hwquant.formats import Codebook, Format, Minifloat
from hwquant.mac import MacSpec

from .product import TABLE_INPUTS

__all__ = ["booth_registers", "lane_registers", "shift_registers", "table_registers"]

DIGIT_BITS: Final = 2


def _hidden(fmt: Format) -> bool:
    """Return whether the top bit of the significand is made by a gate."""
    return isinstance(fmt, Minifloat) and fmt.exponent_bits > 1


def _row(recoded: Format, value: Format) -> int:
    """Return the registers in the first Booth row of ``hq_booth``.

    The row ends in a bit of the multiplicand's top two bits, where the digit is one bit wide, and
    in one of its top bit; both only if these bits, and the digit's, are registers.
    """
    a, b = significand_bits(recoded), significand_bits(value)
    if value.signed and not value.sign_magnitude:
        return 0
    signed = recoded.signed and not recoded.sign_magnitude
    first = 2 if (a % 2 == 0) == signed else 1
    top = first + 1  # bit of the first digit
    if _hidden(value) or a <= top or (_hidden(recoded) and a - 1 == top):
        return 0
    last = a - first <= DIGIT_BITS
    width = a + b - first if last else b + 2
    return sum(place < width for place in ((b - 1, b) if first == 1 else (b,)))


@lru_cache(maxsize=65536)
def booth_registers(weight: Format, act: Format) -> int:
    """Return the registers that are added to ``hq_booth_mac`` without cells."""
    swap = int(str(BOOTH.parameters(MacSpec(weight, act))["RecodeAct"]))
    return _row(act, weight) if swap else _row(weight, act)


@lru_cache(maxsize=65536)
def table_registers(weight: Format, act: Format) -> int:
    """Return how many tables of a lane's product (``hq_tree_table``) get a register."""
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return 0
    rows, columns = magnitudes(weight), magnitudes(act)
    inputs = (len(rows) * len(columns)).bit_length() - 1
    if inputs > TABLE_INPUTS:
        return 0
    bits = int(str(tree.STYLE.parameters(MacSpec(weight, act))["ProductBits"]))
    products = np.multiply.outer(np.array(rows), np.array(columns)).reshape((2,) * inputs)
    made = set()
    for place in range(bits):
        bit = products >> place & 1
        needed = [k for k in range(inputs) if (np.diff(bit, axis=k) != 0).any()]
        if len(needed) > 1 and inputs - 1 not in needed:
            made.add(bit.tobytes())
    return len(made)


@lru_cache(maxsize=65536)
def lane_registers(weight: Format, act: Format) -> int:
    """Return the registers that are added to a lane of ``hq_tree_lane`` without cells."""
    if isinstance(weight, Codebook) or isinstance(act, Codebook):
        return 0
    swap = int(str(tree.STYLE.parameters(MacSpec(weight, act))["RecodeAct"]))
    product = _product(act, weight) if swap else _product(weight, act)
    return table_registers(weight, act) + product


@lru_cache(maxsize=65536)
def shift_registers(weight: Format, act: Format) -> int:
    """Return the registers that are added to ``hq_shift_mac`` without cells."""
    swap = int(str(shift.STYLE.parameters(MacSpec(weight, act))["RecodeAct"]))
    return _product(act, weight) if swap else _product(weight, act)


def _product(recoded: Format, value: Format) -> int:
    """Return the registers that are added to ``hq_sig_product``: to its Booth rows, if any."""
    a, b = significand_bits(recoded), significand_bits(value)
    twos = [fmt.signed and not fmt.sign_magnitude for fmt in (recoded, value)]
    if a + b <= TABLE_INPUTS or 1 in (a, b) or (a == 2 and not twos[0]) or (b == 2 and not twos[1]):
        return 0
    return _row(recoded, value)
