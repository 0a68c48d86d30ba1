# SPDX-License-Identifier: Apache-2.0
"""Verify kernels in farms: many kernels in one simulator, two simulators at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from hw.manifest import Bundle
from hwquant.errors import InputError, ToolError
from hwquant.mac import MacSpec
from hwquant.progress import track

from . import farm_top
from .build import simulator
from .designs import design_of_target, designs_of_specs
from .kernels import Design
from .report import KernelResult, Report
from .runner import Outcome, run_job

__all__ = ["DEFAULT_STEPS", "Target", "verify", "verify_designs"]

DEFAULT_STEPS = 65_536

Target = MacSpec | Bundle | str | Path


def verify(
    targets: Target | Iterable[Target],
    *,
    style: str = "plain",
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    jobs: int | None = None,
) -> Report:
    """Verify kernels bit for bit against `hwquant.mac.MacSpec.accumulate`, in Verilator.

    A target is a spec (its kernel in ``style`` is generated from the library), a bundle, or the
    folder of a bundle (the RTL files in that folder are what is verified), or the TOML of a module
    of your own (`sim.own`).  Every pair of codes is applied to every lane, then at least ``steps``
    accumulator steps of corner and random streams.

    >>> report = verify(MacSpec("e2m1", "int4", lanes=4, length=64))  # doctest: +SKIP
    >>> report.raise_for_mismatch()  # doctest: +SKIP

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no kernel or a TOML that does not fit its module.
    """
    listed = [targets] if isinstance(targets, MacSpec | Bundle | str | Path) else list(targets)
    if not listed:
        raise InputError("nothing to verify: no kernel was given")
    specs = [target for target in listed if isinstance(target, MacSpec)]
    folders = [target for target in listed if not isinstance(target, MacSpec)]
    warnings: list[str] = []
    untested: list[str] = []
    designs = list(designs_of_specs(specs, style))
    for folder in folders:
        design, found, left = design_of_target(folder)
        designs.append(design)
        warnings += found
        untested += left
    report = verify_designs(designs, seed=seed, steps=steps, jobs=jobs, warnings=warnings)
    return replace(report, untested=tuple(untested))


def verify_designs(
    designs: Sequence[Design],
    *,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    jobs: int | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Verify ready designs, each in one simulator of its own; the order of results is theirs."""
    if steps < 1:
        raise InputError(f"steps {steps}, allowed 1 or more")
    if seed < 0:
        raise InputError(f"seed {seed}, allowed 0 or more")
    start = time.monotonic()
    workers = max(min(jobs or os.cpu_count() or 1, len(designs)), 1)
    found: dict[int, list[KernelResult]] = {}
    total = sum(len(design.kernels) for design in designs)
    with ThreadPoolExecutor(workers) as pool, track("kernels verified", total) as advance:
        futures = {
            pool.submit(_verify_one, design, seed, steps): index
            for index, design in enumerate(designs)
        }
        try:
            for future in as_completed(futures):
                index = futures[future]
                found[index] = future.result()
                advance(len(found[index]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    results = tuple(_flat(found[index] for index in range(len(designs))))
    return Report(results, seed, time.monotonic() - start, tuple(warnings))


def _flat(lists: Iterable[list[KernelResult]]) -> Iterator[KernelResult]:
    for results in lists:
        yield from results


def _verify_one(design: Design, seed: int, steps: int) -> list[KernelResult]:
    """Build (or find) the simulator of one design and run both stages in it."""
    sources = {**design.sources, f"{farm_top.TOP}.sv": farm_top.farm_sv(design.kernels)}
    build = simulator(
        sources,
        farm_top.TOP,
        visible=farm_top.VISIBLE,
        cpp=farm_top.farm_cpp(design.kernels),
    )
    job = {
        "kernels": [kernel.to_json() for kernel in design.kernels],
        "seed": seed,
        "steps": steps,
    }
    return _results(design, *run_job(build, farm_top.TOP, "sim.tb_farm", job, seed=seed))


def _results(
    design: Design, outcome: Outcome, records: list[dict[str, Any]], log: str
) -> list[KernelResult]:
    """Read the counts; they and cocotb's results file must tell the same story."""
    stages = {"exhaustive_products", "accumulator_streams"}
    named = {name.rsplit(".", 1)[-1]: passed for name, passed in outcome.items()}
    if set(named) != stages:
        raise ToolError(f"the simulation ran {sorted(named)}, needed {sorted(stages)}")
    results = [KernelResult.from_json(record) for record in records]
    clean = not sum(result.mismatches for result in results)
    complete = [result.kernel for result in results] == list(design.kernels)
    if clean != all(named.values()) or not complete or not all(r.mac_steps for r in results):
        raise ToolError("the testbench did not finish:\n" + log)
    return results
