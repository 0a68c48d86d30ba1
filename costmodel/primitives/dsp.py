# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``dsp``: one lane in one DSP slice, minifloats decoded in front of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw.styles import dsp as style
from hw.styles.plain import significand_bits
from hw.styles.table import magnitudes
from hwquant.formats import Format, Minifloat

from .counts import Counts
from .packing import Block, block, matched
from .specs import SpecArrays, register_formula

__all__ = ["control_registers", "hq_dsp_mac", "hq_dsp_operand"]

LUT_INPUTS: Final = 6
MUX_INPUTS: Final = 7
STAGED_PAIRS: Final = 4


@lru_cache(maxsize=4096)
def _operand(fmt: Format) -> tuple[int, ...]:
    """Return the LUTs of one decoder: what `matched` returns."""
    if not isinstance(fmt, Minifloat) or fmt.exponent_bits < 2:
        return (0,) * 6
    values = np.array(magnitudes(fmt), object)
    inputs = len(values).bit_length() - 1
    table = values.reshape((2,) * inputs)
    luts, large = [], 0
    for place in range(int(max(values)).bit_length()):
        bit = (table >> place & 1).astype(np.int64)
        needed = frozenset(k for k in range(inputs) if (np.diff(bit, axis=k) != 0).any())
        if len(needed) > LUT_INPUTS:
            large += 1 << len(needed) - LUT_INPUTS
        elif len(needed) > 1:
            luts.append(needed)
    sites, raw, *loose = matched(luts)
    # Two stages of a shifter: the significand by two bits of the exponent, then each bit of the
    # value; with two LUTs for zero and the least exponent.
    staged = int(max(values)).bit_length() + significand_bits(fmt) + 3 + 2
    if inputs > MUX_INPUTS and staged < raw + large:
        return (staged - STAGED_PAIRS, staged, 0, 0, 0, 0)
    return (sites + large, raw + large, *loose)


def hq_dsp_operand(specs: SpecArrays) -> Block:
    """Both decoders: a LUT for each bit of a value, exact to six magnitude bits.

    A bit that needs seven is two LUTs and a multiplexer (MUXF7); with eight magnitude bits a
    shifter of two stages is smaller.
    """
    whole = block()
    for index in range(2):
        found = specs.per_pair(lambda *pair, index=index: _operand(pair[index]))
        sites, raw, one, two, three, four = found
        whole = whole + block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)
    return whole


@register_formula(style.STYLE.name)
def hq_dsp_mac(specs: SpecArrays) -> Counts:
    """The decoders, the exclusive or of two signs, and two gates of control."""
    signs = specs.weight.flips & specs.act.flips
    control = block(raw=2, two=2, ff=control_registers(specs), dsp=1)
    return (hq_dsp_operand(specs) + block(raw=1, two=1) * signs + control).packed()


def control_registers(specs: SpecArrays) -> NDArray[Any]:
    """Return the registers beside the slice: valid bits, restart, sign, and codes to decode."""
    weight, act = specs.weight, specs.act
    decodes = (np.maximum(weight.exp_bits, act.exp_bits) > 1).astype(np.int64)
    codes = decodes * (weight.bits + act.bits)
    return codes + 3 + decodes + 1 + decodes + (weight.flips | act.flips)
