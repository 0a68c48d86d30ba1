# SPDX-License-Identifier: Apache-2.0
"""Block-scaled formats: a few elements share one scale.  Normative: exact, scalar.

    number = tensor scale x block scale x element

OCP Microscaling (MX v1.0): 32 elements share an E8M0 scale ``2**(code - 127)``, which is
``2**(floor(log2 amax) - emax)`` with the block's largest magnitude and the element format's
largest exponent.  NVFP4: 16 elements share an E4M3 scale, the nearest to ``amax / (6 * tensor
scale)``, and the tensor has an fp32 scale.  Names (``parse(str(f)) == f``)::

    mxfp4 mxfp6e2m3 mxfp6e3m2 mxfp8e4m3 mxfp8e5m2 mxint8 nvfp4
    mxfp4k16                    another block size
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final

from hwquant import codec, formats
from hwquant.errors import FormatError, InputError
from hwquant.formats import Format, Minifloat

__all__ = [
    "BLOCK_NAMES",
    "AnyFormat",
    "BlockFormat",
    "ScaleFormat",
    "block_format",
    "decode_block",
    "encode_block",
    "parse",
    "scale_code",
    "scale_value",
]

E8M0_BIAS: Final = 127
E8M0_NAN: Final = 255
E4M3_SCALE: Final = Minifloat(4, 3, specials="fn")  # its codes without sign bit
LARGEST: Final = (2 - Fraction(1, 1 << 23)) * Fraction(2) ** 127  # the largest float32


class ScaleFormat(StrEnum):
    """How a block's scale is stored, in 8 bits."""

    E8M0 = "e8m0"  # a power of two, 2**-127 .. 2**127; code 255 is NaN
    E4M3 = "e4m3"  # unsigned OCP E4M3, 0 .. 448; codes from 127 on have no value


_FAMILIES: Final[dict[str, tuple[str, int, ScaleFormat]]] = {
    "mxfp4": ("e2m1", 32, ScaleFormat.E8M0),
    "mxfp6e2m3": ("e2m3", 32, ScaleFormat.E8M0),
    "mxfp6e3m2": ("e3m2", 32, ScaleFormat.E8M0),
    "mxfp8e4m3": ("e4m3fn", 32, ScaleFormat.E8M0),
    "mxfp8e5m2": ("e5m2ieee", 32, ScaleFormat.E8M0),
    "mxint8": ("int8", 32, ScaleFormat.E8M0),
    "nvfp4": ("e2m1", 16, ScaleFormat.E4M3),
}
BLOCK_NAMES: Final = tuple(_FAMILIES)
_NAME: Final = re.compile(r"([a-z0-9]+?)(?:k([1-9]\d{0,4}))?")


@dataclass(frozen=True)
class BlockFormat:
    """``block`` codes of ``element`` under one scale in ``scale`` format.

    An integer element steps by ``2**element_exp``: MXINT8 is int8 in steps of 2**-6.
    Raises `FormatError` for a combination without a name, or a block size outside 1..65536.
    """

    element: Format
    block: int = 32
    scale: ScaleFormat = ScaleFormat.E8M0

    def __post_init__(self) -> None:
        pairs = [(element, scale) for element, _, scale in _FAMILIES.values()]
        if (str(self.element), self.scale) not in pairs:
            allowed = ", ".join(f"{element}/{scale.value}" for element, scale in pairs)
            raise FormatError(
                f"no block-scaled format has elements {self.element} and a {self.scale} scale; "
                f"allowed: {allowed}"
            )
        if not 1 <= self.block <= 1 << 16:
            raise FormatError(f"block size {self.block}, allowed 1..65536")

    def __str__(self) -> str:
        for name, (element, block, scale) in _FAMILIES.items():
            if (element, scale) == (str(self.element), self.scale):
                return name if block == self.block else f"{name}k{self.block}"
        raise FormatError(f"{self.element}/{self.scale} has no name")  # excluded by __post_init__

    @property
    def tensor_scale(self) -> bool:
        """Whether the tensor has a scale of its own (NVFP4)."""
        return self.scale is ScaleFormat.E4M3

    @property
    def element_exp(self) -> int:
        """log2 of the unit of `Format.step`: -6 for MXINT8, else 0."""
        return 0 if isinstance(self.element, Minifloat) else -(self.element.bits - 2)

    @property
    def lsb_exp(self) -> int:
        """log2 of an element's smallest step, before the scales."""
        return self.element.lsb_exp + self.element_exp

    @property
    def emax(self) -> int:
        """The exponent of the largest element: ``floor(log2 max)``."""
        largest = self.element.max * Fraction(2) ** self.element_exp
        return largest.numerator.bit_length() - largest.denominator.bit_length()

    @property
    def max(self) -> Fraction:
        """The largest number under scale one (MX), or under tensor scale one (NVFP4)."""
        largest = self.element.max * Fraction(2) ** self.element_exp
        return largest * E4M3_SCALE.max if self.tensor_scale else largest

    @property
    def bits_per_element(self) -> Fraction:
        """Storage per element, its share of the block scale included."""
        return self.element.bits + Fraction(8, self.block)


