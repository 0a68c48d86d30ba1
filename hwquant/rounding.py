# SPDX-License-Identifier: Apache-2.0
"""Requantizers that round: a power-of-two scale (`RoundPack`), a fixed-point one (`MultiplyShift`).

Rounding is that of `hwquant.codec`: nearest, ties to the even code (``M = 0``: away from zero, but
to 0 next to 0), saturating.  -0 is never emitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.channels import Number, PerChannel, accumulators, check_bits, check_channels, spread
from hwquant.codec_np import integer_dtype
from hwquant.errors import SpecError
from hwquant.fixed import Fixed, signed_bits
from hwquant.formats import Codebook, Format, Integer, Minifloat, parse
from hwquant.mac import MAX_ACC_BITS

__all__ = ["Codes", "MultiplyShift", "RoundPack"]

MAX_SHIFT = 1024
MAX_MULT_BITS = 32

Codes = NDArray[np.uint8]


def _exponent(scale: Fraction, what: str) -> int:
    """Return log2 of ``scale``; raises `SpecError` when it is no power of two."""
    if scale > 0 and 1 in (scale.numerator, scale.denominator):
        number = max(scale.numerator, scale.denominator)
        if number & number - 1 == 0:
            return (number.bit_length() - 1) * (1 if scale.denominator == 1 else -1)
    raise SpecError(
        f"{what} {scale} is no power of two; allowed: 2**n, else use MultiplyShift or Thresholds"
    )


def _even_steps(fmt: Format | str) -> Integer | Minifloat:
    """Return the output format; raises `SpecError` for a codebook: no rounding makes its codes."""
    found = parse(fmt) if isinstance(fmt, str) else fmt
    if isinstance(found, Codebook):
        raise SpecError(f"{found} is a codebook, allowed: integers and minifloats; use Thresholds")
    return found


@dataclass(frozen=True)
class RoundPack:
    """Normalise, round, pack: ``code = RNE((acc + bias[c]) / 2**shift[c])`` in ``fmt``.

    The rounded number counts steps of ``fmt``.  ``bias`` and ``shift`` hold one entry per channel
    or one for all.  A negative shift multiplies.

    >>> RoundPack("e2m1", 8, bias=(0,), shift=(2,)).apply([2, 6, 10, 99, -2]).tolist()
    [0, 2, 2, 7, 0]

    Raises `SpecError` for impossible numbers, `FormatError` for an unknown format.
    """

    fmt: Integer | Minifloat
    acc_bits: int
    bias: tuple[int, ...] = (0,)
    shift: tuple[int, ...] = (0,)

    def __init__(
        self,
        fmt: Format | str,
        acc_bits: int,
        bias: Sequence[int] = (0,),
        shift: Sequence[int] = (0,),
    ) -> None:
        object.__setattr__(self, "fmt", _even_steps(fmt))
        object.__setattr__(self, "acc_bits", acc_bits)
        object.__setattr__(self, "bias", tuple(map(int, bias)))
        object.__setattr__(self, "shift", tuple(map(int, shift)))
        check_bits(acc_bits)
        check_channels("bias", len(self.bias))
        if len(self.shift) not in (1, len(self.bias)):
            raise SpecError(
                f"shift has {len(self.shift)} entries, allowed 1 or {len(self.bias)} (channels)"
            )
        if max(map(abs, self.shift)) > MAX_SHIFT:
            raise SpecError(
                f"shift {min(self.shift)}..{max(self.shift)}, allowed {-MAX_SHIFT}..{MAX_SHIFT}"
            )
        if self.sum_bits > 2 * MAX_ACC_BITS:
            raise SpecError(f"biased sum of {self.sum_bits} bits, allowed {2 * MAX_ACC_BITS}")

    @classmethod
    def of(
        cls,
        fmt: Format | str,
        acc_bits: int,
        *,
        unit: PerChannel = 1,
        scale: Number = 1,
        bias: PerChannel = 0,
    ) -> RoundPack:
        """Return the requantizer of ``acc * unit + bias`` to ``fmt`` with ``scale``.

        ``unit`` is the value of one accumulator step, ``scale`` that of the output's 1.0; both
        must be powers of two, and ``bias`` a multiple of ``unit``.  All are taken exactly.
        Raises `SpecError` where they are not.
        """
        fmt = parse(fmt) if isinstance(fmt, str) else fmt
        units, biases = spread(unit=unit, bias=bias)
        whole = [b / u for b, u in zip(biases, units, strict=True)]
        for b, u, n in zip(biases, units, whole, strict=True):
            if n.denominator != 1:
                raise SpecError(f"bias {b} is no multiple of the accumulator's unit {u}; round it")
        grid = _exponent(Fraction(scale), "scale") + fmt.lsb_exp
        shifts = [grid - _exponent(u, "unit") for u in units]
        common = len(set(shifts)) == 1
        return cls(fmt, acc_bits, [int(n) for n in whole], shifts[:1] if common else shifts)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.bias)

    @property
    def frac(self) -> int:
        """Zero bits below the accumulator's lowest in hardware, so that every shift is >= 1."""
        return max(0, 1 - min(self.shift))

    @property
    def sum_bits(self) -> int:
        """Two's complement width that holds every ``acc + bias``."""
        rails = Fixed(self.acc_bits, 0)
        return signed_bits(rails.min_int + min(self.bias), rails.max_int + max(self.bias))

    def apply(self, acc: ArrayLike) -> Codes:
        """Return the codes of accumulators (channels last); same shape.

        Raises `InputError` for numbers beyond ``acc_bits`` or a wrong last axis.
        """
        return self._round(accumulators(acc, self.channels, self.acc_bits))

    def _round(self, acc: NDArray[Any]) -> Codes:
        dtype = integer_dtype(1 << self.sum_bits + self.frac)
        total = acc.astype(dtype) + np.array(self.bias, dtype)
        negative = total < 0
        magnitude = abs(total) << self.frac
        shift = np.array([s + self.frac for s in self.shift], dtype)
        if isinstance(self.fmt, Integer):
            integer = _nearest_even(magnitude, shift)
            integer = np.where(negative, -integer, integer)
            clamped = np.minimum(np.maximum(integer, self.fmt.min_int), self.fmt.max_int)
            return (clamped & (1 << self.fmt.bits) - 1).astype(np.uint8)
        exponent = np.zeros(magnitude.shape, dtype)
        for binade in range(1, (1 << self.fmt.exponent_bits) - 1 if self.fmt.exponent_bits else 0):
            # Shifting the number down cannot overflow where shifting the bound up would.
            lowest = 1 << self.fmt.mantissa_bits + binade
            exponent = exponent + (_down(magnitude, shift) >= lowest)
        significand = _nearest_even(magnitude, shift + exponent)
        code = np.minimum(
            (exponent << self.fmt.mantissa_bits) + significand, self.fmt.max_magnitude_code
        )
        if not self.fmt.signed:
            return np.where(negative, 0, code).astype(np.uint8)
        sign = (negative & (code != 0)).astype(dtype) << self.fmt.bits - 1
        return (code | sign).astype(np.uint8)


