# SPDX-License-Identifier: Apache-2.0
"""The price of a block-dot kernel, from synthesis, and what of it is the sum inside a block."""

from __future__ import annotations

from typing import Any

from hw.block_kernel import block_kernel_text, block_latency, block_sources, block_style
from hwquant.block_mac import BlockMacSpec

__all__ = ["block_price"]

TOP = "kernel"


def block_price(spec: BlockMacSpec, style: str = "plain", *, dsp: bool = False) -> dict[str, Any]:
    """Return the record that ``hwquant cost`` prints for a pair of block-scaled formats.

    ``block_lut_sites`` are those of the integer kernel alone, as a kernel of its own; the rest is
    scales, shifter and window.  Nothing is placed, routed or timed.

    Raises `ToolError` when Yosys is missing or fails, `SpecError` when the style cannot do it.
    """
    from hw.netlist import kernel_sources
    from hw.yosys import flow, synthesize

    chosen, why = block_style(style, spec)
    sources = block_sources(spec, chosen.name)
    sources[f"{TOP}.sv"] = block_kernel_text(spec, TOP, chosen.name)
    whole = synthesize(sources, TOP, dsp=dsp)
    inner = synthesize(kernel_sources(spec.element, TOP, chosen.name), TOP, dsp=dsp)
    msb, lsb = spec.bounds
    return {
        **whole.to_json(),
        "style": chosen.name,
        "style_why": why,
        "source": "synthesis",
        "flow": flow(dsp=dsp),
        "block_lut_sites": inner.lut_sites,
        "window": f"{msb}:{lsb}",
        "acc_bits": spec.accumulator.width,
        "lanes": spec.lanes,
        "latency_cycles": block_latency(spec, chosen.name),
    }
