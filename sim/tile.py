# SPDX-License-Identifier: Apache-2.0
"""Verify tiles bit for bit (`sim.unit`): every place against its `MacSpec`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hw import yosys
from hw.library import source_text
from hw.netlist import cell_models
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

from .tile_vectors import out_words, row_words
from .unit import Design, Kind, Unit, Wiring, designs_of, feed, folder_design, mapped
from .unit_report import DEFAULT_STEPS, Failure, Report, Result, verify_design, verify_designs

__all__ = [
    "TileFailure",
    "TileReport",
    "TileResult",
    "TileUnit",
    "tile_design",
    "verify_tile",
    "verify_tile_design",
    "verify_tile_designs",
]

Target = TileSpec | TileBundle | str | Path


def _wiring(spec: TileSpec) -> Wiring:
    layout = tile_layout(spec)
    weights, acts = spec.weight.bits, spec.act.bits
    ports = """ .clear_i(row_q[2]),
      .weight_i(weight), .act_i(act), .valid_o(valid), .acc_o(acc)"""
    return Wiring(
        {
            "weight": layout.weights * weights,
            "act": layout.acts * acts,
            "acc": layout.count * spec.mac.accumulator.width,
        },
        ports,
        "acc",
        (
            feed("weight", weights, layout.weights, 8, "gen_weight"),
            feed("act", acts, layout.acts, 8 + 8 * layout.weights, "gen_act"),
        ),
    )


@dataclass(frozen=True)
class TileUnit(Unit[TileSpec]):
    """One generated tile."""

    OF = Kind(
        "tile",
        tile_name,
        tile_to_json,
        tile_from_json,
        row_words,
        out_words,
        _wiring,
    )


@dataclass(frozen=True)
class TileFailure(Failure):
    """One result that differs: the codes of its row, and all accumulators as raw words."""

    row: int
    weights: tuple[int, ...]
    acts: tuple[int, ...]
    expected: str
    got: str

    def describe(self) -> str:
        """Return the failing vector in words."""
        return (
            f"{self.stage}, row {self.row}: weights {list(self.weights)}, activations "
            f"{list(self.acts)}: expected {self.expected}, got {self.got}"
        )


@dataclass(frozen=True)
class TileResult(Result):
    """Counts of one tile."""

    UNIT = TileUnit
    FAILURE = TileFailure


@dataclass(frozen=True)
class TileReport(Report[TileResult]):
    """All tiles of one verification."""

    RESULT = TileResult
    TESTBENCH = "sim.tb_tile"

    flow: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the counts, as ``hwquant verify --json`` prints them."""
        return {
            "tiles": len(self.results),
            "results": self.checks,
            "mismatches": self.mismatches,
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "warnings": list(self.warnings),
            "level": "netlist" if self.flow else "rtl",
            "flow": self.flow,
            "failures": [f.describe() for result in self.results for f in result.failures],
        }


def tile_design(specs: Sequence[TileSpec], *, primitive: bool = True) -> Design[TileUnit]:
    """Return the library's tiles of ``specs``."""
    units = tuple(
        TileUnit(spec, f"tile_{index}", tile_latency(spec)) for index, spec in enumerate(specs)
    )
    sources = cell_models(TILE_PRIMITIVES) if primitive else {}
    sources |= {name: source_text(name) for name in TILE_SOURCES}
    sources["tiles.sv"] = "\n".join(tile_text(u.spec, u.name, primitive=primitive) for u in units)
    return Design(units, sources)


def verify_tile(
    targets: Target | Iterable[Target],
    *,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    netlist: bool = False,
    dsp: bool = False,
) -> TileReport:
    """Verify tiles: a spec's, or that in a folder, as its files are now.

    ``netlist`` verifies what Yosys maps them to; with ``dsp`` it may take more slices.

    >>> from hwquant.formats import parse
    >>> report = verify_tile(TileSpec(parse("int4"), parse("int4")))  # doctest: +SKIP

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no tile.
    """
    load = partial(folder_design, bundle=TileBundle, unit=TileUnit, cells=lambda _: TILE_PRIMITIVES)
    designs = designs_of(targets, tile_design, load)
    return verify_tile_designs(designs, seed=seed, steps=steps, netlist=netlist, dsp=dsp)


def verify_tile_designs(
    designs: Sequence[Design[TileUnit]],
    *,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    netlist: bool = False,
    dsp: bool = False,
) -> TileReport:
    """Verify ready tiles, their mapped netlists on request; see `verify_tile`."""
    ready = [mapped(design, dsp=dsp) for design in designs] if netlist else designs
    report = verify_designs(ready, TileReport, seed=seed, steps=steps)
    return replace(report, flow=yosys.flow(dsp=dsp)) if netlist else report


def verify_tile_design(
    design: Design[TileUnit], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> TileReport:
    """Verify ready tiles in one simulator."""
    return verify_design(design, TileReport, seed=seed, steps=steps)
