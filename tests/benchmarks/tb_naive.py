# SPDX-License-Identifier: Apache-2.0
"""The usual cocotb test of a MAC: one vector per clock cycle, checked in Python.

As fast as such a loop gets: the clock runs in the simulator, values are written without a driver
object, codes are decoded by dictionary, and every result is compared.  `bench_verify` runs it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwquant import codec
from hwquant.mac import Overflow
from sim.kernels import Kernel

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())


@cocotb.test()
async def vectors(dut):
    """Every result must equal the model's."""
    kernel = Kernel.from_json(JOB["kernel"])
    spec = kernel.spec
    weights = {code: codec.decode(spec.weight, code) for code in spec.weight.codes}
    acts = {code: codec.decode(spec.act, code) for code in spec.act.codes}
    low, high = spec.accumulator.min_int, spec.accumulator.max_int
    saturate, span = spec.overflow is Overflow.SATURATE, high - low + 1

    Clock(dut.clk_i, 2, "step", impl="gpi").start(start_high=False)
    edge = RisingEdge(dut.clk_i)
    dut.rst_i.value, dut.en_i.value, dut.valid_i.value = 1, 1, 0
    for _ in range(kernel.latency + 2):
        await edge
    dut.rst_i.value, dut.valid_i.value = 0, 1

    acc = compared = 0
    due = deque([None] * kernel.latency)
    for clear, w, a in JOB["rows"]:
        dut.clear_i.value, dut.weight_i.value, dut.act_i.value = clear, w, a
        await edge
        expected = due.popleft()
        if expected is not None:
            assert dut.acc_o.value.to_signed() == expected
            compared += 1
        acc = weights[w] * acts[a] + (0 if clear else acc)
        acc = min(max(acc, low), high) if saturate else (acc - low) % span + low
        due.append(acc)
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(json.dumps(compared))  # noqa: ASYNC240
