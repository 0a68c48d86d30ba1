# SPDX-License-Identifier: Apache-2.0
"""Other ways to estimate the LUTs of a kernel, to compare our formulas with.

FINN's formula is its estimate for an HLS matrix-vector unit with multipliers in LUTs
(``matrixvectoractivation_hls.py``, constants from FINN-R, arXiv 1809.04570): written here from its
definition.  The other two are what one fits without knowing the hardware; they take the kernels
they may learn from, with their counts, and estimate others of the same style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .measurements import Measurement
from .primitives.specs import SpecArrays

__all__ = ["RIVALS", "finn", "held_out_linear", "held_out_nearest", "linear_fit", "nearest_kernel"]

Array = NDArray[np.float64]
Rival = Callable[[SpecArrays, Array, SpecArrays], Array]


def finn(specs: SpecArrays, *, dsp: bool = False) -> Array:
    """Return FINN's LUT estimate of one processing element of ``lanes`` inputs.

    Its constant of 300 for the unit around it is left out; formats count as integers of their
    width, the accumulator as given; ``dsp`` takes the multipliers out.  Of its RTL unit FINN
    estimates 0 LUTs.
    """
    bits = specs.weight.bits + specs.act.bits
    multiply = 0.0 if dsp else specs.lanes * (2 * np.ceil(bits / 6) - 1) * bits
    tree = bits * (2 * specs.lanes - 1)
    return np.asarray(1.1 * (multiply + tree + specs.acc), np.float64)


def _features(specs: SpecArrays) -> Array:
    weight, act, lanes = specs.weight, specs.act, specs.lanes
    columns = (
        np.ones(len(specs)),
        lanes,
        specs.acc,
        lanes * (weight.bits + act.bits),
        lanes * weight.bits * act.bits,
        lanes * weight.sig_bits * act.sig_bits,
        lanes * specs.product_bits,
        specs.saturate * specs.acc,
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], 1)


def linear_fit(known: SpecArrays, counts: Array, asked: SpecArrays) -> Array:
    """Return a fit of least relative squares, linear in widths, their products and lanes."""
    weight = 1 / np.maximum(counts, 1.0)
    scaled = _features(known) * weight[:, None]
    fitted = np.linalg.lstsq(scaled, counts * weight, rcond=None)[0]
    return np.asarray(_features(asked) @ fitted)


def nearest_kernel(known: SpecArrays, counts: Array, asked: SpecArrays) -> Array:
    """Return the count of the nearest known kernel, in logarithms of the same features."""
    x, y = np.log1p(_features(known)), np.log1p(_features(asked))
    far = np.abs(y[:, None] - x[None]).sum(axis=2)
    return np.asarray(counts[far.argmin(axis=1)])


RIVALS: Final[Mapping[str, Rival]] = {
    "linear fit": linear_fit,
    "nearest kernel": nearest_kernel,
}
"""Name -> estimator that learns."""


def _held_out(rival: Rival, rows: Sequence[Measurement], count: str) -> Array:
    """Return relative errors for each format, of the kernels with it from those without."""
    specs = [row.spec for row in rows]
    have = [{str(spec.weight), str(spec.act)} for spec in specs]
    y = np.array([getattr(row.resources, count) for row in rows], np.float64)
    found = []
    for name in sorted(set().union(*have)):
        out = np.array([name in formats for formats in have])
        known = SpecArrays.from_specs(
            spec for spec, held in zip(specs, out, strict=True) if not held
        )
        asked = SpecArrays.from_specs(spec for spec, held in zip(specs, out, strict=True) if held)
        found.append(rival(known, y[~out], asked) / y[out] - 1)
    return np.concatenate(found)


def held_out_linear(rows: Sequence[Measurement], count: str) -> Array:
    """Return relative errors of a linear fit on formats it has not seen."""
    return _held_out(linear_fit, rows, count)


def held_out_nearest(rows: Sequence[Measurement], count: str) -> Array:
    """Return relative errors of the nearest measured kernel without the format, by features."""
    return _held_out(nearest_kernel, rows, count)
