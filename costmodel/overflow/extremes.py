# SPDX-License-Identifier: Apache-2.0
"""The least and greatest partial sum of many dot products, in element order, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant.graph.exact import Array, largest

__all__ = ["Extremes", "extremes"]

TILE: Final = 1 << 16
"""Accumulators that advance together: four arrays of so many numbers stay in the cache."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """Partial sums and statistics of the operand, each of shape (images, channels)."""

    low: Array
    high: Array
    mean: NDArray[np.float64]
    rms: NDArray[np.float64]
    peak: NDArray[np.float64]


def extremes(a: Array, b: Array, images: int, lanes: int) -> Extremes:
    """Return the extremes of the running sums of ``a @ b`` after each beat of ``lanes`` products.

    ``a`` is (groups, images * positions, length), images outermost; ``b`` is (groups, length,
    channels).  A running sum starts at zero, so low <= 0 <= high.  Float32 or float64 hold the sums
    exactly where the bound of every partial sum allows, Python integers where neither does.
    """
    groups, rows, length = a.shape
    channels = b.shape[-1]
    bound = largest(a) * int(np.abs(b).astype(object).sum(axis=1).max(initial=0))
    low, high = (np.zeros((images, groups, channels), _stored(bound)) for _ in range(2))
    positions = rows // images
    per_tile = max(1, TILE // max(channels, 1))
    for group in range(groups):
        weights = _cast(b[group], bound)
        beats = range(0, length, lanes)
        for image, start, stop in _tiles(images, positions, per_tile):
            tile = _cast(a[group, start:stop], bound)
            least, most = _running(tile, weights, beats, lanes)
            spread = (-1, positions, channels) if stop - start > positions else (1, -1, channels)
            at = slice(image, image + max((stop - start) // positions, 1))
            least, most = least.reshape(spread).min(axis=1), most.reshape(spread).max(axis=1)
            low[at, group] = np.minimum(low[at, group], least.astype(low.dtype))
            high[at, group] = np.maximum(high[at, group], most.astype(high.dtype))
    flat = (images, groups * channels)
    return Extremes(low.reshape(flat), high.reshape(flat), *_statistics(a, images, channels))


def _tiles(images: int, positions: int, per_tile: int) -> list[tuple[int, int, int]]:
    """Return (first image, first row, last row) of each tile: whole images, or part of one."""
    if positions > per_tile:
        return [
            (i, i * positions + p, i * positions + min(p + per_tile, positions))
            for i in range(images)
            for p in range(0, positions, per_tile)
        ]
    step = max(1, per_tile // max(positions, 1))
    return [(i, i * positions, min(i + step, images) * positions) for i in range(0, images, step)]


def _running(tile: Array, weights: Array, beats: range, lanes: int) -> tuple[Array, Array]:
    """Return the least and greatest running sums, (rows, channels)."""
    shape = (tile.shape[0], weights.shape[1])
    state = np.zeros(shape, tile.dtype)
    least, most, step = state.copy(), state.copy(), state.copy()
    columns = np.ascontiguousarray(tile.T)
    for at in beats:
        if lanes == 1:
            np.multiply(columns[at][:, None], weights[at][None], out=step)
        else:
            step = tile[:, at : at + lanes] @ weights[at : at + lanes]
        np.add(state, step, out=state)
        np.minimum(least, state, out=least)
        np.maximum(most, state, out=most)
    return least, most


def _cast(x: Array, bound: int) -> Array:
    """Return ``x`` in the fastest type that holds every partial sum exactly."""
    kind: Any = np.float32 if bound <= 1 << 24 else np.float64 if bound <= 1 << 53 else object
    return x.astype(kind)


def _stored(bound: int) -> Any:
    return np.int64 if bound < 1 << 62 else object


def _statistics(a: Array, images: int, channels: int) -> tuple[NDArray[np.float64], ...]:
    """Return mean, root mean square and peak of the operand, (images, groups * channels)."""
    parts = a.astype(np.float64).reshape(a.shape[0], images, -1)
    found = (
        parts.mean(axis=2),
        np.sqrt(np.mean(parts * parts, axis=2)),
        np.abs(parts).max(axis=2, initial=0),
    )
    return tuple(np.repeat(part.T, channels, axis=1) for part in found)
