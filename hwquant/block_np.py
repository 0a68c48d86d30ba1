# SPDX-License-Identifier: Apache-2.0
"""Block-scaled formats on numpy arrays: the functions of `hwquant.block`, proven equal.

Blocks lie along one axis, from its start.  Where its length is no multiple of the block size, the
last block is shorter; nothing is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec_np
from hwquant.block import E4M3_SCALE, E8M0_BIAS, BlockFormat, ScaleFormat, scale_value
from hwquant.errors import FormatError, InputError

__all__ = ["BlockCodes", "encode", "expand", "quantize", "scale_table", "tensor_scale"]

FLOAT32_MAX = float(np.finfo(np.float32).max)


@lru_cache(maxsize=8)
def scale_table(scale: ScaleFormat) -> NDArray[np.float64]:
    """Return the value of each of the 256 scale codes, NaN where there is none; exact."""
    last = 254 if scale is ScaleFormat.E8M0 else E4M3_SCALE.max_magnitude_code
    table = np.full(256, np.nan)
    table[: last + 1] = [float(scale_value(scale, code)) for code in range(last + 1)]
    table.setflags(write=False)
    return table


def expand(per_block: ArrayLike, block: int, length: int, axis: int = -1) -> NDArray[Any]:
    """Repeat what there is per block for each of the ``length`` elements along ``axis``."""
    repeated = np.repeat(np.asarray(per_block), block, axis)
    return np.take(repeated, np.arange(length), axis)


@dataclass(frozen=True, eq=False)
class BlockCodes:
    """A tensor in a block-scaled format.

    ``codes`` (uint8) has the tensor's shape, ``scales`` (uint8) the same with ``axis`` cut to
    ``ceil(length / block)``; ``tensor_scale`` is a float32 number, 1 but for NVFP4.
    """

    fmt: BlockFormat
    codes: NDArray[np.uint8]
    scales: NDArray[np.uint8]
    tensor_scale: float = 1.0
    axis: int = -1

    @property
    def integers(self) -> NDArray[np.int64]:
        """The decoded elements, in units of ``2**fmt.lsb_exp`` times both scales."""
        return np.asarray(codec_np.decode(self.fmt.element, self.codes), np.int64)

    def values(self) -> NDArray[np.float64]:
        """Return the numbers: exact, but for an NVFP4 tensor scale of more than 24 bits.

        Raises `FormatError` for a scale or element code without a value.
        """
        scales = scale_table(self.fmt.scale)[self.scales]
        if np.isnan(scales).any():
            bad = int(self.scales[np.isnan(scales)][0])
            raise FormatError(f"scale code {bad} has no value in {self.fmt.scale}")
        length = self.codes.shape[self.axis]
        unit = np.ldexp(expand(scales, self.fmt.block, length, self.axis), self.fmt.lsb_exp)
        signed = np.copysign(np.abs(self.integers), codec_np.values(self.fmt.element, self.codes))
        numbers: NDArray[np.float64] = signed * unit * self.tensor_scale
        return numbers


def tensor_scale(fmt: BlockFormat, amax: float, *, po2: bool = False) -> float:
    """Return the scale of a tensor with largest magnitude ``amax``: 1 for MX formats.

    NVFP4: ``amax / 2688``, rounded to float32, or with ``po2`` the least power of two that clips
    nothing.  A tensor of zeros has scale 1.
    """
    if not fmt.tensor_scale or amax == 0:
        return 1.0
    if not po2:
        return float(max(np.float32(amax) / np.float32(fmt.max), np.finfo(np.float32).tiny))
    exact = Fraction(float(amax)) / fmt.max
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent += Fraction(2) ** exponent < exact
    exponent -= Fraction(2) ** (exponent - 1) >= exact
    return float(np.ldexp(1.0, max(exponent, -126)))


def encode(
    fmt: BlockFormat,
    x: ArrayLike,
    axis: int = -1,
    *,
    scale: float | None = None,
    name: str = "array",
) -> BlockCodes:
    """Return the codes of ``x`` (taken as float32) with blocks along ``axis``; infinities saturate.

    ``scale`` is the tensor scale, a float32, by default `tensor_scale` of the largest magnitude.

    Raises `InputError` on NaN, naming ``name``, or for a scale that the format does not have.
    """
    real = np.asarray(x, np.float32).astype(np.float64)
    if real.ndim == 0:
        raise InputError(f"{name} is one number; blocks need an axis")
    if np.isnan(real).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(real))[0])
        raise InputError(
            f"{name} holds NaN (first at index {where}); it cannot be encoded as {fmt}"
        )
    magnitude = np.minimum(np.abs(real), FLOAT32_MAX)
    if scale is None:
        scale = tensor_scale(fmt, float(magnitude.max(initial=0)))
    scale = float(np.float32(scale))
    if not (0 < scale < np.inf) or (scale != 1 and not fmt.tensor_scale):
        raise InputError(f"{name}: tensor scale {scale}, allowed a positive number (MX: 1)")
    starts = np.arange(0, real.shape[axis], fmt.block)
    amax = np.maximum.reduceat(magnitude, starts, axis) if starts.size else magnitude
    if fmt.scale is ScaleFormat.E8M0:
        exponent = np.frexp(amax)[1].astype(np.int64) - 1 - fmt.emax + E8M0_BIAS
        scales = np.where(amax == 0, 0, np.clip(exponent, 0, 254)).astype(np.uint8)
    else:
        # float32 numbers over products of at most 31 bits: the quotient in float64 cannot
        # reach or cross a tie that the exact one does not.
        scales = codec_np.encode(E4M3_SCALE, amax / (float(fmt.element.max) * scale))
    unit = expand(scale_table(fmt.scale)[scales], fmt.block, real.shape[axis], axis) * scale
    unit = np.ldexp(unit, fmt.element_exp)
    safe = np.where(unit == 0, 1.0, unit)
    steps = np.where(unit == 0, np.copysign(0.0, real), real / safe)
    return BlockCodes(fmt, codec_np.encode(fmt.element, steps, name), scales, scale, axis)


def quantize(
    fmt: BlockFormat,
    x: ArrayLike,
    axis: int = -1,
    *,
    scale: float | None = None,
    name: str = "array",
) -> NDArray[np.float64]:
    """Return ``encode(...).values()``: the nearest numbers under the block's scale."""
    return encode(fmt, x, axis, scale=scale, name=name).values()
