# SPDX-License-Identifier: Apache-2.0
"""Gates that compute the same function of the codes become one, as the synthesizer finds them.

Every node is simulated on all values of the inputs at once (Python's integers are the vectors), the
sums of carry chains too; a gate equal to an earlier one, or to its inverse, is that one.
"""

from __future__ import annotations

from .aig import FALSE, Graph, Word

__all__ = ["simplified"]


def simplified(graph: Graph, outputs: Word) -> tuple[Graph, Word]:
    """Return a graph without equal gates, and the literals of ``outputs`` in it.

    The inputs of ``graph`` that are no sums of a chain are 16 at most.
    """
    made = _Simplified(graph)
    return made.graph, [made.literal(old) for old in outputs]


class _Simplified:
    """``graph`` is ``old`` without equal gates; literals of both, and values by literal."""

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.graph = Graph()
        sums = {out >> 1: index for index, (_, _, outs) in enumerate(old.chains) for out in outs}
        free = [n for n, gate in enumerate(old.fanin) if n and gate is None and n not in sums]
        self._ones = (1 << (1 << len(free))) - 1
        self._values: dict[int, int] = {0: 0}  # node -> its value for each word of the inputs
        self._known: dict[int, int] = {0: FALSE}  # value, its lowest bit 0 -> literal
        self._place: dict[int, int] = {0: FALSE}  # old node -> literal
        numbers = {node: number for number, node in enumerate(free)}
        for node, gate in enumerate(old.fanin):
            if gate is not None:
                a, b = self.literal(gate[0]), self.literal(gate[1])
                self._gate(node, a, b)
            elif node in numbers:
                self._input(node, numbers[node], len(free))
            elif node in sums and node not in self._place:
                self._chain(sums[node])

    def literal(self, old: int) -> int:
        """Return the literal that an old one has become."""
        return self._place[old >> 1] ^ (old & 1)

    def _value(self, literal: int) -> int:
        return self._values[literal >> 1] ^ (self._ones if literal & 1 else 0)

    def _find(self, value: int) -> int | None:
        """Return the first literal of this value."""
        first = self._known.get(value ^ (self._ones if value & 1 else 0))
        return None if first is None else first ^ (value & 1)

    def _keep(self, literal: int, value: int) -> int:
        """Return the first literal of this value; remember ``literal`` where there is none."""
        first = self._find(value)
        if first is not None:
            return first
        flip = value & 1
        self._known[value ^ (self._ones if flip else 0)] = literal ^ flip
        self._values[literal >> 1] = value ^ (self._ones if literal & 1 else 0)
        return literal

    def _input(self, node: int, number: int, inputs: int) -> None:
        period = 1 << number
        value, width = ((1 << period) - 1) << period, 2 * period
        while width < 1 << inputs:
            value |= value << width
            width *= 2
        self._place[node] = self._keep(self.graph.input(self.old.arrival[node]), value)

    def _gate(self, node: int, a: int, b: int) -> None:
        made = self.graph.and_(a, b)
        if made >> 1 not in self._values:
            made = self._keep(made, self._value(a) & self._value(b))
        self._place[node] = made

    def _chain(self, index: int) -> None:
        """Add a chain, of the positions up to the highest sum that is something new."""
        firsts, seconds, outs = self.old.chains[index]
        pairs = [(self.literal(a), self.literal(b)) for a, b in zip(firsts, seconds, strict=True)]
        carry = used = 0
        totals = []
        for a, b in pairs:
            x, y = self._value(a), self._value(b)
            totals.append(x ^ y ^ carry)
            carry = (x & y) | (carry & (x ^ y))
        for number, (old, total) in enumerate(zip(outs, totals, strict=True)):
            first = self._find(total)
            if first is None:
                first = self._keep(self.graph.input(self.old.arrival[old >> 1]), total)
                used = number + 1
            self._place[old >> 1] = first
        for a, b in pairs[:used]:
            gate = self.graph.xor(a, b)
            value = self._value(a) ^ self._value(b)
            self._values.setdefault(gate >> 1, value ^ (self._ones if gate & 1 else 0))
            self.graph.position(gate, a)
