# SPDX-License-Identifier: Apache-2.0
"""Intervals of estimates, from the committed predictor (``data/intervals.json``).

Only numpy is needed here; `costmodel.intervals.compare` fits and writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costmodel.primitives.specs import SpecArrays
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .features import FAMILIES, FEATURES, from_target, matrix
from .interval import Interval, exact
from .model import Array
from .predictor import Predictor
from .scores import CENTRAL

__all__ = ["FILE", "TARGETS", "Shipped", "interval", "interval_many", "intervals", "shipped"]

FILE: Final = "data/intervals.json"

TARGETS: Final = ("lut_sites", "lut_raw")
"""The counts that are estimated with an error; all others are exact."""


@dataclass(frozen=True, eq=False)
class Shipped:
    """The predictor of each of `TARGETS`, and the styles that it was calibrated on."""

    predictors: Mapping[str, Predictor]
    styles: frozenset[str]

    def bounds(
        self,
        kernels: SpecArrays,
        styles: Sequence[str],
        estimates: ArrayLike,
        level: float = 0.9,
        target: str = "lut_sites",
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ends of the central intervals of share ``level``, whole LUTs.

        One of `TARGETS` is bounded for kernels of shape (n,), whose estimates are given.  A style
        without a measured kernel takes the widest interval of all families.
        Raises `InputError` for another level or target.
        """
        if level not in CENTRAL:
            allowed = ", ".join(f"{share:g}" for share in sorted(CENTRAL))
            raise InputError(f"intervals of share {level:g}; allowed: {allowed}")
        if target not in self.predictors:
            raise InputError(f"intervals of {target!r}; allowed: {', '.join(self.predictors)}")
        values = np.broadcast_to(np.asarray(estimates, np.float64), (len(kernels),))
        x = matrix(kernels, styles, values)
        predictor = self.predictors[target]
        ends = (CENTRAL.index(level), -1 - CENTRAL.index(level))
        found = predictor.quantiles(x)[:, ends]
        unseen = ~np.isin(np.asarray(styles), sorted(self.styles))
        if unseen.any():
            found[unseen] = _widest(predictor, x[unseen])[:, ends]
        luts = from_target(found, values[:, None])
        # a count is whole: an end 1e-9 above one is that one
        low = np.minimum(np.floor(luts[:, 0] + 1e-9), np.rint(values))
        high = np.maximum(np.ceil(luts[:, 1] - 1e-9), np.rint(values))
        return np.maximum(low, 0).astype(np.int64), high.astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return everything fitted."""
        return {
            "styles": sorted(self.styles),
            "predictors": {name: p.to_json() for name, p in self.predictors.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild from `to_json`."""
        found = {name: Predictor.from_json(p) for name, p in record["predictors"].items()}
        return cls(found, frozenset(record["styles"]))


def _widest(predictor: Predictor, x: Array) -> Array:
    """Return the lowest and highest quantiles of any family, as if the rows were of it."""
    first = FEATURES.index(f"family_{FAMILIES[0]}")
    per_family = []
    for index in range(len(FAMILIES)):
        changed = x.copy()
        changed[:, first : first + len(FAMILIES)] = 0.0
        changed[:, first + index] = 1.0
        per_family.append(predictor.quantiles(changed))
    lowest, highest = np.min(per_family, axis=0), np.max(per_family, axis=0)
    middle = x.shape[0] and lowest.shape[1] // 2
    return np.concatenate([lowest[:, :middle], highest[:, middle:]], axis=1)


@cache
def shipped() -> Shipped:
    """Return the committed predictor."""
    path = files("costmodel").joinpath(*FILE.split("/"))
    return Shipped.from_json(json.loads(path.read_text(encoding="utf-8")))


def interval_many(
    kernels: SpecArrays,
    styles: Sequence[str],
    estimates: ArrayLike,
    level: float = 0.9,
    target: str = "lut_sites",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return low and high ends for many kernels; see `Shipped.bounds`."""
    return shipped().bounds(kernels, styles, estimates, level, target)


def interval(
    spec: MacSpec, style: str, estimate: float, level: float = 0.9, target: str = "lut_sites"
) -> Interval:
    """Return the interval of one estimated count of one kernel.

    It holds the count that synthesis gives with probability ``level``, for kernels of formats that
    were never synthesized (the calibration held out whole formats) and styles that were; ``seen``
    is False for other styles.
    Raises `InputError` for a level or target other than those of `Shipped.bounds`.
    """
    known = shipped()
    low, high = known.bounds(SpecArrays.from_specs([spec]), [style], [estimate], level, target)
    return Interval(round(estimate), int(low[0]), int(high[0]), style in known.styles)


def intervals(
    spec: MacSpec,
    style: str,
    counts: Mapping[str, int],
    level: float = 0.9,
    *,
    measured: bool = False,
) -> dict[str, Interval]:
    """Return an interval for each of ``counts``; of zero width but for estimated `TARGETS`.

    With ``measured`` (or synthesized) counts all have zero width.
    """
    return {
        name: exact(count)
        if measured or name not in TARGETS
        else interval(spec, style, count, level, name)
        for name, count in counts.items()
    }
