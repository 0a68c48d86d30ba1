# SPDX-License-Identifier: Apache-2.0
"""cocotb module of the mutation gate: every mutant of one kernel gets the farm's stimulus.

The job comes as JSON in ``$HWQUANT_JOB``, the outcome goes to ``$HWQUANT_OUTCOME``.  The mutants
take turns in one simulator: a mutant leaves at its first result that differs, so most see only a
few rows; what is left at the end has seen everything.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock

from sim.rows import Rows, expected, sentinel, word_to_int
from sim.tb_farm import JOB, KERNELS, PORTS, SETTLE, cycles, power_up
from sim.vectors import ENABLE, KINDS, Pass, generator, product_passes, stream_passes

KERNEL = KERNELS[0]
SLICES = (64, 512, 4096, 32768)  # look at the results after so many rows, then at the end
LIBRARY = ctypes.CDLL(None)


def passes() -> Iterator[tuple[Pass, list[str]]]:
    """Yield the stimulus the job asks for, with a name for each dot product."""
    kinds: list[str] = JOB["stimulus"]
    if "products" in kinds:
        for block in product_passes(KERNEL.spec, 1 + KERNEL.control.gap):
            yield block, ["products"] * len(block.length)
    wanted = [kind for kind in KINDS if kind in kinds]
    if not wanted:
        return
    for block in stream_passes(KERNEL.spec, JOB["seed"], JOB["steps"], KERNEL.control.longest):
        names = [KINDS[dot % len(KINDS)] for dot in range(len(block.length))]
        if block.gaps and "gaps" not in kinds:
            continue
        keep = np.isin(names, wanted)
        if not keep.any():
            continue
        names = [f"{name}, gaps" if block.gaps else name for name in names if name in wanted]
        yield (
            replace(
                block,
                weight=block.weight[keep],
                act=block.act[keep],
                length=block.length[keep],
            ),
            names,
        )


async def first_difference(index: int, rows: Rows, wanted: Any, out: Any) -> int | None:
    """Run mutant ``index`` through a pass, or through its first rows where the job says so.

    Returns its first wrong row, or -1 for a stray result.
    """
    LIBRARY.hq_select(ctypes.c_int(index))
    await power_up()
    out[:] = 0
    out[:, -1] = np.uint64(1 << 63)
    PORTS.bind(0, rows.data, out)
    enabled = np.cumsum(rows.data[:, 0] & ENABLE)
    sent, seen = 0, 0
    limit = min(JOB["rows"] or len(rows.data), len(rows.data))
    for end in (*[s for s in SLICES if s < limit], limit):
        last = end == len(rows.data)
        await cycles(end - sent + (KERNEL.settle + SETTLE) * last)
        sent = end
        ready = len(out) if last else max(int(enabled[end - 1]) - KERNEL.latency - SETTLE, seen)
        if not np.array_equal(out[seen:ready], wanted[seen:ready]):
            bad = (out[seen:ready] != wanted[seen:ready]).any(axis=1)
            return seen + int(np.argmax(bad))
        moves, slot = PORTS.moves(0)
        if moves:
            return min(max(slot, 0), len(out) - 1)
        if PORTS.strays(0):
            return -1
        seen = ready
    return None


def story(block: Pass, names: list[str], rows: Rows, row: int, wanted: Any, out: Any) -> Any:
    """Return what killed a mutant: the kind of stimulus, its place, and both results."""
    beat = int(np.searchsorted(rows.out_row, row, side="right")) - 1
    dot = int(block.dot_of_beat()[beat]) if beat >= 0 else -1
    return {
        "stage": block.stage,
        "kind": names[dot] if dot >= 0 else "reset with beats in flight",
        "index": row,
        "dot": dot,
        "beat": int(block.beat_in_dot()[beat]) if beat >= 0 else -1,
        "expected": None if row < 0 else word_to_int(wanted[row]),
        "got": None if row < 0 else word_to_int(out[row]),
    }


@cocotb.test()  # type: ignore[untyped-decorator]
async def mutants(dut: Any) -> None:
    """Send every pass to every mutant that still lives, the original (0) among them."""
    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    alive = [0, *JOB["mutants"]]
    killed: dict[int, Any] = {}
    for block, names in passes():
        rng = generator(JOB["seed"], KERNEL.spec, f"{block.stage} rows")
        rows = Rows.of(KERNEL, block, rng)
        wanted = expected(KERNEL, block, rows)
        out = sentinel(rows.enabled, KERNEL.out_words)
        for index in alive:
            row = await first_difference(index, rows, wanted, out)
            if row is not None:
                killed[index] = story(block, names, rows, row, wanted, out)
        alive = [index for index in alive if index not in killed]
    write_outcome({"killed": killed, "alive": alive})


def write_outcome(outcome: dict[str, Any]) -> None:
    """Write what became of the mutants for the process that started this simulation."""
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(json.dumps(outcome))
