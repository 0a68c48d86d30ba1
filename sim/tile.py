# SPDX-License-Identifier: Apache-2.0
"""Verify tiles bit for bit, many in one simulator: every place against its `MacSpec`.

The harness is the kernels' farm: DPI memory ports (``farm.cpp``), one clock, raw words compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from hw import yosys
from hw.library import source_text
from hw.manifest import MANIFEST, read_record
from hw.netlist import cell_models, cell_sources
from hw.tile import (
    TILE_PRIMITIVES,
    TILE_SOURCES,
    TileBundle,
    TileSpec,
    tile_from_json,
    tile_latency,
    tile_layout,
    tile_name,
    tile_text,
    tile_to_json,
)
from hwquant.errors import InputError, ToolError

from .build import simulator
from .farm_top import TOP, VISIBLE
from .report import MismatchError
from .runner import run_job
from .tile_vectors import out_words, row_words

__all__ = [
    "TileDesign",
    "TileReport",
    "TileResult",
    "TileUnit",
    "mapped_tile",
    "tile_design",
    "verify_tile",
    "verify_tile_design",
]

DEFAULT_STEPS = 16_384


@dataclass(frozen=True)
class TileUnit:
    """One generated tile: ``name`` is its module, ``latency`` its cycles to a result."""

    spec: TileSpec
    name: str
    latency: int

    @property
    def label(self) -> str:
        """Say in words which tile this is."""
        return f"{self.name}: {tile_name(self.spec)}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {"spec": tile_to_json(self.spec), "name": self.name, "latency": self.latency}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TileUnit:
        """Rebuild a unit from `to_json`."""
        return cls(tile_from_json(record["spec"]), record["name"], record["latency"])


@dataclass(frozen=True)
class TileDesign:
    """Tiles and the SystemVerilog sources (file name to text) that define them."""

    units: tuple[TileUnit, ...]
    sources: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class TileResult:
    """Counts of one tile: accumulators compared, and results that differ; the first in words."""

    unit: TileUnit
    checks: int
    mismatches: int
    failures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return asdict(self) | {"unit": self.unit.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TileResult:
        """Rebuild a result from `to_json`."""
        unit = TileUnit.from_json(record["unit"])
        return cls(unit, record["checks"], record["mismatches"], tuple(record["failures"]))


@dataclass(frozen=True)
class TileReport:
    """All tiles of one verification."""

    results: tuple[TileResult, ...]
    seed: int
    seconds: float

    @property
    def checks(self) -> int:
        """Accumulators compared."""
        return sum(result.checks for result in self.results)

    @property
    def mismatches(self) -> int:
        """Results that differ from the reference."""
        return sum(result.mismatches for result in self.results)

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        for result in self.results:
            if result.mismatches:
                first = result.failures[0] if result.failures else "a stray result"
                raise MismatchError(
                    f"{result.unit.label}: {result.mismatches} results differ; the first:\n{first}"
                )


def tile_design(specs: Sequence[TileSpec], *, primitive: bool = True) -> TileDesign:
    """Return the library's tiles of ``specs``."""
    units = tuple(
        TileUnit(spec, f"tile_{index}", tile_latency(spec)) for index, spec in enumerate(specs)
    )
    sources = cell_models(TILE_PRIMITIVES) if primitive else {}
    sources |= {name: source_text(name) for name in TILE_SOURCES}
    sources["tiles.sv"] = "\n".join(tile_text(u.spec, u.name, primitive=primitive) for u in units)
    return TileDesign(units, sources)


def mapped_tile(design: TileDesign) -> TileDesign:
    """Return ``design`` with the netlist that Yosys maps each tile to instead of its RTL.

    Raises `ToolError` when Yosys is missing or refuses the sources.
    """
    rtl = {name: text for name, text in design.sources.items() if not name.startswith("cell_")}
    texts = {unit.name: yosys.netlist(rtl, unit.name) for unit in design.units}
    cells = cell_sources("\n".join(texts.values()))
    return TileDesign(design.units, cells | {"netlists.v": "\n".join(texts.values())})


def _folder_design(folder: Path) -> TileDesign:
    """Return the tile in a folder as its files are now."""
    record = read_record(folder / MANIFEST)
    try:
        spec, latency = tile_from_json(record["spec"]), record["interface"]["latency_cycles"]
        unit = TileUnit(spec, record["name"], latency)
        sources = {name: (folder / name).read_text() for name in record["files"]}
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{folder} holds no readable tile ({error!r})") from error
    return TileDesign((unit,), cell_models(TILE_PRIMITIVES) | sources)


