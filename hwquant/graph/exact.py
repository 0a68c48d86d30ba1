# SPDX-License-Identifier: Apache-2.0
"""Exact tensors: integers times rational scales, and what can be done to them without rounding.

Every float32 is an integer times a power of two, so constants, scales and biases of a network
file are exact here.  Integers are int64 while they fit 62 bits and Python integers beyond.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec, codec_np
from hwquant.formats import Format

__all__ = ["FLOAT32_EXACT", "Array", "Exact", "Real", "add", "concat", "constant", "fits_float32"]
__all__ += [
    "from_codes",
    "gcd",
    "is_po2",
    "largest",
    "multiply",
    "quantize",
    "scale_fractions",
    "times",
]

Array = NDArray[Any]
FLOAT32_EXACT = 1 << 24  # every integer up to here is a float32
_SAFE = 1 << 62


@dataclass(frozen=True, slots=True)
class Exact:
    """``ints * scale``: one scale, or one per index along ``axis``.

    ``fmt`` names the format whose decoded integers ``ints`` are (None once summed).  ``proven``
    says that float32 arithmetic computes this tensor without any rounding.  ``origin`` is the
    quantized tensor these codes come from, while ``fmt`` holds.
    """

    ints: Array
    scale: tuple[Fraction, ...] = (Fraction(1),)
    axis: int | None = None
    fmt: Format | None = None
    proven: bool = True
    origin: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(int(n) for n in self.ints.shape)

    def common(self) -> Exact:
        """Return the same numbers under one scale, the greatest that divides them all."""
        if self.axis is None:
            return self
        unit = gcd(*self.scale)
        factors = [int(s / unit) for s in self.scale]
        if all(f == 1 for f in factors):
            return replace(self, scale=(unit,), axis=None)
        shape = [1] * self.ints.ndim
        shape[self.axis] = -1
        factor = np.array(factors, dtype=object).reshape(shape)
        return replace(self, ints=multiply(self.ints, factor), scale=(unit,), axis=None, fmt=None)

    def reals(self) -> NDArray[np.float64]:
        """Return the numbers as float64, each rounded once."""
        if all(is_po2(s) for s in self.scale) and self.ints.dtype != np.object_:
            exponents = np.array([_log2(s) for s in self.scale])
            if self.axis is not None:
                exponents = exponents.reshape([-1 if d == self.axis else 1 for d in self._dims()])
            if largest(self.ints) <= 1 << 53:
                result: NDArray[np.float64] = np.ldexp(self.ints.astype(np.float64), exponents)
                return result
        spread = np.empty(self.ints.shape, np.float64)
        moved = np.moveaxis(spread, self.axis, 0) if self.axis is not None else spread[None]
        ints = np.moveaxis(self.ints, self.axis, 0) if self.axis is not None else self.ints[None]
        for index, scale in enumerate(self.scale):
            top, bottom = scale.numerator, scale.denominator
            moved[index] = np.array(
                [_divide(int(i) * top, bottom) for i in ints[index].ravel()]
            ).reshape(ints[index].shape)
        return spread

    def _dims(self) -> range:
        return range(self.ints.ndim)

    def map(self, function: Callable[[Array], Array], axis: int | None = None) -> Exact:
        """Return the tensor with its integers rearranged by ``function``, a shape operation."""
        return replace(self, ints=function(self.ints), axis=axis)


@dataclass(frozen=True, slots=True)
class Real:
    """A float64 tensor: what a float island computes.  ``proven`` as for `Exact`."""

    values: NDArray[np.float64]
    proven: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(int(n) for n in self.values.shape)


def _divide(top: int, bottom: int) -> float:
    try:
        return top / bottom
    except OverflowError:
        return math.copysign(math.inf, top)


def gcd(*scales: Fraction) -> Fraction:
    """Return the greatest number that divides all ``scales`` (positive)."""
    bottom = math.lcm(*(s.denominator for s in scales))
    return Fraction(math.gcd(*(int(s * bottom) for s in scales)), bottom)


def is_po2(x: Fraction) -> bool:
    """Return whether ``x`` is a power of two."""
    top, bottom = x.numerator, x.denominator
    return top > 0 and top & (top - 1) == 0 and bottom & (bottom - 1) == 0


def _log2(x: Fraction) -> int:
    return x.numerator.bit_length() - x.denominator.bit_length()


def largest(ints: Array) -> int:
    """Return the largest magnitude (0 for an empty array)."""
    return max(int(ints.max()), -int(ints.min())) if ints.size else 0


def _narrow(ints: Array) -> Array:
    """Return int64 where the numbers fit 62 bits, Python integers elsewhere."""
    if ints.dtype == np.object_ and largest(ints) < _SAFE:
        return ints.astype(np.int64)
    return ints


def multiply(a: Array, b: Array) -> Array:
    """Return the exact elementwise product, with broadcasting."""
    top_a, top_b = largest(a), largest(b)
    if max(top_a, top_b, top_a * top_b) < _SAFE:
        product: Array = a.astype(np.int64) * b.astype(np.int64)
        return product
    return _narrow(a.astype(object) * b.astype(object))


def scale_fractions(scale: ArrayLike) -> tuple[Fraction, ...]:
    """Return float32 scales as exact numbers, flattened."""
    return tuple(Fraction(float(s)) for s in np.asarray(scale, np.float32).ravel())


def fits_float32(x: Exact) -> bool:
    """Return whether every number of ``x`` is a float32 (power-of-two scales only)."""
    if not all(is_po2(s) and -126 <= _log2(s) <= 127 for s in x.scale):
        return False
    top = largest(x.ints)
    if top * max(x.scale) >= 1 << 128:
        return False
    if top <= FLOAT32_EXACT:
        return True
    if x.ints.dtype == np.object_:
        return all(abs(i) // (i & -i) <= FLOAT32_EXACT for i in map(int, x.ints.ravel()) if i)
    nonzero = np.abs(x.ints[x.ints != 0])
    return bool((nonzero // (nonzero & -nonzero) <= FLOAT32_EXACT).all())


def constant(array: ArrayLike) -> Exact:
    """Return a float32 array as integers under one power-of-two scale (finite numbers only)."""
    fraction, exponent = np.frexp(np.asarray(array, np.float32).astype(np.float64))
    mantissa = np.ldexp(fraction, 24).astype(np.int64)  # a float32 has 24 significant bits
    low = mantissa & -mantissa
    shift = np.where(mantissa == 0, 0, np.log2(np.maximum(low, 1)).astype(np.int64))
    mantissa, exponent = mantissa >> shift, exponent.astype(np.int64) - 24 + shift
    live = mantissa != 0
    unit = int(exponent[live].min()) if live.any() else 0
    up = np.where(live, exponent - unit, 0)
    if live.any() and int(up.max()) + 25 > 62:
        wide = [int(m) << int(u) for m, u in zip(mantissa.ravel(), up.ravel(), strict=True)]
        ints = np.array(wide, dtype=object).reshape(mantissa.shape)
    else:
        ints = mantissa << up
    return Exact(ints, (Fraction(2) ** unit,))


def from_codes(
    fmt: Format, codes: ArrayLike, scale: tuple[Fraction, ...], axis: int | None, origin: str = ""
) -> Exact:
    """Return quantized ``codes`` as the integers they mean, ``scale`` times the format's step."""
    steps = tuple(s * fmt.step for s in scale)
    out = Exact(codec_np.decode(fmt, codes), steps, axis, fmt, origin=origin)
    return replace(out, proven=fits_float32(out))


