# SPDX-License-Identifier: Apache-2.0
"""Pareto fronts: what dominates what, and which rows nothing dominates.

A row dominates another when it is at least as good in every objective and better in one.  Rows
with a NaN are unknown: they are never on a front and dominate nothing.  Equal rows do not
dominate each other, so duplicates stay on the front together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import StrEnum
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError

__all__ = ["Mask", "Rows", "Sense", "costs_of", "dominates", "front"]


class Sense(StrEnum):
    """Whether an objective is to be small or large."""

    MIN = "min"
    MAX = "max"


Mask = NDArray[np.bool_]
Rows = NDArray[np.float64]


def costs_of(points: ArrayLike, senses: Sequence[Sense | str]) -> Rows:
    """Return ``points`` of shape (n, k) with every objective turned so that small is good.

    Raises `InputError` for another shape.
    """
    rows = np.asarray(points, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(senses):
        raise InputError(f"points of shape {rows.shape}, allowed (n, {len(senses)})")
    signs = [-1.0 if Sense(sense) is Sense.MAX else 1.0 for sense in senses]
    costs: Rows = rows * np.array(signs)
    return costs


def dominates(a: ArrayLike, b: ArrayLike, senses: Sequence[Sense | str]) -> bool:
    """Return whether row ``a`` dominates row ``b``; the definition, and the tests' oracle.

    >>> dominates([10, 0.9], [12, 0.9], ["min", "max"])
    True
    """
    first, second = costs_of(np.stack([np.asarray(a), np.asarray(b)]), senses)
    return bool(np.all(first <= second) and np.any(first < second))


def front(points: ArrayLike, senses: Sequence[Sense | str]) -> Mask:
    """Return the mask of the rows of ``points`` (n, k) that no row dominates.

    What one good row beats in everything goes first.  Of the rest, two and three objectives take
    O(n log n): sort, then a running minimum, or a staircase.  More take one vectorised comparison
    per row with the front so far (in lexicographic order no later row dominates an earlier one).

    >>> front([[1, 5], [2, 5], [3, 9]], ["min", "max"]).tolist()
    [True, False, True]
    """
    costs = costs_of(points, senses)
    mask = np.zeros(len(costs), dtype=bool)
    if costs.size:
        keep = {2: _front_2d, 3: _front_3d}.get(costs.shape[1], _front_nd)
        left = np.flatnonzero(_unbeaten(costs))
        mask[left] = keep(costs[left])
    return mask


def _unbeaten(costs: Rows) -> Mask:
    """Return the known rows that one good row does not beat in every objective.

    The rest is dominated.  Of a cloud of points few are left to be sorted.  Column by column: rows
    of two or three numbers are slow to reduce.
    """
    known = ~reduce(np.logical_or, map(np.isnan, costs.T))
    distance = np.where(known, 0.0, np.inf)
    for column in costs.T:
        low = np.fmin.reduce(column)
        with np.errstate(over="ignore", invalid="ignore"):
            span = np.fmax.reduce(column) - low
        if span > 0 and np.isfinite(span):
            distance += np.where(known, (column - low) / span, 0.0)
    good = costs[np.argmin(distance)]
    found: Mask = known & reduce(np.logical_or, map(np.less_equal, costs.T, good))
    return found


def _front_2d(costs: Rows) -> Mask:
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    x, y = costs[order].T
    starts = np.concatenate(([True], x[1:] != x[:-1]))
    start = np.maximum.accumulate(np.where(starts, np.arange(len(x)), 0))
    before = np.minimum.accumulate(y)[np.maximum(start - 1, 0)]
    mask = np.empty(len(x), dtype=bool)
    mask[order] = (y == y[start]) & ((start == 0) | (y < before))
    return mask


def _front_3d(costs: Rows) -> Mask:
    """In order of x, a row is beaten when the staircase of the (y, z) before it lies below it.

    Equal rows are one here, so whatever lies below a row differs from it.
    """
    distinct, inverse = np.unique(costs, axis=0, return_inverse=True)
    on_front = np.zeros(len(distinct), dtype=bool)
    ys: list[float] = []  # rising
    zs: list[float] = []  # falling: the least z of all rows up to that y
    for index, (_, y, z) in enumerate(distinct.tolist()):
        place = bisect_right(ys, y)
        if place and zs[place - 1] <= z:
            continue
        on_front[index] = True
        place = bisect_left(ys, y)
        end = place
        while end < len(zs) and zs[end] >= z:
            end += 1
        ys[place:end], zs[place:end] = [y], [z]
    mask: Mask = on_front[inverse.reshape(-1)]
    return mask


def _front_nd(costs: Rows) -> Mask:
    order = np.lexsort(costs.T[::-1])
    kept = np.empty_like(costs)
    mask, size = np.zeros(len(costs), dtype=bool), 0
    for index in order:
        row, others = costs[index], kept[:size]
        beaten = np.all(others <= row, axis=1)
        if beaten.any() and np.any(others[beaten] < row):
            continue
        kept[size], mask[index], size = row, True, size + 1
    return mask
