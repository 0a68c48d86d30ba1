# SPDX-License-Identifier: Apache-2.0
"""The penalised likelihood of the relaxed proportional-odds model, and its minimum.

Ordered categories 0..K-1 with ``P(Y <= k | x) = logistic(a[k] + x . b[k])`` for the K-1 boundaries,
``b[0] = psi[0]``, ``b[k] = b[k-1] + psi[k]``; minimised is

    -sum_i w_i log(P(Y_i | x_i)) / sum_i w_i  +  penalty * sum |psi|       (intercepts are free).

Source: Faletto and Bien, "Predicting Rare Events by Shrinking Towards Proportional Odds" (PRESTO),
arXiv 2305.18700.  Written from the paper's model; the optimiser is L-BFGS-B on psi = p - q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

__all__ = ["Coefficients", "Rows", "minimum", "null", "penalty_max", "smooth"]

Floats = NDArray[np.float64]

NEAR: Final = 1e-4
"""Below this distance of two boundaries log(1 - exp(-d)) goes on as its quadratic expansion: it
stays concave and finite where boundaries cross, so the whole problem is convex and bounded."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Standardised features ``x`` (n, p), categories ``y`` (n,) in 0..categories-1, weights."""

    x: Floats
    y: NDArray[np.int64]
    categories: int
    weight: Floats

    def take(self, index: NDArray[Any]) -> Rows:
        """Return some of the rows."""
        return Rows(self.x[index], self.y[index], self.categories, self.weight[index])


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Intercepts ``a`` (K-1,) and differences ``psi`` (K-1, p) of neighbouring boundaries."""

    a: Floats
    psi: Floats

    @property
    def b(self) -> Floats:
        """The weights of each boundary, (K-1, p)."""
        result: Floats = np.cumsum(self.psi, axis=0)
        return result

    def linear(self, x: Floats) -> Floats:
        """Return a + x b', shape (..., K-1)."""
        result: Floats = self.a + x @ self.b.T
        return result


def _log_gap(d: Floats) -> tuple[Floats, Floats]:
    """Return log(1 - exp(-d)) and its derivative, continued below `NEAR`."""
    far = np.clip(d, NEAR, 700.0)
    slope = 1 / np.expm1(far)
    value = np.log(-np.expm1(-far))
    below = np.minimum(d - NEAR, 0.0)
    bend = -np.exp(NEAR) / np.expm1(NEAR) ** 2
    return value + slope * below + bend / 2 * below**2, slope + bend * below


def smooth(coefficients: Coefficients, rows: Rows) -> tuple[float, Coefficients]:
    """Return the mean negative log-likelihood and its gradient."""
    n, last = len(rows.y), rows.categories - 1
    padded = np.empty((n, last + 2))
    padded[:, 0], padded[:, -1] = -np.inf, np.inf
    padded[:, 1:-1] = coefficients.linear(rows.x)
    index = np.arange(n)
    upper, lower = padded[index, rows.y + 1], padded[index, rows.y]
    gap, slope = _log_gap(upper - lower)
    log_p = gap - np.logaddexp(0, -upper) - np.logaddexp(0, lower)
    share = rows.weight / rows.weight.sum()
    into = np.zeros_like(padded)
    into[index, rows.y + 1] = share * (expit(-upper) + slope)
    into[index, rows.y] = -share * (expit(lower) + slope)
    inner = into[:, 1:-1]
    by_boundary = inner.T @ rows.x
    psi = -np.cumsum(by_boundary[::-1], axis=0)[::-1]
    return float(-(share @ log_p)), Coefficients(-inner.sum(axis=0), psi)


def null(rows: Rows) -> Coefficients:
    """Return the best coefficients without features: the logits of the cumulative shares."""
    counts = np.bincount(rows.y, rows.weight, minlength=rows.categories)
    below = np.cumsum(counts)[:-1] / counts.sum()
    a = np.log(below) - np.log1p(-below)
    return Coefficients(a, np.zeros((rows.categories - 1, rows.x.shape[1])))


def penalty_max(rows: Rows, free: int) -> float:
    """Return the least penalty at which no feature counts; ``free`` rows of psi may move."""
    gradient = smooth(null(rows), rows)[1].psi[:free]
    return float(np.abs(gradient).max(initial=0))


def minimum(
    rows: Rows,
    penalty: float,
    *,
    start: Coefficients | None = None,
    free: int | None = None,
    steps: int = 300,
) -> Coefficients:
    """Return the minimum, by L-BFGS-B on the positive and negative parts of psi.

    Only the first ``free`` rows of psi may differ from zero: one makes proportional odds.
    """
    first = null(rows) if start is None else start
    k, p = first.psi.shape
    live = k if free is None else free
    size = live * p

    def unpack(z: Floats) -> Coefficients:
        psi = np.zeros((k, p))
        psi[:live] = (z[k : k + size] - z[k + size :]).reshape(live, p)
        return Coefficients(z[:k], psi)

    def objective(z: Floats) -> tuple[float, Floats]:
        value, gradient = smooth(unpack(z), rows)
        flat = gradient.psi[:live].ravel()
        total = value + penalty * float(z[k:].sum())
        return total, np.concatenate([gradient.a, flat + penalty, penalty - flat])

    psi = first.psi[:live].ravel()
    z = np.concatenate([first.a, np.maximum(psi, 0), np.maximum(-psi, 0)])
    bounds = [(None, None)] * k + [(0.0, None)] * (2 * size)
    options = {"maxiter": steps, "ftol": 1e-10, "gtol": 1e-7, "maxcor": 20}
    found = minimize(objective, z, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return unpack(np.asarray(found.x, np.float64))
