# SPDX-License-Identifier: Apache-2.0
"""The analytic formula with the quantiles of its own residuals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np

from .features import FAMILIES, FEATURES
from .model import Array, family_index
from .scores import TAUS, pinball

__all__ = ["FormulaResiduals"]

_LOG: Final = FEATURES.index("log_estimate")


class FormulaResiduals:
    """Quantiles of the residuals, by family, times a power of the estimate.

    ``quantile = table[family] * (estimate + 1)**-power``: with power 0 errors are a share of the
    estimate, with 1 a number of LUTs; one in between (cell merging is local, so errors partly
    average out) is chosen by the pinball loss of the fit.  A family of fewer than ``least`` rows
    takes the table of all rows.
    """

    POWERS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __init__(self, least: int = 30) -> None:
        """Take the fewest rows of a family with a table of its own."""
        self.least = least
        self.power = 0.0
        self.table: Array = np.zeros((len(FAMILIES) + 1, len(TAUS)))

    def fit(self, x: Array, y: Array) -> None:
        """Learn the tables and the power."""
        best = np.inf
        for power in self.POWERS:
            table = self._table(x, y, power)
            loss = float(pinball(y, self._quantiles(x, table, power)).mean())
            if loss < best:
                best, self.power, self.table = loss, power, table

    def _table(self, x: Array, y: Array, power: float) -> Array:
        scaled = y * np.exp(power * x[:, _LOG])
        of = family_index(x)
        pooled = np.quantile(scaled, TAUS)
        table = np.tile(pooled, (len(FAMILIES) + 1, 1))
        for index in range(len(FAMILIES)):
            own = scaled[of == index]
            if len(own) >= self.least:
                table[index] = np.quantile(own, TAUS)
        return table

    @staticmethod
    def _quantiles(x: Array, table: Array, power: float) -> Array:
        # -1, a style of no family, is the last row: all rows pooled
        return np.asarray(table[family_index(x)] * np.exp(-power * x[:, _LOG])[:, None])

    def predict(self, x: Array) -> Array:
        """Return quantiles, shape (rows, levels)."""
        return self._quantiles(x, self.table, self.power)

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted: the power, and the table by family."""
        names = (*FAMILIES, "other")
        rows = {name: row.tolist() for name, row in zip(names, self.table, strict=True)}
        return {"power": self.power, "table": rows}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        model = cls()
        model.power = float(record["power"])
        model.table = np.array([record["table"][name] for name in (*FAMILIES, "other")])
        return model
