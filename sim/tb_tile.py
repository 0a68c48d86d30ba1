# SPDX-License-Identifier: Apache-2.0
"""cocotb module for tiles: many units, one clock, rows and results in numpy buffers."""

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

from hw.tile import tile_layout
from sim.ports import FarmPorts
from sim.rows import SENTINEL
from sim.tile import TileResult, TileUnit
from sim.tile_vectors import Block, out_words, row_words, tile_blocks
from sim.vectors import ENABLE, RESET

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())
UNITS = [TileUnit.from_json(record) for record in JOB["units"]]
SETTLE = 4  # cycles beyond the latency in which a stray result would show
MAX_FAILURES = 5
PORTS = FarmPorts()


class Tally:
    """Counts of one unit, kept over all its blocks."""

    def __init__(self) -> None:
        self.checks = self.mismatches = 0
        self.failures: list[str] = []

    def judge(self, index: int, block: Block, out: Any) -> None:
        """Compare the raw rows of one block."""
        if PORTS.left(index):
            raise RuntimeError(f"{UNITS[index].label}: stimulus was not sent")
        self.checks += block.checks
        bad = np.flatnonzero((out != block.wanted).any(axis=1))
        self.mismatches += bad.size + PORTS.strays(index)
        split = tile_layout(UNITS[index].spec).weights
        for row in bad[: MAX_FAILURES - len(self.failures)]:
            codes = block.codes[row].tolist()
            self.failures.append(
                f"{block.stage}, row {row}: weights {codes[:split]}, activations {codes[split:]}: "
                f"expected {_hex(block.wanted[row])}, got {_hex(out[row])}"
            )


def _hex(words: Any) -> str:
    if words[-1] == SENTINEL:
        return "no result"
    return hex(sum(int(word) << 64 * place for place, word in enumerate(words)))


async def send(wave: list[Block | None]) -> list[tuple[int, Block, Any]]:
    """Send one block to each unit, all at once; return what came back."""
    bound = []
    for index, block in enumerate(wave):
        if block is not None:
            out = np.zeros(block.wanted.shape, np.uint64)
            out[:, -1] = SENTINEL
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
        empty = np.empty((0, out_words(unit.spec)), np.uint64)
        PORTS.bind(index, data, empty, unit.latency)
    await Timer(4 * longest, "step")


def write_outcome(results: list[TileResult]) -> None:
    """Write the counts of all units for the process that started this simulation."""
    outcome = json.dumps([result.to_json() for result in results])
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(outcome)


@cocotb.test()  # type: ignore[untyped-decorator]
async def tiles(dut: Any) -> None:
    """Every accumulator equals the reference's, and comes exactly when it must."""
    tallies = [Tally() for _ in UNITS]
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    await power_up()
    streams = [tile_blocks(u.spec, u.latency, JOB["seed"], JOB["steps"]) for u in UNITS]
    for wave in zip_longest(*streams):
        for index, block, out in await send(list(wave)):
            tallies[index].judge(index, block, out)
    results = [
        TileResult(unit, tally.checks, tally.mismatches, tuple(tally.failures))
        for unit, tally in zip(UNITS, tallies, strict=True)
    ]
    write_outcome(results)
    differing = sum(result.mismatches for result in results)
    if differing:
        raise AssertionError(f"{differing} results differ from the reference")
