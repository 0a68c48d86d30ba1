# SPDX-License-Identifier: Apache-2.0
"""Split-conformal calibration of central intervals (CQR, arXiv 1905.03222), by family.

The score of a row is what its target lies outside of the interval by (negative inside), over the
width of the interval there, or over one LUT where that is more.  The interval of a new row is
widened by the score of rank ``ceil((n + 1) * share)`` among n calibration rows, all predicted
without their format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import FAMILIES
from .isotonic import isotonic
from .model import Array
from .scores import CENTRAL

__all__ = ["Calibration", "calibrate", "margin"]


def margin(scores: Array, share: float) -> float:
    """Return the score of finite-sample rank ``ceil((n + 1) * share)``, counted from 1.

    The largest score where the rank is beyond n: then no rank has the coverage, and the caller
    should pool more rows.

    >>> margin(np.arange(1.0, 20.0), 0.9), margin(np.arange(1.0, 10.0), 0.9)
    (18.0, 9.0)
    """
    rank = min(math.ceil((len(scores) + 1) * share - 1e-9), len(scores))
    return float(np.sort(scores)[rank - 1])


def _ends(level: int) -> tuple[int, int]:
    return level, 2 * len(CENTRAL) - level


@dataclass(frozen=True)
class Calibration:
    """Margins of each family and central interval, shape (families + 1, len(`CENTRAL`)).

    The last row is for rows of no known family: the largest of all.
    """

    margins: Array

    def apply(self, quantiles: Array, family: NDArray[np.intp], unit: Array) -> Array:
        """Return calibrated quantiles, monotone.

        ``family`` indexes `features.FAMILIES`; ``unit`` (rows,) is one LUT in units of the target.
        """
        result = quantiles.copy()
        for level in range(len(CENTRAL)):
            low, high = _ends(level)
            spread = _spread(quantiles, level, unit)
            moved = self.margins[family, level] * spread
            # a negative margin narrows an interval, to a point at most
            middle = (quantiles[:, low] + quantiles[:, high]) / 2
            result[:, low] = np.minimum(quantiles[:, low] - moved, middle)
            result[:, high] = np.maximum(quantiles[:, high] + moved, middle)
        return isotonic(result)

    def to_json(self) -> dict[str, Any]:
        """Return the margins by family name."""
        names = (*FAMILIES, "other")
        return {name: row.tolist() for name, row in zip(names, self.margins, strict=True)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Calibration:
        """Rebuild from `to_json`."""
        return cls(np.array([record[name] for name in (*FAMILIES, "other")]))


def _spread(quantiles: Array, level: int, unit: Array) -> Array:
    low, high = _ends(level)
    return np.maximum(quantiles[:, high] - quantiles[:, low], unit)


def calibrate(
    y: Array, quantiles: Array, family: NDArray[np.intp], unit: Array, *, least: int = 30
) -> Calibration:
    """Return the margins from out-of-fold ``quantiles`` (rows, levels) of ``y``.

    A family with fewer than ``least`` rows is calibrated with all rows together.
    """
    margins = np.zeros((len(FAMILIES) + 1, len(CENTRAL)))
    for level, share in enumerate(CENTRAL):
        low, high = _ends(level)
        outside = np.maximum(quantiles[:, low] - y, y - quantiles[:, high])
        scores = outside / _spread(quantiles, level, unit)
        margins[:, level] = margin(scores, share)
        for index in range(len(FAMILIES)):
            own = scores[family == index]
            if len(own) >= least:
                margins[index, level] = margin(own, share)
        margins[-1, level] = margins[:, level].max()
    return Calibration(margins)