def block_format(name: str) -> BlockFormat | None:
    """Return the block-scaled format called ``name``, None where the name means no such format."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _FAMILIES:
        return None
    element, block, scale = _FAMILIES[match[1]]
    size = block if match[2] is None else int(match[2])
    return BlockFormat(formats.parse(element), size, scale)


AnyFormat = Format | BlockFormat


@lru_cache(maxsize=4096)
def parse(name: str) -> AnyFormat:
    """Return the format called ``name``, block-scaled or not.

    >>> parse("mxfp4").bits_per_element, str(parse("mxfp4k16")), parse("int4").max_int
    (Fraction(17, 4), 'mxfp4k16', 7)

    Raises `FormatError` for a name outside the grammar or an impossible width.
    """
    block = block_format(name)
    return formats.parse(name) if block is None else block


def scale_value(scale: ScaleFormat, code: int) -> Fraction:
    """Return the exact value of a scale's code.

    >>> scale_value(ScaleFormat.E8M0, 130), scale_value(ScaleFormat.E4M3, 126)
    (Fraction(8, 1), Fraction(448, 1))

    Raises `FormatError` for a code without a value (NaN, out of range, negative).
    """
    last = E8M0_NAN - 1 if scale is ScaleFormat.E8M0 else E4M3_SCALE.max_magnitude_code
    if not 0 <= code <= last:
        raise FormatError(f"scale code {code} has no value in {scale}; allowed: 0..{last}")
    if scale is ScaleFormat.E8M0:
        return Fraction(2) ** (code - E8M0_BIAS)
    return codec.value(E4M3_SCALE, code)


def _magnitude(x: float | Fraction, fmt: BlockFormat) -> Fraction:
    if isinstance(x, float) and math.isnan(x):
        raise InputError(f"NaN cannot be encoded as {fmt}")
    return LARGEST if isinstance(x, float) and math.isinf(x) else min(abs(Fraction(x)), LARGEST)


def scale_code(fmt: BlockFormat, amax: Fraction, tensor_scale: Fraction = Fraction(1)) -> int:
    """Return the code of a block's scale for its largest magnitude ``amax``.

    E8M0: the OCP rule, clamped to 2**-127 .. 2**127; a block of zeros has the least scale.  E4M3:
    the code nearest to ``amax / (element max * tensor_scale)``, saturating; it may be 0.
    """
    if fmt.scale is ScaleFormat.E4M3:
        return codec.encode(E4M3_SCALE, amax / (fmt.element.max * tensor_scale))
    if amax == 0:
        return 0
    exponent = amax.numerator.bit_length() - amax.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > amax  # now floor(log2(amax))
    return min(max(exponent - fmt.emax + E8M0_BIAS, 0), E8M0_NAN - 1)


def encode_block(
    fmt: BlockFormat, xs: Sequence[float | Fraction], tensor_scale: Fraction = Fraction(1)
) -> tuple[int, tuple[int, ...]]:
    """Return (scale code, element codes) of one block; saturating, nearest, ties to even.

    >>> encode_block(block_format("mxfp4"), [1.0, -0.5, 7.0])
    (127, (2, 9, 7))

    Elements of a block whose scale is 0 are 0.  Raises `InputError` for NaN.
    """
    amax = max((_magnitude(x, fmt) for x in xs), default=Fraction(0))
    code = scale_code(fmt, amax, tensor_scale)
    unit = scale_value(fmt.scale, code) * tensor_scale * Fraction(2) ** fmt.element_exp
    return code, tuple(_element(fmt.element, x, unit) for x in xs)


def _element(element: Format, x: float | Fraction, unit: Fraction) -> int:
    if isinstance(x, float) and (x == 0 or not unit):
        return codec.encode(element, math.copysign(0.0, x))  # the sign of a zero is kept
    if isinstance(x, float) and math.isinf(x):
        return codec.encode(element, x)
    return codec.encode(element, Fraction(x) / unit if unit else Fraction(0))


def decode_block(
    fmt: BlockFormat, code: int, codes: Sequence[int], tensor_scale: Fraction = Fraction(1)
) -> tuple[Fraction, ...]:
    """Return the exact numbers of one block; raises `FormatError` for a code without a value."""
    unit = scale_value(fmt.scale, code) * tensor_scale * Fraction(2) ** fmt.element_exp
    return tuple(codec.value(fmt.element, c) * unit for c in codes)
