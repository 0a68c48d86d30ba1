# SPDX-License-Identifier: Apache-2.0
"""Add up a heap of bits with rows of registered ternary adders.

A heap is a number of bits in each column (column c has weight ``2**c``).  A row is one carry chain
over neighbouring columns: of each it takes up to three bits, of the lowest up to five, and gives
one back, and two more above (`hq_ternary`).  A position costs one LUT site whatever it takes, so
rows are laid where the columns are full, stage by stage, until one bit is left in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

__all__ = ["Heap", "Plan", "Row", "lay"]

BitT = TypeVar("BitT")

PER_POSITION: Final = 3
LOW: Final = 2


@dataclass(frozen=True, slots=True)
class Row(Generic[BitT]):
    """One chain: ``bits[i]`` are taken at column ``column + i``, ``low`` at the lowest besides.

    ``extras`` are the result bits above the last position: 0 (they are known to be 0, or beyond
    the width that counts), 1 or 2; ``extend`` says that one more position adds the two carries.
    """

    stage: int
    column: int
    bits: tuple[tuple[BitT, ...], ...]
    low: tuple[BitT, ...]
    extras: int
    extend: bool

    @property
    def width(self) -> int:
        """Positions, the one that adds the carries left out."""
        return len(self.bits)

    @property
    def sites(self) -> int:
        """LUT sites."""
        return self.width + self.extend


@dataclass
class Heap(Generic[BitT]):
    """Bits by column, each with the stage from which on it can be used."""

    columns: dict[int, list[tuple[int, BitT]]] = field(default_factory=dict)

    def add(self, column: int, stage: int, bit: BitT) -> None:
        """Put in one bit."""
        self.columns.setdefault(column, []).append((stage, bit))

    def copy(self) -> Heap[BitT]:
        """Return a heap of its own."""
        return Heap({column: list(bits) for column, bits in self.columns.items()})

    @property
    def settled(self) -> bool:
        """No column holds two bits."""
        return all(len(bits) <= 1 for bits in self.columns.values())

    @property
    def stage(self) -> int:
        """The stage at which every bit can be used."""
        return max((stage for bits in self.columns.values() for stage, _ in bits), default=0)

    def heights(self, stage: int) -> dict[int, int]:
        """Return how many bits each column has for ``stage``."""
        counts = {c: sum(at <= stage for at, _ in bits) for c, bits in self.columns.items()}
        return {column: count for column, count in counts.items() if count}


@dataclass(frozen=True, slots=True)
class Plan:
    """How eager rows are: ``rate`` bits removed per site that are worth it, ``least`` the gain."""

    rate: float
    least: float


def _segment(heights: Mapping[int, int], plan: Plan, top: int) -> tuple[float, int, int] | None:
    """Return (gain, lowest column, columns) of the best row, None when none removes a bit."""
    best: tuple[float, int, int] | None = None
    for start in sorted(heights):
        count = heights[start]
        if count < 2:
            continue
        low = min(LOW, max(count - PER_POSITION, 0))
        removed, gain, column = low - 1, float(low - 1), start
        while column < top:
            taken = min(PER_POSITION, heights.get(column, 0))
            removed += taken - 1
            gain += taken - 1 - plan.rate
            column += 1
            # The last column takes at most one bit, or an extra position adds the two carries.
            closed = taken <= 1 or column == top
            final = gain + (column == top) - (0 if closed else 1 + plan.rate)
            gone = removed + (column == top) - (not closed)
            if gone >= 1 and (best is None or final > best[0]):
                best = final, start, column - start
            if taken == 0:
                break
    return best


def _final(heights: Mapping[int, int]) -> int | None:
    """Return where a row that settles everything starts, None when there is no such row."""
    double = [column for column, count in heights.items() if count > 1]
    if not double:
        return None
    start = min(double)
    if heights[start] > PER_POSITION + LOW:
        return None
    return start if all(heights[c] <= PER_POSITION for c in double if c > start) else None


def _take(
    heap: Heap[BitT], stage: int, start: int, width: int, top: int, plain: Mapping[BitT, bool]
) -> Row[BitT]:
    """Take a row's bits out of the heap and put its results in."""
    taken: list[tuple[BitT, ...]] = []
    low: list[BitT] = []
    for column in range(start, start + width):
        bits = heap.columns.get(column, [])
        here = [entry for entry in bits if entry[0] <= stage]
        if column == start:
            spare = [entry for entry in here if plain[entry[1]]]
            few = max(len(here) - PER_POSITION, 0)
            chosen = spare[: min(LOW, few)]
            low = [bit for _, bit in chosen]
            here = [entry for entry in here if entry not in chosen]
            for entry in chosen:
                bits.remove(entry)
        used = here[:PER_POSITION]
        for entry in used:
            bits.remove(entry)
        taken.append(tuple(bit for _, bit in used))
    most = len(low) + sum(len(bits) << at for at, bits in enumerate(taken))
    wide = most.bit_length()
    extras = max(0, min(wide, top - start) - width)
    extend = extras > 0 and len(taken[-1]) > 1
    return Row(stage, start, tuple(taken), tuple(low), extras, extend)


def lay(heap: Heap[BitT], top: int, plan: Plan, plain: Mapping[BitT, bool]) -> Iterable[Row[BitT]]:
    """Yield the rows that settle ``heap``, whose sum counts modulo ``2**top``.

    The caller puts each row's result bits back into ``heap`` (column up, stage of the row + 1)
    before it takes the next row.  ``plain`` says which bits may enter a chain unchanged.
    """
    for column in [c for c in heap.columns if c >= top]:
        del heap.columns[column]
    stage = min((at for bits in heap.columns.values() for at, _ in bits), default=0)
    while not heap.settled:
        late = heap.stage > stage
        laid = False
        while True:
            heights = heap.heights(stage)
            start = None if heap.stage > stage else _final(heights)
            if start is not None:
                above = max(column for column, count in heights.items() if count)
                yield _take(heap, stage, start, above - start + 1, top, plain)
                laid = True
                break
            best = _segment(heights, plan, top)
            if best is None or (best[0] < plan.least and (late or laid)):
                break
            yield _take(heap, stage, best[1], best[2], top, plain)
            laid = True
        stage += 1
