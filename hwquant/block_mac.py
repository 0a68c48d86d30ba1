# SPDX-License-Identifier: Apache-2.0
"""The dot product of two block-scaled vectors, exact inside a block.

    block = scale_w * scale_a * 2**unit * sum of (integer x integer)           exact
    acc   = acc + round(block / 2**lsb)                                        in the window

The window ``(msb, lsb)`` is the accumulator: two's complement with the sign worth ``-2**msb`` and
steps of ``2**lsb``.  What is below ``lsb`` is rounded by name, block by block; what is above
``msb`` wraps or saturates by name.  Tensor scales of NVFP4 stay outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.block import (
    E4M3_SCALE,
    E8M0_BIAS,
    AnyFormat,
    BlockFormat,
    ScaleFormat,
    parse,
    scale_value,
)
from hwquant.errors import InputError, SpecError
from hwquant.fixed import Fixed, signed_bits
from hwquant.mac import MAX_ACC_BITS, MacSpec, Overflow, product_range

__all__ = ["BlockMacSpec", "Rounding", "fp32", "scale_parts"]

MAX_LSB = 1024
Parts = NDArray[np.int64]


class Rounding(StrEnum):
    """What becomes of a block's bits below the window."""

    NEAREST = "nearest"  # ties to even
    FLOOR = "floor"  # dropped
    EXACT = "exact"  # there must be none


def scale_parts(scale: ScaleFormat, codes: ArrayLike) -> tuple[Parts, Parts]:
    """Return (significand, exponent) of scale codes: the scale is ``significand * 2**exponent``.

    Raises `FormatError` for a code without a value.
    """
    array = np.asarray(codes, np.int64)
    for code in np.unique(array).tolist():
        scale_value(scale, code)
    if scale is ScaleFormat.E8M0:
        return np.ones_like(array), array - E8M0_BIAS
    field, mantissa = array >> 3, array & 7
    significand = np.where(field > 0, 8 + mantissa, mantissa)
    return significand, np.maximum(field, 1) - 1 + E4M3_SCALE.lsb_exp


def fp32(x: Fraction) -> Fraction:
    """Return the float32 nearest to ``x``, ties to even; beyond the largest it saturates."""
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > abs(x)
    step = Fraction(2) ** (max(exponent, -126) - 23)
    largest = (2 - Fraction(1, 1 << 23)) * Fraction(2) ** 127
    return min(max(round(x / step) * step, -largest), largest)


