# SPDX-License-Identifier: Apache-2.0
"""Quantiles that never cross: isotonic regression over the levels, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["crossings", "isotonic"]


def isotonic(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest nondecreasing rows (least squares); shape (rows, levels) kept.

    ``max over i <= k of min over j >= k of mean(q[i..j])``, the max-min form of pooling adjacent
    violators, for all rows at once.  Rows without a crossing come back unchanged.  It never worsens
    a weighted interval score (arXiv 2103.00083, section 4).

    >>> isotonic(np.array([[1.0, 3.0, 2.0], [0.0, 1.0, 2.0]])).tolist()
    [[1.0, 2.5, 2.5], [0.0, 1.0, 2.0]]
    """
    rows, levels = quantiles.shape
    crossed = (np.diff(quantiles, axis=1) < 0).any(axis=1)
    if not crossed.any():
        return quantiles.copy()
    bad = quantiles[crossed]
    best = np.full_like(bad, -np.inf)
    for start in range(levels):
        count = np.arange(1, levels - start + 1)
        means = np.cumsum(bad[:, start:], axis=1) / count
        # least mean over ends at or after each level
        least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        best[:, start:] = np.maximum(best[:, start:], least)
    result = quantiles.copy()
    # the maximum over starts grows with the level only up to rounding of the means
    result[crossed] = np.maximum.accumulate(best, axis=1)
    return result.reshape(rows, levels)


def crossings(quantiles: NDArray[np.float64]) -> int:
    """Return how many rows have a quantile below that of a lower level."""
    return int((np.diff(quantiles, axis=1) < 0).any(axis=1).sum())
