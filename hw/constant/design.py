# SPDX-License-Identifier: Apache-2.0
"""From a matrix to adders, tables and registers: the netlist of a constant kernel.

Every number is kept unsigned: a node with bits u means ``u + offset``, and its negative is the
inverted bits, ``(2**n - 1 - u)``, with another offset.  So signs cost nothing, no sign is
extended, and all offsets of an output end in one constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant import codec_np
from hwquant.formats import Integer, Minifloat

from .heap import Heap, Plan, Row, lay
from .share import Pair, Prices, Shared, Term, share
from .spec import MatVecSpec

__all__ = ["ONE", "Adder", "Bit", "Chain", "Decode", "Design", "Signal", "Table", "build"]

TABLE_BITS: Final = 5
DECODE_TABLE_BITS: Final = 6
STAGE_PRICE: Final = 1.0
"""LUT sites that one pipeline stage less of an output is worth; most come from waiting."""


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit of a signal (-1: constant 1), inverted or not."""

    signal: int
    index: int = 0
    inverted: bool = False

    def __invert__(self) -> Bit:
        return Bit(self.signal, self.index, not self.inverted)


ONE: Final = Bit(-1)


@dataclass(frozen=True, slots=True)
class Signal:
    """A vector: ``width`` bits, there from ``stage`` on (0: with the activations)."""

    name: str
    width: int
    stage: int


@dataclass(frozen=True, slots=True)
class Table:
    """``out = words[code bits]``: one function of at most six bits each."""

    out: int
    inputs: tuple[Bit, ...]
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decode:
    """``out`` = the activation's integer plus the greatest, of input ``index``."""

    out: int
    index: int


