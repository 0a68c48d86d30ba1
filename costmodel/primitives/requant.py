# SPDX-License-Identifier: Apache-2.0
"""Formulas of requantizers: flip-flops exact, carry chains and tables by rule, the rest fitted.

What is inferred (clamping, normalising, packing, multiplying) is priced by what it has to do in
bits; the few coefficients are those of `FITTED`, by least squares over ``data/blocks.csv``
(`costmodel.block_fit`).  Formats held out: rounding 3.8 % off in LUT sites and 5.4 % in LUT cells
on average, 11 % and 19 % at worst; multiply-shift 3.0 % and 4.2 %, 6.8 % and 9.7 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.requant import requant_latency, requant_parameters
from hw.style import Constant
from hwquant.fixed import signed_bits
from hwquant.requant import MultiplyShift, Requantizer, Thresholds

from .book import functions
from .counts import Counts
from .packing import Block, block

__all__ = ["FITTED", "hq_bias", "hq_clamp", "hq_clip", "hq_norm", "hq_pack", "hq_rom", "hq_round"]
__all__ += ["hq_shift", "hq_thr", "requantizers"]

Array = NDArray[Any]
Arrays = Mapping[str, Array]

LUT_INPUTS: Final = 6
SITE_INPUTS: Final = 5
BLOCK_WORDS: Final = 64  # of a table in LUTs, see hq_thr_step

FITTED: Final[dict[str, tuple[float, float]]] = {
    "split": (2.96, 0.0),
    "clamp": (0.9, 0.74),
    "norm": (0.11, 0.15),
    "test": (6.41, 4.6),
    "saturate": (1.4, 1.19),
    "pack": (0.4, 0.4),
    "shift": (0.81, 0.59),
    "multiply": (2.37, 1.55),
    "clip": (3.4, 4.0),
}
"""What of a requantizer -> LUT cells and LUT sites for each unit of it."""


def _fitted(name: str, amount: ArrayLike) -> Block:
    raw, sites = FITTED[name]
    size = np.asarray(amount, np.float64)
    return block(raw=raw * size, sites=sites * size)


def _log2(count: ArrayLike) -> Array:
    """Return the bits of an address of ``count`` words."""
    size = np.asarray(count)
    return np.frexp(np.maximum(size - 1, 0).astype(np.float64))[1].astype(np.int64)


def hq_rom(depth: ArrayLike, width: ArrayLike) -> Block:
    """A table of ``depth`` words of ``width`` random bits in LUTs, and its output register.

    One LUT a bit up to 64 words, two to a site up to 32; twice as many for each address bit more.
    A single word is a constant.  Contents with equal columns cost less.
    """
    bits, words = np.asarray(width), _log2(depth)
    there = words > 0
    raw = bits * np.exp2(np.maximum(words - LUT_INPUTS, 0))
    shared = words <= SITE_INPUTS
    sites = np.where(shared, np.ceil(bits / 2), raw)
    return block(raw=raw, sites=sites, ff=bits) * there


def _equal(bits: ArrayLike) -> Array:
    """Return the LUTs that say whether all of ``bits`` bits are equal."""
    size = np.asarray(bits)
    return np.where(size > 1, np.maximum(np.ceil((size - 2) / 4), 1), 0)


def hq_bias(
    acc_bits: ArrayLike, sum_bits: ArrayLike, drop: ArrayLike, split: ArrayLike, bias: ArrayLike
) -> Block:
    """The biased sum: a carry position for each kept bit and for each two dropped ones.

    A position of two dropped bits has two LUTs of the same four inputs.  ``bias`` is 0 for a
    constant (then half the kept bits need an inverter and half nothing), 1 for a table of one
    sign, 2 for one of both: a sum that is split has a register for the sign, and compares the bits
    above with the accumulator's.
    """
    acc, total, low = np.asarray(acc_bits), np.asarray(sum_bits), np.asarray(drop)
    some, apart = np.asarray(bias) != 0, np.asarray(split) != 0
    pairs, kept = (low + 1) // 2, total - low
    cells = np.where(some, 2 * pairs + kept, pairs + kept / 2)
    chain = block(sites=pairs + kept, raw=cells, ff=kept + 1)
    tests = np.ceil(np.where(some, pairs, low) / SITE_INPUTS)
    tie = block(raw=tests, sites=tests)
    above = _equal(acc - total)
    compare = block(raw=above, sites=above, ff=3 + (np.asarray(bias) > 1)) + _fitted("split", 1)
    return chain + tie + compare * apart


def hq_clamp(in_bits: ArrayLike, bits: ArrayLike, signed: ArrayLike) -> Block:
    """Rounding to the even code and clamping: a LUT for each code bit but a sign, and a test."""
    width, code = np.asarray(in_bits), np.asarray(bits)
    sign = np.asarray(signed) != 0
    test = _equal(width - code + 1 + ~sign)
    return _fitted("clamp", code - sign + 1 + test)


def hq_norm(keep: ArrayLike, steps: ArrayLike, real: ArrayLike) -> Block:
    """Normalising: a multiplexer for each bit that a step keeps, tests of those it may drop.

    ``real`` is how many bits of the window are not copies of the sign: a step above them is none.
    """
    kept, count, bits = np.asarray(keep), np.asarray(steps), np.asarray(real)
    found = block()
    for step in range(8, 0, -1):
        half = 1 << step - 1
        above = bits - (kept + half - 1)
        there = (count >= step) & (above > 0)
        chosen = np.minimum(kept + half - 1, bits)
        tested = (np.minimum(above, half) + half) / SITE_INPUTS
        found = found + (_fitted("norm", chosen) + _fitted("test", tested)) * there
    return found


def hq_pack(exp_bits: ArrayLike, man_bits: ArrayLike, saturate: ArrayLike) -> Block:
    """Rounding and packing of a minifloat, bit by bit, and a choice of each where it saturates."""
    bits = np.asarray(exp_bits) + np.asarray(man_bits)
    return _fitted("pack", bits + 1) + _fitted("saturate", bits * np.asarray(saturate))


def hq_shift(width: ArrayLike, amount_bits: ArrayLike) -> Block:
    """A shift right by a variable amount: a multiplexer for each bit and step, and a sticky bit."""
    return _fitted("shift", np.asarray(width) * np.asarray(amount_bits))


def hq_clip(
    acc_bits: ArrayLike, bias_bits: ArrayLike, drop: ArrayLike, bits: ArrayLike, some: ArrayLike
) -> Block:
    """Sum, rounding and clamping of an integer without the bits above the code.

    A carry position for each code bit and for each two others; two LUTs for a position of two.
    """
    width = np.maximum(np.asarray(acc_bits), np.asarray(bias_bits))
    low, code = np.asarray(drop), np.asarray(bits)
    above = width - low - code
    pairs = (low + 1) // 2 + (above + 1) // 2
    tests = np.maximum(above // 2, 1)
    two = 1 + (np.asarray(some) != 0)
    chain = block(sites=pairs + code, raw=two * pairs + code, ff=2 * code + 1 + tests)
    return chain + block(raw=tests, sites=tests) + _fitted("clip", 1)


def _output(a: Arrays, kept: Array, over: Array) -> Block:
    """What follows the sum: clamping, or normalising and packing with registers between."""
    flt = a["Float"] != 0
    man = np.where(flt, a["Bits"] - a["ExpBits"] - a["Signed"], 0)
    exp = np.where(flt, a["ExpBits"], 0)
    live = man + np.where(exp > 0, (1 << exp) - 1, 0)
    saturate = (kept > live) | (a["MaxCode"] + 1 != 1 << exp + man)
    keep = man + 1 + (exp > 0)
    real = np.minimum(kept, live) + 1
    above = _equal(np.maximum(kept - live, 0) + 1) * (kept > live)
    fields = exp
    for step in range(8):
        fields = fields - ((exp > step) & (keep + (1 << step) - 2 >= kept - 1) & flt)
    registers = 1 + (saturate & ((kept > live) | over)) + fields + man + 1 + 1
    minifloat = (
        hq_norm(keep, exp, real)
        + hq_pack(exp, man, saturate)
        + block(ff=registers, raw=above, sites=above)
    )
    return minifloat * flt + hq_clamp(kept, a["Bits"], a["Signed"]) * ~flt


def hq_round(a: Arrays) -> Block:
    """A requantizer that rounds, from the parameters of ``hq_round`` and its latency."""
    flt, some = a["Float"] != 0, a["Channels"] > 1
    acc = a["AccBits"] + a["Frac"]
    drop = a["Shift"] - flt
    kept = a["SumBits"] - drop
    clip, split = a["Clip"] != 0, a["Split"] != 0
    own = np.where(a["ShiftBits"] > 0, a["ShiftBits"], 0)
    common = block(ff=a["Latency"] + a["AccBits"]) + _table(a, "Minus")
    clipped = hq_clip(acc, a["BiasBits"], a["Shift"], a["Bits"], some)
    shift = (hq_shift(kept, own) + _table(a, "ChannelShift") + block(ff=own + kept + 1 + split)) * (
        own > 0
    )
    rounded = (
        hq_bias(acc, a["SumBits"], drop, split, some * (1 + a["MinusSigns"]))
        + shift
        + _output(a, kept, split)
        + block(ff=a["Bits"])
    )
    return common + clipped * clip + rounded * ~clip


def hq_mulshift(a: Arrays) -> Block:
    """A requantizer with a multiplier in front of `hq_round`, in LUTs.

    A row of full adders for each bit of the multiplier but the two highest: the sign, which is 0 in
    a table of positive multipliers, and the first row.
    """
    acc, mult = a["AccBits"] - a["MultBits"], a["MultBits"]
    chan = np.maximum(_log2(a["Channels"]), 0)
    product = acc + mult
    # The lowest bit above a split sum waits in three registers: a shift register.
    waits = (a["Split"] != 0) & (a["Clip"] == 0)
    registers = block(ff=2 + acc + 2 * chan + product - 3 * waits, lutram=waits)
    return registers + _table(a, "Mult") + _fitted("multiply", acc * (mult - 2))


def hq_compare(acc_bits: ArrayLike, threshold_bits: ArrayLike) -> Block:
    """A comparator with a registered threshold, as synthesis makes it: three bits to a position.

    A position has two LUTs, which together have six inputs and so two sites, but for the lowest
    where bits are left over; the carry out is read in one position more.  Where the threshold is
    shorter the top position compares signs alone.
    """
    acc, thr = np.asarray(acc_bits), np.asarray(threshold_bits)
    size = np.maximum(acc, thr)
    positions = -(-size // 3)
    rest = size % 3
    return block(
        sites=2 * positions + 1 - (rest > 0) - (acc - thr > 1), raw=2 * positions - (rest == 1)
    )


def hq_compare_constant(bits: ArrayLike) -> Block:
    """A comparator with a constant: a straight line through two kernels, of 16 and of 24 bits."""
    size = np.asarray(bits)
    return block(raw=np.maximum(0.575 * size - 4.55, 1), sites=np.maximum(0.13 * size + 2.25, 1))


def hq_thr(a: Arrays) -> Block:
    """Thresholds: by binary search (a table and a comparator a step), or all at once.

    A table of more than 64 words is block RAM, which is not counted here.
    """
    acc, thr, steps, channels = a["AccBits"], a["ThrBits"], a["Steps"], a["Channels"]
    count = (1 << steps) - 1
    chan = _log2(channels)
    compare = hq_compare(acc, a["ThrLive"])
    codes = block(
        sites=a["CodeSites"], raw=a["CodeRaw"], one=a["CodeOne"], two=a["CodeTwo"],
        three=a["CodeThree"], four=a["CodeFour"],
    )  # fmt: skip
    found = codes + _table(a, "Thr") + block(ff=a["Latency"] + a["Bits"])
    search = block(ff=steps)
    for step in range(8):
        passed = acc + step + chan * (step < steps - 1)
        search = search + (compare + block(ff=passed)) * (step < steps)
    several = channels > 1
    places = np.ceil(count / SITE_INPUTS) + steps - 1
    parallel = (
        block(ff=acc + count)
        + compare * (a["Compared"] * several)
        + hq_compare_constant(np.maximum(acc, thr)) * (a["Compared"] * ~several)
        + block(raw=places, sites=places)
    )
    return found + search * a["Search"] + parallel * (1 - a["Search"])


NAMES: Final = (
    "AccBits", "Frac", "SumBits", "Split", "Clip", "Upper", "Channels", "BiasBits", "Shift",
    "ShiftBits", "Float", "Signed", "Narrow", "Bits", "ExpBits", "MaxCode", "MultBits", "ThrBits",
    "Steps", "Search",
)  # fmt: skip


PARTS: Final = ("Sites", "Raw", "One", "Two", "Three", "Four")
TABLES: Final = {"Minus": "BiasBits", "Mult": "MultBits", "ChannelShift": "ShiftBits"}
"""Tables of constants by channel, and the parameter that holds their width."""


def _columns(words: Sequence[int], width: int, beside: int = 0) -> dict[str, float]:
    """Return what a table of words is made of, and how many registers behind it are kept.

    Registers of equal columns are one, those of constant columns none.  A column that is an
    address bit has none either where that bit, one of the ``beside`` lowest, has a register beside.
    """
    inputs = max((len(words) - 1).bit_length(), 0)
    if not inputs or not width:
        return dict.fromkeys((*PARTS, "Kept"), 0.0)
    full = [*words, *[0] * ((1 << inputs) - len(words))]
    columns = {tuple(word >> bit & 1 for word in full) for bit in range(width)}
    wires = {tuple(at >> bit & 1 for at in range(len(full))) for bit in range(beside)}
    kept = sum(0 < sum(column) < len(column) for column in columns - wires)
    parts = functions(full, width, inputs)
    return dict(zip((*PARTS, "Kept"), (*parts, float(kept)), strict=True))


def _words(table: Any, width: int, depth: int) -> list[int]:
    if not isinstance(table, Constant) or not width:
        return []
    return [table.value >> width * at & (1 << width) - 1 for at in range(depth)]


def _threshold_columns(values: Mapping[str, Any], spec: Thresholds) -> dict[str, float]:
    """Return the tables of thresholds, all steps of a search together."""
    width, steps = int(str(values["ThrBits"])), int(str(values["Steps"]))
    count = (1 << steps) - 1
    if not int(str(values["Search"])):
        rows = _words(values["Thresholds"], width * count, spec.channels)
        return _columns(rows, width * count)
    words = _words(values["Thresholds"], width, spec.channels * count)
    total = dict.fromkeys((*PARTS, "Kept"), 0.0)
    for step in range(steps):
        depth = spec.channels << step
        first = spec.channels * ((1 << step) - 1)
        if depth > BLOCK_WORDS:
            break
        address = max((depth - 1).bit_length(), 0)
        beside = address if step < steps - 1 else step
        for name, value in _columns(words[first : first + depth], width, beside).items():
            total[name] += value
    return total


def _table(a: Arrays, name: str) -> Block:
    """Return a table of known contents and its output register (`hq_rom` knows only its size)."""
    sites, raw, one, two, three, four = (a[f"{name}{part}"] for part in PARTS)
    loose = {"one": one, "two": two, "three": three, "four": four}
    return block(sites=sites, raw=raw, ff=a[f"{name}Kept"], **loose)


CODES: Final = ("CodeSites", "CodeRaw", "CodeOne", "CodeTwo", "CodeThree", "CodeFour")


@lru_cache(maxsize=1024)
def _row(spec: Requantizer, style: str) -> dict[str, float]:
    values = requant_parameters(spec, style)
    row: dict[str, float] = {
        name: 0 if isinstance(values.get(name, 0), Constant) else int(str(values.get(name, 0)))
        for name in NAMES
    }
    for name, bits in TABLES.items():
        width = int(str(values.get(bits, 0)))
        found = _columns(_words(values.get(name), width, spec.channels), width)
        row |= {f"{name}{part}": value for part, value in found.items()}
    minus = _words(values.get("Minus"), int(row["BiasBits"]), spec.channels)
    row["MinusSigns"] = (
        len({word >> int(row["BiasBits"]) - 1 for word in minus}) - 1 if minus else 0
    )
    codes: tuple[float, ...] = (0.0,) * 6
    found = dict.fromkeys((*PARTS, "Kept"), 0.0)
    row |= {"Compared": 0, "ThrLive": 1}
    if isinstance(spec, Thresholds):
        found = _threshold_columns(values, spec)
        row["Compared"] = len(spec.codes) - 1
        ends = [end for line in spec.thresholds for end in (line[0], line[-1])]
        row["ThrLive"] = signed_bits(min(ends), max(ends))
        steps = int(row["Steps"])
        words = [*spec.codes, *[0] * ((1 << steps) - len(spec.codes))]
        codes = functions(words, spec.bits, steps)
    row |= dict(zip(CODES, codes, strict=True))
    row |= {f"Thr{part}": value for part, value in found.items()}
    row["Latency"] = requant_latency(spec, style)
    row["Thresholds"] = int(isinstance(spec, Thresholds))
    row["Multiply"] = int(isinstance(spec, MultiplyShift))
    if row["Multiply"]:  # of the rounding behind the product
        row["Latency"] -= 2
        row["AccBits"] += row["MultBits"]
    return row


def _column(values: Sequence[float]) -> Array:
    found = np.array(values, np.float64)
    whole = found.astype(np.int64)
    return whole if (whole == found).all() else found


def requantizers(specs: Sequence[Requantizer], styles: Sequence[str] = ()) -> Counts:
    """Return the counts of requantizers, one for each spec (style ``auto`` by default)."""
    chosen = styles or ["auto"] * len(specs)
    rows = [_row(spec, style) for spec, style in zip(specs, chosen, strict=True)]
    a = {name: _column([row[name] for row in rows]) for name in rows[0]}
    thresholds, multiply = a["Thresholds"], a["Multiply"]
    kernel = hq_thr(a) * thresholds + (hq_round(a) + hq_mulshift(a) * multiply) * (1 - thresholds)
    return kernel.packed()
