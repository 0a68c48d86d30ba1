# SPDX-License-Identifier: Apache-2.0
"""From a state where a proof fails to a stimulus that fails from reset.

A state of an inductive step need not be reachable, so it is no counterexample yet.  Its
accumulator is driven to by ordinary beats, and the miter is run from there; only a difference
seen in such a run counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from hwquant import codec
from hwquant.mac import MacSpec, Overflow
from sim.kernels import Kernel
from sim.report import Failure
from sim.vectors import CLEAR, ENABLE, RESET, VALID

from .evaluate import evaluate
from .netlist import Netlist
from .simulate import (
    Row,
    Stimulus,
    inputs_of,
    random_codes,
    random_state,
    run_rows,
)

__all__ = ["explain", "from_product", "from_state"]

MAX_BEATS: Final = 2048  # on the way to an accumulator
RUNS: Final = 384


def _ordered(spec: MacSpec) -> list[tuple[int, int, int]]:
    """Return one (product, weight code, activation code) per product, largest first."""
    every = spec.products(np.array(spec.weight.codes)[:, None], np.array(spec.act.codes)[None, :])
    found: dict[int, tuple[int, int]] = {}
    for (row, column), value in np.ndenumerate(every):
        found.setdefault(int(value), (spec.weight.codes[row], spec.act.codes[column]))
    return sorted(((v, w, a) for v, (w, a) in found.items()), reverse=True)


def _path(spec: MacSpec, target: int) -> list[Row] | None:
    """Return beats whose sum is ``target`` or as near as greed gets; None if it takes too many."""
    ordered = _ordered(spec)
    usable = [p for p in ordered if p[0] and (p[0] > 0) == (target > 0)]
    if target < 0:
        usable.reverse()
    zero = next((p for p in ordered if not p[0]), ordered[-1])
    if not target or not usable:
        return [_beat(spec, [], zero, first=True)]
    if abs(target) // (abs(usable[0][0]) * spec.lanes) > MAX_BEATS:
        return None
    rows: list[Row] = []
    left, position = target, 0
    while position < len(usable) and len(rows) <= MAX_BEATS:
        taken: list[tuple[int, int, int]] = []
        while len(taken) < spec.lanes and position < len(usable):
            if abs(usable[position][0]) <= abs(left):
                taken.append(usable[position])
                left -= usable[position][0]
            else:
                position += 1
        if taken or not rows:
            rows.append(_beat(spec, taken, zero, first=not rows))
    return rows


def _beat(
    spec: MacSpec,
    taken: Sequence[tuple[int, int, int]],
    zero: tuple[int, int, int],
    *,
    first: bool,
) -> Row:
    lanes = [*taken, *[zero] * (spec.lanes - len(taken))]
    control = ENABLE | VALID | (CLEAR if first else 0)
    return control, tuple(w for _, w, _ in lanes), tuple(a for _, _, a in lanes)


def _tail(kernel: Kernel, first: list[Stimulus], rng: np.random.Generator) -> list[Stimulus]:
    """Return ``first``, then two beats (go on, start anew), then idle cycles."""
    spec, runs = kernel.spec, first[0][0].size
    shape = (runs, spec.lanes)
    tail = list(first)
    for control in (ENABLE | VALID, ENABLE | VALID | CLEAR, *[ENABLE] * (kernel.latency + 1)):
        codes = random_codes(spec.weight, shape, rng), random_codes(spec.act, shape, rng)
        tail.append((np.full(runs, control, np.uint8), *codes))
    return tail


def from_state(
    netlist: Netlist,
    kernel: Kernel,
    accumulators: Sequence[int],
    codes: Sequence[Row],
    *,
    reset: bool = False,
) -> tuple[Row, ...] | None:
    """Drive to each accumulator, go on with many beats, return the rows that show a difference.

    ``codes`` are beats to try among random and extreme ones; with ``reset`` a cycle of reset
    comes before them.
    """
    spec, rng = kernel.spec, np.random.default_rng(1)
    fixed = spec.accumulator
    ordered = _ordered(spec)
    for accumulator in dict.fromkeys((*accumulators, fixed.max_int, fixed.min_int, 0)):
        rows = _path(spec, accumulator)
        if rows is None:
            continue
        if reset:
            idle = rows[-1][1:]
            rows += [(ENABLE, *idle)] * kernel.latency + [(ENABLE | RESET, *idle)]
        weight = random_codes(spec.weight, (RUNS, spec.lanes), rng)
        act = random_codes(spec.act, (RUNS, spec.lanes), rng)
        for index, (_, w, a) in enumerate((ordered[0], ordered[-1])):
            weight[index::8], act[index::8] = w, a
        quiet = np.flatnonzero(np.arange(RUNS) % 8 == 2)  # all lanes but one are zero
        zero = next((p for p in ordered if not p[0]), ordered[0])
        weight[quiet, 1:], act[quiet, 1:] = zero[1], zero[2]
        for index, (_, lanes_w, lanes_a) in enumerate(codes[: RUNS // 8]):
            weight[index * 8 + 3], act[index * 8 + 3] = lanes_w, lanes_a
        control = np.full(RUNS, ENABLE | VALID, np.uint8)
        found = run_rows(netlist, kernel, rows, tail=_tail(kernel, [(control, weight, act)], rng))
        if found is not None:
            return found
    return None


def from_product(
    netlist: Netlist, kernel: Kernel, pairs: Sequence[tuple[int, int]]
) -> tuple[Row, ...] | None:
    """Apply each pair of codes to each lane alone; return the rows that show a difference."""
    spec = kernel.spec
    _, zero_weight, zero_act = next((p for p in _ordered(spec) if not p[0]), _ordered(spec)[0])
    tries = [(lane, w, a) for w, a in pairs[:256] for lane in range(spec.lanes)][:4096]
    if not tries:
        return None
    weight = np.full((len(tries), spec.lanes), zero_weight, np.uint8)
    act = np.full((len(tries), spec.lanes), zero_act, np.uint8)
    for run, (lane, w, a) in enumerate(tries):
        weight[run, lane], act[run, lane] = w, a
    control = np.full(len(tries), ENABLE | VALID | CLEAR, np.uint8)
    idle = np.full(len(tries), ENABLE, np.uint8)
    tail: list[Stimulus] = [(control, weight, act), *[(idle, weight, act)] * (kernel.latency + 1)]
    return run_rows(netlist, kernel, [], tail=tail)


class _Model:
    """What the outputs must be, on Python integers and `hwquant.codec`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.acc, self.dot, self.beat = 0, -1, -1
        self.stages: list[tuple[int, int, int, Row] | None] = [None] * kernel.latency

    def clock(self, row: Row) -> tuple[int, int, int, Row] | None:
        """Take one row; return (accumulator, dot, beat, row) at the output, None for no result."""
        control, weight, act = row
        spec, fixed = self.kernel.spec, self.kernel.spec.accumulator
        if control & RESET:
            self.acc, self.stages = 0, [None] * self.kernel.latency
        elif control & ENABLE:
            entered = None
            if control & VALID:
                fresh = bool(control & CLEAR) or self.dot < 0
                self.dot, self.beat = self.dot + fresh, 0 if fresh else self.beat + 1
                total = 0 if control & CLEAR else self.acc
                for w, a in zip(weight, act, strict=True):
                    total += codec.decode(spec.weight, w) * codec.decode(spec.act, a)
                if spec.overflow is Overflow.SATURATE:
                    total = min(max(total, fixed.min_int), fixed.max_int)
                else:
                    total = (total - fixed.min_int) % (1 << fixed.width) + fixed.min_int
                self.acc = total
                entered = (total, self.dot, self.beat, row)
            self.stages = [entered, *self.stages[:-1]]
        return self.stages[-1]


