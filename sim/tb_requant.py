# SPDX-License-Identifier: Apache-2.0
"""cocotb module for requantizers; see `sim.tb_unit`."""

from __future__ import annotations

from typing import Any

import cocotb

from sim.requant import RequantFailure, RequantResult, RequantUnit
from sim.requant_vectors import Block, blocks
from sim.rows import word_to_int
from sim.tb_unit import compare


def story(_: RequantUnit, block: Block, row: int, words: Any) -> RequantFailure:
    """Return what failed."""
    channel, acc = int(block.channel[row]), int(block.acc[row])
    wanted, got = word_to_int(block.wanted[row]), word_to_int(words)
    return RequantFailure(block.stage, channel, acc, wanted, got)


@cocotb.test()  # type: ignore[untyped-decorator]
async def requantizers(dut: Any) -> None:
    """Every code equals the reference's, and comes exactly when it must."""
    await compare(dut, RequantResult, blocks, story)
