# SPDX-License-Identifier: Apache-2.0
"""What the cocotb modules of all units do: many units, one clock, rows and results in buffers.

The job comes as JSON in ``$HWQUANT_JOB``, the outcome goes to ``$HWQUANT_OUTCOME``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Timer
from numpy.typing import NDArray

from sim.compare import MAX_FAILURES
from sim.ports import FarmPorts
from sim.rows import sentinel
from sim.unit import Unit
from sim.unit_report import Failure, Result
from sim.vectors import ENABLE, RESET

__all__ = ["Sent", "compare"]

SETTLE = 4  # cycles beyond the latency in which a stray result would show
JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())
PORTS = FarmPorts()


class Sent(Protocol):
    """Rows for one simulation and the raw words that must come back, per enabled row."""

    @property
    def stage(self) -> str:
        """Which part of the stimulus this is."""

    @property
    def data(self) -> NDArray[np.uint8]:
        """The stimulus rows."""

    @property
    def wanted(self) -> NDArray[np.uint64]:
        """The raw words of every result row."""

    @property
    def checks(self) -> int:
        """How many results are among them."""


Block = TypeVar("Block", bound=Sent)
Stimulus = Callable[[Any, int, int, int], Iterator[Block]]
"""Spec, latency, seed and steps to everything that is sent to one unit."""
Story = Callable[[Any, Block, int, Any], Failure]
"""Unit, what was sent, the result row that differs and its raw words, to what failed."""


class Tally:
    """Counts of one unit, kept over all that is sent to it."""

    def __init__(self, kind: type[Result], unit: Unit[Any]) -> None:
        self._kind, self._unit = kind, unit
        self._checks = self._mismatches = 0
        self._counted = dict.fromkeys(kind.COUNTED, 0)
        self._failures: list[Failure] = []

    def judge(self, index: int, block: Block, out: Any, story: Story[Block]) -> None:
        """Compare the raw rows of one block."""
        if PORTS.left(index):
            raise RuntimeError(f"{self._unit.label}: stimulus was not sent")
        self._checks += block.checks
        for name in self._counted:
            self._counted[name] += getattr(block, name)
        bad = np.flatnonzero((out != block.wanted).any(axis=1))
        self._mismatches += bad.size + PORTS.strays(index)
        for row in bad[: MAX_FAILURES - len(self._failures)]:
            self._failures.append(story(self._unit, block, int(row), out[row]))

    def result(self) -> Result:
        """Return the counts."""
        failures = tuple(self._failures)
        return self._kind(self._unit, self._checks, self._mismatches, failures, **self._counted)


async def _send(
    units: list[Unit[Any]], wave: list[Block | None]
) -> list[tuple[int, Block, NDArray[np.uint64]]]:
    """Send one block to each unit, all at once; return what came back."""
    bound = []
    for index, block in enumerate(wave):
        if block is not None:
            out = sentinel(*block.wanted.shape)
            PORTS.bind(index, block.data, out, units[index].latency)
            bound.append((index, block, out))
    rows = max(len(block.data) for _, block, _ in bound)
    longest = max(unit.latency for unit in units)
    await Timer(2 * (rows + longest + SETTLE), "step")
    return bound


async def _power_up(units: list[Unit[Any]]) -> None:
    """Hold reset long enough for the random power-up state to leave; its results do not count."""
    longest = max(unit.latency for unit in units) + SETTLE
    for index, unit in enumerate(units):
        data = np.zeros((longest, 4 * unit.row_words), np.uint8)
        data[:, 0] = ENABLE | RESET
        PORTS.bind(index, data, sentinel(0, unit.out_words), unit.latency)
    await Timer(4 * longest, "step")


def _write_outcome(results: list[Result]) -> None:
    """Write the counts of all units for the process that started this simulation."""
    outcome = json.dumps([result.to_json() for result in results])
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(outcome)


async def compare(
    dut: Any, kind: type[Result], stimulus: Stimulus[Block], story: Story[Block]
) -> None:
    """Send everything to all units and write their results of class ``kind``.

    Raises `AssertionError` when a result differs, is missing, or is one too many.
    """
    units = [kind.UNIT.from_json(record) for record in JOB["units"]]
    tallies = [Tally(kind, unit) for unit in units]
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    await _power_up(units)
    streams = [stimulus(unit.spec, unit.latency, JOB["seed"], JOB["steps"]) for unit in units]
    for wave in zip_longest(*streams):
        for index, block, out in await _send(units, list(wave)):
            tallies[index].judge(index, block, out, story)
    results = [tally.result() for tally in tallies]
    _write_outcome(results)
    differing = sum(result.mismatches for result in results)
    if differing:
        raise AssertionError(f"{differing} results differ from the reference")