def times(x: Exact, factors: tuple[Fraction, ...], axis: int | None) -> Exact:
    """Return ``x`` with its scales multiplied by ``factors``, all positive."""
    if axis is None:
        out = replace(x, scale=tuple(s * factors[0] for s in x.scale))
    elif x.axis is None:
        out = replace(x, scale=tuple(x.scale[0] * f for f in factors), axis=axis)
    elif x.axis == axis and len(x.scale) == len(factors):
        out = replace(x, scale=tuple(s * f for s, f in zip(x.scale, factors, strict=True)))
    else:
        return times(x.common(), factors, axis)
    return replace(out, proven=x.proven and fits_float32(out))


def _aligned(x: Exact, unit: Fraction) -> Array:
    factor = x.scale[0] / unit
    return multiply(x.ints, np.array([int(factor)], dtype=object).reshape([1] * x.ints.ndim))


def add(a: Exact, b: Exact, sign: int = 1) -> Exact:
    """Return ``a + sign * b`` with broadcasting."""
    same = a.axis is not None and a.axis == b.axis and a.scale == b.scale and a.shape == b.shape
    if not same:
        a, b = a.common(), b.common()
        unit = gcd(a.scale[0], b.scale[0])
        left, right = _aligned(a, unit), _aligned(b, unit)
    else:
        unit, left, right = a.scale[0], a.ints, b.ints
    if largest(left) + largest(right) >= _SAFE:
        left, right = left.astype(object), right.astype(object)
    ints = _narrow(left + sign * right)
    out = Exact(ints, a.scale if same else (unit,), a.axis if same else None)
    return replace(out, proven=a.proven and b.proven and fits_float32(out))


