# SPDX-License-Identifier: Apache-2.0
"""The definition of code <-> value.  Normative: written to be read, exact, scalar.

``codec_np`` and the hardware are proven equal to these functions on every code.
Rounding is to nearest; a tie goes to the even significand, which is the even code, except for
``M == 0`` where the tie between two nonzero values goes away from zero (as Brevitas and QONNX
execute it).  Values beyond the largest saturate, +-inf included.  NaN is an error.
"""

from __future__ import annotations

import math
from fractions import Fraction

from hwquant.errors import FormatError, InputError
from hwquant.formats import Codebook, Format, Integer

__all__ = ["decode", "encode", "value"]


def decode(fmt: Format, code: int) -> int:
    """Return the integer that ``code`` means, in units of ``fmt.step``.

    >>> from hwquant.formats import parse
    >>> [decode(parse("e2m1"), code) for code in range(8)]
    [0, 1, 2, 3, 4, 6, 8, 12]

    Raises `FormatError` for a code without a value (out of range, NaN, inf, narrow minimum).
    """
    if code not in fmt.codes:
        raise FormatError(
            f"code {code} has no value in {fmt}; allowed: one of its {len(fmt.codes)} codes"
        )
    if isinstance(fmt, Integer):
        return code - (1 << fmt.bits) if code > fmt.max_int else code
    if isinstance(fmt, Codebook):
        return fmt.by_code[code]
    sign, magnitude = divmod(code, 1 << fmt.exponent_bits + fmt.mantissa_bits)
    exponent, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    hidden = 1 << fmt.mantissa_bits if exponent else 0  # zero and subnormals have none
    integer = hidden + mantissa << max(exponent - 1, 0)
    return -integer if sign else integer


def value(fmt: Format, code: int) -> Fraction:
    """Return the exact value of ``code``: ``decode(fmt, code) * fmt.step`` (-0 gives 0)."""
    return decode(fmt, code) * fmt.step


def encode(fmt: Format, x: float | Fraction) -> int:
    """Return the code of the value nearest to ``x``, saturating.

    The sign of a zero is kept where the format has one.

    >>> from hwquant.formats import parse
    >>> encode(parse("e2m1"), 2.5), encode(parse("int4"), -100)
    (4, 8)

    Raises `InputError` when ``x`` is NaN.
    """
    if isinstance(x, float) and math.isnan(x):
        raise InputError(f"NaN cannot be encoded as {fmt}")
    negative = math.copysign(1, x) < 0 if isinstance(x, float) else x < 0
    # An infinity is any number beyond the largest value.
    finite = not (isinstance(x, float) and math.isinf(x))
    steps = abs(Fraction(x) / fmt.step) if finite else Fraction(max(fmt.max_int, -fmt.min_int) + 1)
    if isinstance(fmt, Integer):
        integer = -round(steps) if negative else round(steps)  # nearest, ties to even
        return min(max(integer, fmt.min_int), fmt.max_int) & (1 << fmt.bits) - 1
    if isinstance(fmt, Codebook):
        halves = -2 * steps if negative else 2 * steps
        rank = sum(middle < halves or (middle == halves and up) for middle, up in fmt.boundaries)
        code = fmt.ordered_codes[rank]
        return 1 << fmt.bits - 1 if fmt.sign_magnitude and negative and code == 0 else code
    if negative and not fmt.signed:
        return 0
    shift = 0  # of the significand's least significant bit, in steps
    if fmt.exponent_bits:
        shift = max(math.floor(steps).bit_length() - 1 - fmt.mantissa_bits, 0)
    significand = round(steps / 2**shift)
    # A significand that rounded up to 2**(M+1) carries into the exponent field by itself.
    magnitude = min((shift << fmt.mantissa_bits) + significand, fmt.max_magnitude_code)
    return magnitude | negative << fmt.bits - 1
