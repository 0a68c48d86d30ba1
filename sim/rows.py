# SPDX-License-Identifier: Apache-2.0
"""A pass as the kernel sees it: stimulus rows in, result rows out, and what they must be.

The rows fetched are laid out for ``farm.cpp``: a control byte, one byte per weight code, one byte
per activation code.  The result of an enabled row stands in the row of the same number among the
enabled rows; rows that must stay without a result hold a sentinel that no result can equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .kernels import Kernel
from .limbs import accumulate_all, to_words
from .vectors import CLEAR, ENABLE, RESET, VALID, Codes, Pass, extreme_pair

__all__ = [
    "HELD",
    "LAST",
    "Rows",
    "beat_words",
    "beat_words_of",
    "expected",
    "sentinel",
    "to_words",
    "word_to_int",
]

LAST = 16  # control bit: the last beat of its dot product, for kernels that want to know
HELD = 32  # control bit: the kernel must not be ready
FROZEN_SHARE = 0.5  # of the waits, with gaps
ABORT_EVERY = 4  # with gaps, one dot product in so many is not ended

SENTINEL = np.uint64(1 << 63)
# Beats in flight when a reset of one cycle comes, itself with a beat that must be ignored.
PREAMBLE: Codes = np.array([VALID | CLEAR, VALID, VALID, VALID | RESET], np.uint8) | np.uint8(
    ENABLE
)


@dataclass(frozen=True)
class Rows:
    """Stimulus of one pass.

    ``data`` has one row per clock cycle; ``beat_row`` is the row of each sent beat;
    ``out_row`` its row among the enabled rows, of which there are ``enabled``; ``first`` is the
    row of the first dot, behind the preamble that tests reset.
    """

    data: Codes
    beat_row: NDArray[np.int32]
    out_row: NDArray[np.int32]
    enabled: int
    first: int

    @classmethod
    def of(cls, kernel: Kernel, block: Pass, rng: np.random.Generator) -> Rows:
        """Lay out ``block``; ``rng`` places the gaps and fills them with legal codes."""
        spec, beats, control_of = kernel.spec, block.beats, kernel.control
        preamble: Codes = PREAMBLE if block.reset and control_of.reset != "none" else PREAMBLE[:0]
        if preamble.size and control_of.ready:
            preamble = _ready_preamble(kernel, rng)
        first = preamble.size
        starts = np.cumsum(block.length) - block.length
        beat_row = np.arange(first, first + beats, dtype=np.int32)
        held = _held(kernel, block, after_reset=first > 0)
        frozen = _frozen(kernel, block, held, rng)
        extra = held + frozen
        if block.gaps and (control_of.enable or control_of.valid):
            extra += rng.integers(1, 4, beats) * (rng.random(beats) < 0.15)
        if control_of.bubble:
            extra[starts] += 1
        if extra.any():
            beat_row += np.cumsum(extra, dtype=np.int32)
        count = int(beat_row[-1]) + 1
        data = np.zeros((count, 4 * kernel.row_words), np.uint8)
        control = np.zeros(count, np.uint8)
        if count > beats:
            _fill_gaps(control, data[:, 1 : 1 + 2 * spec.lanes], kernel, rng)
        control[:first] = preamble
        if control_of.bubble:
            control[beat_row[starts] - 1] = ENABLE
        where = slice(first, None) if count == first + beats else beat_row
        control[where] = ENABLE | VALID
        control[beat_row[starts]] |= CLEAR
        if first and control_of.zeroed:
            control[beat_row[0]] &= 0xFF ^ CLEAR
        if control_of.last:
            control[beat_row[_ends(block)[~unended(kernel, block)]]] |= LAST
        if held.any():
            _hold(control, beat_row, held, frozen, extra, unended(kernel, block), rng)
        sent = np.zeros((beats, 4 * kernel.row_words), np.uint8)
        sent[:, 1 : 1 + spec.lanes] = block.sent(block.weight)
        sent[:, 1 + spec.lanes : 1 + 2 * spec.lanes] = block.sent(block.act)
        data.view(np.uint32)[where] = sent.view(np.uint32)
        data[:, 0] = control
        if first and _takes_gapped(kernel):
            head = _gapped_preamble(kernel, data.shape[1])
            data, first = np.concatenate([head, data]), first + len(head)
            beat_row += np.int32(len(head))
            where = beat_row
        out_row = np.cumsum(data[:, 0] & ENABLE, dtype=np.int32)
        return cls(data, beat_row, out_row[where] - 1, int(out_row[-1]), first)


def _ends(block: Pass) -> NDArray[np.int64]:
    """Return the last beat of each dot product."""
    return np.cumsum(block.length) - 1


def unended(kernel: Kernel, block: Pass) -> NDArray[np.bool_]:
    """Return which dot products are sent without their end: the next one's clear drops them."""
    dot = np.arange(len(block.length))
    some = block.gaps and kernel.control.abort > 0
    return some & (dot % ABORT_EVERY == ABORT_EVERY - 1) & (dot < dot.size - 1)


