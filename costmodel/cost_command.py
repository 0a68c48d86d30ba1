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
from hw.tile_options import Tile
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .block_kernel import block_price
from .goal import AUTO_FOLDING, Goal
from .kernel import KernelCost, estimate
from .network_table import facts, tables
from .parts import find_part, utilisation
from .ranges import kernel_range
from .usage import Usage

__all__ = ["facts", "price", "price_tile", "tables"]


def price(
    model: Path | None,
    kernel: Mapping[str, Any],
    goal: Goal,
    *,
    lanes: int | None,
    overflow: str,
    folding: str | None,
    synth: bool,
    style: str = "plain",
) -> dict[str, Any]:
    """Return the record that ``hwquant cost`` prints.

    ``kernel`` holds the options that describe one kernel: weight, act, length, acc, dsp.
    ``style`` is a style's name or ``auto``; with ``synth`` auto synthesizes every style that can
    do the kernel and takes the smallest.  ``lanes`` and ``folding`` are None where not given.
    Raises `InputError` when neither or both of a model and a kernel are given, or options that do
    not go together.
    """
    if model is not None and goal.network is not None:
        raise InputError(f"two networks, {model} and --network {goal.network}; give one")
    model = goal.network if model is None else model
    if model is None:
        if kernel["weight"] is None or kernel["act"] is None:
            raise InputError("nothing to price; give --weight and --act, or an exported .onnx file")
        given = goal.given() + (["--folding auto"] if folding == AUTO_FOLDING else [])
        if given:
            raise InputError(f"{given[0]} goes with a network; give an exported .onnx file")
        return _one_kernel(
            kernel, goal, 1 if lanes is None else lanes, overflow, synth=synth, style=style
        )
    given = [name for name in ("weight", "act", "length") if kernel[name] is not None]
    given += ["acc"] if kernel["acc"] != "auto" else []
    given += ["dsp"] if kernel["dsp"] else []
    given += [] if goal.points is None else ["points"]
    if given:
        names = ", ".join(f"--{name}" for name in given)
        raise InputError(f"{names} cannot go with {model}: the model fixes formats and widths")
    from .network_command import NetworkRequest, network_record

    return network_record(model, NetworkRequest(lanes, folding, overflow, style, synth, goal))


def _one_kernel(
    kernel: Mapping[str, Any], goal: Goal, lanes: int, overflow: str, *, synth: bool, style: str
) -> dict[str, Any]:
    length, acc, dsp = kernel["length"], kernel["acc"], kernel["dsp"]
    block = block_spec(kernel["weight"], kernel["act"], lanes, length, acc, overflow)
    if block is not None:
        if goal.level is not None:
            raise InputError("--interval is for kernels of one scale, not for block-scaled ones")
        if goal.points is not None:
            raise InputError("--points is for kernels of one scale, not for block-scaled ones")
        found = block_price(block, style, synth=synth, dsp=dsp)
    else:
        spec = spec_from_options(kernel["weight"], kernel["act"], lanes, length, acc, overflow)
        imported = _imported(spec, style, goal, synth=synth or dsp)
        found = _kernel(spec, style, synth=synth, dsp=dsp) if imported is None else imported
        if goal.level is not None:
            cost = KernelCost.from_json(found)
            found["lut_sites"] = kernel_range(spec, cost, goal.level).to_json()
            found["interval_level"] = goal.level
        found |= {"acc_bits": spec.accumulator.width, "lanes": lanes}
    return _on_part(found, goal)


def _imported(spec: MacSpec, style: str, goal: Goal, *, synth: bool) -> dict[str, Any] | None:
    """Return the price among the user's Vivado points, None where they lack it."""
    if goal.points is None:
        return None
    if synth:
        raise InputError("--points and --synth or --dsp: two sources; give one")
    from .place.vivado_price import find_point, read_points, vivado_record

    part = None if goal.part is None else find_part(goal.part)
    choice = style_name(style, spec)
    point = find_point(read_points(goal.points), spec, choice.style, part)
    return None if point is None else vivado_record(point) | {"style_why": choice.why}


def price_tile(
    tile: Tile, goal: Goal, folding: str | None, *, synth: bool, dsp: bool
) -> dict[str, Any]:
    """Return the record that ``hwquant cost --tile`` prints.

    Raises `InputError` for an option that goes with a network or a kernel only.
    """
    from .tile_cost import tile_record

    given = goal.given() + ([] if folding is None else ["--folding"])
    given += [] if goal.network is None else ["--network"]
    given += [] if goal.level is None else ["--interval"]
    given += [] if goal.points is None else ["--points"]
    if given:
        raise InputError(f"{given[0]} cannot go with --tile")
    found = tile_record(tile.spec, primitive=tile.primitive, synth=synth, dsp=dsp)
    return _on_part(found, goal)


def _on_part(found: dict[str, Any], goal: Goal) -> dict[str, Any]:
    """Add how much of the goal's part a kernel uses."""
    if goal.part is None:
        return found
    part = find_part(goal.part)
    sites = found["lut_sites"]
    counts = {name: found.get(name, 0) for name in ("lut_raw", "lutram", "ff", "dsp")}
    value = sites["value"] if isinstance(sites, dict) else sites
    used = Usage(lut_sites=value, **counts)
    return found | {"part": part.to_json(), "utilisation_percent": utilisation(used, part)}


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
