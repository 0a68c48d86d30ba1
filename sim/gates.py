# SPDX-License-Identifier: Apache-2.0
"""Gate level: the mapped netlist of a kernel instead of its RTL, for the same farm.

A netlist is what the price counts: the same sources through the same Yosys script, over the cell
models of ``hw/cells``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hw import yosys
from hw.catalogue import style_name
from hw.generate import kernel_name
from hw.manifest import Bundle
from hw.netlist import cell_sources, kernel_sources, renamed
from hw.styles import style_of
from hwquant.errors import InputError
from hwquant.mac import MacSpec
from hwquant.progress import track

from .designs import by_style, design_of_target, library_kernel
from .engine import DEFAULT_STEPS, Target, verify_designs
from .kernels import Design, Kernel
from .report import Report

__all__ = ["mapped", "netlist_design", "netlist_designs", "sample", "verify_netlists"]

FARM_NETLISTS = 16  # compile time grows with cells, of which a netlist has hundreds


def mapped(design: Design, *, dsp: bool = False) -> Design:
    """Return ``design`` with the netlist of each of its kernels instead of its RTL.

    Raises `ToolError` when Yosys is missing or refuses the sources.
    """
    # Yosys has its own models of the cells that a block instantiates.
    rtl = {name: text for name, text in design.sources.items() if not name.startswith("cell_")}
    texts = {k.name: yosys.netlist(rtl, k.name, dsp=dsp) for k in design.kernels}
    kernels = tuple(replace(k, title=f"netlist of {k.title or k.name}") for k in design.kernels)
    return _design(kernels, texts, design.origin, dsp=dsp)


def netlist_design(target: Target, *, style: str = "plain", dsp: bool = False) -> Design:
    """Return the mapped netlist of one kernel: a spec's in ``style``, or that in a folder.

    Raises `InputError` for a folder that holds no kernel, `ToolError` when Yosys is missing or
    refuses the sources.

    >>> design = netlist_design(MacSpec("e2m1", "int4"))  # doctest: +SKIP
    """
    if isinstance(target, MacSpec):
        chosen = style_name(style, target).style
        return _farm([target], [_text(target, chosen, dsp=dsp)], chosen, dsp=dsp)
    return mapped(design_of_target(target)[0], dsp=dsp)


def netlist_designs(
    specs: Sequence[MacSpec],
    *,
    style: str = "plain",
    dsp: bool = False,
    jobs: int | None = None,
) -> list[Design]:
    """Return farms that together hold the netlist of each of ``specs`` once.

    Yosys runs ``jobs`` times at once (default: one per core); what it ran before is cached.
    """
    groups = by_style(specs, style)
    distinct = [
        (spec, name)
        for name, group in groups.items()
        for spec in sorted(group, key=lambda s: len(s.weight.codes) * len(s.act.codes))
    ]
    workers = max(min(jobs or os.cpu_count() or 1, len(distinct)), 1)
    texts: list[str] = []
    with ThreadPoolExecutor(workers) as pool, track("netlists", len(distinct)) as advance:
        try:
            for text in pool.map(lambda one: _text(*one, dsp=dsp), distinct):
                texts.append(text)
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    made = dict(zip(distinct, texts, strict=True))
    farms = []
    for name in groups:
        members = [spec for spec, style_ in made if style_ == name]
        for start in range(0, len(members), FARM_NETLISTS):
            part = members[start : start + FARM_NETLISTS]
            farms.append(_farm(part, [made[spec, name] for spec in part], name, dsp=dsp))
    return farms


def sample(specs: Sequence[MacSpec], count: int, seed: int) -> list[MacSpec]:
    """Return ``count`` of ``specs``, chosen by ``seed``, in their order.

    Raises `InputError` when ``count`` is not 1..len(specs).
    """
    if not 1 <= count <= len(specs):
        raise InputError(f"sample of {count} kernels, allowed 1..{len(specs)}")
    chosen = random.Random(seed).sample(range(len(specs)), count)
    return [specs[index] for index in sorted(chosen)]


def verify_netlists(
    targets: Target | Iterable[Target],
    *,
    style: str = "plain",
    dsp: bool = False,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    jobs: int | None = None,
) -> Report:
    """Verify the mapped netlists of kernels as `sim.verify` does their RTL.

    The report's ``flow`` says how the netlists were made.
    Raises what `netlist_design` and `sim.verify` raise.
    """
    listed = [targets] if isinstance(targets, MacSpec | Bundle | str | Path) else list(targets)
    if not listed:
        raise InputError("nothing to verify: no kernel was given")
    specs = [target for target in listed if isinstance(target, MacSpec)]
    designs = netlist_designs(specs, style=style, dsp=dsp, jobs=jobs)
    warnings: list[str] = []
    untested: list[str] = []
    for target in listed:
        if not isinstance(target, MacSpec):
            design, found, left = design_of_target(target)
            designs.append(mapped(design, dsp=dsp))
            warnings += found
            untested += left
    report = verify_designs(designs, seed=seed, steps=steps, jobs=jobs, warnings=warnings)
    return replace(report, untested=tuple(untested), flow=flow(dsp=dsp))


def flow(*, dsp: bool = False) -> str:
    """Return the flow that makes the netlists, without the packing rules that count them."""
    return yosys.flow(dsp=dsp).partition("; ")[0]


def _text(spec: MacSpec, style: str, *, dsp: bool) -> str:
    return yosys.netlist(kernel_sources(spec, "kernel", style), "kernel", dsp=dsp)


def _farm(specs: Sequence[MacSpec], texts: Sequence[str], style: str, *, dsp: bool) -> Design:
    kernels = tuple(
        library_kernel(
            spec, f"netlist_{i}", style_of(style, spec), title=f"netlist of {kernel_name(spec)}"
        )
        for i, spec in enumerate(specs)
    )
    named = {k.name: renamed(t, "kernel", k.name) for k, t in zip(kernels, texts, strict=True)}
    return _design(kernels, named, "library", dsp=dsp)


def _design(
    kernels: tuple[Kernel, ...], texts: dict[str, str], origin: str, *, dsp: bool
) -> Design:
    """Return a design of netlists by module name, with the models of their cells."""
    sources = cell_sources("\n".join(texts.values()))
    sources["netlists.v"] = "\n".join(texts.values())
    return Design(kernels, sources, f"netlist ({flow(dsp=dsp)}) of {origin}")
