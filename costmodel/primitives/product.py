# SPDX-License-Identifier: Apache-2.0
"""Formulas of the blocks that multiply significands: tables, AND rows, Booth rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .accumulate import hq_chain
from .packing import Block, block, matched

__all__ = [
    "each",
    "gathered",
    "hq_booth",
    "hq_booth_first",
    "hq_booth_row",
    "hq_mul_table",
    "hq_sig_product",
]
__all__ += ["recoded_first"]

TABLE_INPUTS: Final = 6
SITE_INPUTS: Final = 5
DENSE: Final = 1 << 22  # sets of parameters that are looked up in a table
TABLE_WIDTH: Final = 4  # of a first row made of tables


def gathered(function: Callable[..., tuple[float, ...]], *parameters: ArrayLike) -> NDArray[Any]:
    """Return what ``function`` gives for each set of integers: one row for each of its numbers.

    It is called once for every different set.
    """
    columns = np.broadcast_arrays(*(np.asarray(p, np.int64) for p in parameters))
    shape = columns[0].shape
    flat = [column.ravel() for column in columns]
    key, span = np.zeros(flat[0].shape, np.int64), 1
    for column in flat:
        low = int(column.min(initial=0))
        key += (column - low) * span
        span *= int(column.max(initial=0)) - low + 1
    if span <= DENSE:
        seen = np.flatnonzero(np.bincount(key, minlength=1))
        index = np.zeros(span, np.int64)
        index[seen] = np.arange(len(seen))
        place = index[key]
        first = np.zeros(len(seen), np.int64)
        first[place] = np.arange(len(place))
    else:
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
    rows = [function(*(int(column[at]) for column in flat)) for at in first]
    found = np.array(rows, np.float64)
    return found.T[:, place].reshape(-1, *shape)


def each(function: Callable[..., tuple[float, ...]], *parameters: ArrayLike) -> Block:
    """Return the block that ``function`` gives for each set of parameters, as `matched` does."""
    sites, raw, one, two, three, four = gathered(function, *parameters)
    return block(sites=sites, raw=raw, one=one, two=two, three=three, four=four)


@lru_cache(maxsize=1024)
def _mul_table(a_bits: int, b_bits: int) -> tuple[int, ...]:
    bits = a_bits + b_bits - (1 in (a_bits, b_bits))
    luts = [
        frozenset([("a", i) for i in range(min(k + 1, a_bits))])
        | frozenset([("b", i) for i in range(min(k + 1, b_bits))])
        for k in range(bits)
    ]
    return matched(luts)


def hq_mul_table(a_bits: ArrayLike, b_bits: ArrayLike) -> Block:
    """A table for each bit of a product of at most six bits; exact.

    Bit ``k`` reads the ``k + 1`` low bits of either operand.
    """
    return each(_mul_table, a_bits, b_bits)


def recoded_first(a_bits: ArrayLike, a_signed: ArrayLike) -> NDArray[Any]:
    """Return how many bits the first digit of a recoded operand has, 1 or 2, as ``hq_booth``."""
    even = np.asarray(a_bits) % 2 == 0
    return np.where(even == (np.asarray(a_signed) != 0), 2, 1)


def hq_booth_row(width: ArrayLike) -> Block:
    """A Booth row of ``width`` positions, its digit selected in the LUT of the chain; exact."""
    return hq_chain(width)


@lru_cache(maxsize=256)
def _first(width: int, signed: int, own: int) -> tuple[int, ...]:
    """Return the LUTs of a first row by two bits that are not in a chain, the low bits' own too."""
    digit = frozenset([("d", 0), ("d", 1)])

    def reads(*places: int) -> frozenset[Any]:
        return digit | {("v", place) for place in places}

    luts = [frozenset([("d", 0), ("v", 0)]), reads(0, 1)] if own else []
    if width <= TABLE_WIDTH:
        luts += [reads(*range(min(i + 3, width))) for i in range(width - signed)]
        luts += [reads(width - 1)] * signed
    elif not signed:
        luts.append(reads(0, 1))
    return matched(luts)


