# SPDX-License-Identifier: Apache-2.0
"""Verify block-dot kernels bit for bit against `hwquant.block_mac`, many in one simulator.

The harness is the kernels' farm: DPI memory ports (``farm.cpp``), one clock, raw words compared.
"""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from hw import yosys
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
from hw.manifest import MANIFEST, read_record
from hw.netlist import cell_models, cell_sources
from hw.styles import STYLES
from hwquant import atomic
from hwquant.block_mac import BlockMacSpec
from hwquant.errors import InputError, ToolError

from .block_vectors import out_words, row_words
from .build import simulator
from .farm_top import TOP, VISIBLE
from .report import MismatchError
from .runner import run_job

__all__ = [
    "BlockDesign",
    "BlockFailure",
    "BlockReport",
    "BlockResult",
    "BlockUnit",
    "block_design",
    "mapped_blocks",
    "verify_block",
    "verify_block_design",
]

DEFAULT_STEPS = 16_384
Target = BlockMacSpec | BlockBundle | str | Path


@dataclass(frozen=True)
class BlockUnit:
    """One generated kernel: ``name`` is its module, ``latency`` its cycles to a result."""

    spec: BlockMacSpec
    name: str
    latency: int

    @property
    def label(self) -> str:
        """Say in words which kernel this is."""
        return f"{self.name}: {block_kernel_name(self.spec)}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {"spec": block_to_json(self.spec), "name": self.name, "latency": self.latency}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BlockUnit:
        """Rebuild a unit from `to_json`."""
        return cls(block_from_json(record["spec"]), record["name"], record["latency"])


@dataclass(frozen=True)
class BlockDesign:
    """Kernels and the SystemVerilog sources (file name to text) that define them."""

    units: tuple[BlockUnit, ...]
    sources: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockFailure:
    """One result that differs; ``row`` is its row in the stage, None stands for no result."""

    stage: str
    row: int
    expected: int | None
    got: int | None

    def describe(self) -> str:
        """Return the failing vector in words."""
        return f"{self.stage}, row {self.row}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True)
