# SPDX-License-Identifier: Apache-2.0
"""Formulas of block-scaled kernels: what stands behind the integer kernel of a block.

Flip-flops and shift registers are exact; the barrel shifter, which is most of it, is priced by the
bits that its stages choose, with a coefficient fitted over ``data/blocks.csv`` (six kernels of
style ``tree``; each of them held out is at most 3.2 % off).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.block_kernel import accumulate_parameters, block_style
from hwquant.block import ScaleFormat
from hwquant.block_mac import BlockMacSpec

from .counts import Counts, counts
from .packing import Block, block
from .specs import FORMULAS, SpecArrays

__all__ = ["FITTED", "block_kernels", "hq_block_acc", "hq_block_scale", "hq_block_seq"]

Array = NDArray[Any]
Arrays = Mapping[str, Array]

SHIFT_REGISTER: Final = 3  # stages from which on synthesis takes a shift register in a LUT
SPLIT_SITES: Final = 0.5  # sites for a LUT where about half of them find a partner

FITTED: Final[dict[str, tuple[float, float]]] = {
    "barrel": (0.54, 0.4),
    "product": (2.25, 1.43),
    "sticky": (0.55, 0.07),
    "scale": (0.0, 0.09),
    "clamp": (1.15, 0.75),
}
"""Part -> LUT cells and LUT sites for each bit of it."""


def _fitted(name: str, amount: ArrayLike) -> Block:
    raw, sites = FITTED[name]
    size = np.asarray(amount, np.float64)
    return block(raw=raw * size, sites=sites * size)


def hq_block_scale(e4m3: ArrayLike) -> Block:
    """The product of two scales: for E8M0 an adder of nine positions, exact; for E4M3 fitted.

    An E4M3 product is one of two significands of four bits, and an adder of exponents.
    """
    own = np.asarray(e4m3) != 0
    return block(sites=9, raw=8) * ~own + _fitted("scale", own)


def hq_block_seq(latency: ArrayLike, e4m3: ArrayLike) -> Block:
    """Follows the blocks and carries their scales beside the kernel of a block.

    Five gates.  Without a reset, what waits three cycles or more is in shift registers: exponent
    (nine bits or five) and significand (eight, of E4M3 only).
    """
    waits, own = np.asarray(latency), np.asarray(e4m3) != 0
    scale = np.where(own, 5 + 8, 9)
    deep = waits >= SHIFT_REGISTER
    lines = block(lutram=scale * deep, ff=scale * waits * ~deep)
    first = block(lutram=1)  # and one cycle more, in hq_block_acc
    return hq_block_scale(own) + lines + first + block(sites=1, raw=5, two=3, ff=2 + waits)


def hq_block_acc(a: Arrays) -> Block:
    """Scales a block's sum by a shift into the window, rounds it and adds it up."""
    product = a["SumBits"] + np.where(a["SigBits"] > 1, a["SigBits"], 0)
    by = np.where(a["Left"] > 0, np.frexp(a["Left"].astype(np.float64))[1], 1).astype(np.int64)
    whole = product + a["Left"] - a["Guard"]
    add = a["AccBits"] + a["Saturate"]
    kept = np.minimum(add, whole)
    nearest = a["Nearest"] * (a["Guard"] > 0)
    registers = product + by + 2 + kept + nearest + 2 * a["AccBits"] + 1

    # An adder of a constant, a comparator of three bits to a position, a choice of each bit.
    place = block(sites=a["ExpBits"] + 2 + 4, raw=a["ExpBits"] // 2 + 7 + by)
    place = place + block(sites=SPLIT_SITES * by)
    multiply = _fitted("product", a["SumBits"] * a["SigBits"]) * (a["SigBits"] > 1)
    work = _barrel(product, by, kept + a["Guard"])
    sticky = _fitted("sticky", a["Guard"]) * nearest
    positions = a["AccBits"] + nearest + 2 * a["Saturate"]
    # Twice: what does not fit the window, and what does not fit with the accumulator.
    over = a["Saturate"] * np.maximum(whole - add, 0)
    clamp = a["Saturate"] * a["AccBits"] + (over > 0) * add
    adder = block(sites=positions + 1, raw=positions + 2) + _fitted("clamp", clamp + over / 5)
    return block(ff=registers) + place + multiply + _fitted("barrel", work) + sticky + adder


def _barrel(product: Array, by: Array, most: Array) -> Array:
    """Return the bits that all 2:1 stages of a left shift of ``product`` bits choose."""
    work = np.zeros(np.broadcast(product, by, most).shape)
    for step in range(12):
        out = np.minimum(product + (2 << step) - 1, most)
        work = work + np.where(by > step, out, 0)
    return work


def block_kernels(specs: Sequence[BlockMacSpec], styles: Sequence[str]) -> Counts:
    """Return the counts of block-scaled kernels, one for each spec and style of its inner kernel.

    Raises `KeyError` for a style without a formula.
    """
    rows = [dict(accumulate_parameters(spec)) for spec in specs]
    a = {name: np.array([int(str(row[name])) for row in rows], np.int64) for name in rows[0]}
    chosen = [block_style(style, spec)[0] for spec, style in zip(specs, styles, strict=True)]
    latency = np.array([s.latency(spec.element) for s, spec in zip(chosen, specs, strict=True)])
    e4m3 = np.array([spec.weight.scale is ScaleFormat.E4M3 for spec in specs])
    total = (hq_block_acc(a) + hq_block_seq(latency, e4m3)).packed()
    unread = counts(ff=-1)  # the inner kernel's valid_o
    inner = [
        FORMULAS[style.name](SpecArrays.from_specs([spec.element]))
        for style, spec in zip(chosen, specs, strict=True)
    ]
    names = ("lut_sites", "lut_raw", "lutram", "ff", "dsp")
    columns = (
        np.array(
            [
                float(getattr(one, name).reshape(-1)[0]) if getattr(one, name).size else 0.0
                for one in inner
            ]
        )
        for name in names
    )
    return total + Counts(*columns) + unread
