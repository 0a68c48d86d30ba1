# SPDX-License-Identifier: Apache-2.0
"""Prices by formula, of one kernel or of a million at once."""

from __future__ import annotations

from collections.abc import Sequence

from hw.styles import style_of
from hwquant.errors import SpecError
from hwquant.formats import Codebook
from hwquant.mac import MacSpec

from .primitives import FORMULAS, SpecArrays
from .primitives.counts import Counts
from .primitives.inferred import flows, prices_books

__all__ = ["covers", "estimate_many", "fitted_flow"]


def covers(spec: MacSpec, style: str) -> bool:
    """Return whether ``style`` has a formula for the formats of ``spec``."""
    books = any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act))
    return style in FORMULAS and (not books or prices_books(style))


def fitted_flow() -> str:
    """Return the flow of the measurements that formulas are fitted to."""
    return "formula fitted to " + "; ".join(flows())


def estimate_many(specs: SpecArrays | Sequence[MacSpec], style: str = "plain") -> Counts:
    """Return what many kernels of one style cost, as arrays of whole numbers.

    Given specs one by one, each is checked; the kernels of `SpecArrays` must be ones the style can
    do (arrays are priced, not checked).

    >>> from hwquant import MacSpec
    >>> estimate_many([MacSpec("int4", "int4", acc=bits) for bits in (16, 24)]).ff.tolist()
    [42.0, 58.0]

    Raises `SpecError` for a style without a formula, or a spec it cannot do.
    """
    if style not in FORMULAS:
        raise SpecError(f"no formula for style {style!r}, allowed: {', '.join(FORMULAS)}")
    if not isinstance(specs, SpecArrays):
        for spec in specs:
            style_of(style, spec)
            if not covers(spec, style):
                raise SpecError(
                    f"style {style} has no formula for {spec.weight} x {spec.act}; allowed: "
                    "integers and minifloats, or synthesis"
                )
        specs = SpecArrays.from_specs(specs)
    return FORMULAS[style](specs).broadcast().rounded()
