# SPDX-License-Identifier: Apache-2.0
"""How much more one front dominates than another, and how sure the test items make that.

Every point was measured on the same items, so both fronts are drawn again from the same resampled
items: what makes an item hard for all points cancels.  Two figures:

``hypervolume``  the area that a front's points dominate, best points by test accuracy;
``by budget``    the area under the accuracy of the point that a user takes at each budget, who
                 knows costs and calibration losses but no test item: nothing is chosen by test
                 accuracy, so noise does not flatter a front for having more points.

Both are shares of the rectangle between the reference point and (0, the float accuracy).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costmodel.explore.hypervolume import hypervolume
from hwquant.errors import InputError

__all__ = ["Gain", "Points", "Reference", "by_budget", "dominated", "gain"]


@dataclass(frozen=True)
class Points:
    """A front's costs (n,), and which test items each point has right (n, items)."""

    costs: NDArray[np.float64]
    right: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.right.ndim != 2 or len(self.costs) != len(self.right) or not self.right.size:
            raise InputError(
                f"{len(self.costs)} costs and answers of shape {self.right.shape}, needed: a row "
                "of answers for each cost"
            )

    def accuracies(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return accuracies where item ``i`` counts ``counts[..., i]`` times: (..., n)."""
        return counts @ self.right.T / self.right.shape[1]


@dataclass(frozen=True)
class Reference:
    """The corner that areas are measured from: a cost and an accuracy; ``best`` the float one."""

    cost: float
    accuracy: float
    best: float

    @property
    def area(self) -> float:
        """The whole rectangle."""
        return self.cost * (self.best - self.accuracy)


@dataclass(frozen=True)
class Gain:
    """``second - first``, with the interval of a bootstrap over items; the areas themselves."""

    first: float
    second: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The gain."""
        return self.second - self.first

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def dominated(costs: ArrayLike, accuracies: ArrayLike, reference: Reference) -> float:
    """Return the share of the reference's rectangle that the points dominate.

    >>> dominated([1, 2], [0.5, 1.0], Reference(4, 0.0, 1.0))
    0.625
    """
    points = np.column_stack([costs, accuracies])
    return hypervolume(points, (reference.cost, reference.accuracy)) / reference.area


def by_budget(costs: ArrayLike, accuracies: ArrayLike, reference: Reference) -> float:
    """Return the mean height above the reference of the dearest point within each budget.

    Accuracies may be lower than the reference's: a bad choice costs what it costs.

    >>> by_budget([1, 2], [0.5, 0.25], Reference(4, 0.0, 1.0))
    0.25
    """
    order = np.argsort(np.asarray(costs, dtype=np.float64), kind="stable")
    x = np.minimum(np.asarray(costs, dtype=np.float64)[order], reference.cost)
    widths = np.append(x[1:], reference.cost) - x
    heights = np.asarray(accuracies, dtype=np.float64)[order] - reference.accuracy
    return float(widths @ heights) / reference.area


def gain(
    first: Points,
    second: Points,
    reference: Reference,
    measure: Callable[[ArrayLike, ArrayLike, Reference], float] = dominated,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Gain:
    """Return how much more ``second`` has of ``measure`` than ``first``, with its interval.

    The interval is the central ``level`` of ``draws`` resamplings of the test items, the same items
    for all points; costs and reference stay.  Raises `InputError` for points of other items, or no
    draws.
    """
    items = first.right.shape[1]
    if second.right.shape[1] != items:
        raise InputError(f"points on {items} and {second.right.shape[1]} items, needed: the same")
    if draws < 1 or not 0 < level < 1:
        raise InputError(f"{draws} draws at level {level:g}, allowed: 1 or more, 0 < level < 1")

    def areas(counts: NDArray[np.float64]) -> tuple[float, float]:
        return (
            measure(first.costs, first.accuracies(counts), reference),
            measure(second.costs, second.accuracies(counts), reference),
        )

    rng = np.random.default_rng(seed)
    chances = np.full(items, 1 / items)
    found = [areas(rng.multinomial(items, chances).astype(np.float64)) for _ in range(draws)]
    differences: Sequence[float] = [two - one for one, two in found]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    one, two = areas(np.ones(items))
    return Gain(one, two, float(low), float(high))
