# SPDX-License-Identifier: Apache-2.0
"""What the need of an accumulator is explained by: weights of the channel, input of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .needs import Needs

__all__ = ["FEATURES", "Standard", "features", "history", "standard"]

FEATURES: Final = (
    "log2 L1 of the weights",
    "log2 L2 of the weights",
    "log2 largest possible sum",
    "mean weight x mean activation",
    "log2 |expected sum|",
    "log2 RMS of the input",
    "log2 peak of the input",
    "log2 length",
    "log2 extreme of other images",
)
"""One per column of `features`; the expected sum is length x mean weight x mean activation.

The last is the channel's own history, which no weight tells: the mean over calibration images,
a row's own image left out, of log2 of the largest partial sum.
"""


def features(
    needs: Needs, *, bias_first: bool = False, history: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the features of a layer, shape (images, channels, `FEATURES`).

    ``history`` (channels,) is that of the calibration images, for images that are not among them;
    without it ``needs`` are the calibration images, and each has the mean of the others.  With
    ``bias_first`` sums start at the bias.  Logarithms are of 1 + x: a dead channel is no infinity.
    """
    rows = needs.layer.weight_ints
    weights = np.zeros((needs.low.shape[1], 1)) if rows is None else rows.astype(np.float64)
    acts = needs.acts
    drift = weights.mean(axis=1) * acts.mean
    offset = needs.offset(bias_first=bias_first).astype(np.float64)
    low, high = needs.layer.act_range
    up, down = np.maximum(weights, 0).sum(axis=1), np.maximum(-weights, 0).sum(axis=1)
    parts = (
        _log(np.abs(weights).sum(axis=1)),
        _log(np.sqrt((weights * weights).sum(axis=1))),
        _log(np.maximum(up * high - down * low, down * high - up * low)),
        drift,
        _log(np.abs(needs.layer.length * drift + offset)),
        _log(acts.rms),
        _log(acts.peak),
        np.log2(np.float64(needs.layer.length)),
        _others(needs, bias_first=bias_first) if history is None else history,
    )
    shape = needs.low.shape
    return np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1)


def history(needs: Needs, *, bias_first: bool = False) -> NDArray[np.float64]:
    """Return the mean over images of log2 of each channel's largest partial sum, (channels,)."""
    return _extreme(needs, bias_first=bias_first).mean(axis=0)


def _others(needs: Needs, *, bias_first: bool) -> NDArray[np.float64]:
    """Return, for each image, the history of the other images (its own where it is alone)."""
    extreme = _extreme(needs, bias_first=bias_first)
    images = len(extreme)
    others = (extreme.sum(axis=0) - extreme) / max(images - 1, 1)
    return others if images > 1 else extreme


def _extreme(needs: Needs, *, bias_first: bool) -> NDArray[np.float64]:
    offset = needs.offset(bias_first=bias_first)
    low, high = needs.low + offset, needs.high + offset
    return _log(np.maximum(np.maximum(high, 0), -np.minimum(low, 0)).astype(np.float64))


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
