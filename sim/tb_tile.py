# SPDX-License-Identifier: Apache-2.0
"""cocotb module for tiles; see `sim.tb_unit`."""

from __future__ import annotations

from typing import Any

import cocotb

from hw.tile import tile_layout
from sim.rows import SENTINEL
from sim.tb_unit import compare
from sim.tile import TileFailure, TileResult, TileUnit
from sim.tile_vectors import Block, tile_blocks


def story(unit: TileUnit, block: Block, row: int, words: Any) -> TileFailure:
    """Return what failed."""
    split, codes = tile_layout(unit.spec).weights, block.codes[row].tolist()
    weights, acts = tuple(codes[:split]), tuple(codes[split:])
    return TileFailure(block.stage, row, weights, acts, _hex(block.wanted[row]), _hex(words))


def _hex(words: Any) -> str:
    if words[-1] == SENTINEL:
        return "no result"
    return hex(int.from_bytes(words.tobytes(), "little"))


@cocotb.test()  # type: ignore[untyped-decorator]
async def tiles(dut: Any) -> None:
    """Every accumulator equals the reference's, and comes exactly when it must."""
    await compare(dut, TileResult, tile_blocks, story)