def _down(x: NDArray[Any], shift: NDArray[Any]) -> NDArray[Any]:
    """Return ``floor(x / 2**shift)`` for ``x >= 0``; int64 shifts are defined up to 63 only."""
    return x >> (shift if x.dtype == object else np.minimum(shift, 63))


def _nearest_even(x: NDArray[Any], shift: NDArray[Any]) -> NDArray[Any]:
    """Return ``x / 2**shift`` rounded to the nearest integer, ties to even; shift >= 1."""
    floor, half = _down(x, shift), _down(x, shift - 1)
    inexact = x != _down(x, shift - 1) << (
        shift - 1 if x.dtype == object else np.minimum(shift - 1, 62)
    )
    return floor + ((half & 1 == 1) & (inexact | (floor & 1 == 1)))


@dataclass(frozen=True)
class MultiplyShift:
    """Fixed-point scale: ``code = RNE((acc * mult[c] + bias[c]) / 2**shift)`` in ``fmt``.

    ``mult`` and ``bias`` hold one entry per channel, or ``mult`` one for all; a negative
    multiplier is allowed.  Integer and minifloat outputs.

    >>> MultiplyShift("int8", 16, mult=(3,), bias=(0,), shift=3).apply([4, -4, 100]).tolist()
    [2, 254, 38]

    Raises `SpecError` for impossible numbers, `FormatError` for an unknown format.
    """

    fmt: Integer | Minifloat
    acc_bits: int
    mult: tuple[int, ...]
    bias: tuple[int, ...]
    shift: int

    def __init__(
        self,
        fmt: Format | str,
        acc_bits: int,
        mult: Sequence[int],
        bias: Sequence[int] = (0,),
        shift: int = 0,
    ) -> None:
        count = max(len(mult), len(bias))
        for name, column in (("mult", mult), ("bias", bias)):
            if len(column) not in (1, count):
                raise SpecError(
                    f"{name} has {len(column)} entries, allowed 1 or {count} (channels)"
                )
        object.__setattr__(self, "fmt", _even_steps(fmt))
        object.__setattr__(self, "acc_bits", acc_bits)
        object.__setattr__(self, "mult", tuple(map(int, mult)))
        object.__setattr__(self, "bias", tuple(map(int, bias)) * (count // len(bias)))
        object.__setattr__(self, "shift", shift)
        check_bits(acc_bits)
        if self.mult_bits > MAX_MULT_BITS:
            raise SpecError(f"multiplier of {self.mult_bits} bits, allowed 2..{MAX_MULT_BITS}")
        _ = self.rounding

    @classmethod
    def of(
        cls,
        fmt: Format | str,
        acc_bits: int,
        *,
        unit: PerChannel,
        scale: Number = 1,
        bias: PerChannel = 0,
        mult_bits: int = 16,
    ) -> MultiplyShift:
        """Return the nearest requantizer of ``acc * unit + bias`` to ``fmt`` with ``scale``.

        All channels share the shift; the largest multiplier fills ``mult_bits`` bits, or fewer
        where every factor is exact with fewer.  Multipliers and biases are rounded once each, ties
        to even; `factors` says what they became.
        Raises `SpecError` when a number cannot be represented.
        """
        fmt = parse(fmt) if isinstance(fmt, str) else fmt
        if not 2 <= mult_bits <= MAX_MULT_BITS:
            raise SpecError(f"mult_bits {mult_bits}, allowed 2..{MAX_MULT_BITS}")
        units, biases = spread(unit=unit, bias=bias)
        grid = Fraction(scale) * fmt.step
        if grid <= 0:
            raise SpecError(f"scale {scale}, allowed: a positive number")
        factors, offsets = [u / grid for u in units], [b / grid for b in biases]
        largest = max(map(abs, factors))
        if not largest:
            return cls(fmt, acc_bits, [0], [round(b) for b in offsets], 0)
        top = (1 << mult_bits - 1) - 1
        shift = mult_bits - 2 - math.floor(_log2(largest))
        while round(largest * Fraction(2) ** shift) > top:
            shift -= 1
        exact = [x.denominator for x in (*factors, *offsets)]
        if all(d & d - 1 == 0 for d in exact):
            shift = min(shift, max(exact).bit_length() - 1)
        unit_shift = Fraction(2) ** shift
        return cls(
            fmt,
            acc_bits,
            [round(f * unit_shift) for f in factors],
            [round(b * unit_shift) for b in offsets],
            shift,
        )

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.bias)

    @property
    def factors(self) -> tuple[Fraction, ...]:
        """What an accumulator step is multiplied by, in steps of ``fmt``, per channel."""
        return tuple(m / Fraction(2) ** self.shift for m in self.mult)

    @property
    def mult_bits(self) -> int:
        """Two's complement width of the multipliers."""
        return max(2, signed_bits(min(self.mult), max(self.mult)))

    @property
    def rounding(self) -> RoundPack:
        """The rounding of the product: the block behind the multiplier."""
        return RoundPack(self.fmt, self.acc_bits + self.mult_bits, self.bias, (self.shift,))

    def apply(self, acc: ArrayLike) -> Codes:
        """Return the codes of accumulators (channels last); same shape.

        Raises `InputError` for numbers beyond ``acc_bits`` or a wrong last axis.
        """
        checked = accumulators(acc, self.channels, self.acc_bits)
        dtype = integer_dtype(1 << self.acc_bits + self.mult_bits)
        return self.rounding.apply(checked.astype(dtype) * np.array(self.mult, dtype))


def _log2(x: Fraction) -> float:
    return math.log2(x.numerator) - math.log2(x.denominator)
