# SPDX-License-Identifier: Apache-2.0
"""Formulas of the codebook styles ``digit`` (exact), ``decode`` and ``rom`` (tables estimated)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hw.styles import decode, digit, rom
from hw.styles.plain import significand_bits
from hw.styles.table import magnitudes
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format
from hwquant.mac import MacSpec

from .accumulate import hq_chain, hq_sign, hq_tally
from .counts import Counts
from .packing import Block, block, matched
from .product import hq_booth
from .specs import SpecArrays, register_formula

__all__ = ["functions", "hq_book_decode", "hq_decode_mac", "hq_digit_mac", "hq_digit_rows"]
__all__ += ["hq_rom_mac"]

LUT_INPUTS: Final = 6
WIDE: Final = {7: (1.18, 1.12), 8: (1.52, 1.31)}  # address bits -> LUT cells, sites
LEAST: Final = 3  # bits of an operand of Booth rows


def functions(words: Sequence[int], width: int, inputs: int) -> tuple[float, ...]:
    """Return what a table of constants is made of, each bit a function of the address.

    Equal bits, constant bits and bits that are an address bit cost nothing.  A bit that depends on
    six address bits or fewer is a LUT; of more, it is multiplexed from the functions of the six
    lowest, equal ones made once.  Of those synthesis makes more than that, by the factors of
    `WIDE`, the only fitted numbers here (seven kernels of style ``rom``); of eight inputs it made
    1.2 to 1.8 times as many LUTs, which is the error of this.
    """
    values = np.array([int(word) & ((1 << width) - 1) for word in words], dtype=object)
    luts: dict[tuple[int, ...], frozenset[int]] = {}
    wide = set()
    for place in range(width):
        column = (values >> place & 1).astype(np.int64).reshape((2,) * inputs)
        needed = _support(column)
        parts = [column]
        if len(needed) > LUT_INPUTS:
            parts = list(column.reshape(-1, *(2,) * LUT_INPUTS))
        for part in parts:
            reads = _support(part)
            wire = len(reads) == 1 and part.flat[0] == 0
            if reads and not wire:
                key = tuple(np.resize(part, 1 << inputs).tolist())
                luts.setdefault(key, frozenset(reads))
                if len(parts) > 1:
                    wide.add(key)
    sites, raw, *loose = matched(list(luts.values()))
    cells, places = WIDE.get(inputs, WIDE[8])
    more = len(wide)
    return (sites + (places - 1) * more, raw + (cells - 1) * more, *loose)


def _support(column: NDArray[np.int64]) -> list[int]:
    """Return the address bits (0 the lowest) that a function depends on."""
    axes = column.ndim
    return [axes - 1 - k for k in range(axes) if (np.diff(column, axis=k) != 0).any()]


@lru_cache(maxsize=65536)
def _rows(weight: Format, act: Format) -> tuple[int, ...]:
    spec = MacSpec(weight, act)
    found = digit.STYLE.parameters(spec)
    index_act = int(str(found["IndexAct"])) != 0
    book, other = (act, weight) if index_act else (weight, act)
    rows = digit.rows(book, other)
    first, *others = rows.widths
    index = book.bits - book.sign_magnitude
    inputs = index + min(2, other.bits - other.sign_magnitude)
    odd = first % 2
    single = [odd * (inputs == size) for size in (1, 2, 3, 4)]
    sites = first // 2 + odd * (inputs > 4)
    return rows.low_bits, int(rows.signs[-1]), sum(others), sites, first // 2 + odd, *single


def hq_digit_rows(specs: SpecArrays) -> Block:
    """Rows of a codebook's multiples by digits of two bits; exact.

    Of the first row two bits share a site, every other bit of a row is a carry position.
    """
    _, _, chain, sites, raw, one, two, three, four = specs.per_pair(_rows)
    first = block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)
    return hq_chain(chain) + first


@register_formula(digit.STYLE.name)
def hq_digit_mac(specs: SpecArrays) -> Counts:
    """A codebook of three bits beside its sign by an integer, and the accumulator; exact."""
    weight, act = specs.weight, specs.act
    low, signed, *_ = specs.per_pair(_rows)
    flip = weight.flips | act.flips
    kernel = (
        block(ff=weight.bits + act.bits)
        + hq_digit_rows(specs)
        + hq_sign(weight.flips & act.flips, flip * signed)
        + hq_tally(low, specs.acc)
    )
    return kernel.packed()


@lru_cache(maxsize=4096)
def _decoder(fmt: Format) -> tuple[float, ...]:
    if not isinstance(fmt, Codebook):
        return (0,) * 6
    inputs = fmt.bits - fmt.sign_magnitude
    words = [fmt.by_code.get(code, 0) for code in range(1 << inputs)]
    return functions(words, significand_bits(fmt), inputs)


@lru_cache(maxsize=65536)
def _decoders(weight: Format, act: Format) -> tuple[float, ...]:
    recode = int(str(decode.STYLE.parameters(MacSpec(weight, act))["RecodeAct"]))
    both = zip(_decoder(weight), _decoder(act), strict=True)
    return recode, *(mine + other for mine, other in both)


def hq_book_decode(specs: SpecArrays) -> Block:
    """The tables that decode both operands, see `functions`."""
    _, sites, raw, one, two, three, four = specs.per_pair(_decoders)
    return block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)


@register_formula(decode.STYLE.name)
def hq_decode_mac(specs: SpecArrays) -> Counts:
    """Codebooks decoded by tables, Booth rows, the accumulator.

    Of 13 kernels sites are 1.8 % off on average and 4.9 % at worst, LUT cells 1.6 % and 9.7 %.
    """
    weight, act = specs.weight, specs.act
    swap = specs.per_pair(_decoders)[0] != 0
    widths = weight.sig_bits, act.sig_bits
    a, b = np.where(swap, widths[1], widths[0]), np.where(swap, widths[0], widths[1])
    twos = weight.twos | act.twos
    rows = hq_booth(
        np.maximum(a, LEAST),
        np.maximum(b, LEAST),
        np.where(swap, act.twos, weight.twos),
        np.where(swap, weight.twos, act.twos),
    )
    kernel = (
        block(ff=weight.bits + act.bits)
        + hq_book_decode(specs)
        + rows
        + hq_sign(weight.flips & act.flips, twos & (weight.flips | act.flips))
        + hq_tally(a + b - twos, specs.acc)
    )
    return kernel.packed()


@lru_cache(maxsize=65536)
def _product(weight: Format, act: Format) -> tuple[float, ...]:
    values = [w * a for w in magnitudes(weight) for a in magnitudes(act)]
    low, high = min(values), max(values)
    signed = low < 0
    width = max(signed_bits(low, high) if signed else high.bit_length(), 2)
    return width, int(signed), *functions(values, width, (len(values) - 1).bit_length())


@register_formula(rom.STYLE.name)
def hq_rom_mac(specs: SpecArrays) -> Counts:
    """The product as a table of both codes (see `functions`), and the accumulator.

    Of 19 kernels sites are 3.7 % off on average and 18.5 % at worst, LUT cells 6 % and 24 %: of
    seven inputs and more the mapper's result is hard to foresee.
    """
    weight, act = specs.weight, specs.act
    bits, signed, sites, raw, one, two, three, four = specs.per_pair(_product)
    flip = weight.flips | act.flips
    kernel = (
        block(ff=weight.bits + act.bits)
        + block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)
        + hq_sign(weight.flips & act.flips, flip * signed)
        + hq_tally(bits - signed, specs.acc)
    )
    return kernel.packed()
