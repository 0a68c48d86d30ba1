# SPDX-License-Identifier: Apache-2.0
"""The nightly stage of what is no `MacSpec`: tiles, block and constant kernels, requantizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from hw.constant.kernel import spec_to_json
from hw.constant.spec import MatVecSpec
from hw.requant import requant_to_json
from hw.tile import TileSpec, tile_to_json
from hwquant.block_mac import BlockMacSpec
from hwquant.formats import Format, parse
from hwquant.requant import MultiplyShift, Requantizer, RoundPack, Thresholds

from .block import block_design
from .constant import constant_design
from .nightly import Finding, Task
from .requant import requant_design
from .tile import tile_design
from .unit import Design, mapped
from .unit_report import Report, verify_design

__all__ = ["unit_tasks"]

SECONDS: Final = 30.0  # of one task, on two quiet cores
TILES: Final = (
    ("int4", "dsp"), ("int6", "dsp"), ("int8", "lut"), ("int4", "lut"), ("e2m1", "lut"),
    ("e4m3", "lut"),
)  # fmt: skip
BLOCKS: Final = ("mxfp4", "mxfp6e2m3", "mxfp8e4m3", "mxint8", "nvfp4")
CONSTANTS: Final = (("int4", "int4"), ("e2m1", "int8"), ("e3m2", "e2m1"), ("int8", "uint4"))
OUTPUTS: Final = ("e2m1", "e4m3", "int4", "int8", "uint4")


def _tiles() -> Design[Any]:
    return tile_design([TileSpec(parse(n), parse(n), 64, None, adder) for n, adder in TILES])


def _blocks() -> Design[Any]:
    return block_design([BlockMacSpec(name, name, 4, 256, (15, -16)) for name in BLOCKS], "auto")


def _matrix(weight: Format, seed: int) -> list[list[int]]:
    """Return random weight codes, 3 outputs by 4 inputs."""
    rng = np.random.default_rng(seed)
    codes: list[list[int]] = rng.choice(list(weight.codes), (3, 4)).tolist()
    return codes


def _constants(seed: int) -> Design[Any]:
    named = [(parse(weight), parse(act)) for weight, act in CONSTANTS]
    return constant_design([MatVecSpec(_matrix(w, seed), w, a) for w, a in named])


def _requantizers(seed: int) -> Design[Any]:
    rng = np.random.default_rng(seed)
    biases = [rng.integers(-(1 << bits - 1), 1 << bits - 1, 5).tolist() for bits in (12, 24)]
    specs: list[Requantizer] = [
        RoundPack(name, 24, bias, [8]) for name in OUTPUTS for bias in biases
    ]
    specs += [
        MultiplyShift("int8", 24, [30000, -1, 0], [9, 0, -500], 30),
        Thresholds.of("e2m1", 16, unit=[0.001, -0.003]),
    ]
    return requant_design(specs)


def unit_tasks(seed: int, steps: int, count: int | None = None) -> tuple[Task, ...]:
    """Return a task for each kind of unit, RTL and mapped netlist; ``count`` takes the first few.

    Matrices and biases are random, by ``seed``.
    """
    from .block import BlockReport
    from .constant import ConstantReport
    from .requant import RequantReport
    from .tile import TileReport

    kinds: Sequence[tuple[str, Callable[[], Design[Any]], type[Report[Any]], Any]] = (
        ("tiles", _tiles, TileReport, tile_to_json),
        ("block kernels", _blocks, BlockReport, str),
        ("constant kernels", lambda: _constants(seed), ConstantReport, spec_to_json),
        ("requantizers", lambda: _requantizers(seed), RequantReport, requant_to_json),
    )
    tasks = []
    for name, make, report, record in kinds:
        content = {"specs": [record(unit.spec) for unit in make().units], "seed": seed}
        content["steps"] = steps
        tasks += [
            Task(
                name + ", netlists" * netlist,
                content | {"netlist": netlist},
                SECONDS * (1 + netlist),
                _work(make, report, seed, steps, netlist=netlist),
            )
            for netlist in (False, True)
        ]
    return tuple(tasks if count is None else tasks[: 2 * count])


def _work(
    make: Callable[[], Design[Any]],
    report: type[Report[Any]],
    seed: int,
    steps: int,
    *,
    netlist: bool,
) -> Callable[[], Finding]:
    def work() -> Finding:
        design = mapped(make()) if netlist else make()
        return finding(verify_design(design, report, seed=seed, steps=steps))

    return work


def finding(report: Report[Any]) -> Finding:
    """Return a verification of units as a finding: a failure for each failing vector on record."""
    told = tuple(
        f"{result.unit.title}: {failure.describe()}"
        for result in report.results
        for failure in result.failures
    )
    if report.mismatches and not told:
        told = (f"{report.mismatches} results differ",)
    counts = {
        "units": len(report.results),
        "results": report.checks,
        "mismatches": report.mismatches,
    }
    return Finding(counts, told)
