# SPDX-License-Identifier: Apache-2.0
"""The experiment: each format's quantiles from models that never saw it, at any stage.

Outside, one pair of formats is held out.  Within the rest, whole formats are held out again, for
predictions that the aggregate's weights and the conformal margins are fitted on; then the models
are fitted on all of the rest.  So a test row's format is in no fit, no weight and no margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwquant.progress import track

from .aggregate import combine, fit_weights
from .conformal import Calibration, calibrate
from .folds import leave_one_format_out, some_formats_out
from .isotonic import isotonic
from .model import Array, Factories, QuantileModel
from .points import Points
from .scores import TAUS

__all__ = ["AGGREGATE", "Fitted", "fit", "held_out"]

AGGREGATE = "aggregate"
INNER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Fitted:
    """Base models, the aggregate's weights, and the margins of each predictor by name."""

    models: Mapping[str, QuantileModel]
    weights: Array
    calibrations: Mapping[str, Calibration]

    def predict(self, points: Points) -> dict[str, Array]:
        """Return calibrated, monotone quantiles of every predictor, each (rows, levels)."""
        base = np.stack([model.predict(points.x) for model in self.models.values()])
        quantiles = dict(zip(self.models, map(isotonic, base), strict=True))
        quantiles[AGGREGATE] = combine(self.weights, base)
        return {
            name: self.calibrations[name].apply(found, points.family)
            for name, found in quantiles.items()
        }


def out_of_fold(points: Points, factories: Factories) -> Array:
    """Return base quantiles (models, rows, levels) by models fitted without the row's format."""
    found = np.zeros((len(factories), len(points), len(TAUS)))
    formats = len({spec.weight for spec in points.specs})
    for fold in some_formats_out(points.specs, min(INNER_FOLDS, formats)):
        train, test = points.take(fold.train), points.take(fold.test)
        for index, factory in enumerate(factories.values()):
            model = factory()
            model.fit(train.x, train.y)
            found[index, fold.test] = model.predict(test.x)
    return found


def fit(points: Points, factories: Factories) -> Fitted:
    """Fit models, weights and margins on ``points``."""
    base = out_of_fold(points, factories)
    weights = fit_weights(points.y, base)
    predicted = dict(zip(factories, map(isotonic, base), strict=True))
    predicted[AGGREGATE] = combine(weights, base)
    margins = {
        name: calibrate(points.y, quantiles, points.family) for name, quantiles in predicted.items()
    }
    models = {name: factory() for name, factory in factories.items()}
    for model in models.values():
        model.fit(points.x, points.y)
    return Fitted(models, weights, margins)


def held_out(points: Points, factories: Factories) -> dict[str, Array]:
    """Return every predictor's calibrated quantiles (rows, levels), each format held out."""
    found = {name: np.zeros((len(points), len(TAUS))) for name in (*factories, AGGREGATE)}
    folds = list(leave_one_format_out(points.specs))
    with track("formats held out", len(folds)) as advance:
        for fold in folds:
            fitted = fit(points.take(fold.train), factories)
            for name, quantiles in fitted.predict(points.take(fold.test)).items():
                found[name][fold.test] = quantiles
            advance(detail=fold.name)
    return found
