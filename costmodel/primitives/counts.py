# SPDX-License-Identifier: Apache-2.0
"""What formulas return: resource counts of many kernels at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NAMES", "Counts", "counts"]

Array = NDArray[np.float64]

NAMES: Final = ("lut_sites", "lut_raw", "lutram", "ff", "dsp")


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Resources of many kernels, one array each; arrays broadcast against each other.

    The words are those of `hw.sites.Resources`: ``lut_sites`` packed LUT6 sites, ``lut_raw`` LUT
    cells and inverters before packing, ``lutram`` LUTs used as memory (in neither of the two).
    Estimates may be fractions until `rounded`.
    """

    lut_sites: Array
    lut_raw: Array
    lutram: Array
    ff: Array
    dsp: Array

    def _map(self, function: Callable[[Array], Any]) -> Counts:
        return Counts(*(function(getattr(self, name)) for name in NAMES))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    def __mul__(self, factor: ArrayLike) -> Counts:
        """Return ``factor`` times as much; ``factor`` is a number or an array."""
        times = np.asarray(factor, np.float64)
        return self._map(lambda values: values * times)

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> Counts:
        """Return the counts of the kernels ``index`` selects, as numpy does."""
        whole = self.broadcast()
        return Counts(*(getattr(whole, name)[index] for name in NAMES))

    def broadcast(self) -> Counts:
        """Return the same with all arrays of one shape."""
        return Counts(*np.broadcast_arrays(*(getattr(self, name) for name in NAMES)))

    def rounded(self) -> Counts:
        """Return whole counts, none below zero."""
        return self._map(lambda values: np.maximum(np.rint(values), 0.0))

    def to_columns(self) -> dict[str, NDArray[np.int64]]:
        """Return whole counts by name, one int64 array of one shape each."""
        whole = self.rounded().broadcast()
        return {field.name: getattr(whole, field.name).astype(np.int64) for field in fields(self)}


def counts(
    *,
    lut_sites: ArrayLike = 0,
    lut_raw: ArrayLike | None = None,
    lutram: ArrayLike = 0,
    ff: ArrayLike = 0,
    dsp: ArrayLike = 0,
) -> Counts:
    """Return counts with 0 for what is not given; ``lut_raw`` defaults to ``lut_sites``.

    >>> (counts(lut_sites=[3, 4], ff=2) * 2 + counts(dsp=1)).to_columns()["lut_raw"].tolist()
    [6, 8]
    """
    raw = lut_sites if lut_raw is None else lut_raw
    return Counts(*(np.asarray(value, np.float64) for value in (lut_sites, raw, lutram, ff, dsp)))