def _ready_preamble(kernel: Kernel, rng: np.random.Generator) -> Codes:
    """Return a dot product, ended or not, and a reset before its result could come out."""
    length = int(rng.integers(1, kernel.latency - 1))
    rows = np.full(length + 3, ENABLE, np.uint8)
    rows[:2] |= VALID
    rows[0] |= CLEAR
    rows[1] |= int(rng.integers(0, 2)) * LAST
    rows[-1] |= VALID | RESET
    return rows


def _takes_gapped(kernel: Kernel) -> bool:
    """Return whether a kernel can have the gapped preamble, and show what it does."""
    can = kernel.control
    return can.valid and can.zeroed and not (can.ready or can.bubble or can.final)


def _gapped_preamble(kernel: Kernel, width: int) -> Codes:
    """Return rows in which a reset meets a beat behind a gap just ahead of the accumulator.

    That beat continues a dot product whose first beat the accumulator holds already; it is one
    stage short of the accumulator, so the reset alone clears what was there.  The beat behind the
    reset comes without clear, and has its result before anything else is sent.
    """
    lanes, wait = kernel.spec.lanes, max(kernel.latency - 2, 1)
    held = [VALID | CLEAR, 0, *[VALID] * wait, VALID | RESET]
    control = np.array([*held, VALID, *[0] * wait], np.uint8)
    rows = np.zeros((len(control), width), np.uint8)
    weight, act = extreme_pair(kernel.spec, largest=True)  # its sums are 0 only by wrapping
    rows[:, 1 : 1 + lanes] = weight
    rows[:, 1 + lanes : 1 + 2 * lanes] = act
    rows[:, 0] = ENABLE | control
    return rows


def _held(kernel: Kernel, block: Pass, *, after_reset: bool) -> NDArray[np.int64]:
    """Return how many enabled rows the kernel makes each beat wait."""
    held = np.zeros(block.beats, np.int64)
    control = kernel.control
    if control.ready:
        starts = np.cumsum(block.length) - block.length
        held[starts[1:]] = np.where(unended(kernel, block)[:-1], control.abort, control.gap)
        held[0] = control.abort - 1 if after_reset else 0
    return held


def _frozen(
    kernel: Kernel, block: Pass, held: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return for how many rows the kernel is frozen while it makes each beat wait."""
    if not (block.gaps and kernel.control.enable and held.any()):
        return np.zeros_like(held)
    some = (held > 0) & (rng.random(held.size) < FROZEN_SHARE)
    return np.asarray(rng.integers(1, 4, held.size) * some, np.int64)


def _hold(
    control: Codes,
    beat_row: NDArray[np.int32],
    held: NDArray[np.int64],
    frozen: NDArray[np.int64],
    extra: NDArray[np.int64],
    dropped: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Make rows in which the kernel is not ready, with or without a beat that it must not take.

    The wait for a dropped dot product begins where the next one's clear is shown, so it is right
    ahead of that beat; any other wait follows the last beat at once, then come the free gaps.
    Amid a wait the kernel may be frozen, which makes it longer.
    """
    where = np.flatnonzero(held)
    burst = frozen[where]
    count = held[where] + burst
    ahead = np.zeros(where.size, np.bool_)
    ahead[-dropped[:-1].size :] = dropped[:-1] if dropped.size > 1 else ahead[:0]
    start = beat_row[where] - np.where(ahead, count, extra[where])
    rows = np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())
    noise = rng.integers(0, 2, (3, rows.size), np.uint8)
    control[rows] = HELD | ENABLE | noise[0] * VALID | noise[1] * CLEAR | noise[2] * LAST
    control[start[ahead]] = HELD | ENABLE | VALID | CLEAR
    asleep = start + rng.integers(ahead.astype(np.int64), held[where] + 1)
    rows = np.repeat(asleep - np.cumsum(burst) + burst, burst) + np.arange(burst.sum())
    control[rows] &= 0xFF ^ (HELD | ENABLE)


