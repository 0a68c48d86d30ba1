# SPDX-License-Identifier: Apache-2.0
"""Fit the formulas of inferred logic and measure their error on formats they have not seen.

Run ``python -m costmodel.fit`` to write ``costmodel/data/coefficients.json`` from the committed
measurements; ``python -m costmodel.fit --check`` only prints the errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant import atomic
from hwquant.formats import Codebook

from .measurements import Measurement, measurements
from .primitives import FORMULAS
from .primitives.counts import NAMES, Counts
from .primitives.inferred import FITTED, INFERRED, fit, predict, prices_books
from .primitives.specs import SpecArrays

__all__ = ["Errors", "Held", "errors", "held_mixed", "held_out", "rows_of", "unseen"]

PATH: Final = Path(__file__).parent / "data" / "coefficients.json"


@dataclass(frozen=True, slots=True)
class Held:
    """One prediction of a measured kernel by a formula that has not seen ``format``."""

    row: Measurement
    format: str
    predicted: dict[str, float]

    def error(self, count: str) -> float:
        """Return the relative error; counts of 0 are compared as 1."""
        true = getattr(self.row.resources, count)
        return (self.predicted[count] - true) / max(true, 1)


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean and worst absolute relative error of ``kernels`` predictions."""

    kernels: int
    mean: float
    worst: float


def errors(found: Iterable[float]) -> Errors:
    """Summarise relative errors."""
    values = np.abs(list(found))
    if not values.size:
        return Errors(0, 0.0, 0.0)
    return Errors(len(values), float(values.mean()), float(values.max()))


def rows_of(style: str, rows: Sequence[Measurement] | None = None) -> list[Measurement]:
    """Return the measurements of a style, without codebooks where it has no formula for them."""
    chosen = measurements() if rows is None else rows
    return [
        row
        for row in chosen
        if row.style == style
        and not (
            not prices_books(style)
            and any(isinstance(fmt, Codebook) for fmt in (row.spec.weight, row.spec.act))
        )
    ]


def _formats(row: Measurement) -> frozenset[str]:
    return frozenset((str(row.spec.weight), str(row.spec.act)))


def _measured(rows: Sequence[Measurement]) -> dict[str, Any]:
    return {
        name: np.array([getattr(row.resources, name) for row in rows], np.float64) for name in NAMES
    }


def held_out(style: str, rows: Sequence[Measurement] | None = None) -> list[Held]:
    """Predict every kernel of a style by formulas that saw no kernel of one of its formats.

    A kernel of two formats is predicted twice, once without each.  Structural formulas have no
    coefficients; they predict as they are.
    """
    chosen = rows_of(style, rows)
    if not chosen:
        return []
    specs = SpecArrays.from_specs(row.spec for row in chosen)
    have = [_formats(row) for row in chosen]
    found: list[Held] = []
    for name in sorted(set().union(*have)):
        out: NDArray[np.bool_] = np.array([name in formats for formats in have])
        if style in INFERRED:
            if out.all():
                continue
            given = predict(style, specs, fit(style, specs, _measured(chosen), ~out))
        else:
            given = FORMULAS[style](specs)
        found += _all_held(chosen, np.flatnonzero(out), name, given)
    return found


def held_mixed(style: str, rows: Sequence[Measurement] | None = None) -> list[Held]:
    """Predict every kernel of two different formats by formulas that saw only equal ones."""
    chosen = rows_of(style, rows)
    mixed: NDArray[np.bool_] = np.array([len(_formats(row)) > 1 for row in chosen], bool)
    if not mixed.any() or mixed.all():
        return []
    specs = SpecArrays.from_specs(row.spec for row in chosen)
    if style in INFERRED:
        counts = predict(style, specs, fit(style, specs, _measured(chosen), ~mixed))
    else:
        counts = FORMULAS[style](specs)
    return _all_held(chosen, np.flatnonzero(mixed), "mixed pairs", counts)


def unseen(style: str, rows: Sequence[Measurement] | None = None) -> list[Held]:
    """Predict every kernel of a style from the priors alone, as if the style were not measured."""
    chosen = rows_of(style, rows)
    if not chosen:
        return []
    specs = SpecArrays.from_specs(row.spec for row in chosen)
    blank: dict[str, dict[str, float]] = {count: {} for count in FITTED}
    counts = predict(style, specs, blank) if style in INFERRED else FORMULAS[style](specs)
    return _all_held(chosen, np.arange(len(chosen)), "the style", counts)


def _all_held(
    rows: Sequence[Measurement], which: NDArray[np.int64], name: str, counts: Counts
) -> list[Held]:
    columns = counts.rounded().to_columns()
    return [
        Held(rows[i], name, {count: float(columns[count][i]) for count in NAMES}) for i in which
    ]


def fitted(rows: Sequence[Measurement] | None = None) -> dict[str, Any]:
    """Return what ``coefficients.json`` holds: coefficients and errors by style."""
    styles: dict[str, Any] = {}
    for style in INFERRED:
        chosen = rows_of(style, rows)
        if not chosen:
            continue
        specs = SpecArrays.from_specs(row.spec for row in chosen)
        found = fit(style, specs, _measured(chosen))
        held = held_out(style, rows)
        styles[style] = {
            "kernels": len(chosen),
            "held_out": {
                count: {
                    key: round(value, 4)
                    for key, value in zip(
                        ("mean", "worst"), _pair(errors(h.error(count) for h in held)), strict=True
                    )
                }
                for count in FITTED
            },
            "coefficients": {
                count: {name: round(value, 6) for name, value in found[count].items()}
                for count in FITTED
            },
        }
    return {"flows": sorted({row.flow for row in measurements()}), "styles": styles}


def _pair(found: Errors) -> tuple[float, float]:
    return found.mean, found.worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the coefficients, unless ``--check`` is given, and print the errors by style."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if "--check" not in given:
        atomic.write_text(PATH, json.dumps(fitted(), indent=1) + "\n")
    print("style kernels count mean worst")
    for style in FORMULAS:
        held = held_out(style)
        for count in NAMES:
            found = errors(h.error(count) for h in held)
            print(f"{style} {found.kernels} {count} {found.mean:.4f} {found.worst:.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
