# SPDX-License-Identifier: Apache-2.0
"""Random runs of a miter from reset: samples to guess invariants from, and quick refutations.

Every run starts with random registers and one cycle of reset.  Only codes that have a value are
applied; enable, valid, clear and later resets come at random; some runs push one rail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwquant.formats import Format
from hwquant.mac import MacSpec
from sim.kernels import Kernel
from sim.vectors import CLEAR, ENABLE, RESET, VALID

from .evaluate import Values, evaluate, to_values
from .netlist import Netlist

__all__ = ["Row", "Samples", "random_codes", "run_rows", "simulate"]

RUNS: Final = 192
CYCLES: Final = 28

Row = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Control bits, weight codes, activation codes of one clock cycle."""

Lanes = NDArray[np.uint8]
Stimulus = tuple[NDArray[np.uint8], Lanes, Lanes]


@dataclass(frozen=True)
class Samples:
    """States seen after reset, and the first run whose outputs differed from the golden model's.

    ``states`` maps a register's variable to its values, all cycles of all runs in one array;
    ``wrong`` is the stimulus of a differing run, reset left out.
    """

    states: dict[int, Values]
    count: int
    wrong: tuple[Row, ...] | None


def random_codes(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> Lanes:
    """Return random codes that have a value."""
    every = np.array(fmt.codes, np.uint8)
    return every[rng.integers(0, every.size, shape)]


def _extreme(spec: MacSpec, sign: int) -> tuple[int, int]:
    """Return the pair of codes with the product furthest in one direction."""
    pairs = ((w, a) for w in spec.weight.codes for a in spec.act.codes)
    every = spec.products(
        np.array(spec.weight.codes)[:, None], np.array(spec.act.codes)[None, :]
    ).ravel()
    best = int(np.argmax(every * sign))
    return next(pair for index, pair in enumerate(pairs) if index == best)


def random_stimulus(
    spec: MacSpec, cycles: int, runs: int, rng: np.random.Generator
) -> list[Stimulus]:
    """Return per cycle the control bits (runs), weight and activation codes (runs, lanes)."""
    rails = [_extreme(spec, 1), _extreme(spec, -1)]
    pushing = np.arange(runs) % 4  # 0 and 1: random, 2: upper rail, 3: lower rail
    steady = pushing >= 2
    stimulus = []
    for cycle in range(cycles):
        weight = random_codes(spec.weight, (runs, spec.lanes), rng)
        act = random_codes(spec.act, (runs, spec.lanes), rng)
        for kind, (w, a) in zip((2, 3), rails, strict=True):
            push = ((pushing == kind) & (rng.random(runs) < 0.9))[:, None]
            weight, act = np.where(push, w, weight), np.where(push, a, act)
        control = ENABLE * (rng.random(runs) < 0.85)
        control |= VALID * (rng.random(runs) < 0.8)
        control |= CLEAR * (rng.random(runs) < np.where(steady, 0.04, 0.25))
        control |= RESET * ((rng.random(runs) < 0.02) | (cycle == 0))
        stimulus.append((control.astype(np.uint8), weight.astype(np.uint8), act.astype(np.uint8)))
    return stimulus


def inputs_of(netlist: Netlist, kernel: Kernel, stimulus: Stimulus) -> dict[int, Values]:
    """Return the values of the miter's inputs."""
    control, weight, act = stimulus
    bits = {"rst_i": RESET, "en_i": ENABLE, "valid_i": VALID, "clear_i": CLEAR}
    values = {
        netlist.inputs[name]: ((control & bit) != 0).astype(np.uint64) for name, bit in bits.items()
    }
    for port, codes in (("weight", weight), ("act", act)):
        for lane in range(kernel.spec.lanes):
            values[netlist.inputs[f"{port}_{lane}"]] = codes[:, lane].astype(np.uint64)
    return values


def random_state(netlist: Netlist, runs: int, rng: np.random.Generator) -> dict[int, Values]:
    """Return random values for every register."""
    return {
        variable: _random(netlist.dag.widths[variable], runs, rng) for variable in netlist.names
    }


def _random(width: int, runs: int, rng: np.random.Generator) -> Values:
    if width <= 64:
        return to_values(rng.integers(0, 1 << 64, runs, np.uint64, endpoint=False), width)
    raw = [int.from_bytes(rng.bytes(-(-width // 8)), "little") for _ in range(runs)]
    return to_values(np.array(raw, object), width)


def step(
    netlist: Netlist, state: dict[int, Values], inputs: dict[int, Values], rng: np.random.Generator
) -> tuple[dict[int, Values], NDArray[np.bool_]]:
    """Return the state behind one clock edge, and where the outputs in ``state`` differ."""
    runs = next(iter(inputs.values())).size
    names = ("dut_valid", "golden_valid", "dut_acc", "golden_acc")
    outputs = [*(netlist.wires[name] for name in names), netlist.golden("held")]
    free = {
        variable: _random(netlist.dag.widths[variable], runs, rng)
        for variable in netlist.inputs.values()
        if variable not in inputs
    }
    found = evaluate(
        netlist.dag, [*netlist.registers.values(), *outputs], {**state, **inputs, **free}, runs
    )
    valid, golden_valid, acc, golden_acc, held = (found[term] for term in outputs)
    differs = (valid != golden_valid) | ((held != 0) & (acc != golden_acc))
    following = {variable: found[term] for variable, term in netlist.registers.items()}
    return following, np.asarray(differs, bool)


def simulate(netlist: Netlist, kernel: Kernel, seed: int = 0) -> Samples:
    """Run the miter at random and collect the states it passes through."""
    rng = np.random.default_rng(seed)
    stimulus = random_stimulus(kernel.spec, CYCLES, RUNS, rng)
    state = random_state(netlist, RUNS, rng)
    seen: dict[int, list[Values]] = {variable: [] for variable in state}
    for cycle, now in enumerate(stimulus):
        following, differs = step(netlist, state, inputs_of(netlist, kernel, now), rng)
        if cycle:
            if differs.any():
                run = int(np.argmax(differs))
                return Samples({}, 0, tuple(_row(now, run) for now in stimulus[1:cycle]))
            for variable, values in state.items():
                seen[variable].append(values)
        state = following
    states = {variable: np.concatenate(parts) for variable, parts in seen.items()}
    return Samples(states, RUNS * (CYCLES - 1), None)


def _row(stimulus: Stimulus, run: int) -> Row:
    control, weight, act = (part[run] for part in stimulus)
    return int(control), tuple(map(int, weight)), tuple(map(int, act))


def run_rows(
    netlist: Netlist, kernel: Kernel, rows: Sequence[Row], *, tail: Sequence[Stimulus] = ()
) -> tuple[Row, ...] | None:
    """Reset, play ``rows`` once, then each run of ``tail``; return the rows up to a difference.

    None means that the outputs never differed.  ``tail`` holds many runs that share ``rows``.
    """
    rng = np.random.default_rng(0)
    reset = np.array([ENABLE | RESET], np.uint8)
    zeros = np.zeros((1, kernel.spec.lanes), np.uint8)
    played: list[Stimulus] = [(reset, zeros, zeros)]
    played += [
        (np.array([c], np.uint8), np.array([w], np.uint8), np.array([a], np.uint8))
        for c, w, a in rows
    ]
    state = random_state(netlist, 1, rng)
    runs = tail[0][0].size if tail else 1
    for cycle, now in enumerate([*played, *tail]):
        if tail and cycle == len(played):
            state = {variable: np.repeat(values, runs) for variable, values in state.items()}
        state, differs = step(netlist, state, inputs_of(netlist, kernel, now), rng)
        if cycle and differs.any():
            run = int(np.argmax(differs))
            behind = [_row(part, run) for part in tail[: max(cycle - len(played), 0)]]
            return (*rows[: cycle - 1], *behind)
    return None
