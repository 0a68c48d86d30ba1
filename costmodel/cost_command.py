# SPDX-License-Identifier: Apache-2.0
"""What ``hwquant cost`` does: choose between a kernel and a network, and price it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw.block_options import block_spec
from hw.catalogue import AUTO, candidates, measured_timing, style_name
from hw.commands import spec_from_options
from hw.netlist import kernel_sources
from hw.styles import STYLES
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .block_kernel import block_price
from .kernel import KernelCost, estimate
from .network import network_cost

__all__ = ["price", "tables"]


def price(
    model: Path | None,
    kernel: Mapping[str, Any],
    *,
    lanes: int,
    overflow: str,
    folding: str,
    synth: bool,
    style: str = "plain",
) -> dict[str, Any]:
    """Return the record that ``hwquant cost`` prints.

    ``kernel`` holds the options that describe one kernel: weight, act, length, acc, dsp.
    ``style`` is a style's name or ``auto``; with ``synth`` auto synthesizes every style that can
    do the kernel and takes the smallest.
    Raises `InputError` when neither or both of a model and a kernel are given.
    """
    if model is None:
        if kernel["weight"] is None or kernel["act"] is None:
            raise InputError("nothing to price; give --weight and --act, or an exported .onnx file")
        block = block_spec(
            kernel["weight"], kernel["act"], lanes, kernel["length"], kernel["acc"], overflow
        )
        if block is not None:
            return block_price(block, style, dsp=kernel["dsp"])
        spec = spec_from_options(
            kernel["weight"], kernel["act"], lanes, kernel["length"], kernel["acc"], overflow
        )
        found = _kernel(spec, style, synth=synth, dsp=kernel["dsp"])
        return found | {"acc_bits": spec.accumulator.width, "lanes": lanes}
    given = [name for name in ("weight", "act", "length") if kernel[name] is not None]
    given += ["acc"] if kernel["acc"] != "auto" else []
    given += ["dsp"] if kernel["dsp"] else []
    if given:
        names = ", ".join(f"--{name}" for name in given)
        raise InputError(f"{names} cannot go with {model}: the model fixes formats and widths")
    from hwquant.graph import load

    workload = load(model).workload()

    def one(spec: MacSpec) -> KernelCost:
        return estimate(spec, style_name(style, spec).style, synth=synth)

    cost_ = network_cost(workload, folding=folding, lanes=lanes, overflow=overflow, price=one)
    return cost_.to_json()


def _kernel(spec: MacSpec, style: str, *, synth: bool, dsp: bool) -> dict[str, Any]:
    """Return the price of one kernel, and why it has the style it has."""
    if style not in AUTO or not synth:
        choice = style_name(style, spec)
        cost = estimate(spec, choice.style, synth=synth, dsp=dsp)
        found = cost.to_json() | {"style_why": choice.why} | _parts(spec, choice.style, dsp=dsp)
        return found | _clock(spec, choice.style, synth=synth, dsp=dsp)
    names = candidates(spec, every_beat=style == "auto-beat", dsps=int(style == "auto-dsp"))
    costs = {name: estimate(spec, name, synth=True, dsp=dsp) for name in names}
    parts = {name: _parts(spec, name, dsp=dsp) for name in names}

    def luts(name: str) -> float:
        used = costs[name].resources
        return float(parts[name].get("luts_shared", used.lut_sites + used.lutram))

    ranked = sorted(names, key=luts)
    why = "smallest of those synthesized: " + ", ".join(f"{n} {luts(n):g}" for n in ranked)
    best = ranked[0]
    found = costs[best].to_json() | {"style_why": why} | parts[best]
    return found | _clock(spec, best, synth=True, dsp=dsp)


def _clock(spec: MacSpec, style: str, *, synth: bool, dsp: bool) -> dict[str, Any]:
    """Return the clock estimate of the netlist (`hw.timing`), where there is one."""
    if not (synth or dsp):
        stored = measured_timing(spec, style)
        return {} if stored is None else stored.to_json()
    from hw.yosys import timing

    return timing(kernel_sources(spec, "kernel", style), "kernel", dsp=dsp).to_json()


def _parts(spec: MacSpec, style: str, *, dsp: bool) -> dict[str, Any]:
    """Return what a kernel with one result per dot product costs where kernels share its sequencer.

    ``core_luts`` are LUT sites and RAM LUTs of the MAC alone, ``luts_shared`` the same with its
    share of the sequencer among ``shared_by`` kernels.
    """
    if STYLES[style].timing is None or spec.lanes != 1 or dsp:
        return {}
    from .bucket import bucket_cost

    cost = bucket_cost(spec, style)
    return {
        "core_luts": cost.core_luts,
        "luts_shared": cost.luts,
        "shared_by": cost.macs,
        "cycles_per_dot": cost.cycles,
    }


def tables(record: Mapping[str, Any]) -> str:
    """Return the kernel and layer tables of a network's record as aligned text."""
    kernels = ("weight", "act", "lanes", "acc_bits", "copies", "lut_sites", "ff", "memory_bits")
    layers = ("name", "op", "weight", "act", "acc_bits", "macs", "kernel", "cycles")
    return "\n\n".join(
        (_table(kernels, record["kernels"]), _table(layers, record["layers"])),
    )


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    cells = [columns, *(tuple(str(row[column]) for column in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
