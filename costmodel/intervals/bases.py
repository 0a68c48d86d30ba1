# SPDX-License-Identifier: Apache-2.0
"""The base models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .boosted import BoostedQuantiles
from .formula import FormulaResiduals
from .linear import LinearQuantiles
from .model import QuantileModel
from .neighbours import NearestQuantiles

__all__ = ["BASES", "LOADERS"]

BASES: Final[Mapping[str, Callable[[], QuantileModel]]] = {
    "formula": FormulaResiduals,
    "linear": LinearQuantiles,
    "boosted": BoostedQuantiles,
    "nearest": NearestQuantiles,
}
"""Name -> unfitted model."""

LOADERS: Final[Mapping[str, Callable[[Mapping[str, Any]], QuantileModel]]] = {
    "formula": FormulaResiduals.from_json,
    "linear": LinearQuantiles.from_json,
    "boosted": BoostedQuantiles.from_json,
    "nearest": NearestQuantiles.from_json,
}
"""Name -> fitted model from its record."""
