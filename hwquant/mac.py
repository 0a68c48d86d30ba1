# SPDX-License-Identifier: Apache-2.0
"""The multiply-accumulate: one spec, its exact answer, and the accumulator law.

`MacSpec` is the object that software (`MacSpec.dot`), hardware (``hw.generate``), proof
(``sim.verify``) and price (``costmodel.estimate``) share.  A product of two codes is the product
of their decoded integers, in units of the product of the two steps; a dot product is their sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.fixed import Fixed, signed_bits
from hwquant.formats import Format, Minifloat, parse

__all__ = ["MAX_ACC_BITS", "MacSpec", "Overflow", "accumulator_range", "certificate", "paper_bits"]
__all__ += ["product_range"]

MAX_ACC_BITS = 1024


class Overflow(StrEnum):
    """What an accumulator does beyond its rails."""

    WRAP = "wrap"
    SATURATE = "saturate"


def product_range(weight: Format, act: Format) -> tuple[int, int]:
    """Return the least and greatest product of two decoded integers."""
    corners = [w * a for w in (weight.min_int, weight.max_int) for a in (act.min_int, act.max_int)]
    return min(corners), max(corners)


@dataclass(frozen=True)
class MacSpec:
    """A kernel: ``lanes`` products per beat, ``length`` products between two clears.

    ``acc`` is the accumulator width in bits, or ``"auto"`` for the least width that no dot
    product of ``length`` can exceed.  ``overflow`` applies after each beat, in element order.
    ``weight`` and ``act`` may be given by name.

    >>> spec = MacSpec("e2m1", "int8", lanes=16)
    >>> spec.accumulator
    Fixed(width=16, frac=1)

    Raises `SpecError` for impossible numbers, `FormatError` for an unknown format.
    """

    weight: Format
    act: Format
    lanes: int = 1
    length: int = 0
    acc: int | Literal["auto"] = "auto"
    overflow: Overflow = Overflow.WRAP

    def __init__(
        self,
        weight: Format | str,
        act: Format | str,
        lanes: int = 1,
        length: int | None = None,
        acc: int | Literal["auto"] = "auto",
        overflow: Overflow | str = Overflow.WRAP,
    ) -> None:
        set_ = object.__setattr__
        set_(self, "weight", parse(weight) if isinstance(weight, str) else weight)
        set_(self, "act", parse(act) if isinstance(act, str) else act)
        set_(self, "lanes", lanes)
        set_(self, "length", lanes if length is None else length)
        set_(self, "acc", acc)
        if overflow not in tuple(Overflow):
            raise SpecError(f"overflow {overflow!r}, allowed: wrap, saturate")
        set_(self, "overflow", Overflow(overflow))
        if not 1 <= self.lanes <= 4096:
            raise SpecError(f"lanes {lanes}, allowed 1..4096")
        if not self.lanes <= self.length <= 1 << 32:
            raise SpecError(f"length {length}, allowed lanes ({lanes}) .. 2**32")
        if acc != "auto" and not (isinstance(acc, int) and 2 <= acc <= MAX_ACC_BITS):
            raise SpecError(f"acc {acc!r}, allowed 'auto' or 2..{MAX_ACC_BITS} bits")

    @property
    def exact_bits(self) -> int:
        """The accumulator law: the least width that holds every sum of ``length`` products."""
        low, high = product_range(self.weight, self.act)
        return signed_bits(min(low, 0) * self.length, max(high, 0) * self.length)

    @property
    def accumulator(self) -> Fixed:
        """The accumulator's width and fraction bits."""
        width = self.exact_bits if self.acc == "auto" else self.acc
        return Fixed(width, -(self.weight.lsb_exp + self.act.lsb_exp))

    @property
    def beats(self) -> int:
        """Beats of a full-length dot product: ``ceil(length / lanes)``."""
        return -(-self.length // self.lanes)

    @property
    def sum_bits(self) -> int:
        """Width of one beat's sum of ``lanes`` products, before accumulation."""
        low, high = product_range(self.weight, self.act)
        return signed_bits(min(low, 0) * self.lanes, max(high, 0) * self.lanes)

    def products(self, weight_codes: ArrayLike, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the exact products, elementwise with broadcasting; int64 or Python integers."""
        w, a = codec_np.decode(self.weight, weight_codes), codec_np.decode(self.act, act_codes)
        dtype = codec_np.integer_dtype(max(map(abs, product_range(self.weight, self.act))))
        # One code of a wide format decodes to a plain Python integer, not to an array; and only
        # astype makes Python integers of numpy's, which cannot be multiplied by wide ones.
        left: NDArray[Any] = np.asarray(w).astype(dtype)
        right: NDArray[Any] = np.asarray(a).astype(dtype)
        product: NDArray[Any] = np.asarray(left * right, dtype)
        return product

    def accumulate(self, weight_codes: ArrayLike, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the accumulator after each beat, starting from a clear.

        Codes have shape (..., n); the last beat may be partial.  The result has shape
        (..., ceil(n / lanes)): exact integers in units of the two steps' product.
        """
        products = self.products(weight_codes, act_codes)
        *batch, n = products.shape
        fixed = self.accumulator
        low, high = product_range(self.weight, self.act)
        largest = max(-low, high) * max(n, 1) + (1 << fixed.width)
        padded = np.zeros(
            (*batch, -(-n // self.lanes) * self.lanes), codec_np.integer_dtype(largest)
        )
        padded[..., :n] = products
        sums = padded.reshape(*batch, -1, self.lanes).sum(axis=-1)
        if self.overflow is Overflow.WRAP:
            return fixed.wrap(np.cumsum(sums, axis=-1))
        state = np.zeros(batch, sums.dtype)
        for beat in range(sums.shape[-1]):
            state = fixed.saturate(state + sums[..., beat])
            sums[..., beat] = state
        return sums

    def dot(self, weight_codes: ArrayLike, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the accumulator after the last beat; codes (..., n), n >= 1, result (...).

        >>> MacSpec("e2m1", "int4", lanes=2, length=4).dot([7, 1, 9, 0], [7, 2, 3, 1])
        array(83)
        """
        return np.asarray(self.accumulate(weight_codes, act_codes)[..., -1])


def certificate(weight_ints: ArrayLike, act: Format, bias: ArrayLike = 0) -> tuple[int, int]:
    """Return the least and greatest value that a sum with these weights can take, zero included.

    ``weight_ints`` are decoded integers of shape (channels, products); ``bias`` is an integer on
    the accumulator grid, one per channel or one for all.  See `accumulator_range`.

    >>> certificate([[-8, 1]], parse("uint4"), bias=40)
    (-120, 55)
    """
    w = np.asarray(weight_ints)
    w = w.reshape(w.shape[0], -1).astype(object)
    ends = np.stack([w * act.min_int, w * act.max_int])
    least, most = ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)
    offsets = np.broadcast_to(np.asarray(bias, dtype=object), least.shape)
    return accumulator_range(zip(least, most, strict=True), offsets)


def accumulator_range(ranges: Iterable[tuple[int, int]], bias: Iterable[int]) -> tuple[int, int]:
    """Return the least and greatest of zero, every channel's sums, and those with its bias.

    ``ranges`` has the least and greatest sum of products of each channel.  A kernel starts at zero
    and what follows it adds the bias, so a bias that shortens the sums must not narrow the
    accumulator; one that lengthens them must find room, as what follows is as wide.
    """
    low = high = 0
    for (least, most), offset in zip(ranges, bias, strict=True):
        low = min(low, int(least), int(least + offset))
        high = max(high, int(most), int(most + offset))
    return low, high


def paper_bits(weight: Format, act: Format, length: int) -> int:
    """Return the accumulator width of arXiv 2311.12359 for a dot product of ``length``.

    Integers: ``ra + rb + ceil(log2 n) + 1``; minifloats: ``2**ea + ma + 2**eb + mb +
    ceil(log2 n) - 1``; a codebook counts as the integers it decodes to.  A mixed pair takes each
    operand's half of the two formulas.
    """

    def half(fmt: Format) -> float:
        if isinstance(fmt, Minifloat):
            return (1 << fmt.exponent_bits) + fmt.mantissa_bits - 0.5
        return signed_bits(fmt.min_int, fmt.max_int) - (not fmt.signed) + 0.5

    return int(half(weight) + half(act)) + math.ceil(math.log2(length))
