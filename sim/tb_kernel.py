# SPDX-License-Identifier: Apache-2.0
"""cocotb module for one kernel: play the rows of ``$HWQUANT_JOB`` through the agents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb

from sim.agents import Testbench
from sim.kernels import Kernel

JOB = json.loads(Path(os.environ["HWQUANT_JOB"]).read_text())


@cocotb.test()  # type: ignore[untyped-decorator]
async def rows(dut: Any) -> None:
    """Every result must equal the model's, in order."""
    bench = Testbench(dut, Kernel.from_json(JOB["kernel"]))
    await bench.play([(control, w, a) for control, w, a in JOB["rows"]])
    write_outcome(bench)
    if bench.checker.errors:
        raise AssertionError(f"first of {len(bench.checker.errors)}: {bench.checker.errors[0]}")


def write_outcome(bench: Testbench) -> None:
    """Write the checker's findings for the process that started this simulation."""
    outcome = {"compared": bench.checker.compared, "errors": bench.checker.errors}
    Path(os.environ["HWQUANT_OUTCOME"]).write_text(json.dumps(outcome))
