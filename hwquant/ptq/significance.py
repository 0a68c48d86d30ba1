# SPDX-License-Identifier: Apache-2.0
"""Paired statistics of two methods on the same items: bootstrap interval and McNemar's test."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError

__all__ = ["bootstrap", "mcnemar"]

EXACT_BELOW: Final = 1000  # discordant pairs: the binomial sum is exact, and fast enough


def bootstrap(
    gain: NDArray[Any], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean of ``gain`` (cells, items).

    A cell is one network with one calibration draw.  Each resample draws cells, and items; the
    same items in all cells, because all are tested on the same ones.  So both the luck of
    training and calibration and that of the test set count.  With few cells such an interval is
    too narrow: three cells give a sixth of the spread's evidence that twenty do.

    Raises `InputError` for an array of another rank or without elements.
    """
    if gain.ndim != 2 or not gain.size:
        raise InputError(f"bootstrap: shape {gain.shape}, allowed (cells, items), both >= 1")
    rng = np.random.default_rng(seed)
    cells, items = gain.shape
    table = gain.astype(np.float32)
    means = np.empty(resamples)
    for index in range(resamples):
        chosen = np.bincount(rng.integers(0, cells, cells), minlength=cells) / cells
        counts = np.bincount(rng.integers(0, items, items), minlength=items)
        means[index] = chosen @ (table @ counts.astype(np.float32)) / items
    tail = 50 * (1 - level)
    low, high = np.percentile(means, (tail, 100 - tail))
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p value of as unequal a split of the discordant pairs by chance.

    Exact (binomial) below 1000 pairs, else chi squared with continuity correction.
    """
    if min(only_first, only_second) < 0:
        raise InputError(f"mcnemar: counts {only_first} and {only_second}, allowed 0 or more")
    pairs = only_first + only_second
    if not pairs:
        return 1.0
    if pairs < EXACT_BELOW:
        tail = sum(math.comb(pairs, k) for k in range(min(only_first, only_second) + 1))
        return min(1.0, 2 * tail / 2**pairs)
    excess = max(abs(only_first - only_second) - 1, 0)
    return math.erfc(math.sqrt(excess * excess / pairs / 2))