@dataclass(frozen=True)
class BlockMacSpec:
    """A block-dot kernel: ``lanes`` products per beat, ``length`` products between two clears.

    Formats may be given by name; they share block size and scale format.  ``window`` is
    ``(msb, lsb)``, or ``"auto"``: the least one in which no dot product of ``length`` loses
    anything, whatever the scales (50 bits for NVFP4, about 530 for E8M0 scales).  ``overflow``
    applies after each block.

    >>> BlockMacSpec("nvfp4", "nvfp4", lanes=16, length=256).bounds
    (31, -20)

    Raises `SpecError` for impossible numbers, `FormatError` for an unknown format.
    """

    weight: BlockFormat
    act: BlockFormat
    lanes: int
    length: int
    window: tuple[int, int] | Literal["auto"]
    rounding: Rounding
    overflow: Overflow

    def __init__(
        self,
        weight: AnyFormat | str,
        act: AnyFormat | str,
        lanes: int = 1,
        length: int | None = None,
        window: tuple[int, int] | Literal["auto"] = "auto",
        rounding: Rounding | str = Rounding.NEAREST,
        overflow: Overflow | str = Overflow.WRAP,
    ) -> None:
        set_ = object.__setattr__
        both = tuple(parse(f) if isinstance(f, str) else f for f in (weight, act))
        for name, fmt in zip(("weight", "act"), both, strict=True):
            if not isinstance(fmt, BlockFormat):
                raise SpecError(f"{name} {fmt} is not block-scaled; both formats must be")
            set_(self, name, fmt)
        if (self.weight.block, self.weight.scale) != (self.act.block, self.act.scale):
            raise SpecError(
                f"{self.weight} and {self.act} differ in block size or scale format; allowed: "
                "formats that share both"
            )
        set_(self, "lanes", lanes)
        set_(self, "length", self.weight.block if length is None else length)
        if not 1 <= lanes <= min(self.weight.block, 4096):
            raise SpecError(f"lanes {lanes}, allowed 1..{min(self.weight.block, 4096)}, one block")
        if not lanes <= self.length <= 1 << 32:
            raise SpecError(f"length {length}, allowed lanes ({lanes}) .. 2**32")
        if rounding not in tuple(Rounding):
            raise SpecError(f"rounding {rounding!r}, allowed: {', '.join(Rounding)}")
        set_(self, "rounding", Rounding(rounding))
        if overflow not in tuple(Overflow):
            raise SpecError(f"overflow {overflow!r}, allowed: wrap, saturate")
        set_(self, "overflow", Overflow(overflow))
        set_(self, "window", window if window == "auto" else tuple(window))
        if window != "auto":
            self._check_window(*window)

    @staticmethod
    def _check_window(msb: int, lsb: int) -> None:
        if abs(lsb) > MAX_LSB or not 2 <= msb - lsb + 1 <= MAX_ACC_BITS:
            raise SpecError(
                f"window {msb}:{lsb}, allowed 2..{MAX_ACC_BITS} bits with the lowest from "
                f"2**-{MAX_LSB} to 2**{MAX_LSB}"
            )

    @property
    def element(self) -> MacSpec:
        """The sum inside one block: an integer kernel, exact for all the beats of a block."""
        length = self.beats_per_block * self.lanes
        return MacSpec(self.weight.element, self.act.element, self.lanes, length)

    @property
    def unit_exp(self) -> int:
        """log2 of what integer 1 of a block's sum is worth under scales of one."""
        return self.weight.lsb_exp + self.act.lsb_exp

    @property
    def scale_exps(self) -> tuple[int, int]:
        """The least and greatest exponent of a product of two scales (as `scale_parts` gives)."""
        first = self.weight.scale is ScaleFormat.E8M0
        return (-254, 254) if first else (-18, 10)

    @property
    def bounds(self) -> tuple[int, int]:
        """The window in use, (msb, lsb)."""
        if self.window != "auto":
            return self.window
        lsb = self.scale_exps[0] + self.unit_exp
        low, high = product_range(self.weight.element, self.act.element)
        # The largest products of scales: 2**254 of 2**-254 each, or 448**2 of 2**-18.
        e8m0 = self.weight.scale is ScaleFormat.E8M0
        largest = 1 << 508 if e8m0 else (14 << 14) ** 2
        width = signed_bits(low * self.length * largest, high * self.length * largest)
        return lsb + width - 1, lsb

    @property
    def accumulator(self) -> Fixed:
        """The accumulator's width and fraction bits."""
        msb, lsb = self.bounds
        return Fixed(msb - lsb + 1, -lsb)

    @property
    def beats_per_block(self) -> int:
        """Beats of a full block."""
        return -(-self.weight.block // self.lanes)

    @property
    def lossless(self) -> bool:
        """Whether no block can have bits below the window."""
        return self.bounds[1] <= self.scale_exps[0] + self.unit_exp

    def blocks(self, length: int) -> Iterator[slice]:
        """Yield the elements of each block of a vector; the last may be shorter."""
        size = self.weight.block
        return (slice(at, min(at + size, length)) for at in range(0, length, size))

    def block_sums(self, weight_codes: ArrayLike, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the exact integer sum of each block; codes (..., n), result (..., blocks)."""
        products = self.element.products(weight_codes, act_codes)
        n = products.shape[-1]
        sums = [products[..., cut].sum(-1) for cut in self.blocks(n)]
        return np.stack(sums, -1).astype(object)

    def shifted(
        self, sums: NDArray[Any], weight_scales: ArrayLike, act_scales: ArrayLike
    ) -> NDArray[Any]:
        """Return each block in steps of the window, rounded; Python integers, any size.

        Raises `InputError` where rounding is ``exact`` and bits would be lost.
        """
        floor, rest, down = self._split(sums, weight_scales, act_scales)
        if self.rounding is Rounding.EXACT and (rest != 0).any():
            raise InputError(
                f"{np.count_nonzero(rest)} blocks have bits below 2**{self.bounds[1]}, and the "
                "rounding is exact; lower the window's lsb or choose nearest or floor"
            )
        if self.rounding is Rounding.NEAREST:
            twice, one = rest * 2, np.ones_like(rest) << down
            odd = (floor & 1) != 0
            floor = floor + ((twice > one) | ((twice == one) & (rest != 0) & odd)).astype(object)
        return floor

    def lossy(
        self, sums: NDArray[Any], weight_scales: ArrayLike, act_scales: ArrayLike
    ) -> NDArray[np.bool_]:
        """Return which blocks have bits below the window."""
        return np.asarray(self._split(sums, weight_scales, act_scales)[1] != 0, np.bool_)

    def _split(
        self, sums: NDArray[Any], weight_scales: ArrayLike, act_scales: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return each block in steps of the window, rounded down; the rest below; its width."""
        left, right = (scale_parts(self.weight.scale, s) for s in (weight_scales, act_scales))
        whole = sums * (left[0] * right[0]).astype(object)
        shift = left[1] + right[1] + self.unit_exp - self.bounds[1]
        up, down = np.maximum(shift, 0).astype(object), np.maximum(-shift, 0).astype(object)
        number: NDArray[Any] = whole << up
        floor: NDArray[Any] = number >> down
        return floor, number - (floor << down), down

    def accumulate(
        self,
        weight_codes: ArrayLike,
        act_codes: ArrayLike,
        weight_scales: ArrayLike,
        act_scales: ArrayLike,
    ) -> NDArray[Any]:
        """Return the accumulator after each block, from a clear; Python integers.

        Codes have shape (..., n), scale codes (..., ceil(n / block)); so has the result.
        """
        sums = self.block_sums(weight_codes, act_codes)
        addends = self.shifted(sums, weight_scales, act_scales)
        fixed = self.accumulator
        state: NDArray[Any] = np.zeros(addends.shape[:-1], object)
        result = np.empty(addends.shape, object)
        for index in range(addends.shape[-1]):
            total = np.asarray(state + addends[..., index], object)
            clamp = fixed.saturate if self.overflow is Overflow.SATURATE else fixed.wrap
            state = np.asarray(clamp(total), object)
            result[..., index] = state
        return result

    def dot(
        self,
        weight_codes: ArrayLike,
        act_codes: ArrayLike,
        weight_scales: ArrayLike,
        act_scales: ArrayLike,
    ) -> NDArray[Any]:
        """Return the accumulator after the last block, in steps of ``2**bounds[1]``."""
        sums = self.accumulate(weight_codes, act_codes, weight_scales, act_scales)
        return np.asarray(sums[..., -1])

    def dot_fp32(
        self,
        weight_codes: ArrayLike,
        act_codes: ArrayLike,
        weight_scales: ArrayLike,
        act_scales: ArrayLike,
    ) -> NDArray[np.float32]:
        """Return the dot product with a float32 accumulator: one rounding per block, in order.

        ``acc = fp32(acc + block)`` where the block is exact.  Software only; codes (..., n).
        """
        sums = self.block_sums(weight_codes, act_codes)
        left, right = (scale_parts(self.weight.scale, s) for s in (weight_scales, act_scales))
        significand = np.broadcast_to(left[0] * right[0], sums.shape)
        exponent = np.broadcast_to(left[1] + right[1] + self.unit_exp, sums.shape)
        result = np.empty(sums.shape[:-1], np.float32)
        for at in np.ndindex(result.shape):
            state = Fraction(0)
            parts = zip(sums[at], significand[at].tolist(), exponent[at].tolist(), strict=True)
            for number, factor, power in parts:
                state = fp32(state + int(number) * factor * Fraction(2) ** power)
            result[at] = np.float32(float(state))
        return result

    def value(self, acc: int) -> Fraction:
        """Return the number an accumulator stands for, before tensor scales."""
        return acc * Fraction(2) ** self.bounds[1]
