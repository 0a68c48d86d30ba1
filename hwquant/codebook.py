# SPDX-License-Identifier: Apache-2.0
"""Codebook formats: any list of fixed-point values, and the power-exponent codebooks.

A codebook is an ascending list of distinct integers with a stated number of fraction bits; 0 is
one of them, because padding and unused lanes carry code 0.  Names (``parse(str(f)) == f``)::

    cb2f1_-3_0_1_4        2 bits, 1 fraction bit: the values -1.5, 0, 0.5, 2
    pow4a0.75f6           sign(q) |q|**(1/a), q = -7..7, each rounded once to 6 fraction bits
    upow4a0.75f6          the same for q = 0..15

The code of a value follows from the list.  Where every value has its negative, a code is a sign
bit and the rank of the magnitude, as in a minifloat (so there is a -0); elsewhere it is the rank
counted from zero, in two's complement modulo ``2**bits``, as in an integer.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Final

from hwquant.errors import FormatError

__all__ = ["Codebook", "Power", "codebook", "parse_codebook"]

MAX_BITS: Final = 8
MAX_FRACTION_BITS: Final = 24
MAX_INT: Final = (1 << 24) - 1  # every value and every midpoint of two is exact in float64
EXPONENT_DECIMALS: Final = 3
LARGEST_EXPONENT: Final = 16


@dataclass(frozen=True)
class Codebook:
    """The values ``integers * 2**-fraction_bits``, ascending.

    Raises `FormatError` unless the integers are 2..256 distinct ones in ascending order, below
    2**24 in magnitude, 0 and a positive one among them, and 0 <= fraction_bits <= 24.
    """

    integers: tuple[int, ...]
    fraction_bits: int

    def __post_init__(self) -> None:
        listed = self.integers
        name = f"codebook of {len(listed)} values"
        if not 0 <= self.fraction_bits <= MAX_FRACTION_BITS:
            raise FormatError(
                f"{name}: {self.fraction_bits} fraction bits, allowed 0..{MAX_FRACTION_BITS}"
            )
        if not 2 <= len(listed) <= 1 << MAX_BITS:
            raise FormatError(f"{name}, allowed 2..{1 << MAX_BITS} values")
        for low, high in itertools.pairwise(listed):
            if low >= high:
                what = "twice" if low == high else f"before {high}"
                raise FormatError(
                    f"{name}: {low} stands {what}, allowed: distinct integers in ascending order "
                    "(hwquant.codebook sorts values)"
                )
        if max(-listed[0], listed[-1]) > MAX_INT:
            raise FormatError(
                f"{name}: {listed[0]}..{listed[-1]} in steps of 2**-{self.fraction_bits}, allowed "
                f"{-MAX_INT}..{MAX_INT}; take fewer fraction bits"
            )
        if 0 not in listed or listed[-1] <= 0:
            raise FormatError(
                f"{name} from {listed[0]} to {listed[-1]}, allowed: 0 and a positive value among "
                "them (zero padding and unused lanes need 0)"
            )

    def __str__(self) -> str:
        return "_".join([f"cb{self.bits}f{self.fraction_bits}", *map(str, self.integers)])

    @property
    def bits(self) -> int:
        """Storage width: the least that has a code for each value."""
        return (len(self.integers) - 1).bit_length()

    @property
    def signed(self) -> bool:
        """Whether a value is negative."""
        return self.integers[0] < 0

    @cached_property
    def sign_magnitude(self) -> bool:
        """Whether a code is a sign bit and the rank of a magnitude."""
        return self.signed and all(
            low == -high for low, high in zip(self.integers, self.integers[::-1], strict=True)
        )

    @property
    def lsb_exp(self) -> int:
        """log2 of the step."""
        return -self.fraction_bits

    @property
    def max_int(self) -> int:
        """The largest decoded integer."""
        return self.integers[-1]

    @property
    def min_int(self) -> int:
        """The smallest decoded integer."""
        return self.integers[0]

    @property
    def zero_rank(self) -> int:
        """How many values are negative."""
        return self.integers.index(0)

    @cached_property
    def ordered_codes(self) -> tuple[int, ...]:
        """The code of each value, by ascending value; -0 is not among them."""
        zero, sign = self.zero_rank, 1 << self.bits - 1
        ranks = range(-zero, len(self.integers) - zero)
        if self.sign_magnitude:
            return tuple(rank if rank >= 0 else sign - rank for rank in ranks)
        return tuple(rank % (1 << self.bits) for rank in ranks)

    @cached_property
    def by_code(self) -> dict[int, int]:
        """What each code means, in steps."""
        zero = {1 << self.bits - 1: 0} if self.sign_magnitude else {}
        return zero | dict(zip(self.ordered_codes, self.integers, strict=True))

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Every code that has a value, ascending; -0 is one of them where there is a sign bit."""
        return tuple(sorted(self.by_code))

    @cached_property
    def boundaries(self) -> tuple[tuple[int, bool], ...]:
        """The middle between neighbours, in half steps, and whether a tie there goes up.

        A tie goes to the value of even rank, counted from zero.
        """
        pairs = itertools.pairwise(self.integers)
        upper = itertools.count(1 - self.zero_rank)
        return tuple((a + b, rank % 2 == 0) for (a, b), rank in zip(pairs, upper, strict=False))

    @property
    def step(self) -> Fraction:
        """The step, as an exact number."""
        return Fraction(1, 1 << self.fraction_bits)

    @property
    def max(self) -> Fraction:
        """The largest value."""
        return self.max_int * self.step

    @property
    def min_positive(self) -> Fraction:
        """The smallest positive value."""
        return self.integers[self.zero_rank + 1] * self.step


