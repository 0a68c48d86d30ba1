# SPDX-License-Identifier: Apache-2.0
"""Formulas of logic that the synthesizer infers: terms with a physical meaning, times coefficients.

A style's formula is ``offset + terms @ coefficients`` for LUT sites and for raw LUTs.  The offset
is what is certain (carry positions); the terms are blocks (mapped logic, decoders, control); the
coefficients are fitted to the characterization by `fit` and committed in
``data/coefficients.json`` (``python -m costmodel.fit``).  Flip-flops and DSPs are exact and never
fitted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError

from .counts import Counts
from .specs import SpecArrays, register_formula

__all__ = ["FILE", "FITTED", "INFERRED", "Inferred", "Terms", "coefficients", "fit", "flows"]
__all__ += ["predict", "prices_books", "register_inferred"]

Array = NDArray[np.float64]

FILE: Final = "data/coefficients.json"
FITTED: Final = ("lut_sites", "lut_raw")


class Terms:
    """The terms of one count of many kernels: columns with a prior each.

    A coefficient is pulled to ``prior`` with ``strength``: the number of kernels it counts for,
    where each kernel's error is relative.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.offset = np.zeros(size)
        self.names: list[str] = []
        self.columns: list[Array] = []
        self.priors: list[float] = []
        self.strengths: list[float] = []

    def fixed(self, values: ArrayLike) -> None:
        """Add what is certain."""
        self.offset = self.offset + np.asarray(values, np.float64)

    def add(self, name: str, values: ArrayLike, prior: float = 0.0, strength: float = 1.0) -> None:
        """Add one term."""
        self.names.append(name)
        self.columns.append(np.broadcast_to(np.asarray(values, np.float64), (self.size,)))
        self.priors.append(prior)
        self.strengths.append(strength)

    def value(self, chosen: dict[str, float]) -> Array:
        """Return the count with coefficients by name; a term without one has its prior."""
        total = self.offset.copy()
        for name, column, prior in zip(self.names, self.columns, self.priors, strict=True):
            total += chosen.get(name, prior) * column
        return total

    def fit(self, measured: ArrayLike, rows: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Return the coefficients of least relative square error over ``rows``, with priors."""
        y = np.asarray(measured, np.float64)
        chosen = np.ones(self.size, bool) if rows is None else rows
        weight = 1.0 / np.maximum(y[chosen], 1.0)
        columns = np.stack(self.columns, 1)[chosen] * weight[:, None]
        prior = np.array(self.priors)
        rest = (y - self.offset)[chosen] * weight - columns @ prior
        # The scale makes a strength mean the same for terms of any size.
        whole = np.stack(self.columns, 1) / np.maximum(y, 1.0)[:, None]
        scale = np.array([np.square(c[c != 0]).mean() if c.any() else 1.0 for c in whole.T])
        pull = np.diag(np.array(self.strengths) * scale)
        found = prior + np.linalg.solve(columns.T @ columns + pull, columns.T @ rest)
        return dict(zip(self.names, map(float, found), strict=True))


@dataclass(frozen=True, slots=True)
class Inferred:
    """A fitted formula: ``terms(specs, count)`` and what is exact (FF, DSP, RAM).

    ``books`` says whether it prices codebooks too.
    """

    terms: Callable[[SpecArrays, str], Terms]
    exact: Callable[[SpecArrays], Counts]
    books: bool = False


INFERRED: Final[dict[str, Inferred]] = {}
"""Style name -> formula, of the styles whose LUTs are inferred."""


def register_inferred(
    *styles: str, exact: Callable[[SpecArrays], Counts], books: bool = False
) -> Callable[[Any], Any]:
    """Return a decorator that makes a function of (specs, count) the terms of ``styles``."""

    def record(terms: Callable[[SpecArrays, str], Terms]) -> Any:
        for style in styles:
            INFERRED[style] = Inferred(terms, exact, books)

            def formula(specs: SpecArrays, style: str = style) -> Counts:
                return predict(style, specs, coefficients(style))

            register_formula(style)(formula)
        return terms

    return record


def prices_books(style: str) -> bool:
    """Return whether a style's formula prices kernels with codebooks."""
    return style not in INFERRED or INFERRED[style].books


@cache
def _stored() -> dict[str, Any]:
    text = files("costmodel").joinpath(*FILE.split("/")).read_text(encoding="utf-8")
    stored: dict[str, Any] = json.loads(text)
    return stored


def coefficients(style: str) -> dict[str, dict[str, float]]:
    """Return the committed coefficients of a style: count -> term -> value.

    Raises `InputError` for a style without.
    """
    found = _stored()["styles"].get(style)
    if found is None:
        raise InputError(f"no coefficients for style {style}; write them: python -m costmodel.fit")
    chosen: dict[str, dict[str, float]] = found["coefficients"]
    return chosen


def flows() -> list[str]:
    """Return the flows of the kernels that the committed coefficients are fitted to."""
    found: list[str] = _stored()["flows"]
    return found


def predict(style: str, specs: SpecArrays, chosen: dict[str, dict[str, float]]) -> Counts:
    """Return what ``specs`` cost in ``style`` with given coefficients."""
    formula = INFERRED[style]
    luts = {
        count: np.maximum(formula.terms(specs, count).value(chosen[count]), 0.0) for count in FITTED
    }
    return replace(formula.exact(specs), **luts)


def fit(
    style: str,
    specs: SpecArrays,
    measured: dict[str, ArrayLike],
    rows: NDArray[np.bool_] | None = None,
) -> dict[str, dict[str, float]]:
    """Return a style's coefficients fitted to ``measured`` (count -> values of ``specs``).

    Only ``rows`` count, all by default.
    """
    terms = INFERRED[style].terms
    return {count: terms(specs, count).fit(measured[count], rows) for count in FITTED}
