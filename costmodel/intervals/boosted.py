# SPDX-License-Identifier: Apache-2.0
"""Gradient-boosted trees with the pinball loss, one ensemble a level.

scikit-learn grows the trees; they are kept as plain arrays, so that predicting needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .model import Array
from .scores import TAUS

__all__ = ["BoostedQuantiles"]


class BoostedQuantiles:
    """Shallow trees, as formats are few: what they have in common, not each one, is learnt.

    Arrays of shape (trees, nodes) hold a node's feature, its children (a leaf's are itself), its
    threshold (left is ``x <= cut``) and its value.
    """

    def __init__(self, trees: int = 30, depth: int = 2, rate: float = 0.2) -> None:
        """Take the number of trees, their depth and the learning rate."""
        self.trees, self.depth, self.rate = trees, depth, rate
        nodes = (len(TAUS) * trees, (2 << depth) - 1)
        self._split: NDArray[np.intp] = np.zeros(nodes, np.intp)
        self._left: NDArray[np.intp] = np.zeros(nodes, np.intp)
        self._right: NDArray[np.intp] = np.zeros(nodes, np.intp)
        self._cut: Array = np.zeros(nodes)
        self._leaf: Array = np.zeros(nodes)
        self._base: Array = np.zeros(len(TAUS))

    def fit(self, x: Array, y: Array) -> None:
        """Fit all levels, seeded."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        for level, tau in enumerate(TAUS):
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
            model.fit(x, y)
            # the fitted trees have no public form; tests compare our predictions with the library's
            self._base[level] = float(model._baseline_prediction.item())  # noqa: SLF001
            for number, (tree,) in enumerate(model._predictors):  # noqa: SLF001
                self._store(level * self.trees + number, tree.nodes)

    def _store(self, row: int, nodes: Any) -> None:
        count = len(nodes)
        itself = np.arange(count)
        leaf = nodes["is_leaf"].astype(bool)
        self._split[row, :count] = np.where(leaf, 0, nodes["feature_idx"])
        self._left[row, :count] = np.where(leaf, itself, nodes["left"])
        self._right[row, :count] = np.where(leaf, itself, nodes["right"])
        self._cut[row, :count] = np.where(leaf, 0.0, nodes["num_threshold"])
        self._leaf[row, :count] = nodes["value"]

    def predict(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels)."""
        tree = np.arange(len(self._split))
        row = np.arange(len(x))[:, None]
        node = np.zeros((len(x), len(tree)), np.intp)
        for _ in range(self.depth):
            under = x[row, self._split[tree, node]] <= self._cut[tree, node]
            node = np.where(under, self._left[tree, node], self._right[tree, node])
        values = self._leaf[tree, node].reshape(len(x), len(TAUS), self.trees)
        return np.asarray(values.sum(axis=2) + self._base)

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted."""
        return {
            "shape": [self.trees, self.depth, self.rate],
            "base": self._base.tolist(),
            "split": self._split.tolist(),
            "left": self._left.tolist(),
            "right": self._right.tolist(),
            "cut": self._cut.tolist(),
            "leaf": self._leaf.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        model = cls(*record["shape"])
        model._base = np.array(record["base"])
        model._split, model._left, model._right = (
            np.array(record[name], np.intp) for name in ("split", "left", "right")
        )
        model._cut, model._leaf = np.array(record["cut"]), np.array(record["leaf"])
        return model
