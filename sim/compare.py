# SPDX-License-Identifier: Apache-2.0
"""Raw result rows against expected ones, and the story behind the first that differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import Kernel
from .report import Failure
from .rows import SENTINEL, Rows, word_to_int
from .vectors import ENABLE, Pass

__all__ = ["MAX_FAILURES", "failures", "rails", "unsteady"]

MAX_FAILURES = 5
MAX_HISTORY = 4096  # rows kept for a replay


def rails(kernel: Kernel, wanted: NDArray[np.uint64], rows: Rows) -> int:
    """Return how many results of sent beats stand at a rail of the accumulator."""
    fixed, words = kernel.spec.accumulator, wanted[rows.out_row]
    count = 0
    for rail in (fixed.min_int, fixed.max_int):
        raw = rail.to_bytes(8 * kernel.out_words, "little", signed=True)
        count += int((words == np.frombuffer(raw, np.uint64)).all(axis=1).sum())
    return count


def failures(
    kernel: Kernel, block: Pass, rows: Rows, wanted: NDArray[np.uint64], got: NDArray[np.uint64]
) -> tuple[int, tuple[Failure, ...]]:
    """Return how many rows differ and the first of them in full."""
    bad = np.flatnonzero((wanted != got).any(axis=1))
    return len(bad), tuple(
        _story(kernel, block, rows, wanted, got, int(row)) for row in bad[:MAX_FAILURES]
    )


def _story(kernel: Kernel, block: Pass, rows: Rows, wanted: Any, got: Any, row: int) -> Failure:
    lanes = kernel.spec.lanes
    beat = int(np.searchsorted(rows.out_row, row, side="right")) - 1
    dots, positions = block.dot_of_beat(), block.beat_in_dot()
    sent = beat >= 0 and rows.out_row[beat] == row
    dot, position = (int(dots[beat]), int(positions[beat])) if beat >= 0 else (-1, -1)
    last = int(rows.beat_row[beat]) if beat >= 0 else rows.first
    start = int(rows.beat_row[beat - position]) if beat >= 0 else 0
    ahead = beat - position - 1  # the last beat of the dot product before
    before = int(rows.beat_row[ahead - int(positions[ahead])]) if ahead >= 0 else start
    codes = rows.data[last, 1:]

    return Failure(
        kernel,
        block.stage,
        dot,
        position,
        tuple(codes[:lanes].tolist()) if sent else (),
        tuple(codes[lanes : 2 * lanes].tolist()) if sent else (),
        word_to_int(wanted[row]),
        word_to_int(got[row]),
        _history(kernel, rows, start, last + 1),
        _history(kernel, rows, before, start),
    )


def _history(kernel: Kernel, rows: Rows, first: int, end: int) -> tuple[Any, ...]:
    """Return stimulus rows as (control, weight codes, activation codes)."""
    lanes = kernel.spec.lanes
    return tuple(
        (line[0], tuple(line[1 : 1 + lanes]), tuple(line[1 + lanes : 1 + 2 * lanes]))
        for line in rows.data[max(first, end - MAX_HISTORY) : end].tolist()
    )


def unsteady(
    kernel: Kernel, block: Pass, rows: Rows, wanted: NDArray[np.uint64], row: int
) -> Failure:
    """Return the story of a result that changed before the next one came, seen in ``row``.

    Its rows reach to the cycle in which the change was seen.
    """
    row = min(max(row, 0), len(wanted) - 1)
    story = _story(kernel, block, rows, wanted, wanted, row)
    results = np.flatnonzero(wanted[:row, -1] != SENTINEL)
    last = word_to_int(wanted[results[-1]]) if results.size else None
    enabled = np.flatnonzero(rows.data[:, 0] & ENABLE)
    seen = int(enabled[min(row + kernel.latency, len(enabled) - 1)])
    beat = int(np.searchsorted(rows.out_row, row, side="right")) - 1
    sent = int(rows.beat_row[beat]) if beat >= 0 else 0
    return replace(
        story,
        stage=f"{block.stage}, result not held",
        expected=last,
        got=None,
        rows=(*story.rows, *_history(kernel, rows, sent + 1, seen + 1)),
    )
