# SPDX-License-Identifier: Apache-2.0
"""The codec on numpy arrays: the same functions as `hwquant.codec`, proven equal, vectorised."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec
from hwquant.errors import FormatError, InputError
from hwquant.formats import Codebook, Format, Integer

__all__ = ["canonical", "decode", "encode", "integer_dtype", "quantize", "steps_up"]
__all__ += ["value_table", "values"]

Array = NDArray[Any]


def integer_dtype(largest: int) -> type[np.int64 | np.object_]:
    """Return the dtype for integers up to ``largest`` in magnitude: int64, else Python int."""
    return np.int64 if largest < 1 << 62 else np.object_


@lru_cache(maxsize=1024)
def _tables(fmt: Format) -> tuple[Array, NDArray[np.bool_]]:
    """Return (decoded integer, has a value) for each bit pattern."""
    size = 1 << fmt.bits
    integers = np.zeros(size, integer_dtype(fmt.max_int + 1))
    valid = np.zeros(size, np.bool_)
    for code in fmt.codes:
        integers[code] = codec.decode(fmt, code)
        valid[code] = True
    for table in (integers, valid):
        table.setflags(write=False)
    return integers, valid


@lru_cache(maxsize=1024)
def value_table(fmt: Format) -> NDArray[np.float32]:
    """Return the float32 value of each bit pattern, NaN where it has none; exact, -0 kept."""
    integers, valid = _tables(fmt)
    table = np.ldexp(integers.astype(np.float64), fmt.lsb_exp).astype(np.float32)
    table[~valid] = np.nan
    if fmt.sign_magnitude:
        table[1 << fmt.bits - 1] = -0.0
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1024)
def steps_up(fmt: Codebook, dtype: type[np.float32 | np.float64] = np.float64) -> Array:
    """Return, for each value but the lowest, the least number of ``dtype`` that rounds to it."""
    thresholds = []
    for middle, up in fmt.boundaries:
        exact = math.ldexp(middle, fmt.lsb_exp - 1)
        near = dtype(exact)
        below = float(near) < exact or (float(near) == exact and not up)
        thresholds.append(np.nextafter(near, dtype(np.inf)) if below else near)
    found: Array = np.array(thresholds, dtype)
    found.setflags(write=False)
    return found


def decode(fmt: Format, codes: ArrayLike) -> Array:
    """Return the integers that ``codes`` mean, in units of ``fmt.step``; any shape.

    The dtype is int64, or Python integers (object) where the format's largest exceeds 62 bits.
    Raises `FormatError` for a code without a value.
    """
    integers, valid = _tables(fmt)
    index = np.asarray(codes)
    if index.size and (index.min() < 0 or index.max() >= integers.size or not valid[index].all()):
        flat = index.ravel()
        bad = next(c for c in flat.tolist() if not 0 <= c < integers.size or not valid[c])
        raise FormatError(
            f"code {bad} has no value in {fmt}; allowed: one of its {len(fmt.codes)} codes"
        )
    return integers[index]


def values(fmt: Format, codes: ArrayLike) -> NDArray[np.float32]:
    """Return the exact float32 values of ``codes``; raises `FormatError` as `decode` does."""
    decode(fmt, codes)
    return value_table(fmt)[np.asarray(codes)]


def encode(fmt: Format, x: ArrayLike, name: str = "array") -> NDArray[np.uint8]:
    """Return the code of the nearest value for each element of ``x``, saturating; same shape.

    Exact for float32, float64 and integers below 2**53.  Raises `InputError` on NaN, naming
    ``name``.
    """
    real = np.asarray(x, np.float64)
    if np.isnan(real).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(real))[0])
        raise InputError(
            f"{name} holds NaN (first at index {where}); it cannot be encoded as {fmt}"
        )
    if isinstance(fmt, Codebook):
        ranks = np.searchsorted(steps_up(fmt), real, side="right")
        found = np.array(fmt.ordered_codes, np.uint8)[ranks]
        if not fmt.sign_magnitude:
            return found
        return np.where((found == 0) & np.signbit(real), np.uint8(1 << fmt.bits - 1), found)
    steps = np.ldexp(real, -fmt.lsb_exp)
    if isinstance(fmt, Integer):
        rounded = np.rint(np.clip(steps, fmt.min_int, fmt.max_int)).astype(np.int64)
        return (rounded & (1 << fmt.bits) - 1).astype(np.uint8)
    negative = np.signbit(real)
    # Clamping first bounds the shift; a value between max and max+1 rounds to max or saturates.
    magnitude = np.minimum(np.abs(steps), float(fmt.max_int + 1))
    shift = np.zeros(real.shape, np.int64)
    if fmt.exponent_bits:
        shift = np.maximum(np.frexp(magnitude)[1] - 1 - fmt.mantissa_bits, 0).astype(np.int64)
    significand = np.rint(np.ldexp(magnitude, -shift)).astype(np.int64)
    code = np.minimum((shift << fmt.mantissa_bits) + significand, fmt.max_magnitude_code)
    if not fmt.signed:
        return np.where(negative, 0, code).astype(np.uint8)
    return (code | negative.astype(np.int64) << fmt.bits - 1).astype(np.uint8)


def quantize(fmt: Format, x: ArrayLike, name: str = "array") -> NDArray[np.float32]:
    """Return the nearest value for each element of ``x``: ``values(encode(x))``."""
    return value_table(fmt)[encode(fmt, x, name)]


def canonical(fmt: Format, codes: ArrayLike) -> NDArray[np.uint8]:
    """Return ``codes`` with -0 replaced by +0, so that equal numbers have equal codes."""
    array = np.asarray(codes).astype(np.uint8)
    if not fmt.sign_magnitude:
        return array
    return np.where(array == 1 << fmt.bits - 1, np.uint8(0), array)
