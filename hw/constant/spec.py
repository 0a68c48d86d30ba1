# SPDX-License-Identifier: Apache-2.0
"""The spec of a constant-weight matrix-vector kernel, and its exact answer.

``y[o] = sum over i of w[o][i] * x[i] + bias[o]`` with the weights fixed when the hardware is made:
everything in units of the product of the two formats' steps, as in `hwquant.mac`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.fixed import signed_bits
from hwquant.formats import Format, parse

__all__ = ["MAX_WEIGHTS", "MatVecSpec"]

MAX_WEIGHTS = 1 << 16
MAX_SIDE = 4096
MAX_BIAS_BITS = 512


@dataclass(frozen=True)
class MatVecSpec:
    """A matrix of weight codes, shape (outputs, inputs), times a vector of activation codes.

    ``bias`` is one integer per output on the accumulator grid (none: zeros).  Formats may be given
    by name, the matrix as anything numpy takes.

    >>> spec = MatVecSpec([[1, 2], [7, 9]], "e2m1", "int4", bias=(0, 5))
    >>> spec.dot([3, 15]).tolist(), spec.out_bits
    ([1, 42], (6, 8))

    Raises `SpecError` for an impossible shape or bias, `FormatError` for an unknown format or a
    weight code without a value.
    """

    codes: tuple[tuple[int, ...], ...]
    weight: Format
    act: Format
    bias: tuple[int, ...]

    def __init__(
        self,
        codes: ArrayLike,
        weight: Format | str,
        act: Format | str,
        bias: ArrayLike | None = None,
    ) -> None:
        matrix = _matrix(codes)
        offsets = np.zeros(matrix.shape[0], np.int64) if bias is None else np.asarray(bias)
        set_ = object.__setattr__
        set_(self, "codes", tuple(map(tuple, matrix.tolist())))
        set_(self, "weight", parse(weight) if isinstance(weight, str) else weight)
        set_(self, "act", parse(act) if isinstance(act, str) else act)
        if offsets.shape != (matrix.shape[0],) or not _whole(offsets):
            raise SpecError(
                f"bias has shape {offsets.shape} and type {offsets.dtype}, allowed: one integer "
                f"for each of the {matrix.shape[0]} outputs"
            )
        set_(self, "bias", tuple(int(value) for value in offsets))
        if max(abs(value).bit_length() for value in self.bias) > MAX_BIAS_BITS:
            raise SpecError(f"a bias exceeds {MAX_BIAS_BITS} bits")
        codec_np.decode(self.weight, matrix)

    @property
    def outputs(self) -> int:
        """Rows of the matrix."""
        return len(self.codes)

    @property
    def inputs(self) -> int:
        """Columns of the matrix."""
        return len(self.codes[0])

    @cached_property
    def weights(self) -> tuple[tuple[int, ...], ...]:
        """The decoded weights, in units of the weight format's step."""
        decoded = codec_np.decode(self.weight, np.asarray(self.codes))
        return tuple(tuple(int(value) for value in row) for row in decoded)

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The least and greatest value of each output, bias included: both are reached."""
        low, high = self.act.min_int, self.act.max_int
        found = []
        for row, bias in zip(self.weights, self.bias, strict=True):
            up, down = sum(w for w in row if w > 0), sum(w for w in row if w < 0)
            found.append((up * low + down * high + bias, up * high + down * low + bias))
        return tuple(found)

    @cached_property
    def out_bits(self) -> tuple[int, ...]:
        """The width of each output, two's complement."""
        return tuple(signed_bits(low, high) for low, high in self.ranges)

    @property
    def frac(self) -> int:
        """Fraction bits of the outputs."""
        return -(self.weight.lsb_exp + self.act.lsb_exp)

    def dot(self, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the exact outputs; ``act_codes`` (..., inputs), result (..., outputs).

        The dtype is int64, or Python integers where an output exceeds 62 bits.
        """
        decoded = codec_np.decode(self.act, act_codes)
        if decoded.ndim < 1 or decoded.shape[-1] != self.inputs:
            raise SpecError(f"act_codes has shape {decoded.shape}, allowed (..., {self.inputs})")
        most = max(max(abs(low), abs(high)) for low, high in self.ranges)
        total = self.act.max_int * max(sum(map(abs, row)) for row in self.weights) + most
        dtype = codec_np.integer_dtype(total)
        x: NDArray[Any] = decoded.astype(dtype)
        w: NDArray[Any] = np.asarray(self.weights, object).astype(dtype)
        product: NDArray[Any] = np.matmul(x, w.T)
        return np.asarray(product + np.asarray(self.bias, object).astype(dtype))


def _whole(values: NDArray[Any]) -> bool:
    if values.dtype == object:
        return all(isinstance(value, int) for value in values.ravel().tolist())
    return bool(np.issubdtype(values.dtype, np.integer))


def _matrix(codes: ArrayLike) -> NDArray[Any]:
    matrix = np.asarray(codes)
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.integer):
        raise SpecError(
            f"weight codes have shape {matrix.shape} and type {matrix.dtype}, allowed: an integer "
            "matrix of shape (outputs, inputs)"
        )
    outputs, inputs = matrix.shape
    fits = 1 <= outputs <= MAX_SIDE and 1 <= inputs <= MAX_SIDE
    if not fits or outputs * inputs > MAX_WEIGHTS:
        raise SpecError(
            f"the matrix has {outputs} x {inputs} weights, allowed 1..{MAX_SIDE} of each and "
            f"{MAX_WEIGHTS} in all; a larger layer is for hwquant rtl MODEL.onnx"
        )
    return matrix
