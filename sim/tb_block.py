# SPDX-License-Identifier: Apache-2.0
"""cocotb module for block-dot kernels: many units, one clock, rows and results in numpy buffers."""

from __future__ import annotations

import json
import os
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sim.block import BlockFailure, BlockResult, BlockUnit
from sim.block_vectors import Stream, out_words, row_words, streams
from sim.ports import FarmPorts
from sim.rows import sentinel, word_to_int
from sim.vectors import ENABLE, RESET

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())
UNITS = [BlockUnit.from_json(record) for record in JOB["units"]]
SETTLE = 4  # cycles beyond the latency in which a stray result would show
MAX_FAILURES = 5
PORTS = FarmPorts()


class Tally:
    """Counts of one unit, kept over all its streams."""

    def __init__(self) -> None:
        self.checks = self.mismatches = self.rails = self.inexact = 0
        self.failures: list[BlockFailure] = []

    def judge(self, index: int, stream: Stream, out: Any) -> None:
        """Compare the raw rows of one stream."""
        if PORTS.left(index):
            raise RuntimeError(f"{UNITS[index].label}: stimulus was not sent")
        self.checks += stream.checks
        self.rails += stream.rails
        self.inexact += stream.inexact
        bad = np.flatnonzero((out != stream.wanted).any(axis=1))
        self.mismatches += bad.size + PORTS.strays(index)
        for row in bad[: MAX_FAILURES - len(self.failures)]:
            wanted, got = word_to_int(stream.wanted[row]), word_to_int(out[row])
            self.failures.append(BlockFailure(stream.stage, int(stream.rows[row]), wanted, got))

    def result(self, unit: BlockUnit) -> BlockResult:
        """Return the counts."""
        counts = (self.checks, self.mismatches, self.rails, self.inexact)
        return BlockResult(unit, *counts, tuple(self.failures))


async def send(wave: list[Stream | None]) -> list[tuple[int, Stream, Any]]:
    """Send one stream to each unit, all at once; return what came back."""
    bound = []
    for index, stream in enumerate(wave):
        if stream is not None:
            out = sentinel(*stream.wanted.shape)
            PORTS.bind(index, stream.data, out, UNITS[index].latency)
            bound.append((index, stream, out))
    rows = max(len(stream.data) for _, stream, _ in bound)
    longest = max(unit.latency for unit in UNITS)
    await Timer(2 * (rows + longest + SETTLE), "step")
    return bound


async def power_up() -> None:
    """Hold reset long enough for the random power-up state to leave; its results do not count."""
    longest = max(unit.latency for unit in UNITS) + SETTLE
    for index, unit in enumerate(UNITS):
        data = np.zeros((longest, 4 * row_words(unit.spec)), np.uint8)
        data[:, 0] = ENABLE | RESET
        PORTS.bind(index, data, sentinel(0, out_words(unit.spec)), unit.latency)
    await Timer(4 * longest, "step")


def write_outcome(results: list[BlockResult]) -> None:
    """Write the counts of all units for the process that started this simulation."""
    outcome = json.dumps([result.to_json() for result in results])
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(outcome)


@cocotb.test()  # type: ignore[untyped-decorator]
async def block_kernels(dut: Any) -> None:
    """Every result equals the reference's, and comes exactly when it must."""
    tallies = [Tally() for _ in UNITS]
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    await power_up()
    sent = [streams(unit.spec, unit.latency, JOB["seed"], JOB["steps"]) for unit in UNITS]
    for wave in zip_longest(*sent):
        for index, stream, out in await send(list(wave)):
            tallies[index].judge(index, stream, out)
    results = [tally.result(unit) for unit, tally in zip(UNITS, tallies, strict=True)]
    write_outcome(results)
    differing = sum(result.mismatches for result in results)
    if differing:
        raise AssertionError(f"{differing} results differ from the reference")
