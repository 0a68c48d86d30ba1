# SPDX-License-Identifier: Apache-2.0
"""The price of one kernel, from the best source there is.

Three sources, named in every result: ``measured`` is a committed synthesis of the same hardware
(`costmodel.measurements`), used only while the RTL it was made from is unchanged; ``formula`` is
`costmodel.formulas`, whose error on formats it has not seen is stated; ``synthesis`` runs Yosys now
(or reads its own cache).  None is placed, routed or timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hw.catalogue import COUNTS
from hw.netlist import kernel_sources
from hw.sites import Resources
from hwquant.mac import MacSpec

from . import measurements
from .measurements import Measurement, identity

__all__ = ["KernelCost", "estimate"]


@dataclass(frozen=True, slots=True)
class KernelCost:
    """What a kernel uses, and where the figures come from.

    ``source`` is ``measured``, ``formula`` or ``synthesis``; ``flow`` names tool, version and
    packing rules, for a formula those of the kernels it was fitted to.  A formula does not count
    carry chains: ``carry`` is then 0 and left out of the record.
    """

    resources: Resources
    style: str
    source: str
    flow: str

    def to_json(self) -> dict[str, Any]:
        """Return counts, style, source and flow in one flat record."""
        counts = self.resources.to_json()
        if self.source == "formula":
            del counts["carry"]
        return {
            **counts,
            "style": self.style,
            "source": self.source,
            "flow": self.flow,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> KernelCost:
        """Rebuild a price from `to_json`."""
        counts = Resources(**{name: record.get(name, 0) for name in COUNTS})
        return cls(counts, record["style"], record["source"], record["flow"])


def estimate(
    spec: MacSpec, style: str = "plain", *, synth: bool = False, dsp: bool = False
) -> KernelCost:
    """Return the price of the kernel of ``spec`` in ``style``.

    A committed measurement of the same hardware is used if there is one and its RTL is unchanged;
    otherwise the style's formula; Yosys runs with ``synth``, with ``dsp``, which lets it use DSP
    blocks, and where a style has no formula.  ``length`` matters only through the accumulator
    width, except to kernels with one result per dot product.

    Raises `ToolError` when Yosys is needed and missing or fails, `SpecError` when the style is
    unknown or cannot do the spec.
    """
    if not (synth or dsp):
        measured = _measured().get(identity(spec, style))
        if measured is not None:
            return KernelCost(measured.resources, style, "measured", measured.flow)
        found = _formula(spec, style)
        if found is not None:
            return found
    from hw.yosys import flow, synthesize

    resources = synthesize(kernel_sources(spec, "kernel", style), "kernel", dsp=dsp)
    return KernelCost(resources, style, "synthesis", flow(dsp=dsp))


def _formula(spec: MacSpec, style: str) -> KernelCost | None:
    """Return the price by formula, None where the style has none for these formats."""
    from .formulas import covers, estimate_many, fitted_flow

    if not covers(spec, style):
        return None
    columns = estimate_many([spec], style).to_columns()
    counts = {name: int(values[0]) for name, values in columns.items()}
    return KernelCost(Resources(**counts, carry=0), style, "formula", fitted_flow())


@cache
def _measured() -> dict[str, Measurement]:
    """Return the committed measurements of the present RTL, by hardware identity."""
    return {identity(row.spec, row.style): row for row in measurements.measurements()}
