# SPDX-License-Identifier: Apache-2.0
"""How sure a dominance is: cost estimates have intervals, accuracies are of finitely many items.

A row is *dominated* when another is at least as good in every objective and better in one.  It is
*surely dominated* when that holds for the worst the other can be and the best it can be itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError

from .pareto import Mask, Sense, costs_of, front

__all__ = ["accuracy_interval", "paired_p_value", "surely_dominated"]

_BLOCK = 1024


def accuracy_interval(
    accuracy: ArrayLike, items: int, level: float = 0.9
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's score interval of shares measured on ``items`` items (low, high).

    Raises `InputError` for no items or a level outside (0, 1).

    >>> low, high = accuracy_interval(0.9, 360, 0.95)
    >>> round(float(low), 3), round(float(high), 3)
    (0.865, 0.927)
    """
    from scipy.stats import norm

    if items < 1 or not 0 < level < 1:
        raise InputError(f"{items} items at level {level:g}, allowed: 1 or more, 0 < level < 1")
    share = np.asarray(accuracy, dtype=np.float64)
    z = float(norm.ppf(0.5 + level / 2))
    centre = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * np.sqrt(share * (1 - share) / items + (z / (2 * items)) ** 2)
    return centre - half, centre + half


def paired_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Return McNemar's exact two-sided p-value of two classifiers on the same items.

    ``first`` and ``second`` say of every item whether it was classified right, shape (items,).
    Only items on which they differ count.  Raises `InputError` for different shapes.
    """
    from scipy.stats import binomtest

    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != other.shape or one.ndim != 1:
        raise InputError(f"items of shape {one.shape} and {other.shape}, needed: the same, 1-D")
    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    if wins + losses == 0:
        return 1.0
    return float(binomtest(wins, wins + losses).pvalue)


def surely_dominated(low: ArrayLike, high: ArrayLike, senses: Sequence[Sense | str]) -> Mask:
    """Return which rows another row dominates whatever the true values within the intervals.

    ``low`` and ``high`` have shape (n, k).  Rows with a NaN neither dominate nor are dominated.
    Where an interval has no width, this is plain dominance.  Raises `InputError` for different
    shapes or an interval that ends before it begins.

    >>> low, high = [[10, 0.90], [12, 0.80], [10, 0.85]], [[11, 0.92], [13, 0.82], [14, 0.91]]
    >>> surely_dominated(low, high, ["min", "max"]).tolist()
    [False, True, False]
    """
    floor, ceiling = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if floor.shape != ceiling.shape:
        raise InputError(f"bounds of shape {floor.shape} and {ceiling.shape}, needed: the same")
    if (floor > ceiling).any():
        raise InputError("an interval ends before it begins; give low and high in this order")
    turned = costs_of(floor, senses), costs_of(ceiling, senses)
    best, worst = np.minimum(*turned), np.maximum(*turned)
    known = ~np.isnan(best + worst).any(axis=1)
    mask = np.zeros(len(best), dtype=bool)
    rivals = worst[known]
    rivals = rivals[front(rivals, ("min",) * rivals.shape[1])]  # the others beat no more
    for start in range(0, len(best), _BLOCK):
        rows = best[start : start + _BLOCK, None, :]
        beaten = (rivals <= rows).all(axis=2) & (rivals < rows).any(axis=2)
        mask[start : start + _BLOCK] = beaten.any(axis=1)
    return mask & known
