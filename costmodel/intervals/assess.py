# SPDX-License-Identifier: Apache-2.0
"""What intervals were worth on kernels they had not seen, in LUTs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .features import from_target
from .isotonic import crossings
from .model import Array
from .points import Points
from .scores import CENTRAL, TAUS, clopper_pearson, clustered, weighted_interval_score

__all__ = ["Assessment", "assess", "in_luts"]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Scores of one predictor over all held-out rows.

    ``score`` is the mean weighted interval score of the log target, times 100 (so: per cent),
    ``score_luts`` that in LUTs.  ``coverage`` is of intervals of whole LUTs, by share; ``lower``
    the one-sided 95 % bounds on the 90 % interval's, Clopper-Pearson (rows independent) and
    clustered by pair of formats.  ``width`` is the mean width of the 90 % interval in per cent of
    the estimate, ``width_luts`` in LUTs.
    """

    rows: int
    score: float
    score_luts: float
    coverage: dict[float, float]
    lower: float
    lower_clustered: float
    width: float
    width_luts: float
    crossings: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a record."""
        return {name: getattr(self, name) for name in self.__slots__}


def in_luts(points: Points, quantiles: Array) -> Array:
    """Return quantiles of the count: whole LUTs, lower levels down, upper levels up."""
    luts = from_target(quantiles, points.estimates[:, None])
    middle = len(TAUS) // 2
    # a count is whole: an end 1e-9 above one is that one
    luts[:, :middle] = np.floor(luts[:, :middle] + 1e-9)
    luts[:, middle + 1 :] = np.ceil(luts[:, middle + 1 :] - 1e-9)
    luts[:, middle] = np.rint(luts[:, middle])
    return np.asarray(np.maximum(luts, 0.0))


def assess(points: Points, quantiles: Array, groups: Sequence[str] | None = None) -> Assessment:
    """Return the scores of ``quantiles`` (rows, levels) of the target."""
    luts = in_luts(points, quantiles)
    inside = {}
    for level, share in enumerate(CENTRAL):
        low, high = luts[:, level], luts[:, -1 - level]
        inside[share] = (low <= points.counts) & (points.counts <= high)
    ninety = CENTRAL.index(0.9)
    width = luts[:, -1 - ninety] - luts[:, ninety]
    hit = inside[0.9]
    return Assessment(
        rows=len(points),
        score=100 * weighted_interval_score(points.y, quantiles),
        score_luts=weighted_interval_score(points.counts, luts),
        coverage={share: float(hits.mean()) for share, hits in inside.items()},
        lower=clopper_pearson(int(hit.sum()), len(hit)),
        lower_clustered=clustered(hit, points.groups if groups is None else groups),
        width=float(100 * (width / np.maximum(points.estimates, 1.0)).mean()),
        width_luts=float(width.mean()),
        crossings=crossings(quantiles) + crossings(luts),
    )
