# SPDX-License-Identifier: Apache-2.0
"""Prices by formula, of one kernel or of a million at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hw.styles import fitting, style_of
from hwquant.errors import SpecError
from hwquant.formats import Codebook
from hwquant.mac import MacSpec

from .primitives import FORMULAS, SpecArrays
from .primitives.counts import Counts, counts
from .primitives.inferred import flows, prices_books
from .primitives.specs import CODEBOOK

__all__ = ["covers", "estimate_many", "fitted_flow"]


def covers(spec: MacSpec, style: str) -> bool:
    """Return whether ``style`` has a formula for the formats of ``spec``."""
    books = any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act))
    return style in FORMULAS and (not books or prices_books(style))


def fitted_flow() -> str:
    """Return the flow of the measurements that formulas are fitted to."""
    return "formula fitted to " + "; ".join(flows())


def estimate_many(specs: SpecArrays | Iterable[MacSpec], style: str = "plain") -> Counts:
    """Return what many kernels of one style cost, as arrays of whole numbers.

    Given specs one by one, each is checked; the kernels of `SpecArrays` must be ones the style can
    do (arrays are priced, not checked).

    >>> from hwquant import MacSpec
    >>> estimate_many([MacSpec("int4", "int4", acc=bits) for bits in (16, 24)]).ff.tolist()
    [42.0, 58.0]

    Raises `SpecError` for a style without a formula, or a spec it cannot do; for a codebook where
    the style's formula has none it names the styles that price it.
    """
    if not isinstance(style, str) or style not in FORMULAS:
        raise SpecError(f"no formula for style {style!r}, allowed: {', '.join(FORMULAS)}")
    if isinstance(specs, SpecArrays):
        arrays = specs
    else:
        chosen = list(specs) if isinstance(specs, Iterable) else specs
        arrays = SpecArrays.from_specs(chosen)
        for spec in chosen:
            style_of(style, spec)
    if not len(arrays):
        return counts(lut_sites=np.zeros(0)).broadcast()
    if not prices_books(style):
        books = (arrays.weight.kind == CODEBOOK) | (arrays.act.kind == CODEBOOK)
        if books.any():
            raise _no_books(arrays.spec(int(books.argmax())), style)
    return FORMULAS[style](arrays).broadcast().rounded()


def _no_books(spec: MacSpec, style: str) -> SpecError:
    others = [fit.name for fit in fitting(spec) if covers(spec, fit.name)]
    return SpecError(
        f"style {style} has no formula for codebooks ({spec.weight} x {spec.act}); allowed: "
        f"style {', '.join(others)}, or synthesis (hwquant cost --synth, estimate(synth=True))"
    )
