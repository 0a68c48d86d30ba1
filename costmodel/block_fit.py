# SPDX-License-Identifier: Apache-2.0
"""Fit the coefficients of requantizers and block-scaled kernels to ``data/blocks.csv``.

``python -m costmodel.block_fit`` prints them as they stand in the two ``FITTED`` tables.  Least
squares on relative errors, no coefficient below zero, one fit for LUT cells and one for sites.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant.block_mac import BlockMacSpec

from .block_points import Point, read, requantizer
from .primitives import block_scaled, requant
from .primitives.counts import Counts

__all__ = ["estimates", "fit", "requant_points"]

Table = dict[str, tuple[float, float]]


def estimates(points: Sequence[Point]) -> Counts:
    """Return what the formulas say of requantizers or of block-scaled kernels, not of both."""
    styles = [point.spec.get("style", "auto") for point in points]
    if points[0].unit == "block":
        specs = [{k: v for k, v in point.spec.items() if k != "style"} for point in points]
        return block_scaled.block_kernels([BlockMacSpec(**spec) for spec in specs], styles)
    made = [requantizer(point.unit, point.spec) for point in points]
    return requant.requantizers(made, styles)


def _least(matrix: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
    """Return the least-squares solution without negative entries, by coordinate descent."""
    found = np.zeros(matrix.shape[1])
    for _ in range(400):
        for column in range(len(found)):
            own = matrix[:, column]
            size = own @ own
            if size > 0:
                rest = target - matrix @ found + own * found[column]
                found[column] = max(own @ rest / size, 0.0)
    return found


def fit(points: Sequence[Point], table: Table, price: Callable[[Sequence[Point]], Counts]) -> Table:
    """Return the coefficients of ``table`` that fit ``points`` best; ``table`` is left alone."""
    kept = dict(table)
    fitted: list[NDArray[Any]] = []
    try:
        for part, name in ((0, "lut_raw"), (1, "lut_sites")):
            measured = np.array([point.counts[name] for point in points], np.float64)
            table.update(dict.fromkeys(kept, (0.0, 0.0)))
            base = getattr(price(points), name)
            columns = []
            for key in kept:
                table[key] = (1.0, 1.0)
                columns.append(getattr(price(points), name) - base)
                table[key] = (0.0, 0.0)
            matrix = np.stack(columns, axis=1) / measured[:, None]
            fitted.append(_least(matrix, (measured - base) / measured))
            del part
    finally:
        table.update(kept)
    return {
        key: (round(float(raw), 2), round(float(sites), 2))
        for key, raw, sites in zip(kept, *fitted, strict=True)
    }


def requant_points(points: Iterable[Point]) -> list[Point]:
    """Return the points that are requantizers."""
    return [point for point in points if point.unit in ("round", "mulshift", "thresholds")]


def main(path: str | None = None) -> int:
    """Print both tables; ``path`` is another file of points."""
    points = read(path)
    for name, chosen, table in (
        ("requant", requant_points(points), requant.FITTED),
        ("block_scaled", [p for p in points if p.unit == "block"], block_scaled.FITTED),
    ):
        sys.stdout.write(f"{name}: {fit(chosen, table, estimates)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
