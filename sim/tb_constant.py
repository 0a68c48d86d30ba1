# SPDX-License-Identifier: Apache-2.0
"""cocotb module for constant kernels; see `sim.tb_unit`."""

from __future__ import annotations

from typing import Any

import cocotb

from sim.constant import ConstantFailure, ConstantResult, ConstantUnit
from sim.constant_vectors import Block, blocks
from sim.rows import SENTINEL
from sim.tb_unit import compare


def story(unit: ConstantUnit, block: Block, row: int, words: Any) -> ConstantFailure:
    """Return what failed: the first output that differs."""
    wanted, got = _outputs(unit, block.wanted[row]), _outputs(unit, words)
    pairs = enumerate(zip(wanted, got, strict=True))
    output = next((index for index, (one, other) in pairs if one != other), 0)
    codes = tuple(int(code) for code in block.codes[row])
    return ConstantFailure(block.stage, codes, output, wanted[output], got[output])


def _outputs(unit: ConstantUnit, words: Any) -> list[int | None]:
    """Return the outputs in raw words, None where there is no result."""
    count, width = unit.spec.outputs, max(unit.spec.out_bits)
    if words[-1] == SENTINEL:
        return [None] * count
    whole = int.from_bytes(words.tobytes(), "little")
    raw = [whole >> o * width & (1 << width) - 1 for o in range(count)]
    return [value - (value >> width - 1 << width) for value in raw]


@cocotb.test()  # type: ignore[untyped-decorator]
async def constant_kernels(dut: Any) -> None:
    """Every output of every vector equals the reference's, and comes exactly when it must."""
    await compare(dut, ConstantResult, blocks, story)
