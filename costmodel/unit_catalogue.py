# SPDX-License-Identifier: Apache-2.0
"""Write the catalogue of tiles and block kernels: verify, synthesize, record.

Run ``python -m costmodel.unit_catalogue`` for the committed ``hw/unit_catalogue.csv``; kernels that
stand in it with unchanged RTL and the same flow are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hw.block_kernel import (
    block_kernel_name,
    block_kernel_text,
    block_sources,
    block_style,
    block_to_json,
)
from hw.library import source_text, sources_sha256
from hw.styles import fitting
from hw.tile import TILE_SOURCES, TileSpec, tile_name, tile_text, tile_to_json
from hw.unit_catalogue import UnitRow, read, write
from hwquant import atomic
from hwquant.block_mac import BlockMacSpec
from hwquant.errors import HwquantError, SpecError
from hwquant.formats import parse
from hwquant.progress import note, track

__all__ = ["block_pairs", "measure_block", "measure_tile", "tile_specs"]

STEPS: Final = 4096
LENGTH: Final = 256
FILE: Final = "hw/unit_catalogue.csv"

TILES: Final = (
    ("int4", "dsp"), ("int5", "dsp"), ("int6", "dsp"), ("int8", "lut"), ("int4", "lut"),
    ("int5", "lut"), ("int3", "lut"), ("e2m1", "lut"), ("e4m3", "lut"),
)  # fmt: skip
BLOCKS: Final = (
    ("mxfp4", 8), ("mxint8", 8), ("nvfp4", 8), ("mxfp6e2m3", 8), ("mxfp6e3m2", 8), ("mxfp8e4m3", 8),
    ("mxfp8e5m2", 8),
)  # fmt: skip
WINDOW: Final = (15, -16)


def tile_specs() -> list[TileSpec]:
    """Return the tiles of the catalogue; accumulators have 8 bits more than a product."""
    found = []
    for name, adder in TILES:
        fmt = parse(name)
        width = 2 * fmt.bits + 8 if name.startswith("int") else None
        found.append(TileSpec(fmt, fmt, LENGTH, width, adder))
    return found


def block_pairs() -> list[tuple[BlockMacSpec, str]]:
    """Return the block kernels of the catalogue, each with every style that can do its sum.

    Left out are the portable twins of styles with device cells, and styles with a DSP.
    """
    found = []
    for name, lanes in BLOCKS:
        spec = BlockMacSpec(name, name, lanes, LENGTH, WINDOW)
        for style in fitting(spec.element):
            if style.name.endswith("_portable") or style.dsps:
                continue
            try:
                block_style(style.name, spec)
            except SpecError:
                continue  # one result per dot product
            found.append((spec, style.name))
    return found


def _row(
    kind: str,
    name: str,
    style: str,
    record: Mapping[str, Any],
    sources: Mapping[str, str],
    top: str,
    checks: int,
) -> UnitRow:
    from hw.yosys import flow, synthesize, timing

    files = {**sources, "unit.sv": top}
    counts = synthesize(files, "unit").to_json()
    spec = json.dumps(record, sort_keys=True)
    sha = sources_sha256(tuple(sources))
    return UnitRow(kind, name, style, counts, timing(files, "unit"), checks, sha, flow(), spec)


def measure_tile(spec: TileSpec) -> UnitRow:
    """Verify and synthesize one tile.

    Raises `MismatchError` when it computes anything else than the reference, `ToolError` when a
    tool is missing or fails.
    """
    from sim.tile import verify_tile

    report = verify_tile(spec, steps=STEPS)
    report.raise_for_mismatch()
    sources = {name: source_text(name) for name in TILE_SOURCES}
    top, record = tile_text(spec, "unit"), tile_to_json(spec)
    return _row("tile", tile_name(spec), "dsp_tile", record, sources, top, report.checks)


def measure_block(spec: BlockMacSpec, style: str) -> UnitRow:
    """Verify and synthesize one block kernel; raises what `measure_tile` does."""
    from sim.block import verify_block

    report = verify_block(spec, steps=STEPS, style=style)
    report.raise_for_mismatch()
    sources, top = block_sources(spec, style), block_kernel_text(spec, "unit", style)
    name = block_kernel_name(spec)
    return _row("block", name, style, block_to_json(spec), sources, top, report.checks)


def main() -> int:
    """Write the file; returns 1 when a kernel could not be measured."""
    from hw.yosys import flow

    target, failed = Path(FILE), 0
    old = read(target.read_text(encoding="utf-8")) if target.is_file() else ()
    known = {(row.kind, row.name, row.style): row for row in old if row.flow == flow()}
    jobs: list[tuple[tuple[str, str, str], str, Any]] = [
        (("tile", tile_name(spec), "dsp_tile"), sources_sha256(TILE_SOURCES), (spec,))
        for spec in tile_specs()
    ]
    jobs += [
        (
            ("block", block_kernel_name(spec), style),
            sources_sha256(tuple(block_sources(spec, style))),
            (spec, style),
        )
        for spec, style in block_pairs()
    ]
    found: list[UnitRow] = []
    with track("kernels", len(jobs)) as advance:
        for key, sha, what in jobs:
            row = known.get(key)
            try:
                if row is None or row.rtl_sha256 != sha:
                    row = measure_tile(*what) if key[0] == "tile" else measure_block(*what)
                found.append(row)
                later = [known[job[0]] for job in jobs[len(found) + failed :] if job[0] in known]
                atomic.write_text(target, write([*found, *later]))
            except HwquantError as error:
                note(f"{' '.join(key)}: {error}")
                failed += 1
            advance(detail=" ".join(key))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
