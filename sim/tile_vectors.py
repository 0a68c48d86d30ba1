# SPDX-License-Identifier: Apache-2.0
"""Stimulus of a tile and what must come back: every pair of codes in every place, streams.

A row is a control byte, a byte for each weight and each activation, padded to 32-bit words; a
result is all accumulators side by side.  It stands in the row of its cause among the enabled rows;
all other rows keep the sentinel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.tile import TileSpec, tile_layout
from hwquant import codec_np
from hwquant.formats import Format

from .rows import SENTINEL
from .vectors import CLEAR, ENABLE, RESET, VALID

__all__ = ["Block", "out_words", "row_words", "tile_blocks"]

EVERY_BITS = 16
KINDS = ("random", "extreme", "one rail", "mixed")


@dataclass(frozen=True)
class Block:
    """Rows for one simulation, and per enabled row the raw words that must come back."""

    stage: str
    data: NDArray[np.uint8]
    wanted: NDArray[np.uint64]
    codes: NDArray[np.uint8]
    checks: int


def row_words(spec: TileSpec) -> int:
    """Return the 32-bit words of a row, three at least, so that all rows are fetched alike."""
    layout = tile_layout(spec)
    return max(3, -(-(1 + layout.weights + layout.acts) // 4))


def out_words(spec: TileSpec) -> int:
    """Return the 64-bit words of a result; a bit is left that no result can set."""
    return -(-(tile_layout(spec).count * spec.mac.accumulator.width + 1) // 64)


def tile_blocks(spec: TileSpec, latency: int, seed: int, steps: int) -> Iterator[Block]:
    """Yield every pair of codes in every place, then streams of at least ``steps`` beats.

    Where the operands of a beat have up to 16 bits together, every beat there is is sent; else the
    other operands of a beat are random, and again the largest and least ones in every mixture.
    """
    rng = np.random.default_rng(seed + 1)
    for codes in _products(spec, rng):
        control = np.full(len(codes), ENABLE | VALID | CLEAR, np.uint8)
        yield _block(spec, latency, "products", control, codes)
    yield _streams(spec, latency, steps, rng, gaps=False)
    yield _streams(spec, latency, steps // 4 + 64, rng, gaps=True)


def _extremes(fmt: Format) -> NDArray[np.uint8]:
    """Return the codes of the largest, least and smallest values."""
    codes = np.array(fmt.codes, np.uint8)
    values = np.asarray(codec_np.decode(fmt, codes))
    order = np.argsort(values.astype(np.float64), kind="stable")
    return codes[[order[0], order[-1], order[len(order) // 2], order[len(order) // 2 - 1]]]


def _products(spec: TileSpec, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    layout = tile_layout(spec)
    formats = [spec.weight] * layout.weights + [spec.act] * layout.acts
    if sum(fmt.bits for fmt in formats) <= EVERY_BITS:
        yield np.array(list(itertools.product(*(fmt.codes for fmt in formats))), np.uint8)
        return
    pairs = np.array(list(itertools.product(spec.weight.codes, spec.act.codes)), np.uint8)
    for i, j in itertools.product(range(layout.weights), range(layout.acts)):
        for extreme in (False, True):
            rows = np.empty((len(pairs), len(formats)), np.uint8)
            for column, fmt in enumerate(formats):
                pool = _extremes(fmt) if extreme else np.array(fmt.codes, np.uint8)
                rows[:, column] = rng.choice(pool, len(pairs))
            rows[:, i], rows[:, layout.weights + j] = pairs[:, 0], pairs[:, 1]
            yield rows[rng.permutation(len(rows))]


def _streams(
    spec: TileSpec, latency: int, steps: int, rng: np.random.Generator, *, gaps: bool
) -> Block:
    """Return dot products of up to ``length`` beats; ``gaps``: stalls, idle cycles, resets."""
    layout = tile_layout(spec)
    formats = [spec.weight] * layout.weights + [spec.act] * layout.acts
    codes = np.empty((steps, len(formats)), np.uint8)
    for column, fmt in enumerate(formats):
        codes[:, column] = rng.choice(np.array(fmt.codes, np.uint8), steps)
    control = np.full(steps, ENABLE | VALID, np.uint8)
    if gaps:
        noise = rng.random((3, steps))
        control = (
            np.where(noise[0] < 0.8, ENABLE, 0)
            | np.where(noise[1] < 0.8, VALID, 0)
            | np.where(noise[2] < 0.01, RESET, 0)
        ).astype(np.uint8)
    start = turn = 0
    while start < steps:
        size = int(rng.integers(1, spec.length + 1)) if turn % 3 else spec.length
        part = slice(start, start + size)
        kind = KINDS[turn % len(KINDS)]
        for column, fmt in enumerate(formats):
            ends = _extremes(fmt)
            if kind == "extreme" or (kind == "mixed" and rng.random() < 0.5):
                codes[part, column] = rng.choice(ends, len(codes[part]))
            elif kind == "one rail":
                codes[part, column] = ends[rng.integers(0, 2)]
        control[start] |= CLEAR
        start, turn = start + size, turn + 1
    if gaps:  # a clear counts with a beat that is taken
        lost = np.flatnonzero((control & CLEAR) != 0)
        control[lost] |= ENABLE | VALID
        control[lost] &= 0xFF ^ RESET
    return _block(spec, latency, "streams with gaps" if gaps else "streams", control, codes)


def _block(
    spec: TileSpec, latency: int, stage: str, control: NDArray[np.uint8], codes: Any
) -> Block:
    layout = tile_layout(spec)
    data = np.zeros((len(codes), 4 * row_words(spec)), np.uint8)
    data[:, 0] = control
    data[:, 1 : 1 + codes.shape[1]] = codes
    left = codes[:, : layout.weights, None]
    right = codes[:, None, layout.weights :]
    products = spec.mac.products(left, right).reshape(len(codes), -1)
    sums = _sums(spec, control, products.astype(object if products.dtype == object else np.int64))
    enabled = np.flatnonzero(control & ENABLE)
    raw = _raw(spec, sums[enabled])
    sent = (control[enabled] & VALID) != 0
    place = np.cumsum((control & ENABLE) != 0)
    for row in np.flatnonzero(control & RESET):
        sent[max(int(place[row]) - latency, 0) : place[row]] = False
    empty = np.zeros_like(raw)
    empty[:, -1] = SENTINEL
    wanted = np.where(sent[:, None], raw, empty)
    return Block(stage, data, wanted, codes[enabled], int(sent.sum()) * layout.count)


def _sums(spec: TileSpec, control: NDArray[np.uint8], products: Any) -> Any:
    """Return all accumulators behind each row."""
    fixed = spec.mac.accumulator
    taken = ((control & ENABLE) != 0) & ((control & VALID) != 0) & ((control & RESET) == 0)
    if bool(np.all(taken & ((control & CLEAR) != 0))):
        return fixed.wrap(products)
    sums = np.where(taken[:, None], products, 0)
    starts = np.flatnonzero((taken & ((control & CLEAR) != 0)) | ((control & RESET) != 0))
    for first, behind in itertools.pairwise([0, *starts.tolist(), len(sums)]):
        sums[first:behind] = np.cumsum(sums[first:behind], axis=0)
    return fixed.wrap(sums)


def _raw(spec: TileSpec, sums: Any) -> NDArray[np.uint64]:
    """Return the accumulators of each row side by side, as 64-bit words."""
    width, words = spec.mac.accumulator.width, out_words(spec)
    mask = (1 << width) - 1
    whole = np.zeros(len(sums), object)
    for place in range(sums.shape[1]):
        whole |= (sums[:, place].astype(object) & mask) << place * width
    raw = b"".join(int(word).to_bytes(8 * words, "little") for word in whole)
    return np.frombuffer(raw, np.uint64).reshape(-1, words).copy()
