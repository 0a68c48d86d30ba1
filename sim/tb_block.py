# SPDX-License-Identifier: Apache-2.0
"""cocotb module for block-dot kernels; see `sim.tb_unit`."""

from __future__ import annotations

from typing import Any

import cocotb

from sim.block import BlockFailure, BlockResult, BlockUnit
from sim.block_vectors import Stream, streams
from sim.rows import word_to_int
from sim.tb_unit import compare


def story(_: BlockUnit, stream: Stream, row: int, words: Any) -> BlockFailure:
    """Return what failed."""
    wanted, got = word_to_int(stream.wanted[row]), word_to_int(words)
    return BlockFailure(stream.stage, int(stream.rows[row]), wanted, got)


@cocotb.test()  # type: ignore[untyped-decorator]
async def block_kernels(dut: Any) -> None:
    """Every result equals the reference's, and comes exactly when it must."""
    await compare(dut, BlockResult, streams, story)
