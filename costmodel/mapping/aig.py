# SPDX-License-Identifier: Apache-2.0
"""And-inverter graphs of a kernel's logic, and the circuits formulas build with them.

A literal is ``2 * node + inverted``; node 0 is the constant, so 0 is false and 1 is true.  Equal
gates are shared, constants vanish.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FALSE", "TRUE", "Graph", "Word"]

FALSE, TRUE = 0, 1

Word = list[int]
"""Literals, least significant bit first."""


class Graph:
    """An and-inverter graph; ``fanin`` has two literals for a gate and None for an input.

    ``arrival`` gives an input's depth in LUTs, ``outputs`` the literals that must exist: each is
    a LUT's output unless it is an input or a constant.  ``chain`` is about carry chains:
    ``positions`` holds the literals (S, DI) of each position, ``chains`` the two words that each
    chain adds and its sums.
    """

    def __init__(self) -> None:
        self.fanin: list[tuple[int, int] | None] = [None]
        self.arrival: dict[int, int] = {}
        self.positions: list[tuple[int, int]] = []
        self.chains: list[tuple[Word, Word, Word]] = []
        self.outputs: list[int] = []
        self._known: dict[tuple[int, int], int] = {}

    def input(self, arrival: int = 0) -> int:
        """Return a new input's literal."""
        self.fanin.append(None)
        self.arrival[len(self.fanin) - 1] = arrival
        return 2 * (len(self.fanin) - 1)

    def inputs(self, count: int) -> Word:
        """Return ``count`` new inputs."""
        return [self.input() for _ in range(count)]

    def and_(self, a: int, b: int) -> int:
        """Return the conjunction of two literals."""
        if a > b:
            a, b = b, a
        if a == FALSE or a == b ^ 1:
            return FALSE
        if a in (TRUE, b):
            return b
        found = self._known.get((a, b))
        if found is None:
            self.fanin.append((a, b))
            found = self._known[a, b] = 2 * (len(self.fanin) - 1)
        return found

    def or_(self, a: int, b: int) -> int:
        """Return the disjunction of two literals."""
        return self.and_(a ^ 1, b ^ 1) ^ 1

    def xor(self, a: int, b: int) -> int:
        """Return the exclusive or of two literals."""
        flip = (a ^ b) & 1
        a, b = a & ~1, b & ~1
        return self.and_(self.and_(a, b) ^ 1, self.and_(a ^ 1, b ^ 1) ^ 1) ^ flip

    def mux(self, select: int, one: int, zero: int) -> int:
        """Return ``select ? one : zero``."""
        if one == zero:
            return one
        return self.or_(self.and_(select, one), self.and_(select ^ 1, zero))

    def all(self, word: Sequence[int]) -> int:
        """Return the conjunction of literals, as a balanced tree."""
        if not word:
            return TRUE
        if len(word) == 1:
            return word[0]
        half = len(word) // 2
        return self.and_(self.all(word[:half]), self.all(word[half:]))

    def any(self, word: Sequence[int]) -> int:
        """Return the disjunction of literals."""
        return self.all([bit ^ 1 for bit in word]) ^ 1

    def full_adder(self, a: int, b: int, c: int) -> tuple[int, int]:
        """Return sum and carry of three literals."""
        half = self.xor(a, b)
        return self.xor(half, c), self.or_(self.and_(a, b), self.and_(half, c))

    def ripple(self, a: Word, b: Word, carry: int = FALSE) -> Word:
        """Return ``a + b + carry`` in gates, for sums too short for a carry chain; no carry out."""
        total = []
        for x, y in zip(a, b, strict=True):
            bit, carry = self.full_adder(x, y, carry)
            total.append(bit)
        return total

    def chain(self, a: Word, b: Word, arrival: int = 3) -> Word:
        """Return ``a + b`` of a carry chain; its sums are inputs of what follows.

        Position i has S = a ^ b and DI = a.
        """
        total = []
        for x, y in zip(a, b, strict=True):
            self.position(self.xor(x, y), x)
            total.append(self.input(arrival))
        self.chains.append((list(a), list(b), total))
        return total

    def position(self, select: int, data: int) -> None:
        """Add one position of a carry chain."""
        self.positions.append((select, data))

    def copy(self, other: Graph, outputs: Word) -> Word:
        """Add all of another graph, with inputs of its own; return its ``outputs`` here."""
        place = {0: FALSE}

        def literal(old: int) -> int:
            return place[old >> 1] ^ (old & 1)

        for node, gate in enumerate(other.fanin):
            if gate is not None:
                place[node] = self.and_(literal(gate[0]), literal(gate[1]))
            elif node:
                place[node] = self.input(other.arrival[node])
        for select, data in other.positions:
            self.position(literal(select), literal(data))
        return [literal(old) for old in outputs]
