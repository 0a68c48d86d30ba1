# SPDX-License-Identifier: Apache-2.0
"""How good quantiles and intervals are: pinball loss, weighted interval score, coverage bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CENTRAL", "TAUS", "clopper_pearson", "clustered", "pinball", "weighted_interval_score"]

CENTRAL: Final = (0.95, 0.9, 0.8, 0.5)
"""Shares of the central intervals, widest first."""

TAUS: Final = tuple(
    sorted({round((1 + side * share) / 2, 4) for share in (*CENTRAL, 0.0) for side in (-1, 1)})
)
"""The quantile levels: both ends of each central interval, and the median."""

Array = NDArray[np.float64]


def pinball(y: Array, quantiles: Array, taus: Sequence[float] = TAUS) -> Array:
    """Return the pinball loss of each level, shape (levels,): the mean over rows of
    ``max(tau * (y - q), (tau - 1) * (y - q))`` (Koenker and Bassett 1978).
    """  # noqa: D205 - the formula belongs to the sentence
    gap = y[:, None] - quantiles
    level = np.asarray(taus)
    return np.asarray(np.maximum(level * gap, (level - 1) * gap).mean(axis=0))


def weighted_interval_score(y: Array, quantiles: Array) -> float:
    """Return the mean weighted interval score over rows (Bracher et al. 2021, equation 2).

    ``(|y - median| / 2 + sum alpha/2 * IS_alpha) / (K + 1/2)`` over the K central intervals, whose
    scores are ``(high - low) + 2/alpha * (what y is outside by)``; that is twice the mean pinball
    loss over `TAUS`.  Unit of ``y``; smaller is better.
    """
    return float(2 * pinball(y, quantiles).mean())


def clopper_pearson(hits: int, rows: int, confidence: float = 0.95) -> float:
    """Return the one-sided lower bound on a share of which ``hits`` of ``rows`` were seen.

    >>> round(clopper_pearson(95, 100), 4)
    0.8977
    """
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, hits, rows - hits + 1)) if hits else 0.0


def clustered(hit: NDArray[np.bool_], groups: Sequence[str], confidence: float = 0.95) -> float:
    """Return the one-sided lower bound on coverage where rows of one group go together.

    Groups are drawn with replacement 4000 times (seeded); the bound is that quantile of the pooled
    share of hits.  Rows of one format share its errors, so this is the honest one.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    hits = np.bincount(index, hit, len(names))
    sizes = np.bincount(index, minlength=len(names))
    drawn = np.random.default_rng(0).integers(0, len(names), (4000, len(names)))
    shares = hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return float(np.quantile(shares, 1 - confidence))
