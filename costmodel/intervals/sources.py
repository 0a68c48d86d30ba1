# SPDX-License-Identifier: Apache-2.0
"""The committed measurements as points: each beside an estimate made without its formats."""

from __future__ import annotations

import numpy as np

from costmodel.measurements import Measurement, measurements
from costmodel.primitives import FORMULAS, SpecArrays

from .points import Points

__all__ = ["held_out_points"]


def held_out_points(target: str, rows: tuple[Measurement, ...] | None = None) -> Points:
    """Return ``rows``, by default all measurements, whose style has a formula."""
    given = measurements() if rows is None else rows
    known = [row for row in given if row.style in FORMULAS]
    styles = [row.style for row in known]
    estimates = np.zeros(len(known))
    for style in sorted(set(styles)):
        chosen = [i for i, name in enumerate(styles) if name == style]
        kernels = SpecArrays.from_specs([known[i].spec for i in chosen])
        estimates[chosen] = getattr(FORMULAS[style](kernels).rounded().broadcast(), target)
    return Points(
        tuple(row.spec for row in known),
        tuple(styles),
        np.array([getattr(row.resources, target) for row in known], np.float64),
        estimates,
    )
