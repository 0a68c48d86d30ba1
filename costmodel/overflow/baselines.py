# SPDX-License-Identifier: Apache-2.0
"""Simpler estimates of P(need > width), one channel at a time: what the model has to beat.

Each takes the extremes of the partial sums per (image, channel) and gives one number per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma
from scipy.stats import genextreme, norm

from .needs import bits_needed

__all__ = ["BASELINES", "Baseline", "empirical", "gaussian", "gev"]

Floats = NDArray[np.float64]
Baseline = Callable[[Floats, Floats, int], Floats]
"""From ``low`` and ``high`` (images, channels) and a width: the risk of each channel."""

LEAST_SPREAD: Final = 0.5
"""A channel whose images are all alike is known to half an integer."""


def empirical(low: Floats, high: Floats, width: int) -> Floats:
    """Return the share of images that need more, (k + 1/2) / (n + 1)."""
    beyond = bits_needed(low, high) > width
    share: Floats = (beyond.sum(axis=0) + 0.5) / (len(low) + 1)
    return share


def _sides(low: Floats, high: Floats, width: int) -> tuple[tuple[Floats, float], ...]:
    """Return the magnitudes of both sides and the rail each passes, half an integer beyond."""
    rail = 2.0 ** (width - 1)
    return (high, rail - 0.5), (-low, rail + 0.5)


def gaussian(low: Floats, high: Floats, width: int) -> Floats:
    """Return the tails of two normal distributions, fitted to the extremes of each side."""
    total = np.zeros(low.shape[1])
    for values, rail in _sides(low, high, width):
        spread = np.maximum(values.std(axis=0, ddof=1), LEAST_SPREAD)
        total += norm.sf(rail, values.mean(axis=0), spread)
    return np.minimum(total, 1.0)


def gev(low: Floats, high: Floats, width: int) -> Floats:
    """Return the tails of two generalised extreme-value distributions, fitted by L-moments.

    An image's extreme is a maximum over positions and partial sums, which is what the distribution
    is for.  Shape by Hosking, Wallis and Wood's approximation (Technometrics 27, 1985).
    """
    total = np.zeros(low.shape[1])
    for values, rail in _sides(low, high, width):
        total += genextreme.sf(rail, *_l_moments(values))
    return np.minimum(total, 1.0)


def _l_moments(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return shape (scipy's sign), location and scale of each column."""
    x = np.sort(values, axis=0)
    n = len(x)
    rank = np.arange(n)[:, None]
    b0 = x.mean(axis=0)
    b1 = (x * rank / (n - 1)).mean(axis=0)
    b2 = (x * rank * (rank - 1) / ((n - 1) * max(n - 2, 1))).mean(axis=0)
    second = np.maximum(2 * b1 - b0, LEAST_SPREAD / np.sqrt(np.pi))
    skew = np.clip((6 * b2 - 6 * b1 + b0) / second, -0.95, 0.95)
    c = 2 / (3 + skew) - np.log(2) / np.log(3)
    shape = 7.8590 * c + 2.9554 * c**2
    shape = np.where(np.abs(shape) < 1e-6, 1e-6, np.clip(shape, -0.95, 5.0))
    scale = second * shape / ((1 - 2.0**-shape) * gamma(1 + shape))
    return shape, b0 - scale * (1 - gamma(1 + shape)) / shape, scale


BASELINES: Final[dict[str, Baseline]] = {"empirical": empirical, "gaussian": gaussian, "gev": gev}
