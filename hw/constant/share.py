# SPDX-License-Identifier: Apache-2.0
"""Share two-term sums among the rows of a constant matrix.

Weights become signed digits (canonical: no two neighbours), so that an output is a sum of
``+-x[i] << s``.  The pair of terms that saves most LUT sites over all outputs is then made once
and put in its place everywhere, again and again.  The greedy choice and the digits follow the
literature on multiplierless constant products (Hartley 1996; Aksoy et al. 2015; da4ml); what
differs is the price: bits of the heaps that are left, weighted by what removing one costs.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Pair", "Prices", "Shared", "Term", "digits", "share"]

Term = tuple[int, int, int]
"""(node, shift, sign): ``sign * (node << shift)``."""
Pattern = tuple[int, int, int, int]
"""(first node, second node, shift of the second against the first, product of the signs)."""
Range = tuple[int, int]

NEVER: Final = -(10**9)


@dataclass(frozen=True, slots=True)
class Prices:
    """Sites: per bit removed in an output's heap, per position of a shared adder, per table bit."""

    heap: float = 0.56
    adder: float = 0.8
    table: float = 0.5
    fixed: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A shared node: ``(first << first_shift) + sign * (second << second_shift)``."""

    first: int
    first_shift: int
    second: int
    second_shift: int
    sign: int


@dataclass(frozen=True)
class Shared:
    """``pairs[k]`` is node ``inputs + k``; ``rows`` are the terms of each output."""

    inputs: int
    pairs: tuple[Pair, ...]
    rows: tuple[tuple[Term, ...], ...]


def digits(value: int) -> list[tuple[int, int]]:
    """Return the canonical signed digits of ``value`` as (shift, sign), lowest first.

    >>> digits(-7)
    [(0, 1), (3, -1)]
    """
    found, shift = [], 0
    while value:
        if value & 1:
            sign = 2 - (value & 3)
            found.append((shift, sign))
            value -= sign
        value >>= 1
        shift += 1
    return found


class _Sharing:
    """The state of the greedy: terms of each output, and how often each pattern occurs."""

    def __init__(
        self, weights: Sequence[Sequence[int]], act: Range, act_bits: int, prices: Prices
    ) -> None:
        self.inputs = len(weights[0])
        self.prices = prices
        self.act_bits = act_bits
        self.ranges: list[Range] = [act] * self.inputs
        self.coefs: list[dict[int, int]] = [{i: 1} for i in range(self.inputs)]
        self.act = act
        self.pairs: list[Pair] = []
        self.rows: list[dict[tuple[int, int], int]] = []
        self.counts: dict[Pattern, int] = defaultdict(int)
        self.users: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.queue: list[tuple[float, Pattern]] = []
        self.touched: set[Pattern] = set()
        for row in weights:
            self.rows.append({})
            for node, weight in enumerate(row):
                for shift, sign in digits(weight):
                    self._add(len(self.rows) - 1, node, shift, sign)
        self._requeue()

    def _patterns(self, row: int, node: int, shift: int, sign: int) -> Iterator[Pattern]:
        for (other, at), its in self.rows[row].items():
            yield _pattern((node, shift, sign), (other, at, its))

    def _drop(self, row: int, node: int, shift: int) -> None:
        sign = self.rows[row].pop((node, shift))
        users = self.users[node]
        users[row] -= 1
        if not users[row]:
            del users[row]
        for pattern in self._patterns(row, node, shift, sign):
            self.counts[pattern] -= 1
            self.touched.add(pattern)

    def _add(self, row: int, node: int, shift: int, sign: int) -> None:
        """Add a term; an equal one becomes a shift, an opposite one goes."""
        before = self.rows[row].get((node, shift))
        if before is not None:
            self._drop(row, node, shift)
            if before == sign:
                self._add(row, node, shift + 1, sign)
            return
        for pattern in self._patterns(row, node, shift, sign):
            self.counts[pattern] += 1
            self.touched.add(pattern)
        self.rows[row][node, shift] = sign
        self.users[node][row] += 1

    def _requeue(self) -> None:
        for pattern in self.touched:
            gain = self.gain(pattern)
            if gain > 0:
                heapq.heappush(self.queue, (-gain, pattern))
        self.touched.clear()

    def coefficients(self, pattern: Pattern) -> tuple[dict[int, int], int, int]:
        """Return the linear form of a pattern and the shifts of its two nodes."""
        first, second, shift, sign = pattern
        low, high = max(0, -shift), max(0, shift)
        total = {i: c << low for i, c in self.coefs[first].items()}
        for i, c in self.coefs[second].items():
            total[i] = total.get(i, 0) + sign * (c << high)
        return {i: c for i, c in total.items() if c}, low, high

    def range_of(self, coefs: dict[int, int]) -> Range:
        """Return the exact range of a linear form."""
        low, high = self.act
        ends = [(c * low, c * high) for c in coefs.values()]
        return sum(map(min, ends)), sum(map(max, ends))

    def width(self, node: int) -> int:
        """Return the bits of a node."""
        low, high = self.ranges[node]
        return (high - low).bit_length()

    def gain(self, pattern: Pattern) -> float:
        """Return the sites that making ``pattern`` a node saves, at its present count."""
        count = self.counts.get(pattern, 0)
        if count < 2:
            return NEVER
        coefs, low_shift, high_shift = self.coefficients(pattern)
        low, high = self.range_of(coefs)
        width = (high - low).bit_length()
        first, second = self.width(pattern[0]), self.width(pattern[1])
        removed = first + second - width
        start = max(low_shift, high_shift)
        if len(coefs) * self.act_bits < 6:
            cost = self.prices.table * (width - 1)
        else:
            top = max(first + low_shift, second + high_shift)
            cost = self.prices.adder * (top - start)
        return count * (self.prices.heap * removed + self.prices.fixed) - cost

    def take(self, pattern: Pattern) -> None:
        """Make ``pattern`` a node and put it wherever it occurs."""
        first, second, shift, sign = pattern
        coefs, low, high = self.coefficients(pattern)
        node = self.inputs + len(self.pairs)
        self.pairs.append(Pair(first, low, second, high, sign))
        self.coefs.append(coefs)
        self.ranges.append(self.range_of(coefs))
        for row in sorted(set(self.users[first]) & set(self.users[second])):
            for base, at in sorted(self.rows[row]):
                mine = self.rows[row].get((base, at))
                its = self.rows[row].get((second, at + shift))
                if base != first or mine is None or its is None or mine * its != sign:
                    continue
                self._drop(row, first, at)
                self._drop(row, second, at + shift)
                self._add(row, node, at - low, mine)
        self._requeue()

    def run(self) -> None:
        """Share until nothing is saved any more."""
        while self.queue:
            gain, pattern = heapq.heappop(self.queue)
            now = self.gain(pattern)
            if now <= 0:
                continue
            if now < -gain:  # an old entry; a newer one is in the queue if it still pays
                continue
            self.take(pattern)


def _pattern(one: Term, two: Term) -> Pattern:
    if (two[0], two[1]) < (one[0], one[1]):
        one, two = two, one
    return one[0], two[0], two[1] - one[1], one[2] * two[2]


def share(
    weights: Sequence[Sequence[int]],
    act: Range,
    act_bits: int,
    prices: Prices | None = None,
) -> Shared:
    """Return shared sums for ``weights`` (outputs, inputs) and activations in the range ``act``.

    ``act_bits`` are the bits of an activation's code.  Deterministic.
    """
    state = _Sharing(weights, act, act_bits, prices or Prices())
    state.run()
    rows = tuple(
        tuple((node, shift, sign) for (node, shift), sign in sorted(row.items()))
        for row in state.rows
    )
    return Shared(state.inputs, tuple(state.pairs), rows)
