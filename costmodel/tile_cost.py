# SPDX-License-Identifier: Apache-2.0
"""The price of a tile of one DSP slice: measured, by formula, or synthesized."""

from __future__ import annotations

from typing import Any, Final

from hw.library import source_text
from hw.sites import Resources
from hw.tile import TILE_SOURCES, TileSpec, tile_latency, tile_layout, tile_name, tile_text
from hw.tile_options import STYLES
from hw.unit_catalogue import price_of
from hwquant.errors import InputError

from .formulas import fitted_flow
from .kernel import KernelCost
from .primitives.tile import hq_dsp_tile

__all__ = ["tile_cost", "tile_record"]

TOP: Final = "tile"


def tile_cost(
    spec: TileSpec, *, primitive: bool = True, synth: bool = False, dsp: bool = False
) -> KernelCost:
    """Return the price of a tile, from the best source there is (`costmodel.kernel.estimate`).

    ``primitive`` is the tile with device cells, the one with a formula; the portable one is
    synthesized, and is one slice only with ``dsp``.

    Raises `InputError` for the portable tile without ``synth``, `ToolError` when Yosys is needed
    and missing or fails.
    """
    style = STYLES[0] if primitive else STYLES[1]
    if not (synth or dsp):
        measured = price_of("tile", tile_name(spec), style, TILE_SOURCES)
        if measured is not None:
            return KernelCost(Resources(**measured.counts), style, "measured", measured.flow)
        if not primitive:
            raise InputError(f"no formula for style {style}; add --synth, and --dsp for one slice")
        columns = hq_dsp_tile([spec]).to_columns()
        counts = {name: int(column[0]) for name, column in columns.items()}
        return KernelCost(Resources(**counts, carry=0), style, "formula", fitted_flow())
    from hw.yosys import flow, synthesize

    sources = {name: source_text(name) for name in TILE_SOURCES}
    sources[f"{TOP}.sv"] = tile_text(spec, TOP, primitive=primitive)
    return KernelCost(synthesize(sources, TOP, dsp=dsp), style, "synthesis", flow(dsp=dsp))


def tile_record(
    spec: TileSpec, *, primitive: bool = True, synth: bool = False, dsp: bool = False
) -> dict[str, Any]:
    """Return what ``hwquant cost --tile`` prints; raises what `tile_cost` does.

    ``lut_sites_per_product`` divides the tile's sites by the products of a beat.
    """
    cost = tile_cost(spec, primitive=primitive, synth=synth, dsp=dsp)
    layout = tile_layout(spec)
    return {
        **cost.to_json(),
        "shape": f"{layout.weights}x{layout.acts}",
        "products": layout.count,
        "lut_sites_per_product": round(cost.resources.lut_sites / layout.count, 2),
        "acc_bits": spec.mac.accumulator.width,
        "latency_cycles": tile_latency(spec),
        "initiation_interval": 1,
    }
