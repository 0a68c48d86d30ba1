# SPDX-License-Identifier: Apache-2.0
"""Quantiles of the residuals of the nearest kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from .model import Array, family_index
from .scores import TAUS

__all__ = ["NearestQuantiles"]


class NearestQuantiles:
    """Empirical quantiles over the ``neighbours`` nearest rows, those of the same family first.

    Distance is Euclidean in standardised features.
    """

    def __init__(self, neighbours: int = 30) -> None:
        """Take how many rows make a distribution."""
        self.neighbours = neighbours
        self._x: Array = np.zeros((0, 0))
        self._y: Array = np.zeros(0)
        self._scale: Array = np.ones(0)

    def fit(self, x: Array, y: Array) -> None:
        """Keep the rows."""
        scale = x.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        self._x, self._y = x, y

    def predict(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels)."""
        known, asked = self._x / self._scale, x / self._scale
        squared = (asked**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * asked @ known.T
        other = family_index(x)[:, None] != family_index(self._x)
        squared += other * 1e6
        count = min(self.neighbours, len(self._y))
        nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
        return np.quantile(self._y[nearest], TAUS, axis=1).T

    def to_json(self) -> dict[str, Any]:
        """Return the rows."""
        return {
            "neighbours": self.neighbours,
            "scale": self._scale.tolist(),
            "x": self._x.tolist(),
            "y": self._y.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        model = cls(int(record["neighbours"]))
        model._scale, model._x, model._y = (np.array(record[n]) for n in ("scale", "x", "y"))
        return model
