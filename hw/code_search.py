# SPDX-License-Identifier: Apache-2.0
"""Search for the codes of `hw.codes`: a SAT instance, for a solver of your choice.

Wanted are LUT sites of computed nets, functions of the bits of two values, such that every bit of
the product is a function of a few nets, computed, input or known beforehand.  A site is one net of
all inputs, or two nets that leave out the same input.  Unknowns are the nets' truth tables and
which nets a product bit may look at; the clauses say that two inputs with different product bits
differ in a net that is looked at.  Solved once, in seconds to
minutes, and the result is stored::

    from pysat.solvers import Cadical153          # pip install python-sat

    def solve(clauses):
        solver = Cadical153(bootstrap_with=clauses)
        return solver.get_model() if solver.solve() else None

    magnitudes = (0, 1, 2, 3, 4, 6, 8, 12)        # e2m1
    find_code(magnitudes, magnitudes, (None, None, 0), solve)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Solver", "find_code"]

ABSORBED: Final = 4
"""Nets that the accumulator's LUT takes beside its own bit and the sign."""

Solver = Callable[[list[list[int]]], Sequence[int] | None]
"""Takes clauses (lists of signed variables), returns the true literals, None without a solution."""


class _Instance:
    """Clauses and variables of one search."""

    def __init__(
        self, inputs: int, sites: Sequence[int | None], known: Sequence[Sequence[int]]
    ) -> None:
        self.size = 1 << inputs
        self.given = [[x >> bit & 1 for x in range(self.size)] for bit in range(inputs)]
        self.given += [list(net) for net in known]
        self.count = 0
        self.clauses: list[list[int]] = []
        self.nets = [self._net(left_out) for site in sites for left_out in self._pair(site)]
        self.differences: dict[tuple[int, int], int] = {}

    @staticmethod
    def _pair(left_out: int | None) -> list[int | None]:
        return [None] if left_out is None else [left_out, left_out]

    def variable(self) -> int:
        self.count += 1
        return self.count

    def _net(self, left_out: int | None) -> list[int]:
        """Return the variables of a truth table; an input that is left out makes no difference."""
        table: list[int] = []
        for x in range(self.size):
            same = left_out is not None and x >> left_out & 1
            table.append(table[x ^ 1 << (left_out or 0)] if same else self.variable())
        self.clauses.append([-table[0]])  # a net and its inverse are equally good
        return table

    def differs(self, net: int, x: int, y: int) -> int | None:
        """Return a variable that implies that ``net`` differs between two inputs."""
        a, b = sorted((self.nets[net][x], self.nets[net][y]))
        if a == b:
            return None
        if (a, b) not in self.differences:
            variable = self.differences[a, b] = self.variable()
            self.clauses += [[-variable, a, b], [-variable, -a, -b]]
        return self.differences[a, b]

    def at_most(self, limit: int, literals: Sequence[int]) -> None:
        """Allow ``limit`` of ``literals`` to be true (sequential counter of C. Sinz, 2005)."""
        before: list[int] = []
        for literal in literals:
            now = [self.variable() for _ in range(limit)]
            self.clauses.append([-literal, now[0]])
            for place, old in enumerate(before):
                self.clauses.append([-old, now[place]])
                if place + 1 < limit:
                    self.clauses.append([-literal, -old, now[place + 1]])
            if before:
                self.clauses.append([-literal, -before[-1]])
            before = now

    def bit(self, truth: Sequence[int], limit: int) -> None:
        """Demand that ``truth`` is a function of ``limit`` nets."""
        looks = [self.variable() for _ in range(len(self.given) + len(self.nets))]
        self.at_most(limit, looks)
        for y in range(self.size):
            for x in range(y):
                if truth[x] != truth[y]:
                    self.clauses.append(self._told_apart(looks, x, y))

    def _told_apart(self, looks: Sequence[int], x: int, y: int) -> list[int]:
        clause = [look for look, net in zip(looks, self.given, strict=False) if net[x] != net[y]]
        for net in range(len(self.nets)):
            differs = self.differs(net, x, y)
            if differs is not None:
                both = self.variable()
                self.clauses += [[-both, looks[len(self.given) + net]], [-both, differs]]
                clause.append(both)
        return clause


def find_code(
    weight: Sequence[int],
    act: Sequence[int],
    sites: Sequence[int | None],
    solve: Solver,
    limit: int = ABSORBED,
    known: Sequence[Sequence[int]] = (),
) -> tuple[int, ...] | None:
    """Return the truth tables of computed nets for two lists of values, None without any.

    Each of ``sites`` is None (one net of all inputs) or an input bit (two nets without it; the
    activation's bits come first).  ``known`` are nets that exist anyway, by input.  The result is
    what `hw.codes.FOUND` stores.
    """
    inputs = (len(weight) * len(act) - 1).bit_length()
    instance = _Instance(inputs, sites, known)
    products = [w * a for w in weight for a in act]
    for place in range(max(max(p, -p - 1) for p in products).bit_length()):
        truth = [p >> place & 1 for p in products]
        if len(_support(truth, inputs)) > limit:
            instance.bit(truth, limit)
    found = solve(instance.clauses)
    if found is None:
        return None
    true = set(found)
    return tuple(
        sum((variable in true) << x for x, variable in enumerate(net)) for net in instance.nets
    )


def _support(truth: Sequence[int], inputs: int) -> list[int]:
    """Return the inputs that ``truth`` depends on."""
    size = 1 << inputs
    return [i for i in range(inputs) if any(truth[x] != truth[x ^ 1 << i] for x in range(size))]
