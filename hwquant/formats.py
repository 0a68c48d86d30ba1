# SPDX-License-Identifier: Apache-2.0
"""Number formats: what a name such as ``e2m1`` or ``int4n`` means.

A format is a finite codebook of integers.  Every code decodes to an integer in units of
``2**lsb_exp``, the format's smallest step, so a dot product of codes is an integer sum.
Grammar (``parse(str(f)) == f`` for every format)::

    int4  int4n  uint4          two's complement, narrow range (-7..7), unsigned
    e2m1  ue2m2  e0m3           minifloat, unsigned minifloat, sign-magnitude integer
    e4m3b4                      explicit exponent bias
    e4m3fn  e5m2ieee            OCP special codes: NaN at the top, or IEEE inf and NaN
    pow4a0.75f6  cb2f1_-3_0_1_4 codebooks (`hwquant.codebook`)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Final

from hwquant.codebook import Codebook, Power, codebook, parse_codebook
from hwquant.errors import FormatError

__all__ = ["Codebook", "Format", "Integer", "Minifloat", "Power", "codebook", "integers"]
__all__ += ["minifloats", "parse"]

MIN_LSB_EXP: Final = -126  # the step stays a normal float32
MAX_VALUE_EXP: Final = 128  # every value stays below 2**128, the float32 overflow bound


@dataclass(frozen=True)
class Integer:
    """Two's complement (``int4``), narrow range (``int4n``: no -8) or unsigned (``uint4``).

    Raises `FormatError` unless 2 <= bits <= 8 (1 <= bits <= 8 unsigned).
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        lowest = 2 if self.signed else 1
        if not lowest <= self.bits <= 8:
            raise FormatError(f"{self}: {self.bits} bits, allowed {lowest}..8")
        if self.narrow and not self.signed:
            raise FormatError(
                f"{self}: a narrow range is allowed for signed integers only: int{self.bits}n"
            )

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}{'n' if self.narrow else ''}"

    @property
    def sign_magnitude(self) -> bool:
        """Whether a code is a sign bit and a magnitude: never."""
        return False

    @property
    def lsb_exp(self) -> int:
        """log2 of the smallest step; an integer format steps by one."""
        return 0

    @property
    def max_int(self) -> int:
        """The largest decoded integer."""
        return (1 << self.bits - self.signed) - 1

    @property
    def min_int(self) -> int:
        """The smallest decoded integer."""
        return -self.max_int - (not self.narrow) if self.signed else 0

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Every code that has a value, ascending (a narrow format has no code for -2**(bits-1))."""
        excluded = 1 << self.bits - 1 if self.narrow else None
        return tuple(code for code in range(1 << self.bits) if code != excluded)

    @property
    def step(self) -> Fraction:
        """The smallest step, as an exact number."""
        return Fraction(1)

    @property
    def max(self) -> Fraction:
        """The largest value."""
        return Fraction(self.max_int)

    @property
    def min_positive(self) -> Fraction:
        """The smallest positive value."""
        return Fraction(1)


@dataclass(frozen=True)
class Minifloat:
    """Sign, ``exponent_bits`` and ``mantissa_bits``; subnormals; saturating.

    A code with exponent field ``e`` and mantissa field ``m`` means, in units of ``2**lsb_exp``,
    ``m`` when ``e == 0`` and ``(2**M + m) * 2**(e - 1)`` otherwise.  With no exponent field only
    the first case exists, so ``e0mM`` is a sign-magnitude integer of step one.

    ``bias=None`` means the default ``2**(E-1) - 1`` (``1 - M`` for ``E == 0``).
    ``specials`` is ``""`` (every code finite), ``"fn"`` (the top code is NaN) or ``"ieee"``
    (the top exponent holds inf and NaN); special codes have no value and are never emitted.

    Raises `FormatError` for widths outside 2..8 bits or values outside the float32 range.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int | None = None
    signed: bool = True
    specials: str = ""

    def __post_init__(self) -> None:
        e, m = self.exponent_bits, self.mantissa_bits
        name = f"{'' if self.signed else 'u'}e{e}m{m}"
        if e < 0 or m < 0 or not 2 <= self.bits <= 8:
            raise FormatError(f"{name}: {self.bits} bits, allowed 2..8 with E>=0 and M>=0")
        if e > 7:
            raise FormatError(f"{name}: {e} exponent bits exceed the float32 range, allowed 0..7")
        if self.specials not in ("", "fn", "ieee"):
            raise FormatError(f"{name}: specials {self.specials!r}, allowed '', 'fn', 'ieee'")
        if self.specials and (e < 1 or (self.specials == "ieee" and (e < 2 or m < 1))):
            raise FormatError(
                f"{name}: {self.specials} codes are allowed with E>=1 (ieee: E>=2 and M>=1)"
            )
        if self.bias is None:
            object.__setattr__(self, "bias", self.default_bias)
        if self.lsb_exp < MIN_LSB_EXP or self.max >= 1 << MAX_VALUE_EXP:
            raise FormatError(
                f"{name}: exponent bias {self.bias} leaves the float32 range, allowed steps "
                f"from 2**{MIN_LSB_EXP} and values below 2**{MAX_VALUE_EXP}"
            )

    def __str__(self) -> str:
        bias = "" if self.bias == self.default_bias else f"b{self.bias}"
        sign = "" if self.signed else "u"
        return f"{sign}e{self.exponent_bits}m{self.mantissa_bits}{bias}{self.specials}"

    @property
    def bits(self) -> int:
        """Storage width."""
        return self.signed + self.exponent_bits + self.mantissa_bits

    @property
    def sign_magnitude(self) -> bool:
        """Whether a code is a sign bit and a magnitude: where there is a sign."""
        return self.signed

    @property
    def default_bias(self) -> int:
        """The exponent bias a name without ``b`` means."""
        return (1 << self.exponent_bits - 1) - 1 if self.exponent_bits else 1 - self.mantissa_bits

    @property
    def exponent_bias(self) -> int:
        """The exponent bias as a number (never None)."""
        return self.default_bias if self.bias is None else self.bias

    @property
    def lsb_exp(self) -> int:
        """log2 of the smallest step: the least significant bit of a subnormal."""
        return 1 - self.exponent_bias - self.mantissa_bits

    @property
    def max_magnitude_code(self) -> int:
        """Exponent and mantissa fields of the largest finite magnitude."""
        top = (1 << self.exponent_bits + self.mantissa_bits) - 1
        reserved = {"": 0, "fn": 1, "ieee": 1 << self.mantissa_bits}[self.specials]
        return top - reserved

    @property
    def max_int(self) -> int:
        """The largest decoded integer."""
        exponent, mantissa = divmod(self.max_magnitude_code, 1 << self.mantissa_bits)
        hidden = 1 << self.mantissa_bits if exponent else 0
        return hidden + mantissa << max(exponent - 1, 0)

    @property
    def min_int(self) -> int:
        """The smallest decoded integer."""
        return -self.max_int if self.signed else 0

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Every finite code, ascending; -0 is one of them."""
        magnitudes = range(self.max_magnitude_code + 1)
        sign = 1 << self.bits - 1
        return (*magnitudes, *(sign | m for m in magnitudes if self.signed))

    @property
    def step(self) -> Fraction:
        """The smallest step, as an exact number."""
        return Fraction(2) ** self.lsb_exp

    @property
    def max(self) -> Fraction:
        """The largest value."""
        return self.max_int * self.step

    @property
    def min_positive(self) -> Fraction:
        """The smallest positive value."""
        return self.step


Format = Integer | Minifloat | Codebook

_INTEGER = re.compile(r"(u?)int(\d{1,3})(n?)")
_MINIFLOAT = re.compile(r"(u?)e(\d{1,3})m(\d{1,3})(?:b(-?\d{1,4}))?(fn|ieee)?")


@lru_cache(maxsize=4096)
def parse(name: str) -> Format:
    """Return the format called ``name``.

    >>> parse("e2m1").max, parse("int4n").min_int, str(parse("e4m3b7"))
    (Fraction(6, 1), -7, 'e4m3')

    Raises `FormatError` for a name outside the grammar or an impossible width.
    """
    if match := _INTEGER.fullmatch(name):
        unsigned, bits, narrow = match.groups()
        return Integer(int(bits), signed=not unsigned, narrow=bool(narrow))
    if match := _MINIFLOAT.fullmatch(name):
        unsigned, exponent, mantissa, bias, specials = match.groups()
        return Minifloat(
            int(exponent),
            int(mantissa),
            bias=None if bias is None else int(bias),
            signed=not unsigned,
            specials=specials or "",
        )
    if name.startswith(("mx", "nvfp")):
        raise FormatError(
            f"format {name!r} is block-scaled (hwquant.block.parse); allowed here: formats of "
            "single numbers, such as int8 or e2m1"
        )
    if (found := parse_codebook(name)) is not None:
        return found
    raise FormatError(
        f"format {name!r} is unknown; allowed: int2..int8, int4n, uint1..uint8, eXmY and ueXmY of "
        "2..8 bits, with bias (e4m3b4) or OCP specials (e4m3fn, e5m2ieee), codebooks such as "
        "pow4a0.75f6, upow4a0.75f6 and cb2f1_-3_0_1_4"
    )


def integers(lowest: int = 3, highest: int = 8, *, signed: bool = True) -> tuple[Integer, ...]:
    """Return the integer formats of ``lowest..highest`` bits, narrowest first."""
    return tuple(Integer(bits, signed=signed) for bits in range(lowest, highest + 1))


def minifloats(lowest: int = 3, highest: int = 8, *, signed: bool = True) -> tuple[Minifloat, ...]:
    """Return every ExMy with E>=1, M>=0 of ``lowest..highest`` bits, narrowest first."""
    fields = ((bits - signed, e) for bits in range(lowest, highest + 1) for e in range(1, 8))
    return tuple(Minifloat(e, n - e, signed=signed) for n, e in fields if e <= n)