class BlockResult:
    """Counts of one kernel: results compared, those at a rail, blocks that were rounded."""

    unit: BlockUnit
    checks: int
    mismatches: int
    rails: int
    inexact: int
    failures: tuple[BlockFailure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return asdict(self) | {"unit": self.unit.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BlockResult:
        """Rebuild a result from `to_json`."""
        failures = tuple(BlockFailure(**failure) for failure in record["failures"])
        counts = {name: record[name] for name in ("checks", "mismatches", "rails", "inexact")}
        return cls(BlockUnit.from_json(record["unit"]), **counts, failures=failures)


@dataclass(frozen=True)
class BlockReport:
    """All kernels of one verification."""

    results: tuple[BlockResult, ...]
    seed: int
    seconds: float
    warnings: tuple[str, ...] = ()
    level: str = "rtl"

    @property
    def checks(self) -> int:
        """Results compared."""
        return sum(result.checks for result in self.results)

    @property
    def mismatches(self) -> int:
        """Results that differ from the reference."""
        return sum(result.mismatches for result in self.results)

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        for result in self.results:
            if result.mismatches:
                first = result.failures[0].describe() if result.failures else "a stray result"
                raise MismatchError(
                    f"{result.unit.label}: {result.mismatches} results differ; the first:\n{first}"
                )

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

    def write_junit(self, path: str | Path) -> None:
        """Write one JUnit XML file with a test case per kernel; whole or not at all."""
        failed = sum(result.mismatches > 0 for result in self.results)
        suite = ET.Element(
            "testsuite",
            name="hwquant verify",
            tests=str(len(self.results)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{self.seconds:.2f}",
        )
        for result in self.results:
            case = ET.SubElement(
                suite,
                "testcase",
                classname="hwquant.verify",
                name=block_kernel_name(result.unit.spec),
                time="0",
            )
            if result.mismatches:
                message = f"{result.mismatches} results differ"
                failure = ET.SubElement(case, "failure", message=message)
                failure.text = "\n".join(f.describe() for f in result.failures)
        ET.indent(suite)
        body = ET.tostring(suite, encoding="unicode")
        atomic.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def block_design(specs: Sequence[BlockMacSpec], style: str = "plain") -> BlockDesign:
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
    return BlockDesign(tuple(units), sources)


def mapped_blocks(design: BlockDesign, *, dsp: bool = False) -> BlockDesign:
    """Return ``design`` with the netlist that Yosys maps each unit to instead of its RTL."""
    sources = {n: t for n, t in design.sources.items() if not n.startswith("cell_")}
    texts = {unit.name: yosys.netlist(sources, unit.name, dsp=dsp) for unit in design.units}
    cells = cell_sources("\n".join(texts.values()))
    netlists = {f"{name}.sv": text for name, text in texts.items()}
    return BlockDesign(design.units, cells | netlists, design.warnings)


def _bundle_design(folder: Path) -> BlockDesign:
    """Return the kernel in a folder as its files are now, and what was changed."""
    warnings = []
    try:
        BlockBundle.load(folder)
    except InputError as error:
        warnings.append(str(error))
    record = read_record(folder / MANIFEST)
    try:
        latency = record["interface"]["latency_cycles"]
        unit = BlockUnit(block_from_json(record["spec"]), record["name"], latency)
        sources = {name: (folder / name).read_text() for name in record["files"]}
        cells = cell_models(STYLES[record["style"]].primitives)
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{folder} holds no readable block-dot kernel ({error!r})") from error
    return BlockDesign((unit,), cells | sources, tuple(warnings))


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
    one = isinstance(targets, BlockMacSpec | BlockBundle | str | Path)
    listed: list[Any] = [targets] if one else list(targets)  # type: ignore[arg-type]
    if not listed:
        raise InputError("nothing to verify: no block-dot kernel was given")
    specs = [target for target in listed if isinstance(target, BlockMacSpec)]
    designs = [block_design(specs, style)] if specs else []
    for target in listed:
        if not isinstance(target, BlockMacSpec):
            folder = target.folder if isinstance(target, BlockBundle) else Path(target)
            designs.append(_bundle_design(folder))
    if netlist:
        designs = [mapped_blocks(design, dsp=dsp) for design in designs]
    reports = [verify_block_design(design, seed=seed, steps=steps) for design in designs]
    return BlockReport(
        tuple(result for report in reports for result in report.results),
        seed,
        sum(report.seconds for report in reports),
        tuple(text for design in designs for text in design.warnings),
        "netlist" if netlist else "rtl",
    )


def verify_block_design(
    design: BlockDesign, *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> BlockReport:
    """Verify a ready design in one simulator."""
    if steps < 1 or seed < 0:
        raise InputError(f"steps {steps}, seed {seed}, allowed: steps >= 1 and seed >= 0")
    start = time.monotonic()
    sources = {**design.sources, f"{TOP}.sv": farm_sv(design.units)}
    build = simulator(sources, TOP, visible=VISIBLE, cpp=farm_cpp(design.units))
    job = {"units": [unit.to_json() for unit in design.units], "seed": seed, "steps": steps}
    outcome, records, _ = run_job(build, TOP, "sim.tb_block", job, seed=seed)
    results = tuple(BlockResult.from_json(record) for record in records)
    clean = not any(result.mismatches for result in results)
    whole = [r.unit.to_json() for r in results] == [unit.to_json() for unit in design.units]
    if not whole or list(outcome.values()) != [clean] or not all(r.checks for r in results):
        raise ToolError(f"the simulation did not finish: {outcome}; run it again")
    return BlockReport(results, seed, time.monotonic() - start)


def _instance(index: int, unit: BlockUnit) -> str:
    spec, words, outs = unit.spec, row_words(unit.spec), 64 * out_words(unit.spec)
    lanes, wb, ab = spec.lanes, spec.weight.element.bits, spec.act.element.bits
    return f"""
  // {unit.label}
  if (1) begin : gen_{index}
    bit [{32 * words - 1}:0] next;
    bit [{32 * words - 1}:0] row_q;
    logic [{lanes * wb - 1}:0] weight;
    logic [{lanes * ab - 1}:0] act;
    logic [{spec.accumulator.width - 1}:0] acc;
    logic valid;

    for (genvar l = 0; l < {lanes}; ++l) begin : gen_lane
      assign weight[{wb}*l +: {wb}] = row_q[24 + 8*l +: {wb}];
      assign act[{ab}*l +: {ab}] = row_q[{24 + 8 * lanes} + 8*l +: {ab}];
    end

    {unit.name} u_unit (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]), .clear_i(row_q[2]),
      .last_i(row_q[4]), .weight_i(weight), .weight_scale_i(row_q[8+:8]), .act_i(act),
      .act_scale_i(row_q[16+:8]), .valid_o(valid), .acc_o(acc)
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) hq_put_{outs // 64}({index}, {outs}'($signed(acc)));
      hq_get_{words}({index}, next);
      row_q <= next;
    end
  end
"""


def farm_sv(units: Sequence[BlockUnit]) -> str:
    """Return the SystemVerilog of a top that instantiates ``units``."""
    imports = [
        f'  import "DPI-C" function void hq_get_{words}'
        f"(input int kernel, output bit [{32 * words - 1}:0] row);"
        for words in sorted({row_words(unit.spec) for unit in units})
    ]
    for words in sorted({out_words(unit.spec) for unit in units}):
        kind = "longint" if words == 1 else f"bit [{64 * words - 1}:0]"
        imports.append(
            f'  import "DPI-C" function void hq_put_{words}(input int kernel, input {kind} value);'
        )
    return "\n".join(
        [
            "// SPDX-License-Identifier: Apache-2.0",
            f"module {TOP} (input bit clk_i);",
            *imports,
            *(_instance(index, unit) for index, unit in enumerate(units)),
            "endmodule",
            "",
        ]
    )


def farm_cpp(units: Sequence[BlockUnit]) -> str:
    """Return the C++ that serves the imports of `farm_sv`."""
    gets = [f"HQ_GET(hq_get_{n}, {n})" for n in sorted({row_words(unit.spec) for unit in units})]
    puts = [
        f"HQ_PUT_INT(hq_put_{n})" if n == 1 else f"HQ_PUT(hq_put_{n}, {n})"
        for n in sorted({out_words(unit.spec) for unit in units})
    ]
    static = files("sim").joinpath("farm.cpp").read_text()
    return "\n".join(['#include "svdpi.h"', static, *gets, *puts, ""])
