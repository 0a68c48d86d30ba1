# SPDX-License-Identifier: Apache-2.0
"""cocotb module of the farm: many kernels, one clock, stimulus and results in numpy buffers.

The job comes as JSON in ``$HWQUANT_JOB``, the outcome goes to ``$HWQUANT_OUTCOME``.  A stage fails
when any raw result row differs from the reference, is missing, or is one too many.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sim.compare import MAX_FAILURES, failures, unsteady
from sim.coverage import Counter
from sim.kernels import Kernel
from sim.report import KernelResult
from sim.rows import LAST, Rows, beat_words_of, expected, sentinel
from sim.vectors import ENABLE, RESET, VALID, Pass, generator, product_passes, stream_passes

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())
KERNELS = [Kernel.from_json(record) for record in JOB["kernels"]]
TOGETHER = 32  # kernels whose reference is computed at once: more take more memory
SETTLE = 4  # cycles beyond the latency in which a stray result would show


class Ports:
    """The farm's C ports (``farm.cpp``), found in this very process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.hq_strays.restype = ctypes.c_uint64
        self._library.hq_left.restype = ctypes.c_int64
        self._library.hq_moves.restype = ctypes.c_uint64
        self._library.hq_moved_slot.restype = ctypes.c_int64
        self._held: dict[int, tuple[Any, Any]] = {}

    def bind(self, index: int, data: Any, out: Any) -> None:
        """Let kernel ``index`` read ``data`` and write ``out``, from the next clock edge on."""
        self._held[index] = (data, out)  # C holds their addresses
        self._library.hq_bind(
            ctypes.c_int(index),
            data.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(data.nbytes),
            out.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(out)),
            ctypes.c_int64(KERNELS[index].latency),
        )

    def strays(self, index: int) -> int:
        """Return how many results belong to no row."""
        return int(self._library.hq_strays(ctypes.c_int(index)))

    def moves(self, index: int) -> tuple[int, int]:
        """Return in how many rows a result had changed before the next one, and the first."""
        kernel = ctypes.c_int(index)
        return int(self._library.hq_moves(kernel)), int(self._library.hq_moved_slot(kernel))

    def left(self, index: int) -> int:
        """Return the bytes of stimulus not fetched."""
        return int(self._library.hq_left(ctypes.c_int(index)))


class Tally:
    """Counts of one kernel, kept over all its passes."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.products = self.steps = self.mismatches = 0
        self.failures: list[Any] = []
        self.coverage = Counter(kernel)

    def result(self) -> KernelResult:
        """Return the counts as a result."""
        return KernelResult(
            self._kernel,
            self.products,
            self.steps,
            self.mismatches,
            self.coverage.at_a_rail,
            tuple(self.failures),
            self.coverage.bins(),
        )


PORTS = Ports()
TALLIES = [Tally(kernel) for kernel in KERNELS]


async def cycles(count: int) -> None:
    """Wait for ``count`` clock cycles of two steps."""
    await Timer(2 * count, "step")


async def power_up() -> None:
    """Hold reset long enough for the random power-up state to leave; its results do not count."""
    longest = max(kernel.settle for kernel in KERNELS) + SETTLE
    for index, kernel in enumerate(KERNELS):
        data = np.zeros((longest, 4 * kernel.row_words), np.uint8)
        data[:, 0] = ENABLE | RESET
        if kernel.control.last:  # without a reset, a last beat brings it to a start
            data[0, 0] |= VALID | LAST
        PORTS.bind(index, data, sentinel(0, kernel.out_words))
    await cycles(2 * longest)


async def run(blocks: list[Pass | None]) -> None:
    """Send one pass to each kernel, all at once, and compare what comes back."""
    laid: list[tuple[int, Pass, Rows, Any]] = []
    for index, block in enumerate(blocks):
        if block is None:
            continue
        kernel = KERNELS[index]
        rows = Rows.of(kernel, block, generator(JOB["seed"], kernel.spec, f"{block.stage} rows"))
        out = sentinel(rows.enabled, kernel.out_words)
        PORTS.bind(index, rows.data, out)
        laid.append((index, block, rows, out))
    settle = max(KERNELS[index].settle for index, *_ in laid)
    await cycles(max(len(rows.data) for _, _, rows, _ in laid) + settle + SETTLE)
    for start in range(0, len(laid), TOGETHER):
        some = laid[start : start + TOGETHER]
        words = beat_words_of([(KERNELS[index], block) for index, block, *_ in some])
        for found, sums in zip(some, words, strict=True):
            judge(*found, sums)


def judge(index: int, block: Pass, rows: Rows, out: Any, sums: Any) -> None:
    """Compare the raw rows of one kernel with its accumulators ``sums`` and count."""
    kernel, tally = KERNELS[index], TALLIES[index]
    if PORTS.left(index):
        raise RuntimeError(f"{kernel.label}: {PORTS.left(index)} bytes of stimulus were not sent")
    wanted = expected(kernel, block, rows, sums)
    tally.coverage.add(block, rows, sums)
    if block.stage == "products":
        tally.products += block.beats * kernel.spec.lanes
    else:
        tally.steps += block.beats
    moves, row = PORTS.moves(index)
    tally.mismatches += PORTS.strays(index) + moves
    if not np.array_equal(out, wanted):
        count, found = failures(kernel, block, rows, wanted, out)
        tally.mismatches += count
        tally.failures += found[: MAX_FAILURES - len(tally.failures)]
    if moves and len(tally.failures) < MAX_FAILURES:
        tally.failures.append(unsteady(kernel, block, rows, wanted, row))


def write_outcome() -> None:
    """Write the counts of all kernels for the process that started this simulation."""
    outcome = [tally.result().to_json() for tally in TALLIES]
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(json.dumps(outcome))


async def stage(dut: Any, passes: list[Iterator[Pass]], *, last: bool = False) -> None:
    """Run all passes of one stage; fail the test when anything differed.

    Behind the ``last`` stage, and only there, the counts are whole and are written.
    """
    before = sum(tally.mismatches for tally in TALLIES)
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    await power_up()
    for blocks in zip_longest(*passes):
        await run(list(blocks))
    if last:
        write_outcome()
    differing = sum(tally.mismatches for tally in TALLIES) - before
    if differing:
        raise AssertionError(f"{differing} result rows differ from the reference")


@cocotb.test()  # type: ignore[untyped-decorator]
async def exhaustive_products(dut: Any) -> None:
    """Every pair of codes of every kernel, one product per dot product."""
    await stage(dut, [product_passes(kernel.spec, 1 + kernel.control.gap) for kernel in KERNELS])


@cocotb.test()  # type: ignore[untyped-decorator]
async def accumulator_streams(dut: Any) -> None:
    """Streams that saturate, wrap, clear, pause and reset."""
    passes = [
        stream_passes(kernel.spec, JOB["seed"], JOB["steps"], kernel.control.longest)
        for kernel in KERNELS
    ]
    await stage(dut, passes, last=True)
