# SPDX-License-Identifier: Apache-2.0
"""One calibrated predictor: a base model or the aggregate, and its margins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from .aggregate import combine
from .bases import LOADERS
from .conformal import Calibration
from .features import one_lut
from .isotonic import isotonic
from .model import Array, QuantileModel, family_index
from .scores import TAUS

__all__ = ["Predictor"]

CHUNK: Final = 8192
"""Rows at once: the nearest kernels of a million rows would not fit the memory."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """Calibrated, monotone quantiles of the target.

    ``weights`` (models, levels) combine the models; None where there is one.
    """

    name: str
    models: Mapping[str, QuantileModel]
    weights: Array | None
    calibration: Calibration

    def quantiles(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels), of rows with features ``x``."""
        parts = [self._quantiles(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
        return np.concatenate([np.zeros((0, len(TAUS))), *parts])

    def _quantiles(self, x: Array) -> Array:
        base = np.stack([model.predict(x) for model in self.models.values()])
        found = isotonic(base[0]) if self.weights is None else combine(self.weights, base)
        return self.calibration.apply(found, family_index(x), one_lut(x))

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted."""
        return {
            "name": self.name,
            "models": {name: model.to_json() for name, model in self.models.items()},
            "weights": None if self.weights is None else self.weights.tolist(),
            "calibration": self.calibration.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        weights = record["weights"]
        return cls(
            record["name"],
            {name: LOADERS[name](fitted) for name, fitted in record["models"].items()},
            None if weights is None else np.array(weights),
            Calibration.from_json(record["calibration"]),
        )