def concat(parts: list[Exact], axis: int) -> Exact:
    """Return the concatenation; the format survives when all parts share it and their scale."""
    parts = [p.common() for p in parts]
    unit = gcd(*(p.scale[0] for p in parts))
    ints = [_aligned(p, unit) for p in parts]
    if any(i.dtype == np.object_ for i in ints):
        ints = [i.astype(object) for i in ints]
    same = all(p.scale == parts[0].scale and p.fmt == parts[0].fmt for p in parts)
    return Exact(
        np.concatenate(ints, axis),
        (unit,),
        fmt=parts[0].fmt if same else None,
        proven=all(p.proven for p in parts),
        origin=parts[0].origin if same else "",
    )


@lru_cache(maxsize=512)
def _levels(fmt: Format) -> tuple[NDArray[np.uint8], tuple[Fraction, ...], tuple[bool, ...]]:
    """Return codes by ascending value, the midpoints between them, and which ties go up."""
    by_value = {codec.value(fmt, code): code for code in reversed(fmt.codes)}
    order = sorted(by_value)
    codes = np.array([0 if v == 0 else by_value[v] for v in order], np.uint8)
    middles = tuple((a + b) / 2 for a, b in itertools.pairwise(order))
    up = tuple(
        codec.value(fmt, codec.encode(fmt, m)) == high
        for m, high in zip(middles, order[1:], strict=True)
    )
    return codes, middles, up


@lru_cache(maxsize=4096)
def _thresholds(fmt: Format, ratio: Fraction) -> tuple[int, ...]:
    """Return, for each level but the first, the least integer ``t`` with ``t / ratio`` in it."""
    _, middles, up = _levels(fmt)
    result = []
    for middle, tie_up in zip(middles, up, strict=True):
        exact = middle * ratio
        ceiling = math.ceil(exact)
        result.append(ceiling + (ceiling == exact and not tie_up))
    return tuple(result)


def _step_function(fmt: Format, ratio: Fraction, ints: Array) -> NDArray[np.uint8]:
    thresholds = _thresholds(fmt, ratio)
    codes, _, _ = _levels(fmt)
    if ints.dtype == np.object_:
        table: Array = np.array(thresholds, dtype=object)
    else:
        table = np.array([min(max(t, -_SAFE), _SAFE) for t in thresholds], np.int64)
    index = np.searchsorted(table, ints, side="right")
    result: NDArray[np.uint8] = codes[index]
    return result


def quantize(
    x: Exact | Real, fmt: Format, scale: tuple[Fraction, ...], axis: int | None, name: str
) -> NDArray[np.uint8]:
    """Return the code of the value of ``fmt`` nearest to ``x / scale``; exact for `Exact` input.

    A quantizer is a step function of the integer accumulator: the code is found by comparing the
    integer with exact thresholds.  -0 is never returned.  Raises `InputError` on NaN.
    """
    if isinstance(x, Real):
        divisor = np.array([float(s) for s in scale])
        if axis is not None:
            divisor = divisor.reshape([-1 if d == axis else 1 for d in range(x.values.ndim)])
        return codec_np.canonical(fmt, codec_np.encode(fmt, x.values / divisor, name))
    if axis is not None and x.axis is not None and x.axis != axis:
        x = x.common()
    along = x.axis if axis is None else axis
    if along is None:
        return _step_function(fmt, scale[0] / x.scale[0], x.ints)
    size = x.ints.shape[along]
    inner = x.scale if x.axis is not None else x.scale * size
    outer = scale if axis is not None else scale * size
    ratios = [q / s for q, s in zip(outer, inner, strict=True)]
    out = np.empty(x.ints.shape, np.uint8)
    target, source = np.moveaxis(out, along, 0), np.moveaxis(x.ints, along, 0)
    for ratio in dict.fromkeys(ratios):
        mask = np.array([r == ratio for r in ratios])
        target[mask] = _step_function(fmt, ratio, source[mask])
    return out
