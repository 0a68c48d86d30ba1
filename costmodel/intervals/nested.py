# SPDX-License-Identifier: Apache-2.0
"""The experiment: each format's quantiles from models that never saw it, at any stage.

Outside, a format is held out.  Within the rest, whole formats are held out again, for predictions
that the aggregate's weights and the conformal margins are fitted on; then the models are fitted on
all of the rest.  So a test row's formats are in no fit, no weight and no margin.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hwquant.progress import track

from .aggregate import combine, fit_weights
from .conformal import calibrate
from .features import one_lut
from .folds import leave_one_format_out, some_formats_out
from .isotonic import isotonic
from .model import Array, Factories
from .points import Points
from .predictor import Predictor
from .scores import TAUS

__all__ = ["AGGREGATE", "fit", "held_out", "out_of_fold"]

AGGREGATE: Final = "aggregate"
INNER_FOLDS: Final = 5


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


def fit(points: Points, factories: Factories) -> dict[str, Predictor]:
    """Return each base model and the aggregate, fitted and calibrated on ``points``."""
    base = out_of_fold(points, factories)
    weights = fit_weights(points.y, base)
    models = {name: factory() for name, factory in factories.items()}
    for model in models.values():
        model.fit(points.x, points.y)
    found = {}
    for index, name in enumerate(models):
        margins = calibrate(points.y, isotonic(base[index]), points.family, one_lut(points.x))
        found[name] = Predictor(name, {name: models[name]}, None, margins)
    margins = calibrate(points.y, combine(weights, base), points.family, one_lut(points.x))
    found[AGGREGATE] = Predictor(AGGREGATE, models, weights, margins)
    return found


def held_out(points: Points, factories: Factories, pairs: int = 1) -> dict[str, Array]:
    """Return every predictor's calibrated quantiles (rows, levels), each format held out.

    ``pairs`` is how many mixed pairs are held out at once (`folds.leave_one_format_out`).
    """
    found = {name: np.zeros((len(points), len(TAUS))) for name in (*factories, AGGREGATE)}
    folds = list(leave_one_format_out(points.specs, pairs))
    with track("formats held out", len(folds)) as advance:
        for fold in folds:
            test = points.take(fold.test)
            for name, predictor in fit(points.take(fold.train), factories).items():
                found[name][fold.test] = predictor.quantiles(test.x)
            advance(detail=fold.name)
    return found
