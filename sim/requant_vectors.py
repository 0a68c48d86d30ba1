# SPDX-License-Identifier: Apache-2.0
"""Stimulus of a requantizer and what must come back: every accumulator, corners, traffic.

A row is a control byte, two bytes of channel, and the accumulator, padded to 32-bit words.  A
result stands in the row of its cause among the enabled rows; all other rows keep the sentinel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant.cache import content_key
from hwquant.fixed import Fixed
from hwquant.formats import Format
from hwquant.requant import MultiplyShift, Requantizer, RoundPack, Thresholds, code_values

from .rows import SENTINEL
from .vectors import ENABLE, RESET, VALID

__all__ = ["EXHAUSTIVE_BITS", "Block", "blocks", "cuts", "row_words"]

EXHAUSTIVE_BITS = 16
MAX_ROWS = 1 << 19
TRAFFIC = 4096


def row_words(spec: Requantizer) -> int:
    """Return the 32-bit words of a row; three at least, so that all rows are fetched alike."""
    return max(3, -(-(3 + -(-spec.acc_bits // 8)) // 4))


@dataclass(frozen=True)
class Block:
    """Rows for one simulation and the raw words that must come back, per enabled row.

    ``channel`` and ``acc`` belong to the enabled rows, for telling what failed.
    """

    stage: str
    data: NDArray[np.uint8]
    wanted: NDArray[np.uint64]
    channel: NDArray[np.int64]
    acc: NDArray[Any]
    checks: int


def blocks(spec: Requantizer, latency: int, seed: int, steps: int) -> Iterator[Block]:
    """Yield everything that is sent to one requantizer.

    Every accumulator of every channel where it has at most `EXHAUSTIVE_BITS` bits, else the
    neighbours of every cut, rails, powers of two, and at least ``steps`` random ones; then a
    stretch of traffic with gaps, idle cycles and resets.
    """
    key = content_key(type(spec).__name__, repr(spec), seed)
    rng = np.random.default_rng(int(key[:16], 16))
    rails = Fixed(spec.acc_bits, 0)
    if spec.acc_bits <= EXHAUSTIVE_BITS:
        every = np.arange(rails.min_int, rails.max_int + 1)
        channel = np.repeat(np.arange(spec.channels), every.size)
        acc: NDArray[Any] = np.tile(every, spec.channels)
        stage = "every accumulator"
    else:
        channel, acc = _sampled(spec, rng, steps)
        stage = "corners and random accumulators"
    order = rng.permutation(acc.size)
    channel, acc = channel[order], acc[order]
    for start in range(0, acc.size, MAX_ROWS):
        part = slice(start, start + MAX_ROWS)
        control = np.full(acc[part].size, ENABLE | VALID, np.uint8)
        yield _block(spec, latency, stage, control, channel[part], acc[part])
    pick = rng.integers(0, acc.size, TRAFFIC)
    yield _block(spec, latency, "traffic", _traffic(rng), channel[pick], acc[pick])


def _traffic(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return control bytes with stalls, idle cycles, and resets, some of them in a stall."""
    noise = rng.random((3, TRAFFIC))
    control = np.where(noise[0] < 0.8, ENABLE, 0) | np.where(noise[1] < 0.8, VALID, 0)
    return (control | np.where(noise[2] < 0.01, RESET, 0)).astype(np.uint8)


def _block(
    spec: Requantizer, latency: int, stage: str, control: Any, channel: Any, acc: Any
) -> Block:
    data = np.zeros((control.size, 4 * row_words(spec)), np.uint8)
    data[:, 0] = control
    data[:, 1], data[:, 2] = channel & 255, channel >> 8
    size = -(-spec.acc_bits // 8)
    if acc.dtype == object:
        raw = b"".join([int(x).to_bytes(size, "little", signed=True) for x in acc])
        data[:, 3 : 3 + size] = np.frombuffer(raw, np.uint8).reshape(-1, size)
    else:
        data[:, 3 : 3 + size] = acc.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :size]
    codes = _codes(spec, channel, acc)
    enabled = (control & ENABLE) != 0
    wanted = _wanted(control, codes, latency)
    checks = int((wanted != SENTINEL).sum())
    return Block(stage, data, wanted[:, None], channel[enabled], acc[enabled], checks)


def _codes(spec: Requantizer, channel: NDArray[np.int64], acc: Any) -> NDArray[np.uint8]:
    """Return the reference's code of each accumulator in its own channel."""
    out = np.empty(acc.size, np.uint8)
    for number in range(spec.channels):
        mine = channel == number
        lanes = np.repeat(acc[mine][:, None], spec.channels, axis=1)
        out[mine] = spec.apply(lanes)[:, number]
    return out


def _wanted(control: Any, codes: Any, latency: int) -> NDArray[np.uint64]:
    """Return the result rows: an enabled row's code, unless a reset came while it was inside."""
    enabled = np.flatnonzero(control & ENABLE)
    sent = (control[enabled] & VALID) != 0
    wanted = np.where(sent, codes[enabled].astype(np.uint64), SENTINEL)
    place = np.cumsum((control & ENABLE) != 0)  # enabled rows up to and with this one
    for row in np.flatnonzero(control & RESET):
        # A reset loses what is inside and, if enabled, its own row; a result that is visible in
        # its cycle still counts.  Either way these are the last `latency` enabled rows.
        wanted[max(int(place[row]) - latency, 0) : place[row]] = SENTINEL
    return wanted


def cuts(spec: Requantizer, channel: int) -> list[int]:
    """Return accumulators at which the code of ``channel`` changes, to within one."""
    if isinstance(spec, Thresholds):
        return list(spec.thresholds[channel])
    factor = spec.mult[channel % len(spec.mult)] if isinstance(spec, MultiplyShift) else 1
    if factor == 0:
        return [0]
    shift = spec.shift[channel % len(spec.shift)] if isinstance(spec, RoundPack) else spec.shift
    scale, bias = Fraction(2) ** shift, spec.bias[channel]
    return [math.floor((m * scale - bias) / factor) for m in _midpoints(spec.fmt)]


def _midpoints(fmt: Format) -> list[Fraction]:
    """Return the midpoints between neighbouring values, in steps."""
    values = [value / fmt.step for value, _ in code_values(fmt)]
    return [(low + high) / 2 for low, high in itertools.pairwise(values)]


def _sampled(
    spec: Requantizer, rng: np.random.Generator, steps: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    rails = Fixed(spec.acc_bits, 0)
    each = max(steps // spec.channels, 16)
    powers = [sign * (1 << bit) for bit in range(spec.acc_bits) for sign in (1, -1)]
    fixed = [rails.min_int, rails.max_int, 0, *powers]
    channels, numbers = [], []
    for channel in range(spec.channels):
        near = [base + d for base in (*fixed, *cuts(spec, channel)) for d in (-2, -1, 0, 1, 2)]
        size = -(-spec.acc_bits // 8)
        raw = rng.bytes(size * each)
        wide = [
            int.from_bytes(raw[i : i + size], "little", signed=True)
            for i in range(0, len(raw), size)
        ]
        drop = rng.integers(0, spec.acc_bits + 1, each).tolist()
        spread = [
            rails.wrap(x) >> d * (i & 1) for i, (x, d) in enumerate(zip(wide, drop, strict=True))
        ]
        inside = [x for x in (*near, *spread) if rails.min_int <= x <= rails.max_int]
        numbers += inside
        channels += [channel] * len(inside)
    dtype = np.int64 if spec.acc_bits <= 62 else object
    return np.array(channels), np.array(numbers, dtype)
