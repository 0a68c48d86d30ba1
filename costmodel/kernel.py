# SPDX-License-Identifier: Apache-2.0
"""The price of one kernel, from synthesis.

Two sources, named in every result: ``measured`` is a synthesis done before and committed in
``data/kernels.csv``, used only while the RTL it was made from is unchanged; ``synthesis`` runs
Yosys now (or reads its own cache).  Neither is placed, routed or timed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hw.catalogue import COUNTS
from hw.library import sources_sha256
from hw.netlist import kernel_sources
from hw.sites import Resources
from hw.styles import STYLES, style_of
from hwquant import atomic
from hwquant.errors import InputError
from hwquant.formats import integers, minifloats
from hwquant.mac import MacSpec
from hwquant.progress import track

__all__ = ["KernelCost", "characterize", "estimate", "standard_specs"]

COLUMNS: Final = (
    "weight", "act", "lanes", "acc_bits", "overflow", "style", *COUNTS, "rtl_sha256", "flow"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelCost:
    """What a kernel uses, and where the figures come from.

    ``source`` is ``measured`` or ``synthesis``; ``flow`` names tool, version and packing rules.
    """

    resources: Resources
    style: str
    source: str
    flow: str

    def to_json(self) -> dict[str, Any]:
        """Return counts, style, source and flow in one flat record."""
        return {
            **self.resources.to_json(),
            "style": self.style,
            "source": self.source,
            "flow": self.flow,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> KernelCost:
        """Rebuild a price from `to_json`."""
        counts = Resources(**{name: record[name] for name in COUNTS})
        return cls(counts, record["style"], record["source"], record["flow"])


def estimate(
    spec: MacSpec, style: str = "plain", *, synth: bool = False, dsp: bool = False
) -> KernelCost:
    """Return the price of the kernel of ``spec`` in ``style``.

    A committed measurement of the same hardware is used if there is one and its RTL is unchanged;
    otherwise, and always with ``synth``, Yosys runs.  ``dsp`` lets it use DSP blocks (never
    measured beforehand).  ``length`` matters only through the accumulator width, except to kernels
    with one result per dot product.

    Raises `ToolError` when Yosys is needed and missing or fails, `SpecError` when the style is
    unknown or cannot do the spec.
    """
    if not (synth or dsp):
        measured = _measured().get(_identity(spec, style))
        if measured is not None:
            return measured
    from hw.yosys import flow, synthesize

    resources = synthesize(kernel_sources(spec, "kernel", style), "kernel", dsp=dsp)
    return KernelCost(resources, style, "synthesis", flow(dsp=dsp))


def _identity(spec: MacSpec, style: str) -> str:
    """Return what the hardware depends on: its parameters (biases and special codes vanish)."""
    values = style_of(style, spec).parameters(spec)
    return json.dumps([style, {key: str(value) for key, value in values.items()}], sort_keys=True)


def _row_spec(row: dict[str, str]) -> MacSpec:
    lanes = int(row["lanes"])
    acc = int(row["acc_bits"])
    return MacSpec(row["weight"], row["act"], lanes, lanes, acc, row["overflow"])


@cache
def _measured() -> dict[str, KernelCost]:
    """Return the committed measurements of the present RTL, by hardware identity."""
    text = files("costmodel").joinpath("data", "kernels.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        style = row["style"]
        if style not in STYLES or row["rtl_sha256"] != sources_sha256(STYLES[style].sources):
            continue
        resources = Resources(**{name: int(row[name]) for name in COUNTS})
        found[_identity(_row_spec(row), style)] = KernelCost(
            resources, style, "measured", row["flow"]
        )
    return found


def standard_specs() -> tuple[MacSpec, ...]:
    """Return the kernels that are measured beforehand: one lane, exact for 256 products.

    The 33 formats of 3..8 bits with themselves, and the usual mixed pairs.
    """
    formats = [str(fmt) for fmt in (*integers(3, 8), *minifloats(3, 8))]
    mixed = [
        (weight, act)
        for weight in ("int4", "e2m1", "e3m2", "e4m3", "int8")
        for act in ("int8", "uint8", "uint4", "e4m3", "ue4m4")
        if weight != act
    ]
    pairs = [(name, name) for name in formats] + mixed
    return tuple(MacSpec(weight, act, lanes=1, length=256) for weight, act in pairs)


def characterize(specs: Iterable[MacSpec], path: str | Path) -> None:
    """Synthesize ``specs`` and write their measurements to the CSV file ``path``.

    The committed file is ``characterize(standard_specs(), "costmodel/data/kernels.csv")``.
    Raises `ToolError` when Yosys is missing or fails, `InputError` for no specs.
    """
    chosen = tuple(specs)
    if not chosen:
        raise InputError("no kernels to characterize; give at least one MacSpec")
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    with track("kernels", len(chosen)) as advance:
        for spec in chosen:
            cost = estimate(spec, synth=True)
            writer.writerow(
                {
                    "weight": str(spec.weight),
                    "act": str(spec.act),
                    "lanes": spec.lanes,
                    "acc_bits": spec.accumulator.width,
                    "overflow": spec.overflow.value,
                    "style": cost.style,
                    **cost.resources.to_json(),
                    "rtl_sha256": sources_sha256(STYLES[cost.style].sources),
                    "flow": cost.flow,
                }
            )
            advance(detail=f"{spec.weight} x {spec.act}")
    atomic.write_text(path, out.getvalue())