def verify_tile(
    target: TileSpec | TileBundle | str | Path, *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> TileReport:
    """Verify one tile, a spec's or that in a folder, as its files are now.

    >>> from hwquant.formats import parse
    >>> report = verify_tile(TileSpec(parse("int4"), parse("int4")))  # doctest: +SKIP

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no tile.
    """
    if isinstance(target, TileSpec):
        return verify_tile_design(tile_design([target]), seed=seed, steps=steps)
    folder = target.folder if isinstance(target, TileBundle) else Path(target)
    return verify_tile_design(_folder_design(folder), seed=seed, steps=steps)


def verify_tile_design(
    design: TileDesign, *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> TileReport:
    """Verify ready tiles in one simulator."""
    if steps < 1 or seed < 0:
        raise InputError(f"steps {steps}, seed {seed}, allowed: steps >= 1 and seed >= 0")
    start = time.monotonic()
    sources = {**design.sources, f"{TOP}.sv": _farm_sv(design.units)}
    build = simulator(sources, TOP, visible=VISIBLE, cpp=_farm_cpp(design.units))
    job = {"units": [unit.to_json() for unit in design.units], "seed": seed, "steps": steps}
    outcome, records, _ = run_job(build, TOP, "sim.tb_tile", job, seed=seed)
    results = tuple(TileResult.from_json(record) for record in records)
    clean = not any(result.mismatches for result in results)
    whole = [result.unit for result in results] == list(design.units)
    if not whole or list(outcome.values()) != [clean] or not all(r.checks for r in results):
        raise ToolError(f"the simulation did not finish: {outcome}; run it again")
    return TileReport(results, seed, time.monotonic() - start)


def _instance(index: int, unit: TileUnit) -> str:
    spec, layout = unit.spec, tile_layout(unit.spec)
    rows, outs = row_words(spec), out_words(spec)
    weights, acts = spec.weight.bits, spec.act.bits
    total = layout.count * spec.mac.accumulator.width
    put = f"hq_put_{outs}({index}, {64 * outs}'(acc))"
    return f"""
  // {unit.label}
  if (1) begin : gen_{index}
    bit [{32 * rows - 1}:0] next;
    bit [{32 * rows - 1}:0] row_q;
    logic [{layout.weights * weights - 1}:0] weight;
    logic [{layout.acts * acts - 1}:0] act;
    logic [{total - 1}:0] acc;
    logic valid;

    for (genvar l = 0; l < {layout.weights}; ++l) begin : gen_weight
      assign weight[{weights}*l +: {weights}] = row_q[8 + 8*l +: {weights}];
    end
    for (genvar l = 0; l < {layout.acts}; ++l) begin : gen_act
      assign act[{acts}*l +: {acts}] = row_q[{8 + 8 * layout.weights} + 8*l +: {acts}];
    end

    {unit.name} u_unit (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]), .clear_i(row_q[2]),
      .weight_i(weight), .act_i(act), .valid_o(valid), .acc_o(acc)
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) {put};
      hq_get_{rows}({index}, next);
      row_q <= next;
    end
  end
"""


def _farm_sv(units: Sequence[TileUnit]) -> str:
    gets = [
        f'  import "DPI-C" function void hq_get_{words}'
        f"(input int kernel, output bit [{32 * words - 1}:0] row);"
        for words in sorted({row_words(unit.spec) for unit in units})
    ]
    puts = []
    for words in sorted({out_words(unit.spec) for unit in units}):
        kind = "longint" if words == 1 else f"bit [{64 * words - 1}:0]"
        puts.append(
            f'  import "DPI-C" function void hq_put_{words}(input int kernel, input {kind} value);'
        )
    instances = [_instance(index, unit) for index, unit in enumerate(units)]
    head = ["// SPDX-License-Identifier: Apache-2.0", f"module {TOP} (input bit clk_i);"]
    return "\n".join([*head, *gets, *puts, *instances, "endmodule", ""])


def _farm_cpp(units: Sequence[TileUnit]) -> str:
    rows = sorted({row_words(unit.spec) for unit in units})
    outs = sorted({out_words(unit.spec) for unit in units})
    gets = [f"HQ_GET(hq_get_{words}, {words})" for words in rows]
    puts = ["HQ_PUT_INT(hq_put_1)" if w == 1 else f"HQ_PUT(hq_put_{w}, {w})" for w in outs]
    static = files("sim").joinpath("farm.cpp").read_text()
    return "\n".join(['#include "svdpi.h"', static, *gets, *puts, ""])