@dataclass(frozen=True, init=False)
class Power(Codebook):
    """``sign(q) |q|**(1/exponent)``, each rounded once to ``fraction_bits`` (arXiv 2301.09858).

    ``q`` runs over the sign-magnitude integers of ``bits`` bits, unsigned over 0..2**bits - 1; the
    code of a value is that of ``q``.  An irrational root is never a tie, so rounding has one
    meaning.

    Raises `FormatError` for impossible widths, an exponent of more than three decimals, and where
    two values round to the same number.
    """

    exponent: Fraction = Fraction(1)

    def __init__(
        self, bits: int, exponent: Fraction | str, fraction_bits: int, *, signed: bool = True
    ) -> None:
        given, lowest = f"{'' if signed else 'u'}pow{bits}a{exponent}", 1 + signed
        if not lowest <= bits <= MAX_BITS:
            raise FormatError(f"{given}: {bits} bits, allowed {lowest}..{MAX_BITS}")
        if not 0 <= fraction_bits <= MAX_FRACTION_BITS:
            raise FormatError(
                f"{given}: {fraction_bits} fraction bits, allowed 0..{MAX_FRACTION_BITS}"
            )
        a = Fraction(exponent)
        if not 0 < a <= LARGEST_EXPONENT or 10**EXPONENT_DECIMALS % a.denominator:
            raise FormatError(
                f"{given}: exponent {exponent}, allowed above 0 up to {LARGEST_EXPONENT}, with at "
                f"most {EXPONENT_DECIMALS} decimals"
            )
        roots = [_root(q, a, fraction_bits) for q in range(1 << bits - signed)]
        if any(low == high for low, high in itertools.pairwise(roots)):
            raise FormatError(
                f"{given}: two values are equal when rounded to {fraction_bits} fraction bits, "
                "allowed: more fraction bits or a smaller exponent"
            )
        object.__setattr__(self, "integers", (*(-r for r in roots[:0:-1] if signed), *roots))
        object.__setattr__(self, "fraction_bits", fraction_bits)
        object.__setattr__(self, "exponent", a)
        self.__post_init__()

    def __str__(self) -> str:
        whole, rest = divmod(self.exponent * 10**EXPONENT_DECIMALS, 10**EXPONENT_DECIMALS)
        decimals = f"{int(rest):0{EXPONENT_DECIMALS}d}".rstrip("0")
        sign, a = "" if self.signed else "u", f"{whole}.{decimals}".rstrip(".")
        return f"{sign}pow{self.bits}a{a}f{self.fraction_bits}"


def _root(q: int, exponent: Fraction, fraction_bits: int) -> int:
    """Return ``q**(1/exponent) * 2**fraction_bits`` rounded to nearest, by integer comparison.

    Raises `FormatError` beyond the largest decoded integer.
    """
    power, index = exponent.denominator, exponent.numerator  # the index-th root of q**power
    target = q**power << index * (fraction_bits + 1)  # twice the root, to that power
    if target >= (2 * MAX_INT + 1) ** index:
        raise FormatError(
            f"{q}**(1/{exponent}) with {fraction_bits} fraction bits exceeds {MAX_INT} steps; take "
            "fewer fraction bits or a larger exponent"
        )
    low, high = 0, 2 * MAX_INT + 1  # low**index <= target < high**index
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**index <= target else (low, middle)
    return (low + 1) // 2


def codebook(values: Iterable[float | Fraction], fraction_bits: int) -> Codebook:
    """Return the codebook of ``values``, each rounded once (nearest even) to ``fraction_bits``.

    The order of the values does not matter.

    >>> str(codebook([0.5, 0, -1.5, 2], 1))
    'cb2f1_-3_0_1_4'

    Raises `FormatError` for a value that is not finite, for two that round to the same number, and
    as `Codebook` does.
    """
    if not 0 <= fraction_bits <= MAX_FRACTION_BITS:
        raise FormatError(
            f"codebook with {fraction_bits} fraction bits, allowed 0..{MAX_FRACTION_BITS}"
        )
    rounded: dict[int, float | Fraction] = {}
    for value in values:
        if not math.isfinite(value):
            raise FormatError(f"codebook value {value}, allowed: finite numbers")
        integer = round(Fraction(value) * (1 << fraction_bits))
        if integer in rounded:
            raise FormatError(
                f"codebook values {rounded[integer]} and {value} are both {integer} steps of "
                f"2**-{fraction_bits}, allowed: distinct values; take more fraction bits"
            )
        rounded[integer] = value
    return Codebook(tuple(sorted(rounded)), fraction_bits)


_LIST: Final = re.compile(r"cb(\d)f(\d{1,2})((?:_-?\d{1,8}){2,256})")
_POWER: Final = re.compile(r"(u?)pow(\d{1,3})a(\d{1,3}(?:\.\d{1,9})?)f(\d{1,3})")


@lru_cache(maxsize=4096)
def parse_codebook(name: str) -> Codebook | None:
    """Return the codebook called ``name``, None where it is no codebook's name.

    Raises `FormatError` for a codebook that is impossible.
    """
    if match := _POWER.fullmatch(name):
        unsigned, bits, exponent, fraction = match.groups()
        return Power(int(bits), exponent, int(fraction), signed=not unsigned)
    if match := _LIST.fullmatch(name):
        bits, fraction, listed = match.groups()
        found = Codebook(tuple(map(int, listed[1:].split("_"))), int(fraction))
        if found.bits != int(bits):
            raise FormatError(
                f"{name}: {len(found.integers)} values have {found.bits} bits, "
                f"allowed: cb{found.bits}f{fraction}_..."
            )
        return found
    return None
