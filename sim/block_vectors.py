# SPDX-License-Identifier: Apache-2.0
"""Stimulus of a block-dot kernel and what must come back: scales, corners, rails, traffic.

A row is a control byte, two scale codes, one byte per weight and activation code, padded to 32-bit
words.  A block's result stands in the row of its last beat among the enabled rows; all other rows
keep the sentinel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant.block import ScaleFormat
from hwquant.block_mac import BlockMacSpec
from hwquant.cache import content_key
from hwquant.formats import Format
from hwquant.mac import Overflow

from .rows import LAST, SENTINEL, sentinel, to_words
from .vectors import CLEAR, ENABLE, RESET, VALID

__all__ = ["Stream", "out_words", "row_words", "streams"]

TRAFFIC = 4096
LONGEST = 6  # blocks in a dot product
NEAR = 12  # binary places around the window's ends in which most scales of a stream lie


def row_words(spec: BlockMacSpec) -> int:
    """Return the 32-bit words of a row; three at least, so that all rows are fetched alike."""
    return max(3, -(-(3 + 2 * spec.lanes) // 4))


def out_words(spec: BlockMacSpec) -> int:
    """Return the 64-bit words of a result, with room for the sentinel."""
    return -(-(spec.accumulator.width + 2) // 64)


@dataclass(frozen=True)
class Stream:
    """Rows for one simulation and the raw words that must come back, per enabled row.

    ``rows`` holds the row number of each enabled row, ``rails`` how many results stand at a rail,
    ``inexact`` how many blocks had bits below the window.
    """

    stage: str
    data: NDArray[np.uint8]
    wanted: NDArray[np.uint64]
    rows: NDArray[np.int64]
    checks: int
    rails: int
    inexact: int


@dataclass
class _Beats:
    """Columns of a stream under construction, one entry per row."""

    control: NDArray[np.uint8]
    scales: NDArray[np.uint8]  # (rows, 2)
    weight: NDArray[np.uint8]  # (rows, lanes)
    act: NDArray[np.uint8]


def streams(spec: BlockMacSpec, latency: int, seed: int, steps: int) -> Iterator[Stream]:
    """Yield everything that is sent to one kernel.

    ``scales``: every pair of E4M3 scales, or every sum of E8M0 scales, with extreme and with
    random codes; ``near``: scales around the window, dot products of up to six blocks, short blocks
    among them; ``rails``: equal extreme blocks until the window is full; ``traffic``: stalls, idle
    cycles, clears amid a block, resets.
    """
    rng = np.random.default_rng([seed, int(content_key("block", repr(spec))[:8], 16)])
    for stage, pairs, extreme in (
        ("scales, extreme codes", _all_scales(spec, rng), True),
        ("scales, random codes", _all_scales(spec, rng), False),
    ):
        yield _stream(spec, latency, stage, _dots(spec, rng, pairs, extreme=extreme))
    count = max(steps // spec.beats_per_block, 64)
    yield _stream(spec, latency, "near", _dots(spec, rng, _near(spec, rng, count)))
    yield _stream(spec, latency, "rails", _dots(spec, rng, _rails(spec, rng, count), extreme=True))
    yield _stream(spec, latency, "traffic", _traffic(spec, rng))


def _scale_codes(spec: BlockMacSpec) -> int:
    """Return how many scale codes have a value."""
    return 255 if spec.weight.scale is ScaleFormat.E8M0 else 127


def _all_scales(spec: BlockMacSpec, rng: np.random.Generator) -> NDArray[np.uint8]:
    if spec.weight.scale is ScaleFormat.E4M3:
        grid = np.stack(np.meshgrid(np.arange(127), np.arange(127)), -1).reshape(-1, 2)
        return rng.permutation(grid).astype(np.uint8)
    return _split(rng, np.repeat(np.arange(509), 2))


def _split(rng: np.random.Generator, total: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pairs of E8M0 codes with the sums ``total``."""
    total = np.clip(total, 0, 508)
    low, high = np.maximum(total - 254, 0), np.minimum(total, 254)
    first = rng.integers(low, high + 1)
    return np.stack([first, total - first], -1).astype(np.uint8)


