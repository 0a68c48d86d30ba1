# SPDX-License-Identifier: Apache-2.0
"""What a quantile model is: fitted on features and targets, it predicts all levels of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .features import FAMILIES, FEATURES

__all__ = ["Array", "Factory", "QuantileModel", "family_index"]

Array = NDArray[np.float64]

_FIRST: Final = FEATURES.index(f"family_{FAMILIES[0]}")


class QuantileModel(Protocol):
    """Quantiles at `scores.TAUS` of the target, given the features."""

    def fit(self, x: Array, y: Array) -> None:
        """Learn from features (rows, features) and targets (rows,)."""

    def predict(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels); they may cross."""

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted, for JSON."""


Factory = Callable[[], QuantileModel]
Factories = Mapping[str, Factory]


def family_index(x: Array) -> NDArray[np.intp]:
    """Return the number in `features.FAMILIES` of each row, -1 for a style of none."""
    share = x[:, _FIRST : _FIRST + len(FAMILIES)]
    return np.where(share.any(axis=1), share.argmax(axis=1), -1)
