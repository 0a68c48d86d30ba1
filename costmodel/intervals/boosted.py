# SPDX-License-Identifier: Apache-2.0
"""Gradient-boosted trees with the pinball loss, one ensemble a level."""

from __future__ import annotations

from typing import Any

import numpy as np

from .model import Array
from .scores import TAUS

__all__ = ["BoostedQuantiles"]


class BoostedQuantiles:
    """Shallow trees, as formats are few: what they have in common, not each one, is learnt."""

    def __init__(self, trees: int = 60, depth: int = 2, rate: float = 0.1) -> None:
        """Take the number of trees, their depth and the learning rate."""
        self.trees, self.depth, self.rate = trees, depth, rate
        self._models: list[Any] = []

    def fit(self, x: Array, y: Array) -> None:
        """Fit all levels, seeded."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        self._models = []
        for tau in TAUS:
            model = HistGradientBoostingRegressor(
                loss="quantile",
                quantile=tau,
                max_iter=self.trees,
                max_depth=self.depth,
                learning_rate=self.rate,
                min_samples_leaf=10,
                early_stopping=False,
                random_state=0,
            )
            self._models.append(model.fit(x, y))

    def predict(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels)."""
        return np.stack([model.predict(x) for model in self._models], axis=1)