def _outputs(netlist: Netlist, kernel: Kernel, rows: Sequence[Row]) -> Iterator[tuple[bool, int]]:
    """Yield the kernel's outputs behind each row: valid, and the accumulator."""
    rng = np.random.default_rng(0)
    state = random_state(netlist, 1, rng)
    zeros = (0,) * kernel.spec.lanes
    width = kernel.spec.accumulator.width
    wires = [netlist.wires["dut_valid"], netlist.wires["dut_acc"]]
    for index, row in enumerate([(ENABLE | RESET, zeros, zeros), *rows, (ENABLE, zeros, zeros)]):
        stimulus = (np.array([row[0]], np.uint8), np.array([row[1]]), np.array([row[2]]))
        values = state | inputs_of(netlist, kernel, stimulus)
        values |= {v: np.zeros(1, np.uint64) for v in netlist.inputs.values() if v not in values}
        found = evaluate(netlist.dag, [*netlist.registers.values(), *wires], values, 1)
        if index > 1:
            acc = int(found[wires[1]][0])
            yield bool(found[wires[0]][0]), acc - (1 << width) if acc >> width - 1 else acc
        state = {variable: found[term] for variable, term in netlist.registers.items()}


def explain(netlist: Netlist, kernel: Kernel, rows: Sequence[Row]) -> Failure | None:
    """Play ``rows`` from reset against Python's arithmetic; return the first wrong result."""
    model = _Model(kernel)
    last: int | None = None
    outputs = _outputs(netlist, kernel, rows)
    for index, (row, (valid, acc)) in enumerate(zip(rows, outputs, strict=True)):
        wanted = model.clock(row)
        expected = None if wanted is None else wanted[0]
        got = acc if valid else None
        last = None if row[0] & RESET else last if expected is None else expected
        stage = "proof"
        if got == expected:
            if last in (None, acc):
                continue
            stage, expected, got = "proof, result not held", last, acc
        weight, act = ((), ()) if wanted is None else wanted[3][1:]
        dot, beat = (model.dot, model.beat) if wanted is None else wanted[1:3]
        seen = tuple(rows[: index + 1])
        return Failure(
            kernel, stage, max(dot, 0), max(beat, 0), weight, act, expected, got, seen, ()
        )
    return None