def hq_booth_first(width: ArrayLike, signed: ArrayLike, own: ArrayLike = 0) -> Block:
    """The first row, by an unsigned digit of two bits; exact.

    Up to four bits a table for each: of three bits two share a site; of four none does but the
    sign of a signed number, of three inputs.  Above, a chain of ``width - 1`` positions and one
    LUT6_2 at its ends (whose second half only a signed number needs).  ``own`` says that the two
    bits below are gates too, not absorbed.
    """
    bits, sign = np.broadcast_arrays(np.asarray(width), np.asarray(signed) != 0)
    large = bits > TABLE_WIDTH
    ends = block(sites=1, raw=1) * (large & sign)
    return hq_chain((bits - 1) * large) + ends + each(_first, bits, sign, own)


def hq_booth(
    a_bits: ArrayLike,
    b_bits: ArrayLike,
    a_signed: ArrayLike,
    b_signed: ArrayLike,
    absorbed: ArrayLike = 1,
) -> Block:
    """A product by radix-4 Booth rows, ``a`` recoded; exact.

    The first row by one bit is ``b_bits - 1`` AND gates, two to a site; of a signed ``b`` the
    topmost is in the site of the first row's top position.  Unless ``absorbed`` by the caller, the
    lowest bits of the product are gates too: one more AND, or an AND and a gate of four inputs.
    """
    a, b = np.asarray(a_bits), np.asarray(b_bits)
    sign = np.asarray(b_signed) != 0
    first = recoded_first(a, a_signed)
    own = np.asarray(absorbed) == 0
    rows = (a - first + 1) // 2
    inner = rows - 1
    full = inner * (b + 2) + np.where(sign, 0, np.maximum(inner - 1, 0))
    last = a + b - first - 2 * inner

    gates = b - 1 + own
    loose = gates - sign
    ands = block(sites=loose // 2, raw=gates, two=loose % 2)
    two = hq_booth_first(b, sign, own)
    return hq_booth_row(full + last) + ands * (first == 1) + two * (first == 2)


def hq_sig_product(
    a_bits: ArrayLike,
    b_bits: ArrayLike,
    a_signed: ArrayLike,
    b_signed: ArrayLike,
    hidden: ArrayLike = 1,
) -> Block:
    """A product of significands by the block that suits their widths; exact.

    Tables up to six bits, AND gates by one bit, one dual AND row by two unsigned bits, Booth rows
    above.  Where the one bit is a hidden bit, ``hidden`` is the number of exponent bits it is made
    of: synthesis makes it anew in every gate, and gates of four and more are too wide to share
    sites.
    """
    a, b = np.asarray(a_bits), np.asarray(b_bits)
    sa, sb = np.asarray(a_signed) != 0, np.asarray(b_signed) != 0
    a, b, sa, sb = np.broadcast_arrays(a, b, sa, sb)
    small = a + b <= TABLE_INPUTS
    single = ~small & ((a == 1) | (b == 1))
    a_digit = ~small & ~single & (a == 2) & ~sa
    b_digit = ~small & ~single & ~a_digit & (b == 2) & ~sb
    booth = ~(small | single | a_digit | b_digit)
    digit = a_digit | b_digit

    wide = np.maximum(a, b)
    alone = np.asarray(hidden) + 2 > SITE_INPUTS
    gates = block(
        sites=np.where(alone, wide, wide // 2), raw=wide, two=np.where(alone, 0, wide % 2)
    )
    row = hq_booth_first(np.where(a_digit, b, a), np.where(a_digit, sb, sa), 1)
    return (
        each(_mul_table, np.where(small, a, 1), np.where(small, b, 1)) * small
        + gates * single
        + row * digit
        + hq_booth(np.maximum(a, 3), np.maximum(b, 3), sa, sb, 0) * booth
    )