def _fill_gaps(control: Codes, codes: Codes, kernel: Kernel, rng: np.random.Generator) -> None:
    """Make every row a gap: enabled without valid, or not enabled; all else random."""
    can, lanes = kernel.control, kernel.spec.lanes
    for part, fmt in ((codes[:, :lanes], kernel.spec.weight), (codes[:, lanes:], kernel.spec.act)):
        every = np.array(fmt.codes, np.uint8)
        part[...] = every.take(rng.integers(0, every.size, part.shape, np.uint16))
    noise = rng.integers(0, 8, control.size, np.uint8)
    idle, frozen = ENABLE | noise & CLEAR, noise & (VALID | CLEAR)
    if can.enable and can.valid:
        control[...] = np.where(noise & ENABLE, idle, frozen)
    else:
        control[...] = frozen if can.enable else idle


def sentinel(rows: int, words: int) -> NDArray[np.uint64]:
    """Return result rows without a result."""
    empty = np.zeros((rows, words), np.uint64)
    empty[:, -1] = SENTINEL
    return empty


def word_to_int(row: NDArray[np.uint64]) -> int | None:
    """Return the integer of one result row, or None when it holds the sentinel."""
    if row[-1] == SENTINEL and not row[:-1].any():
        return None
    return int.from_bytes(row.tobytes(), "little", signed=True)


def beat_words(kernel: Kernel, block: Pass) -> NDArray[np.uint64]:
    """Return the accumulator after each sent beat, as `MacSpec.accumulate` has it, in words."""
    return beat_words_of([(kernel, block)])[0]


def beat_words_of(blocks: Sequence[tuple[Kernel, Pass]]) -> list[NDArray[np.uint64]]:
    """Return `beat_words` of each pass, which takes less time at once than one by one."""
    jobs = [(kernel.spec, block.weight, block.act, kernel.out_words) for kernel, block in blocks]
    results = zip(blocks, accumulate_all(jobs), strict=True)
    return [block.sent(words) for (_, block), words in results]


def expected(
    kernel: Kernel, block: Pass, rows: Rows, sums: NDArray[np.uint64] | None = None
) -> NDArray[np.uint64]:
    """Return what every result row must hold; ``sums`` are `beat_words`, if at hand."""
    words = beat_words(kernel, block) if sums is None else sums
    result = sentinel(rows.enabled, kernel.out_words)
    if kernel.control.final:
        ends = _ends(block)[~unended(kernel, block)]
        result[rows.out_row[ends]] = words[ends]
        return result
    if rows.enabled == rows.first + len(words):  # no gaps
        result[rows.first :] = words
    else:
        result[rows.out_row] = words
    if rows.first:
        _expect_preamble(kernel, rows, result)
    return result


def _expect_preamble(kernel: Kernel, rows: Rows, result: NDArray[np.uint64]) -> None:
    """Beats before a reset show their result only if it came out before the reset."""
    lanes = kernel.spec.lanes
    control = rows.data[: rows.first, 0]
    start = 0
    for reset in np.flatnonzero(control & RESET).tolist():
        # An asynchronous reset takes away the result of the very cycle in which it comes.
        seen = max(reset - kernel.latency + (kernel.control.reset != "async"), start)
        beats = start + np.flatnonzero(control[start:seen] & VALID)
        for dot in np.split(beats, np.flatnonzero(control[beats] & CLEAR)):
            if dot.size:
                codes = rows.data[dot, 1 : 1 + 2 * lanes]
                weight, act = codes[:, :lanes].reshape(-1), codes[:, lanes:].reshape(-1)
                result[dot] = to_words(kernel.spec.accumulate(weight, act), kernel.out_words)
        start = reset + 1