def _near(spec: BlockMacSpec, rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return scales that put blocks around the window's ends, now and then anywhere."""
    codes = _scale_codes(spec)
    anywhere = rng.integers(0, codes, (count, 2))
    if spec.weight.scale is ScaleFormat.E4M3:
        return anywhere.astype(np.uint8)
    msb, lsb = spec.bounds
    size = spec.element.accumulator.width
    ends = np.array([lsb, msb - size, msb, lsb - size]) - spec.unit_exp + 254
    total = rng.choice(ends, count) + rng.integers(-NEAR, NEAR + 1, count)
    pairs = _split(rng, total)
    rare = rng.random(count) < 0.05
    return np.where(rare[:, None], anywhere, pairs).astype(np.uint8)


def _rails(spec: BlockMacSpec, rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return scales with which a few extreme blocks fill the window."""
    if spec.weight.scale is ScaleFormat.E4M3:
        return np.full((count, 2), 126, np.uint8) - rng.integers(0, 3, (count, 2)).astype(np.uint8)
    total = spec.bounds[0] - spec.element.accumulator.width - spec.unit_exp + 254
    return _split(rng, total + rng.integers(-1, 3, count))


def _pick(
    fmt: Format, shape: tuple[int, ...], rng: np.random.Generator, *, extreme: bool
) -> NDArray[np.uint8]:
    """Return codes; ``extreme`` ones are the largest, the smallest or zero, alike in a row."""
    every = np.array(fmt.codes, np.uint8)
    if not extreme:
        return every[rng.integers(0, every.size, shape)]
    from hwquant import codec_np

    order = np.argsort(codec_np.decode(fmt, every), kind="stable")
    ends = every[[order[0], order[-1], order[-1], 0]]
    rows = ends[rng.integers(0, ends.size, (shape[0], 1))]
    return np.broadcast_to(rows, shape).copy()


def _dots(
    spec: BlockMacSpec,
    rng: np.random.Generator,
    pairs: NDArray[np.uint8],
    *,
    extreme: bool = False,
) -> _Beats:
    """Return dot products of 1 .. `LONGEST` blocks, one block for each pair of scales, no gaps."""
    count, full = len(pairs), spec.beats_per_block
    beats = np.where(rng.random(count) < 0.3, rng.integers(1, full + 1, count), full)
    ends = np.cumsum(beats) - 1
    rows = int(beats.sum())
    control = np.full(rows, ENABLE | VALID, np.uint8)
    control[ends] |= LAST
    first = np.zeros(count, np.bool_)
    at = 0
    while at < count:
        first[at] = True
        at += int(rng.integers(1, LONGEST + 1))
    control[(ends - beats + 1)[first]] |= CLEAR
    noise = rng.integers(0, _scale_codes(spec), (rows, 2))
    scales = noise.astype(np.uint8)
    scales[ends] = pairs
    block = np.repeat(np.arange(count), beats)
    shape = (count, spec.lanes) if extreme else (rows, spec.lanes)
    weight = _pick(spec.weight.element, shape, rng, extreme=extreme)
    act = _pick(spec.act.element, shape, rng, extreme=extreme)
    if extreme:
        weight, act = weight[block], act[block]
    return _Beats(control, scales, weight, act)


def _traffic(spec: BlockMacSpec, rng: np.random.Generator) -> _Beats:
    """Return rows with stalls, idle cycles, clears at any beat, and resets, some in a stall."""
    noise = rng.random((5, TRAFFIC))
    chances = ((ENABLE, 0.8), (VALID, 0.8), (RESET, 0.01), (CLEAR, 0.1))
    control = np.zeros(TRAFFIC, np.uint8)
    for chance, (bit, often) in zip(noise, chances, strict=False):
        control[chance < often] |= bit
    control[0] = ENABLE | VALID | CLEAR  # what earlier streams left is no part of this one
    beats = 0
    for row in range(TRAFFIC):  # no block is longer than its format says
        if control[row] & RESET:
            beats = 0
        elif control[row] & (ENABLE | VALID) == ENABLE | VALID:
            beats = 1 if control[row] & CLEAR else beats + 1
            if beats >= spec.beats_per_block or noise[4, row] < 0.2:
                control[row] |= LAST
                beats = 0
        elif noise[4, row] < 0.3:
            control[row] |= LAST
    scales = _near(spec, rng, TRAFFIC)
    shape = (TRAFFIC, spec.lanes)
    weight = _pick(spec.weight.element, shape, rng, extreme=False)
    return _Beats(control, scales, weight, _pick(spec.act.element, shape, rng, extreme=False))


def _stream(spec: BlockMacSpec, latency: int, stage: str, beats: _Beats) -> Stream:
    rows, lanes = len(beats.control), spec.lanes
    data = np.zeros((rows, 4 * row_words(spec)), np.uint8)
    data[:, 0], data[:, 1:3] = beats.control, beats.scales
    data[:, 3 : 3 + lanes], data[:, 3 + lanes : 3 + 2 * lanes] = beats.weight, beats.act
    found = _reference(spec, beats)
    enabled = np.flatnonzero(beats.control & ENABLE)
    wanted = sentinel(enabled.size, out_words(spec))
    place = np.cumsum((beats.control & ENABLE) != 0)  # enabled rows up to and with this one
    if found.rows.size:
        wanted[place[found.rows] - 1] = to_words(found.sums, out_words(spec))
    for row in np.flatnonzero(beats.control & RESET):
        # A reset loses what is inside and, if enabled, its own row.
        wanted[max(int(place[row]) - latency, 0) : place[row]] = sentinel(1, out_words(spec))
    checks = int((wanted[:, -1] != SENTINEL).sum())
    return Stream(stage, data, wanted, enabled, checks, found.rails, found.inexact)


@dataclass(frozen=True)
class _Found:
    rows: NDArray[np.int64]
    sums: NDArray[Any]
    rails: int
    inexact: int


def _reference(spec: BlockMacSpec, beats: _Beats) -> _Found:
    """Follow the rows as the ports say, with the arithmetic of `BlockMacSpec`."""
    sums = spec.element.products(beats.weight, beats.act).sum(-1).tolist()
    start, fresh, block = True, False, 0
    rows, blocks, firsts, resets = [], [], [], []
    was_reset = False
    for row, bits in enumerate(beats.control.tolist()):
        if bits & RESET:
            start, fresh, was_reset = True, False, True
        elif bits & (ENABLE | VALID) == ENABLE | VALID:
            fresh = fresh or bool(bits & CLEAR)
            block = sums[row] + (0 if start or bits & CLEAR else block)
            start = bool(bits & LAST)
            if start:
                rows.append(row)
                blocks.append(block)
                firsts.append(fresh)
                resets.append(was_reset)
                fresh = was_reset = False
    at = np.array(rows, np.int64)
    scales = beats.scales[at]
    exact = np.array(blocks, object)
    steps = spec.shifted(exact, scales[:, 0], scales[:, 1])
    fixed = spec.accumulator
    clamp = fixed.saturate if spec.overflow is Overflow.SATURATE else fixed.wrap
    state, out, rails = 0, np.empty(at.size, object), 0
    for index, step in enumerate(steps.tolist()):
        state = clamp((0 if firsts[index] or resets[index] else state) + step)
        rails += state in (fixed.min_int, fixed.max_int)
        out[index] = state
    lost = spec.lossy(exact, scales[:, 0], scales[:, 1])
    return _Found(at, out, rails, int(np.count_nonzero(lost)))
