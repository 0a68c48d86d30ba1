# SPDX-License-Identifier: Apache-2.0
"""The committed measurements as points: each beside an estimate made without its formats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.fit import rows_of
from costmodel.measurements import Measurement, measurements
from costmodel.primitives import FORMULAS, SpecArrays
from costmodel.primitives.inferred import INFERRED

from .folds import each_pair_out
from .model import Array
from .points import Points

__all__ = ["held_out_points"]


def held_out_points(target: str, rows: Sequence[Measurement] | None = None) -> Points:
    """Return ``rows``, by default all measurements, of styles with a formula.

    A fitted formula is fitted again for each pair of formats, to kernels with neither of the two
    (where there are none, its priors stand);
    what is counted from the RTL's parameters is the same with any data.
    """
    chosen: list[Measurement] = []
    estimates: list[Array] = []
    given = measurements() if rows is None else rows
    for style in sorted(FORMULAS):
        own = rows_of(style, given)
        if own:
            chosen += own
            estimates.append(_estimates(style, own, target))
    return Points(
        tuple(row.spec for row in chosen),
        tuple(row.style for row in chosen),
        np.array([getattr(row.resources, target) for row in chosen], np.float64),
        np.concatenate([np.zeros(0), *estimates]),
    )


def _estimates(style: str, rows: Sequence[Measurement], target: str) -> Array:
    """Return whole estimates of one style's kernels, formats held out."""
    specs = [row.spec for row in rows]
    kernels = SpecArrays.from_specs(specs)
    if style not in INFERRED:
        found = getattr(FORMULAS[style](kernels).rounded().broadcast(), target)
        return np.asarray(found, np.float64)
    counts = np.array([getattr(row.resources, target) for row in rows], np.float64)
    terms = INFERRED[style].terms(kernels, target)
    result = np.zeros(len(rows))
    for fold in each_pair_out(specs):
        kept = np.zeros(len(rows), bool)
        kept[fold.train] = True
        result[fold.test] = terms.value(terms.fit(counts, kept))[fold.test]
    return np.maximum(np.rint(result), 0.0)
