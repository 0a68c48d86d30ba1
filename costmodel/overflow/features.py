# SPDX-License-Identifier: Apache-2.0
"""What the need of an accumulator is explained by: weights of the channel, input of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .needs import Needs

__all__ = ["FEATURES", "Standard", "features", "standard"]

FEATURES: Final = (
    "log2 L1 of the weights",
    "log2 L2 of the weights",
    "mean weight x mean activation",
    "log2 |expected sum|",
    "log2 RMS of the input",
    "log2 peak of the input",
    "log2 length",
)
"""One per column of `features`; the expected sum is length x mean weight x mean activation."""


def features(needs: Needs, *, bias_first: bool = False) -> NDArray[np.float64]:
    """Return the features of a layer, shape (images, channels, `FEATURES`).

    With ``bias_first`` the expected sum includes the bias.  A dead channel or an empty input has
    logarithms of 1 + x, so nothing is infinite.
    """
    rows = needs.layer.weight_ints
    weights = np.zeros((needs.low.shape[1], 1)) if rows is None else rows.astype(np.float64)
    acts = needs.acts
    drift = weights.mean(axis=1) * acts.mean
    offset = needs.offset(bias_first=bias_first).astype(np.float64)
    parts = (
        _log(np.abs(weights).sum(axis=1)),
        _log(np.sqrt((weights * weights).sum(axis=1))),
        drift,
        _log(np.abs(needs.layer.length * drift + offset)),
        _log(acts.rms),
        _log(acts.peak),
        np.log2(np.float64(needs.layer.length)),
    )
    shape = needs.low.shape
    return np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1)


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.log2(1 + x)
    return result


@dataclass(frozen=True, slots=True)
class Standard:
    """Centre and spread of each feature; one that never varies becomes 0."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``x`` (..., features) standardised."""
        scaled: NDArray[np.float64] = (x - self.mean) / self.spread
        return np.where(self.spread == np.inf, 0.0, scaled)


def standard(x: NDArray[np.float64]) -> Standard:
    """Return the centre and spread of rows ``x`` (rows, features)."""
    spread = x.std(axis=0)
    flat = spread <= 1e-9 * (1 + np.abs(x).max(axis=0, initial=0))
    return Standard(x.mean(axis=0), np.where(flat, np.inf, spread))
