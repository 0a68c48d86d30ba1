# SPDX-License-Identifier: Apache-2.0
"""Verify constant kernels against `hw.constant.MatVecSpec.dot`, many in one simulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hw import yosys
from hw.constant.design import build
from hw.constant.emit import constant_sources
from hw.constant.kernel import (
    ConstantBundle,
    constant_name,
    constant_text,
    spec_from_json,
    spec_to_json,
)
from hw.constant.options import Constant
from hw.constant.spec import MatVecSpec
from hw.netlist import cell_models

from .constant_vectors import is_exhaustive, out_words, row_words
from .unit import Design, Kind, Unit, Wiring, designs_of, feed, folder_design, mapped
from .unit_report import DEFAULT_STEPS, Failure, Report, Result, verify_design, verify_designs

__all__ = [
    "ConstantFailure",
    "ConstantReport",
    "ConstantResult",
    "ConstantUnit",
    "constant_design",
    "verify_constant",
    "verify_constant_design",
    "verify_constant_request",
]

CELLS = ("LUT6_2", "CARRY8")
Target = MatVecSpec | ConstantBundle | str | Path


def _wiring(spec: MatVecSpec) -> Wiring:
    bits, acc = spec.act.bits, spec.outputs * max(spec.out_bits)
    return Wiring(
        {"act": spec.inputs * bits, "acc": acc},
        "\n      .act_i(act), .valid_o(valid), .acc_o(acc)",
        "acc",
        (feed("act", bits, spec.inputs, 8, "gen_input"),),
    )


@dataclass(frozen=True)
class ConstantUnit(Unit[MatVecSpec]):
    """One generated constant kernel."""

    OF = Kind(
        "constant kernel",
        constant_name,
        spec_to_json,
        spec_from_json,
        row_words,
        out_words,
        _wiring,
    )

    @property
    def label(self) -> str:
        """Say which unit this is."""
        return self.name


@dataclass(frozen=True)
class ConstantFailure(Failure):
    """One result that differs: the first output of the vector that does; None: no result."""

    codes: tuple[int, ...]
    output: int
    expected: int | None
    got: int | None

    def describe(self) -> str:
        """Return the failing vector in words."""
        return (
            f"{self.stage}: activations {list(self.codes)}: output {self.output}: expected "
            f"{self.expected}, got {self.got}"
        )


@dataclass(frozen=True)
class ConstantResult(Result):
    """Counts of one kernel."""

    UNIT = ConstantUnit
    FAILURE = ConstantFailure

    @property
    def exhaustive(self) -> bool:
        """Whether every activation vector was sent."""
        return is_exhaustive(self.unit.spec)

    def facts(self) -> dict[str, Any]:
        """Return the counts, as ``hwquant verify --json`` prints them."""
        return {
            "name": self.unit.name,
            "checks": self.checks,
            "mismatches": self.mismatches,
            "exhaustive": self.exhaustive,
            "failures": [asdict(failure) for failure in self.failures],
        }


@dataclass(frozen=True)
class ConstantReport(Report[ConstantResult]):
    """All kernels of one verification."""

    RESULT = ConstantResult
    TESTBENCH = "sim.tb_constant"
    NOUN = "vectors"

    flow: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "kernels": len(self.results),
            "vectors": self.checks,
            "mismatches": self.mismatches,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "flow": self.flow,
            "results": [result.facts() for result in self.results],
        }


def constant_design(
    specs: Sequence[MatVecSpec], *, levels: int = 1, primitive: bool = True
) -> Design[ConstantUnit]:
    """Return the generated kernels of ``specs`` as one design, named ``unit_0`` and so on."""
    sources: dict[str, str] = cell_models(CELLS) if primitive else {}
    units, texts = [], []
    for index, spec in enumerate(specs):
        design = build(spec, levels=levels)
        unit = ConstantUnit(spec, f"unit_{index}", design.latency)
        sources |= constant_sources(design)
        texts.append(constant_text(design, unit.name, primitive=primitive))
        units.append(unit)
    sources["units.sv"] = "\n".join(texts)
    return Design(tuple(units), sources)


def verify_constant(
    targets: Target | Iterable[Target],
    *,
    seed: int = 0,
    steps: int = DEFAULT_STEPS,
    netlist: bool = False,
) -> ConstantReport:
    """Verify constant kernels against `hw.constant.MatVecSpec.dot`, in Verilator.

    A target is a spec (its RTL is generated), a bundle, or the folder of a bundle (the files there
    are what is verified).  Kernels with at most 65,536 activation vectors get all of them; others
    the rails of every output and input, single inputs, and ``steps`` random vectors.  All also get
    stalls, idle cycles and resets.  With ``netlist`` it is the mapped netlist that is verified.

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no constant kernel.
    """
    load = partial(folder_design, bundle=ConstantBundle, unit=ConstantUnit, cells=lambda _: CELLS)
    designs = designs_of(targets, constant_design, load)
    return _verify(designs, seed=seed, steps=steps, netlist=netlist)


def verify_constant_request(
    request: Constant, *, seed: int = 0, steps: int = DEFAULT_STEPS, netlist: bool = False
) -> ConstantReport:
    """Verify the kernel that options of the command line describe; see `verify_constant`."""
    design = constant_design([request.spec], levels=request.levels, primitive=request.primitive)
    return _verify([design], seed=seed, steps=steps, netlist=netlist)


def _verify(
    designs: Sequence[Design[ConstantUnit]], *, seed: int, steps: int, netlist: bool
) -> ConstantReport:
    ready = [mapped(design) for design in designs] if netlist else designs
    report = verify_designs(ready, ConstantReport, seed=seed, steps=steps)
    return replace(report, flow=yosys.flow()) if netlist else report


def verify_constant_design(
    design: Design[ConstantUnit], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> ConstantReport:
    """Verify a ready design in one simulator."""
    return verify_design(design, ConstantReport, seed=seed, steps=steps)
