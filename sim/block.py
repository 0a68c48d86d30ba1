# SPDX-License-Identifier: Apache-2.0
"""Verify block-dot kernels against `hwquant.block_mac`, many in one simulator (`sim.unit`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hw.block_kernel import (
    BlockBundle,
    block_from_json,
    block_kernel_name,
    block_kernel_text,
    block_latency,
    block_sources,
    block_style,
    block_to_json,
)
from hw.netlist import cell_models
from hw.styles import STYLES
from hwquant.block_mac import BlockMacSpec

from .block_vectors import out_words, row_words
from .unit import Design, Kind, Unit, Wiring, designs_of, feed, folder_design, mapped
from .unit_report import DEFAULT_STEPS, Failure, Report, Result, verify_design, verify_designs

__all__ = [
    "BlockFailure",
    "BlockReport",
    "BlockResult",
    "BlockUnit",
    "block_design",
    "verify_block",
    "verify_block_design",
]

Target = BlockMacSpec | BlockBundle | str | Path


def _wiring(spec: BlockMacSpec) -> Wiring:
    lanes, wb, ab = spec.lanes, spec.weight.element.bits, spec.act.element.bits
    ports = """ .clear_i(row_q[2]),
      .last_i(row_q[4]), .weight_i(weight), .weight_scale_i(row_q[8+:8]), .act_i(act),
      .act_scale_i(row_q[16+:8]), .valid_o(valid), .acc_o(acc)"""
    return Wiring(
        {"weight": lanes * wb, "act": lanes * ab, "acc": spec.accumulator.width},
        ports,
        "$signed(acc)",
        (
            feed("weight", wb, lanes, 24, "gen_weight"),
            feed("act", ab, lanes, 24 + 8 * lanes, "gen_act"),
        ),
    )


@dataclass(frozen=True)
class BlockUnit(Unit[BlockMacSpec]):
    """One generated block-dot kernel."""

    OF = Kind(
        "block-dot kernel",
        block_kernel_name,
        block_to_json,
        block_from_json,
        row_words,
        out_words,
        _wiring,
    )


@dataclass(frozen=True)
class BlockFailure(Failure):
    """One result that differs; ``row`` is its row in the stage, None stands for no result."""

    row: int
    expected: int | None
    got: int | None

    def describe(self) -> str:
        """Return the failing vector in words."""
        return f"{self.stage}, row {self.row}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True)
class BlockResult(Result):
    """Counts of one kernel; also results at a rail, and blocks that were rounded."""

    UNIT = BlockUnit
    FAILURE = BlockFailure
    COUNTED = ("rails", "inexact")

    rails: int
    inexact: int


@dataclass(frozen=True)
class BlockReport(Report[BlockResult]):
    """All kernels of one verification."""

    RESULT = BlockResult
    TESTBENCH = "sim.tb_block"

    level: str = "rtl"

    def to_json(self) -> dict[str, Any]:
        """Return the counts, as ``hwquant verify --json`` prints them."""
        return {
            "kernels": len(self.results),
            "blocks": self.checks,
            "blocks_rounded": sum(result.inexact for result in self.results),
            "results_at_a_rail": sum(result.rails for result in self.results),
            "mismatches": self.mismatches,
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "warnings": list(self.warnings),
            "level": self.level,
        }


def block_design(specs: Sequence[BlockMacSpec], style: str = "plain") -> Design[BlockUnit]:
    """Return the library's kernels of ``specs``; ``style`` sums inside a block, or ``auto``."""
    sources: dict[str, str] = {}
    units, texts = [], []
    for index, spec in enumerate(specs):
        unit = BlockUnit(spec, f"unit_{index}", block_latency(spec, style))
        sources |= cell_models(block_style(style, spec)[0].primitives)
        sources |= block_sources(spec, style)
        texts.append(block_kernel_text(spec, unit.name, style))
        units.append(unit)
    sources["units.sv"] = "\n".join(texts)
    return Design(tuple(units), sources)


def verify_block(
    targets: Target | Iterable[Target],
    *,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    style: str = "plain",
    netlist: bool = False,
    dsp: bool = False,
) -> BlockReport:
    """Verify block-dot kernels against `hwquant.block_mac.BlockMacSpec`, in Verilator.

    A target is a spec (its RTL is generated in ``style``), a bundle, or the folder of a bundle (the
    files there are what is verified).  ``netlist`` verifies what Yosys maps them to.

    Raises `ToolError` when Verilator, the compiler or Yosys is missing or refuses the RTL,
    `InputError` for a folder that holds no such kernel.
    """
    load = partial(
        folder_design,
        bundle=BlockBundle,
        unit=BlockUnit,
        cells=lambda record: STYLES[record["style"]].primitives,
    )
    designs = designs_of(targets, partial(block_design, style=style), load)
    if netlist:
        designs = [mapped(design, dsp=dsp) for design in designs]
    report = verify_designs(designs, BlockReport, seed=seed, steps=steps)
    return replace(report, level="netlist" if netlist else "rtl")


def verify_block_design(
    design: Design[BlockUnit], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> BlockReport:
    """Verify a ready design in one simulator."""
    return verify_design(design, BlockReport, seed=seed, steps=steps)
