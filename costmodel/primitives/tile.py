# SPDX-License-Identifier: Apache-2.0
"""Formula of DSP tiles (``hq_dsp_tile``): flip-flops, LUTRAM and DSPs exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw.style import Constant
from hw.tile import TileSpec, tile_layout, tile_parameters

from .accumulate import hq_sign, hq_tally
from .counts import Counts
from .packing import Block, block, matched
from .product import each
from .shifter import EVERY, hidden_bit, hq_mux_shift

__all__ = ["hq_dsp_tile", "tile_arrays"]

Arrays = Mapping[str, NDArray[np.int64]]
SHIFT_REGISTER: Final = 3  # stages from which on synthesis takes a shift register in a LUT


def tile_arrays(specs: Sequence[TileSpec]) -> dict[str, NDArray[np.int64]]:
    """Return the parameters of ``hq_dsp_tile`` of many tiles, one array each."""
    rows = []
    for spec in specs:
        layout, values = tile_layout(spec), tile_parameters(spec)
        row = {name: _number(value) for name, value in values.items()}
        twos = [fmt.signed and not fmt.sign_magnitude for fmt in (spec.weight, spec.act)]
        wide = 0 if layout.weights_wide else 1
        many, few = (layout.weights, layout.acts)[:: -1 if wide else 1]
        row |= {"WeightTwos": int(twos[0]), "ActTwos": int(twos[1])}
        row |= {"PreSub": int(twos[wide] and many > 1), "Few": few}
        row |= {"FewTwos": int(twos[1 - wide])}
        row |= {"FewSig": row["WeightBits"] if wide else row["ActBits"]}
        rows.append(row)
    return {name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}


def _number(value: Any) -> int:
    return int(value.value != 0) if isinstance(value, Constant) else int(value)


@lru_cache(maxsize=64)
def _less_one(bits: int) -> tuple[int, ...]:
    """Return the LUTs that take one from a number where what is below it is negative."""
    luts = [frozenset(["borrow", *range(k + 1)]) for k in range(bits)]
    return matched([*luts, frozenset(["borrow", *range(bits)])])


def _registers(a: Arrays) -> Block:
    """Codes, control, what goes around the slice: exact."""
    stages, wait = 1 + a["PreSub"], a["Decode"]
    whole = stages + 1 + wait
    inside = a["InDsp"]
    codes = a["Weights"] * a["WeightBits"] + a["Acts"] * a["ActBits"]
    around: Any = 0
    signs: Any = 0  # a code register that feeds a shift register only is its first stage
    for count, side in (("Weights", "Weight"), ("Acts", "Act")):
        exponent = np.where(a[f"{side}ExpBits"] > 1, a[f"{side}ExpBits"], 0)
        sign = a[f"{side}Float"] & a[f"{side}Signed"]
        around = around + a[count] * (exponent + sign)
        signs = signs + a[count] * sign
    around = around * (a["WeightFloat"] | a["ActFloat"]) * (1 - inside)
    control = np.where(inside, 2 * whole + 1, 2 * whole)
    deep = stages + 2 >= SHIFT_REGISTER
    flat = np.where(deep, 0, around * (stages + 2))
    return block(lutram=around * deep, ff=(codes - deep * signs) * a["Decode"] + control + flat)


def _shifter(a: Arrays) -> Block:
    """The shifters of all fields (`hq_tree_shift`), whose exponents fields share."""
    w, x = (np.where(a[name] > 1, a[name], 0) for name in ("WeightExpBits", "ActExpBits"))
    pair, most = (w > 0) & (x > 0), np.maximum(w, x)
    fields = a["Weights"] * a["Acts"]
    twos = a["WeightTwos"] | a["ActTwos"]
    out = a["ProductBits"]
    short, wide = most == 2, most > 2
    last = block(sites=out // 2, raw=out, three=out % 2)
    first = hq_mux_shift(a["SigBits"], 1, np.where(pair, 2, 1), twos)
    found = (block(sites=1, raw=1) * pair + first + last) * (short * fields)

    summed, drop = most + pair, 1 + pair
    found = found + block(sites=summed, raw=np.minimum(w, x)) * (wide & pair) * fields
    lowest = hidden_bit(np.maximum(w, 1), (w > 0) * a["Weights"])
    lowest = lowest + hidden_bit(np.maximum(x, 1), ((x > 0) & ~pair) * a["Acts"])
    found = found + lowest * wide
    for k in range(int(summed.max(initial=0) + 1) // 2):
        there = wide & (2 * k < summed)
        bits = np.where(there, a["SigBits"] + (1 << 2 * k) - 1, 1)
        by = np.where(2 * k + 1 < summed, 2, 1)
        final = 2 * k + 2 >= summed
        low, high = np.where(final, drop, 0), np.where(final, drop + out, EVERY)
        found = found + hq_mux_shift(bits, 1 << 2 * k, by, twos, low, high) * (there * fields)
    return found


def hq_dsp_tile(specs: Sequence[TileSpec]) -> Counts:
    """Tiles of one DSP slice: decoders and borrows in front, an accumulator behind each field.

    A number packed above another of two's complement is made one less where that is negative: a
    LUT for each of its bits and one more.  Minifloats have hidden bits in front of the slice,
    their exponents and signs go around it in shift registers.  Of six tiles sites are at most
    3.5 % off, LUT cells 0.9 %.
    """
    a = tile_arrays(specs)
    inside, fields = a["InDsp"], a["Weights"] * a["Acts"]
    twos = a["WeightTwos"] | a["ActTwos"]
    flips = [a[f"{side}Float"] & a[f"{side}Signed"] for side in ("Weight", "Act")]
    signs = flips[0] | flips[1]
    low = a["ProductBits"] - (twos & ~signs & 1)
    width = np.where(inside, a["AccBits"], a["SigBits"])
    tight = twos * (width == a["Stride"]) * (fields - 1)

    hidden = block()
    for count, side in (("Weights", "Weight"), ("Acts", "Act")):
        exponent = a[f"{side}ExpBits"]
        hidden = hidden + hidden_bit(np.maximum(exponent, 1), (exponent > 1) * a[count])
    borrow = each(_less_one, a["FewSig"]) * (a["FewTwos"] * np.maximum(a["Few"] - 1, 0))
    # Restart and its inverse as operation mode, the enables of sum and first beat.
    control = block(sites=2, raw=4) * inside
    accumulators = hq_tally(np.maximum(low, 1), np.maximum(a["AccBits"], low)) * fields
    shared = block(ff=2 - 2 * fields)  # all of them have the same valid bits, kept once
    own = accumulators + shared + _shifter(a) + hq_sign(flips[0] & flips[1], twos & signs) * fields
    inverters = block(raw=tight, one=tight)
    kernel = _registers(a) + block(dsp=1) + hidden + borrow + control + inverters
    return (kernel + own * (1 - inside)).packed()
