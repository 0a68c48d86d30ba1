# SPDX-License-Identifier: Apache-2.0
"""Find the scale of a tensor by largest magnitude, percentile or least squares.

Tensors come as rows, one row per scale: (channels, values), or (1, values) per tensor.
``absmax`` takes the least scale that clips nothing: for powers of two
``k = ceil(log2(absmax / max))``, decided by exact comparison, never by a rounded logarithm.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwquant.errors import SpecError
from hwquant.formats import Format
from hwquant.nn.kernel import quantize_unit

__all__ = ["EXPONENTS_BELOW", "as_rows", "no_clip_exponents", "solve", "squared_error"]

EXPONENTS_BELOW: Final = 5  # mse: how many powers of two below the clip-free one are tried
GRID_POINTS: Final = 96  # mse with float scales: the error is not convex in the scale
GRID_RANGE: Final = (0.2, 1.2)


def solve(rows: Tensor, fmt: Format, kind: str, rule: str, percentile: float = 100.0) -> Tensor:
    """Return one float32 scale per row of ``rows`` (scales, values); rows of zeros get 1.

    ``kind`` is ``po2`` or ``float``; ``rule`` is ``absmax``, ``percentile`` or ``mse``.
    """
    if rule not in ("absmax", "percentile", "mse"):
        raise SpecError(f"calibration rule {rule!r}, allowed: absmax, percentile, mse")
    rows = rows.detach().float()
    reach = _percentile(rows, percentile) if rule == "percentile" else rows.abs().amax(1)
    zero = reach == 0
    reach = torch.where(zero, rows.abs().amax(1), reach)  # a percentile of a sparse row
    zero = reach == 0
    if rule == "mse" and len(rows) == 1:
        rows = _telling(rows, fmt)
    if kind == "po2":
        exponents = no_clip_exponents(reach, fmt)
        if rule == "mse":
            exponents = _best_exponents(rows, fmt, exponents)
        scale = _power_of_two(exponents)
    else:
        scale = reach / float(fmt.max)
        if rule == "mse":
            scale = _best_scales(rows, fmt, scale)
        scale = scale.clamp(min=2.0**-126)
    return torch.where(zero, torch.ones_like(scale), scale)


def no_clip_exponents(reach: Tensor, fmt: Format) -> Tensor:
    """Return the least ``k`` with ``max * 2**k >= reach``, within the float32 range."""
    mantissa, exponent = torch.frexp(reach.double())
    top_mantissa, top_exponent = torch.frexp(torch.tensor(float(fmt.max), dtype=torch.float64))
    k = exponent - top_exponent + (mantissa > top_mantissa)
    lowest = max(-126, -126 - fmt.lsb_exp)  # the scaled step stays a normal float32
    highest = 127 - int(top_exponent)
    return k.clamp(min(lowest, highest), highest).int()


def _power_of_two(exponents: Tensor) -> Tensor:
    """Return ``2**exponents`` (-126..127) from its bit pattern: no rounded power function."""
    return ((exponents.int() + 127) << 23).view(torch.float32)


def _telling(rows: Tensor, fmt: Format) -> Tensor:
    """Return the one row without its zeros (half of what ReLU gives), which have no error."""
    if float(quantize_unit(rows.new_zeros(1), fmt)) != 0:
        return rows
    return rows[rows != 0].reshape(1, -1)


def _percentile(rows: Tensor, percentile: float) -> Tensor:
    """Return the magnitude that ``percentile`` percent of each row does not exceed."""
    values = rows.abs().sort(1).values
    index = min(int(values.shape[1] * percentile / 100), values.shape[1] - 1)
    return values[:, index]


def as_rows(weight: Tensor, channel_axis: int | None) -> Tensor:
    """Return ``weight`` as one row per scale: per channel along an axis, or a single row."""
    return (
        weight.reshape(1, -1)
        if channel_axis is None
        else weight.movedim(channel_axis, 0).flatten(1)
    )


def squared_error(rows: Tensor, scale: Tensor, fmt: Format) -> Tensor:
    """Return the squared rounding error of each row under its scale, float64."""
    column = scale.reshape(-1, 1)
    return (quantize_unit(rows / column, fmt) * column - rows).double().square().sum(1)


def _best_exponents(rows: Tensor, fmt: Format, top: Tensor) -> Tensor:
    best, least = top, torch.full(top.shape, torch.inf, dtype=torch.float64)
    for below in range(EXPONENTS_BELOW + 1):
        exponents = (top - below).clamp(min=-126)
        error = squared_error(rows, _power_of_two(exponents), fmt)
        better = error < least  # a tie keeps the larger scale, which clips less
        best, least = torch.where(better, exponents, best), torch.where(better, error, least)
    return best


def _best_scales(rows: Tensor, fmt: Format, top: Tensor) -> Tensor:
    best, least = top, torch.full(top.shape, torch.inf, dtype=torch.float64)
    for factor in torch.linspace(GRID_RANGE[1], GRID_RANGE[0], GRID_POINTS).tolist():
        scale = (top * factor).clamp(min=2.0**-126)
        error = squared_error(rows, scale, fmt)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best
