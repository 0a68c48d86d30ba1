# SPDX-License-Identifier: Apache-2.0
"""What our formulas are compared with: FINN's formula, a linear fit, the nearest kernel.

The last two take the kernels they may learn from, with their counts, and estimate others; all are
for one style at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .primitives import SpecArrays

__all__ = ["RIVALS", "finn_datapath", "linear_fit", "nearest_kernel"]

Array = NDArray[np.float64]
Rival = Callable[[SpecArrays, Array, SpecArrays], Array]


def finn_datapath(kernels: SpecArrays, *, dsp: bool = False) -> Array:
    """Return the LUTs of FINN's HLS matrix-vector unit of one PE, without its constant of 300.

    ``1.1 * (mul + tree + acc)`` with ``mul = S * (2 * ceil((W + A) / 6) - 1) * (W + A)`` (0 in DSP
    slices), ``tree = (W + A) * (2 * S - 1)``, S lanes, W and A the bits of the operands (those of a
    minifloat as of an integer), and the kernel's own accumulator width.  FINN's estimate of its RTL
    unit is 0 LUTs.
    """
    both = (kernels.weight.bits + kernels.act.bits).astype(np.float64)
    lanes = kernels.lanes
    multiplier = 0.0 if dsp else lanes * (2 * np.ceil(both / 6) - 1) * both
    return np.asarray(1.1 * (multiplier + both * (2 * lanes - 1) + kernels.acc))


def _columns(kernels: SpecArrays) -> Array:
    """Return what a linear model of one style is linear in, shape (kernels, 10)."""
    weight, act, lanes = kernels.weight, kernels.act, kernels.lanes
    return np.stack(
        [
            np.asarray(column, np.float64)
            for column in (
                lanes * weight.bits * act.bits,
                lanes * (weight.bits + act.bits),
                lanes * (weight.exp_bits + act.exp_bits),
                lanes * (weight.shift_max + act.shift_max),
                lanes * weight.sig_bits * act.sig_bits,
                lanes,
                kernels.acc,
                kernels.acc * kernels.saturate,
                np.log2(kernels.length),
            )
        ],
        axis=1,
    )


def linear_fit(known: SpecArrays, counts: Array, asked: SpecArrays) -> Array:
    """Return a least-squares fit of the counts, linear in widths, their products and lanes.

    A small ridge keeps it defined where a style has fewer kernels than columns.
    """
    x, y = _columns(known), _columns(asked)
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    z = (x - center) / scale
    level = counts.mean()
    inner = z.T @ z + 1e-2 * np.eye(z.shape[1])
    weights = np.linalg.solve(inner, z.T @ (counts - level))
    return np.asarray(np.maximum((y - center) / scale @ weights + level, 0.0))


def nearest_kernel(known: SpecArrays, counts: Array, asked: SpecArrays) -> Array:
    """Return the count of the nearest known kernel, in logarithms of the same columns."""
    x, y = np.log1p(_columns(known)), np.log1p(_columns(asked))
    scale = x.std(axis=0)
    scale[scale == 0] = 1.0
    distance = np.square((y[:, None] - x[None]) / scale).sum(axis=2)
    return counts[distance.argmin(axis=1)]


RIVALS: Final[Mapping[str, Rival]] = {
    "linear fit": linear_fit,
    "nearest kernel": nearest_kernel,
}
"""Name -> estimator that learns."""
