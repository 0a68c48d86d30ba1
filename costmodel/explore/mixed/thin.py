# SPDX-License-Identifier: Apache-2.0
"""Keep a few points of a front: those that dominate most, judged by calibration losses alone.

The area is that of cost and the root of the loss: a Kullback-Leibler divergence grows with the
square of the outputs' error, the decisions that change roughly with the error itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.explore.hypervolume import hypervolume

__all__ = ["thin"]


def thin(costs: Sequence[float], losses: Sequence[float], count: int) -> list[int]:
    """Return the indices of at most ``count`` points of a front, ascending in cost.

    The one of least loss first, then the cheapest, then greedily what adds most area.

    >>> thin([1, 2, 3, 9], [0.9, 0.1, 0.09, 0.0], 3)
    [0, 1, 3]
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -losses[i]))
    if len(order) <= count:
        return order
    points = np.column_stack([np.asarray(costs, float), np.sqrt(np.asarray(losses, float))])
    corner = points.max(axis=0) * (1 + 1e-9) + 1e-12
    kept = [order[-1], order[0]][:count]
    while len(kept) < count:
        rest = [i for i in order if i not in kept]
        areas = [hypervolume(points[[*kept, i]], corner, ("min", "min")) for i in rest]
        kept.append(rest[int(np.argmax(areas))])
    return sorted(kept, key=order.index)
