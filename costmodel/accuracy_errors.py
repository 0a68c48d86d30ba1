# SPDX-License-Identifier: Apache-2.0
"""Errors of estimates on formats that were held out, beside those of the rivals, by style."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .intervals.folds import each_pair_out
from .intervals.points import Points
from .primitives import SpecArrays
from .rivals import RIVALS, finn

__all__ = ["OURS", "Errors", "by_style", "estimates_of_rivals", "relative_errors"]

Array = NDArray[np.float64]

OURS = "formula"


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean and worst relative error over ``kernels`` kernels, in per cent of the real count."""

    kernels: int
    mean: float
    worst: float


def relative_errors(counts: Array, estimates: Array) -> Array:
    """Return ``|estimate - count| / count`` in per cent; a count of 0 is taken as 1."""
    return np.asarray(100 * np.abs(estimates - counts) / np.maximum(counts, 1.0))


def estimates_of_rivals(points: Points) -> dict[str, Array]:
    """Return each rival's estimates of every kernel, its formats held out, style by style.

    A kernel is estimated from those kernels of its style that have neither of its formats; NaN
    where there are fewer than two (FINN's formula needs none).
    """
    found = {name: np.full(len(points), np.nan) for name in ("FINN", *RIVALS)}
    for style in sorted(set(points.styles)):
        own = np.flatnonzero([name == style for name in points.styles])
        specs = [points.specs[i] for i in own]
        for fold in each_pair_out(specs):
            test, train = fold.test, fold.train
            asked = SpecArrays.from_specs([specs[i] for i in test])
            found["FINN"][own[test]] = finn(asked, dsp=style.startswith("dsp"))
            if len(train) < 2:
                continue
            known = SpecArrays.from_specs([specs[i] for i in train])
            for name, rival in RIVALS.items():
                found[name][own[test]] = rival(known, points.counts[own[train]], asked)
    return found


def by_style(points: Points) -> dict[str, dict[str, Errors]]:
    """Return the errors of our formula (`OURS`) and of each rival: style -> method -> errors.

    Style "all" is all kernels together.
    """
    methods = {OURS: points.estimates, **estimates_of_rivals(points)}
    styles = np.array(points.styles)
    found: dict[str, dict[str, Errors]] = {}
    for style in (*sorted(set(points.styles)), "all"):
        own = (styles == style) | (style == "all")
        found[style] = {}
        for name, estimates in methods.items():
            errors = relative_errors(points.counts[own], estimates[own])
            errors = errors[~np.isnan(errors)]
            if len(errors):
                found[style][name] = Errors(len(errors), float(errors.mean()), float(errors.max()))
    return found
