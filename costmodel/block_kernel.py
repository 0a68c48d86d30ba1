# SPDX-License-Identifier: Apache-2.0
"""The price of a block-dot kernel, and what of it is the sum inside a block."""

from __future__ import annotations

from typing import Any

from hw.block_kernel import (
    block_kernel_name,
    block_kernel_text,
    block_latency,
    block_sources,
    block_style,
)
from hw.sites import Resources
from hw.unit_catalogue import price_of
from hwquant.block_mac import BlockMacSpec

from .formulas import fitted_flow
from .kernel import KernelCost, estimate
from .primitives import FORMULAS
from .primitives.block_scaled import block_kernels

__all__ = ["block_price"]

TOP = "kernel"


def block_price(
    spec: BlockMacSpec, style: str = "plain", *, synth: bool = False, dsp: bool = False
) -> dict[str, Any]:
    """Return the record that ``hwquant cost`` prints for a pair of block-scaled formats.

    The source is a measurement of the same RTL, else the formula, else synthesis, as for any
    kernel (`costmodel.kernel.estimate`).  ``block_lut_sites`` are those of the integer kernel
    alone, as a kernel of its own; the rest is scales, shifter and window.  Nothing is placed,
    routed or timed.

    Raises `ToolError` when Yosys is needed and missing or fails, `SpecError` when the style
    cannot do it.
    """
    chosen, why = block_style(style, spec)
    cost = _cost(spec, chosen.name, synth=synth, dsp=dsp)
    inner = estimate(spec.element, chosen.name, synth=cost.source == "synthesis", dsp=dsp)
    msb, lsb = spec.bounds
    return {
        **cost.to_json(),
        "style_why": why,
        "block_lut_sites": inner.resources.lut_sites,
        "window": f"{msb}:{lsb}",
        "acc_bits": spec.accumulator.width,
        "lanes": spec.lanes,
        "latency_cycles": block_latency(spec, chosen.name),
    }


def _cost(spec: BlockMacSpec, style: str, *, synth: bool, dsp: bool) -> KernelCost:
    """Return the price of the whole kernel, from the best source there is."""
    sources = block_sources(spec, style)
    if not (synth or dsp):
        row = price_of("block", block_kernel_name(spec), style, tuple(sources))
        if row is not None:
            return KernelCost(Resources(**row.counts), style, "measured", row.flow)
        if style in FORMULAS:
            columns = block_kernels([spec], [style]).to_columns()
            counts = {name: int(column[0]) for name, column in columns.items()}
            return KernelCost(Resources(**counts, carry=0), style, "formula", fitted_flow())
    from hw.yosys import flow, synthesize

    sources[f"{TOP}.sv"] = block_kernel_text(spec, TOP, style)
    return KernelCost(synthesize(sources, TOP, dsp=dsp), style, "synthesis", flow(dsp=dsp))