@dataclass(frozen=True, slots=True)
class Adder:
    """``out = first + second``, in LUTs alone; None stands for a 0."""

    out: int
    first: tuple[Bit | None, ...]
    second: tuple[Bit | None, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """``out`` = a row of a heap, registered."""

    out: int
    row: Row[Bit]


@dataclass(frozen=True, slots=True)
class _Node:
    """A number on its way: ``bits`` (None: 0) mean ``u``; the value is ``u + offset``."""

    bits: tuple[Bit | None, ...]
    offset: int
    coefs: Mapping[int, int]


Item = Table | Decode | Adder | Chain


@dataclass(frozen=True)
class Design:
    """The netlist: ``outputs[o]`` are the bits of an output, low first (None: 0)."""

    spec: MatVecSpec
    signals: tuple[Signal, ...]
    items: tuple[Item, ...]
    outputs: tuple[tuple[Bit | None, ...], ...]
    latency: int

    @cached_property
    def sites(self) -> float:
        """LUT sites as counted here: chains exactly, the rest by rule."""
        total = 0.0
        for item in self.items:
            if isinstance(item, Chain):
                total += item.row.sites
            elif isinstance(item, Adder):
                total += 0.75 * len(item.first) + 0.25
            elif isinstance(item, Table):
                total += len(set(_functions(item))) * (0.5 if len(item.inputs) < 6 else 1)
            else:
                total += 2 * self.spec.act.bits
        return total

    def evaluate(self, act_codes: ArrayLike) -> NDArray[Any]:
        """Return the outputs this netlist computes, bit by bit; codes (..., inputs)."""
        codes = np.asarray(act_codes, object)
        values: dict[int, NDArray[Any]] = {}
        for index in range(self.spec.inputs):
            values[index] = codes[..., index]

        def bit(one: Bit | None) -> Any:
            if one is None:
                return 0
            raw = 1 if one.signal < 0 else (values[one.signal] >> one.index) & 1
            return raw ^ int(one.inverted)

        def number(bits: Sequence[Bit | None]) -> Any:
            return sum(bit(b) << at for at, b in enumerate(bits)) + 0 * codes[..., 0]

        for item in self.items:
            width = self.signals[item.out].width
            if isinstance(item, Table):
                words = np.array(item.words, object)
                result = words[number(item.inputs).astype(np.int64)]
            elif isinstance(item, Decode):
                decoded = codec_np.decode(self.spec.act, codes[..., item.index].astype(np.int64))
                result = decoded.astype(object) + self.spec.act.max_int
            elif isinstance(item, Adder):
                result = number(item.first) + number(item.second)
            else:
                row = item.row
                result = number([]) + sum(bit(b) for b in row.low)
                for at, taken in enumerate(row.bits):
                    result = result + (sum(bit(b) for b in taken) << at)
            values[item.out] = result & ((1 << width) - 1)
        signed = []
        for bits in self.outputs:
            result = number(bits)
            signed.append(result - (bit(bits[-1]) << len(bits)))
        return np.stack(signed, axis=-1)


def _functions(table: Table) -> list[tuple[int, ...]]:
    width = max(table.words).bit_length()
    return [tuple(word >> at & 1 for word in table.words) for at in range(width)]


class _Builder:
    """Makes signals and items; knows when each signal is there, and how deep its logic is."""

    def __init__(self, spec: MatVecSpec, levels: int) -> None:
        self.spec = spec
        self.levels = levels
        self.signals: list[Signal] = []
        self.depth: dict[int, int] = {}
        self.items: list[Item] = []
        self.act = (spec.act.min_int, spec.act.max_int)
        self.names: Counter[str] = Counter()
        for index in range(spec.inputs):
            self.signal(f"x{index}", spec.act.bits, 0, 0)

    def signal(self, name: str, width: int, stage: int, depth: int) -> int:
        self.signals.append(Signal(name, width, stage))
        self.depth[len(self.signals) - 1] = depth
        return len(self.signals) - 1

    def name(self, kind: str) -> str:
        self.names[kind] += 1
        return f"{kind}{self.names[kind] - 1}"

    def ready(self, bits: Sequence[Bit | None]) -> tuple[int, int]:
        """Return the stage and depth at which logic on ``bits`` starts."""
        used = {b.signal for b in bits if b is not None and b.signal >= 0}
        stage = max((self.signals[s].stage for s in used), default=0)
        depth = max((self.depth[s] for s in used if self.signals[s].stage == stage), default=0)
        return (stage + 1, 0) if depth >= self.levels else (stage, depth)

    def range_of(self, coefs: Mapping[int, int]) -> tuple[int, int]:
        ends = [(c * self.act[0], c * self.act[1]) for c in coefs.values()]
        return sum(map(min, ends)), sum(map(max, ends))

    def base(self, index: int) -> _Node:
        """Return the node of an activation."""
        act = self.spec.act
        if isinstance(act, Integer):
            bits = [Bit(index, at) for at in range(act.bits)]
            if act.signed:
                bits[-1] = ~bits[-1]
            offset = -(1 << act.bits - 1) if act.signed else 0
            return _Node(tuple(bits), offset, {index: 1})
        if act.bits <= DECODE_TABLE_BITS or not isinstance(act, Minifloat):
            return self.table({index: 1})
        width = (act.max_int - act.min_int).bit_length()
        out = self.signal(self.name("d"), width, 0, 1)
        self.items.append(Decode(out, index))
        bits = [Bit(out, at) for at in range(width)]
        # The decoder adds the greatest value, so that a format without sign has 0 .. 2*max.
        return _Node(tuple(bits), -act.max_int if act.signed else 0, {index: 1})

    def table(self, coefs: Mapping[int, int]) -> _Node:
        """Return a node that is a table of the activations' code bits."""
        act = self.spec.act
        low, high = self.range_of(coefs)
        bits = [Bit(index, at) for index in coefs for at in range(act.bits)]
        values = {code: int(codec_np.decode(act, code)) for code in act.codes}
        words = []
        for word in range(1 << len(bits)):
            total = -low
            for place, coef in enumerate(coefs.values()):
                code = word >> place * act.bits & (1 << act.bits) - 1
                total += coef * values.get(code, 0)
            words.append(max(0, min(total, high - low)))
        width = (high - low).bit_length()
        out = self.signal(self.name("t"), width, 0, 1)
        self.items.append(Table(out, tuple(bits), tuple(words)))
        return _Node(tuple(Bit(out, at) for at in range(width)), low, dict(coefs))

    def fits_table(self, coefs: Mapping[int, int]) -> bool:
        return len(coefs) * self.spec.act.bits <= TABLE_BITS

    def add(self, one: _Node, two: _Node, coefs: Mapping[int, int]) -> _Node:
        """Return the sum of two nodes."""
        offset = one.offset + two.offset
        width = (self.range_of(coefs)[1] - offset).bit_length()
        columns = max(len(one.bits), len(two.bits))
        a = [*one.bits, *[None] * (columns - len(one.bits))]
        b = [*two.bits, *[None] * (columns - len(two.bits))]
        start = next((i for i in range(columns) if a[i] is not None and b[i] is not None), None)
        if start is None:
            merged = tuple(p if p is not None else q for p, q in zip(a, b, strict=True))
            return _Node(merged[:width], offset, coefs)
        passed = [p if p is not None else q for p, q in zip(a[:start], b[:start], strict=True)]
        first, second = tuple(a[start:width]), tuple(b[start:width])
        stage, depth = self.ready([*first, *second])
        out = self.signal(self.name("n"), width - start, stage, depth + 1)
        self.items.append(Adder(out, first, second))
        sums = [Bit(out, at) for at in range(width - start)]
        return _Node((*passed, *sums), offset, coefs)

    def heap(self, nodes: Sequence[_Node], constant: int, top: int) -> Heap[Bit]:
        """Return the heap of the sum of ``nodes`` and a constant, modulo ``2**top``."""
        heap: Heap[Bit] = Heap()
        for node in nodes:
            for column, bit in enumerate(node.bits):
                if bit is not None and column < top:
                    heap.add(column, self.ready([bit])[0], bit)
        for column in range(top):
            if constant >> column & 1:
                heap.add(column, 0, ONE)
        return heap

    def settle(self, heap: Heap[Bit], top: int, plans: Sequence[Plan], kind: str) -> list[Any]:
        """Lay the rows of ``heap`` by the cheapest of ``plans``; return a bit per column."""
        best = min(plans, key=lambda plan: self._cost(heap, top, plan))
        work = heap.copy()
        for row in lay(work, top, best, _Plain()):
            out = self.signal(self.name(kind), row.width + row.extras, row.stage + 1, 0)
            self.items.append(Chain(out, row))
            for at in range(row.width + row.extras):
                work.add(row.column + at, row.stage + 1, Bit(out, at))
        return [next((b for _, b in work.columns.get(c, [])), None) for c in range(top)]

    @staticmethod
    def _cost(heap: Heap[Bit], top: int, plan: Plan) -> tuple[float, int]:
        work, total = heap.copy(), 0
        for serial, row in enumerate(lay(work, top, plan, _Plain())):
            total += row.sites
            for at in range(row.width + row.extras):
                work.add(row.column + at, row.stage + 1, Bit(serial, -1 - at))
        return total + STAGE_PRICE * work.stage, total


class _Plain(dict[Bit, bool]):
    """Which bits may enter a chain as they are: the inverted ones need a LUT before it."""

    def __missing__(self, bit: Bit) -> bool:
        return not bit.inverted


def _scaled(node: _Node, shift: int, sign: int) -> _Node:
    """Return ``sign * (node << shift)``."""
    coefs = {i: sign * c << shift for i, c in node.coefs.items()}
    low = (None,) * shift
    if sign > 0:
        return _Node((*low, *node.bits), node.offset << shift, coefs)
    # A 0 among the bits would turn into a constant 1; nodes have them only where two sums lie
    # side by side without meeting.
    turned = tuple(~bit if bit is not None else ONE for bit in node.bits)
    full = (1 << len(node.bits)) - 1
    return _Node((*low, *turned), -(node.offset + full) << shift, coefs)


def _sum_coefs(nodes: Sequence[_Node]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for node in nodes:
        for index, coef in node.coefs.items():
            total[index] += coef
    return {index: coef for index, coef in total.items() if coef}


def _inlined(shared: Shared) -> tuple[dict[int, list[Term]], list[list[Term]]]:
    """Return the terms of each node and output, nodes with one user put into that user."""
    uses: Counter[int] = Counter()
    sums: dict[int, list[Term]] = {}
    for k, pair in enumerate(shared.pairs):
        sums[shared.inputs + k] = _terms(pair)
    for terms in (*sums.values(), *map(list, shared.rows)):
        uses.update(node for node, _, _ in terms)

    def flat(terms: Sequence[Term]) -> list[Term]:
        found: list[Term] = []
        for node, shift, sign in terms:
            if node in sums and uses[node] == 1:
                found += [(n, s + shift, g * sign) for n, s, g in flat(sums[node])]
            else:
                found.append((node, shift, sign))
        return found

    kept = {node: flat(terms) for node, terms in sums.items() if uses[node] > 1}
    return kept, [flat(row) for row in shared.rows]


def _terms(pair: Pair) -> list[Term]:
    return [(pair.first, pair.first_shift, 1), (pair.second, pair.second_shift, pair.sign)]


PLANS: Final = tuple(
    Plan(rate, least) for rate in (1.0, 1.4, 1.6, 1.8) for least in (-3.0, -1.0, 0.0, 0.6)
)


def build(
    spec: MatVecSpec,
    *,
    levels: int = 1,
    prices: Prices | None = None,
    shared: Shared | None = None,
) -> Design:
    """Return the netlist of ``spec``: shared sums in LUTs, the rest in rows of ternary adders.

    A register follows every ``levels`` levels of adders.  Deterministic.
    """
    act = (spec.act.min_int, spec.act.max_int)
    if shared is None:
        shared = share(spec.weights, act, spec.act.bits, prices)
    sums, rows = _inlined(shared)
    made = _Builder(spec, levels)
    nodes: dict[int, _Node] = {}
    wanted = {node for terms in (*sums.values(), *rows) for node, _, _ in terms}
    for index in range(spec.inputs):
        if index in wanted:
            nodes[index] = made.base(index)
    for number, terms in sums.items():
        parts = [_scaled(nodes[node], shift, sign) for node, shift, sign in terms]
        coefs = _sum_coefs(parts)
        if made.fits_table(coefs):
            nodes[number] = made.table(coefs)
        elif len(parts) == 2:
            nodes[number] = made.add(parts[0], parts[1], coefs)
        else:
            offset = sum(part.offset for part in parts)
            top = (made.range_of(coefs)[1] - offset).bit_length()
            bits = made.settle(made.heap(parts, 0, top), top, PLANS, "s")
            nodes[number] = _Node(tuple(bits), offset, coefs)
    outputs = []
    for row, bias, width in zip(rows, spec.bias, spec.out_bits, strict=True):
        parts = [_scaled(nodes[node], shift, sign) for node, shift, sign in row]
        constant = (bias + sum(part.offset for part in parts)) % (1 << width)
        heap = made.heap(parts, constant, width)
        outputs.append(tuple(made.settle(heap, width, PLANS, "r")))
    used = [bit for bits in outputs for bit in bits if bit is not None]
    latency = max((made.ready([bit])[0] for bit in used), default=0)
    return Design(spec, tuple(made.signals), tuple(made.items), tuple(outputs), latency)
