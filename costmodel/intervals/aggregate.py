# SPDX-License-Identifier: Apache-2.0
"""Aggregation of quantile models: softmax weights for each model and level.

Weights of the kind called global and medium in arXiv 2103.00083: ``sum_j w[j, k] * q_j(x; tau_k)``
with ``w[:, k] = softmax(theta[:, k])``, the same for all x, fitted on the pinball loss of
predictions made without the row's format, then isotonic regression over the levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .isotonic import isotonic
from .model import Array
from .scores import TAUS

__all__ = ["combine", "fit_weights"]


def combine(weights: Array, quantiles: Array) -> Array:
    """Return monotone quantiles (rows, levels) of ``quantiles`` (models, rows, levels)."""
    return isotonic(np.einsum("jk,jnk->nk", weights, quantiles))


def fit_weights(
    y: Array, quantiles: Array, taus: Sequence[float] = TAUS, smooth: float = 1e-2
) -> Array:
    """Return softmax weights, shape (models, levels), each column of sum 1.

    ``quantiles`` (models, rows, levels) are out-of-fold predictions of ``y``.  The pinball loss is
    smoothed around its kink within ``smooth`` times the mean absolute error, so that its gradient
    exists, and minimised from equal weights.
    """
    from scipy.optimize import minimize

    models, _, levels = quantiles.shape
    tau = np.asarray(taus)
    unit = float(np.abs(y[None, :, None] - quantiles).mean()) or 1.0
    width = smooth * unit

    def softmax(theta: Array) -> Array:
        raised = np.exp(theta - theta.max(axis=0))
        return np.asarray(raised / raised.sum(axis=0))

    def loss(flat: Array) -> tuple[float, Array]:
        weights = softmax(flat.reshape(models, levels))
        gap = y[:, None] - np.einsum("jk,jnk->nk", weights, quantiles)
        # |gap| replaced by sqrt(gap**2 + width**2)
        root = np.sqrt(gap**2 + width**2)
        value = ((tau - 0.5) * gap + 0.5 * root).mean(axis=0)
        slope = ((tau - 0.5) + 0.5 * gap / root) / len(y)
        by_weight = -np.einsum("nk,jnk->jk", slope, quantiles)
        by_theta = weights * (by_weight - (weights * by_weight).sum(axis=0))
        return float(value.sum() / unit), np.asarray(by_theta / unit).ravel()

    found = minimize(loss, np.zeros(models * levels), jac=True, method="L-BFGS-B")
    return softmax(found.x.reshape(models, levels))
