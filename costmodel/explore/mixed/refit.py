# SPDX-License-Identifier: Apache-2.0
"""Correct sensitivities by what whole networks were found to lose.

A layer quantized alone does not know what later steps repair, nor what errors of several layers do
together.  The loss of a network stays a sum over its layers, so the integer programme still solves
it, but each term gets two factors: one for its part and format in all layers, then one for its
layer and part.  Both are fitted to the relative errors of the sums, not negative, and drawn towards
1 where the networks say little.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from costmodel.explore.mixed.problem import Option

__all__ = ["refit"]

Name = tuple[str, str, str]
RIDGE: Final = (0.02, 0.2)
"""How strongly the factors of formats, then of layers, are drawn towards 1."""


def refit(
    losses: Mapping[Name, float],
    paths: Sequence[str],
    networks: Sequence[tuple[Sequence[Option], float]],
) -> dict[Name, float]:
    """Return ``losses`` by (path, part, format), scaled to explain the losses of ``networks``.

    Networks without loss say nothing and are left out.
    """
    found = dict(losses)
    rows = [(_terms(paths, formats), loss) for formats, loss in networks if loss > 0]
    groups: tuple[Callable[[Name], Hashable], ...] = (lambda n: n[1:], lambda n: n[:2])
    for group, ridge in zip(groups, RIDGE, strict=True):
        keys = list(dict.fromkeys(group(name) for name in found))
        place = {key: column for column, key in enumerate(keys)}
        shares = np.zeros((len(rows), len(keys)))
        for row, (terms, loss) in enumerate(rows):
            for name in terms:
                shares[row, place[group(name)]] += found[name] / loss
        factors = _factors(shares, ridge)
        found = {name: loss * float(factors[place[group(name)]]) for name, loss in found.items()}
    return found


def _terms(paths: Sequence[str], formats: Sequence[Option]) -> list[Name]:
    terms = [(path, "act", option.act) for path, option in zip(paths, formats, strict=True)]
    return terms + [
        (path, "weight", option.weight)
        for path, option in zip(paths, formats, strict=True)
        if option.weight
    ]


def _factors(shares: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return factors f >= 0 of least ``|shares f - 1|^2 + weight |f - 1|^2``."""
    from scipy.optimize import nnls

    rows, columns = shares.shape
    weight = np.sqrt(ridge * max(rows, 1) / max(columns, 1))
    system = np.vstack([shares, weight * np.eye(columns)])
    solution, _ = nnls(system, np.concatenate([np.ones(rows), np.full(columns, weight)]))
    factors: NDArray[np.float64] = solution
    return factors
