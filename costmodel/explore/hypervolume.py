# SPDX-License-Identifier: Apache-2.0
"""Hypervolume: how much of the objectives' space a set of points dominates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hwquant.errors import InputError

from .pareto import Rows, Sense, costs_of, front

__all__ = ["hypervolume"]


def hypervolume(
    points: ArrayLike, reference: ArrayLike, senses: Sequence[Sense | str] = ("min", "max")
) -> float:
    """Return what ``points`` (n, 2) or (n, 3) dominate within the bounds of ``reference``.

    Rows that are not strictly better than the reference in every objective add nothing.
    Raises `InputError` for another number of objectives.

    >>> hypervolume([[1, 3], [2, 4]], [3, 0])
    7.0
    >>> hypervolume([[1, 1, 1], [0, 2, 2]], [3, 3, 3], ("min", "min", "min"))
    9.0
    """
    if len(senses) not in (2, 3):
        raise InputError(f"hypervolume of {len(senses)} objectives, allowed 2 or 3")
    costs = costs_of(points, senses)
    end = costs_of(np.asarray(reference)[None], senses)[0]
    costs = costs[(costs < end).all(axis=1)]
    costs = costs[front(costs, ("min",) * len(senses))]
    if not len(costs):
        return 0.0
    return _area(costs, end) if len(senses) == 2 else _volume(costs, end)


def _area(costs: Rows, end: Rows) -> float:
    """Return the area between the staircase of a front and the corner ``end``."""
    x, y = costs[np.argsort(costs[:, 0])].T
    widths = np.append(x[1:], end[0]) - x
    return math.fsum(widths * (end[1] - y))


def _volume(costs: Rows, end: Rows) -> float:
    """Return the sum of slices between one z and the next, each the area of what lies below it."""
    levels = np.unique(costs[:, 2])
    slices = []
    for low, high in zip(levels, np.append(levels[1:], end[2]), strict=True):
        below = costs[costs[:, 2] <= low, :2]
        below = np.unique(below[front(below, ("min", "min"))], axis=0)
        slices.append(_area(below, end[:2]) * (high - low))
    return math.fsum(slices)
