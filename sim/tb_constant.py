# SPDX-License-Identifier: Apache-2.0
"""cocotb module for constant kernels: many units, one clock, rows and results in numpy buffers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sim.constant import ConstantFailure, ConstantResult, ConstantUnit
from sim.constant_vectors import Block, blocks, out_words, row_words
from sim.ports import FarmPorts
from sim.rows import SENTINEL
from sim.vectors import ENABLE, RESET

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())
UNITS = [ConstantUnit.from_json(record) for record in JOB["units"]]
SETTLE = 4  # cycles beyond the latency in which a stray result would show
MAX_FAILURES = 5
PORTS = FarmPorts()


class Tally:
    """Counts of one unit, kept over all its blocks."""

    def __init__(self) -> None:
        self.checks = self.mismatches = 0
        self.exhaustive = False
        self.failures: list[ConstantFailure] = []

    def judge(self, index: int, block: Block, out: Any) -> None:
        """Compare the raw rows of one block."""
        if PORTS.left(index):
            raise RuntimeError(f"{UNITS[index].name}: stimulus was not sent")
        self.checks += block.checks
        self.exhaustive |= block.stage == "every vector"
        bad = np.flatnonzero((out != block.wanted).any(axis=1))
        self.mismatches += bad.size + PORTS.strays(index)
        for row in bad[: MAX_FAILURES - len(self.failures)]:
            wanted, got = (_outputs(UNITS[index], words[row]) for words in (block.wanted, out))
            output = next(
                (o for o, (w, g) in enumerate(zip(wanted, got, strict=True)) if w != g), 0
            )
            codes = tuple(int(code) for code in block.codes[row])
            self.failures.append(
                ConstantFailure(block.stage, codes, output, wanted[output], got[output])
            )


def _outputs(unit: ConstantUnit, words: Any) -> list[int | None]:
    """Return the outputs in raw words, None where there is no result."""
    count, width = unit.spec.outputs, max(unit.spec.out_bits)
    if words[-1] == SENTINEL:
        return [None] * count
    whole = int.from_bytes(words.tobytes(), "little")
    raw = [whole >> o * width & (1 << width) - 1 for o in range(count)]
    return [value - (value >> width - 1 << width) for value in raw]


async def send(wave: list[Block | None]) -> list[tuple[int, Block, Any]]:
    """Send one block to each unit, all at once; return what came back."""
    bound = []
    for index, block in enumerate(wave):
        if block is not None:
            out = np.full(block.wanted.shape, SENTINEL, np.uint64)
            PORTS.bind(index, block.data, out, UNITS[index].latency)
            bound.append((index, block, out))
    rows = max(len(block.data) for _, block, _ in bound)
    longest = max(unit.latency for unit in UNITS)
    await Timer(2 * (rows + longest + SETTLE), "step")
    return bound


async def power_up() -> None:
    """Hold reset long enough for the random power-up state to leave; its results do not count."""
    longest = max(unit.latency for unit in UNITS) + SETTLE
    for index, unit in enumerate(UNITS):
        data = np.zeros((longest, 4 * row_words(unit.spec)), np.uint8)
        data[:, 0] = ENABLE | RESET
        out = np.empty((0, out_words(unit.spec)), np.uint64)
        PORTS.bind(index, data, out, unit.latency)
    await Timer(4 * longest, "step")


def write_outcome(results: list[ConstantResult]) -> None:
    """Write the counts of all units for the process that started this simulation."""
    outcome = json.dumps([asdict(result) for result in results])
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(outcome)


@cocotb.test()  # type: ignore[untyped-decorator]
async def constant_kernels(dut: Any) -> None:
    """Every output of every vector equals the reference's, and comes exactly when it must."""
    tallies = [Tally() for _ in UNITS]
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    await power_up()
    streams = [blocks(unit.spec, unit.latency, JOB["seed"], JOB["steps"]) for unit in UNITS]
    for wave in zip_longest(*streams):
        for index, block, out in await send(list(wave)):
            tallies[index].judge(index, block, out)
    results = [
        ConstantResult(unit.name, t.checks, t.mismatches, t.exhaustive, tuple(t.failures))
        for unit, t in zip(UNITS, tallies, strict=True)
    ]
    write_outcome(results)
    differing = sum(result.mismatches for result in results)
    if differing:
        raise AssertionError(f"{differing} vectors differ from the reference")
