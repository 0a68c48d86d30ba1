# SPDX-License-Identifier: Apache-2.0
"""Pareto fronts: dominance, fronts, hypervolume, the knee, and picking one point.

A row dominates another when it is at least as good in every objective and better in one.  Rows
with a NaN are unknown: they are never on a front and dominate nothing.  Equal rows do not
dominate each other, so duplicates stay on the front together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError

__all__ = ["Sense", "dominates", "front", "hypervolume", "knee", "pick"]


class Sense(StrEnum):
    """Whether an objective is to be small or large."""

    MIN = "min"
    MAX = "max"


Mask = NDArray[np.bool_]
Rows = NDArray[np.float64]
_FLOOR = re.compile(r"(>=|<=)\s*([-+.\deE]+)")


def _costs(points: ArrayLike, senses: Sequence[Sense | str]) -> Rows:
    """Return ``points`` of shape (n, k) with every objective turned so that small is good."""
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
    first, second = _costs(np.stack([np.asarray(a), np.asarray(b)]), senses)
    return bool(np.all(first <= second) and np.any(first < second))


def front(points: ArrayLike, senses: Sequence[Sense | str]) -> Mask:
    """Return the mask of the rows of ``points`` (n, k) that no row dominates.

    Two objectives take O(n log n): sort, then a running minimum.  More take one vectorised
    comparison per row with the front so far (in lexicographic order no later row dominates an
    earlier one).

    >>> front([[1, 5], [2, 5], [3, 9]], ["min", "max"]).tolist()
    [True, False, True]
    """
    costs = _costs(points, senses)
    mask = np.zeros(len(costs), dtype=bool)
    known = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if known.size and costs.shape[1]:
        keep = _front_2d if costs.shape[1] == 2 else _front_nd
        mask[known] = keep(costs[known])
    return mask


def _front_2d(costs: Rows) -> Mask:
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    x, y = costs[order].T
    starts = np.concatenate(([True], x[1:] != x[:-1]))
    start = np.maximum.accumulate(np.where(starts, np.arange(len(x)), 0))
    before = np.minimum.accumulate(y)[np.maximum(start - 1, 0)]
    mask = np.empty(len(x), dtype=bool)
    mask[order] = (y == y[start]) & ((start == 0) | (y < before))
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


def hypervolume(
    points: ArrayLike, reference: ArrayLike, senses: Sequence[Sense | str] = ("min", "max")
) -> float:
    """Return the area dominated by two-objective ``points`` (n, 2) and bounded by ``reference``.

    Rows that are not strictly better than the reference in both objectives add nothing.

    >>> hypervolume([[1, 3], [2, 4]], [3, 0])
    7.0
    """
    if len(senses) != 2:
        raise InputError(f"hypervolume of {len(senses)} objectives, allowed 2")
    costs = _costs(points, senses)
    x_end, y_end = _costs(np.asarray(reference)[None], senses)[0]
    costs = costs[front(costs, ("min", "min"))]
    costs = costs[(costs[:, 0] < x_end) & (costs[:, 1] < y_end)]
    x, y = costs[np.argsort(costs[:, 0])].T
    widths = np.append(x[1:], x_end) - x if len(x) else x
    return math.fsum(widths * (y_end - y))


def knee(points: ArrayLike, senses: Sequence[Sense | str] = ("min", "max")) -> int:
    """Return the row index of the front's knee (two objectives).

    The front is scaled to the unit square; the knee is the point that lies farthest on the good
    side of the chord between the front's two ends.  With fewer than three front points, or none
    beyond the chord, it is the end that is best in the second objective.

    Raises `InputError` when no row is complete.
    """
    if len(senses) != 2:
        raise InputError(f"knee of {len(senses)} objectives, allowed 2")
    costs = _costs(points, senses)
    chosen = np.flatnonzero(front(costs, ("min", "min")) & np.isfinite(costs).all(axis=1))
    if not chosen.size:
        raise InputError(
            "no point has both objectives, so there is no knee; finish the sweep first"
        )
    chosen = chosen[np.argsort(costs[chosen, 0], kind="stable")]
    ends = costs[chosen[[0, -1]]]
    span = np.abs(ends[1] - ends[0])
    best = int(chosen[-1])
    if not np.all(span > 0):
        return best
    unit = (costs[chosen] - [ends[0, 0], ends[1, 1]]) / span
    gain = 1.0 - unit.sum(axis=1)  # the chord is x + y = 1 in the unit square
    return int(chosen[np.argmax(gain)]) if gain.max() > 1e-12 else best


def pick(
    points: ArrayLike, rule: str = "knee", senses: Sequence[Sense | str] = ("min", "max")
) -> int:
    """Return the row index that ``rule`` chooses from the two-objective front.

    Rules: ``knee``; ``best`` (best second objective); ``cheapest`` (best first objective);
    ``>=0.97`` or ``<=0.03`` (best first objective whose second objective meets the bound).

    Raises `InputError` for another rule, or when no point meets the bound.
    """
    if rule == "knee":
        return knee(points, senses)
    costs, values = _costs(points, senses), np.asarray(points, dtype=np.float64)[:, 1]
    allowed = front(costs, ("min", "min"))
    if match := _FLOOR.fullmatch(rule.strip()):
        try:
            bound = float(match[2])
        except ValueError:
            raise InputError(f"pick {rule!r}: {match[2]!r} is not a number") from None
        allowed &= values >= bound if match[1] == ">=" else values <= bound
        if not allowed.any():
            raise InputError(
                f"no point on the front has a second objective {rule}; relax the bound"
            )
    elif rule not in ("best", "cheapest"):
        raise InputError(f"pick {rule!r}, allowed: knee, best, cheapest, >=VALUE, <=VALUE")
    candidates = np.flatnonzero(allowed)
    if not candidates.size:
        raise InputError("no point has both objectives; finish the sweep first")
    column = 1 if rule == "best" else 0
    return int(candidates[np.argmin(costs[candidates, column])])
