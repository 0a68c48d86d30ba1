# SPDX-License-Identifier: Apache-2.0
"""Verify constant kernels bit for bit against `hw.constant.MatVecSpec.dot`.

The harness is the kernels' farm: DPI memory ports (``farm.cpp``), one clock, raw words compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from hw import yosys
from hw.constant.design import build
from hw.constant.emit import constant_sources
from hw.constant.kernel import ConstantBundle, constant_text, spec_from_json, spec_to_json
from hw.constant.options import Constant
from hw.constant.spec import MatVecSpec
from hw.manifest import MANIFEST, read_record
from hw.netlist import cell_models, cell_sources
from hwquant.errors import InputError, ToolError

from .build import simulator
from .constant_vectors import out_words, row_words
from .farm_top import TOP, VISIBLE
from .report import MismatchError
from .runner import run_job

__all__ = [
    "ConstantDesign",
    "ConstantFailure",
    "ConstantReport",
    "ConstantResult",
    "ConstantUnit",
    "constant_design",
    "mapped_constant",
    "verify_constant",
    "verify_constant_design",
    "verify_constant_request",
]

DEFAULT_STEPS = 16_384
CELLS = ("LUT6_2", "CARRY8")
Target = MatVecSpec | ConstantBundle | str | Path


@dataclass(frozen=True)
class ConstantUnit:
    """One generated kernel: ``name`` is its module, ``latency`` its enabled cycles."""

    spec: MatVecSpec
    name: str
    latency: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {"spec": spec_to_json(self.spec), "name": self.name, "latency": self.latency}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ConstantUnit:
        """Rebuild a unit from `to_json`."""
        return cls(spec_from_json(record["spec"]), record["name"], record["latency"])


@dataclass(frozen=True)
class ConstantDesign:
    """Kernels and the SystemVerilog sources (file name to text) that define them."""

    units: tuple[ConstantUnit, ...]
    sources: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class ConstantFailure:
    """One result that differs: the first output of the vector that does; None: no result."""

    stage: str
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
class ConstantResult:
    """Counts of one kernel; ``exhaustive`` says that every activation vector was sent."""

    name: str
    checks: int
    mismatches: int
    exhaustive: bool
    failures: tuple[ConstantFailure, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ConstantResult:
        """Rebuild a result from ``asdict``."""
        failures = [dict(item) | {"codes": tuple(item["codes"])} for item in record["failures"]]
        return cls(**{**record, "failures": tuple(ConstantFailure(**item) for item in failures)})


@dataclass(frozen=True)
class ConstantReport:
    """All kernels of one verification."""

    results: tuple[ConstantResult, ...]
    seed: int
    seconds: float
    flow: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def checks(self) -> int:
        """Vectors compared."""
        return sum(result.checks for result in self.results)

    @property
    def mismatches(self) -> int:
        """Vectors whose outputs differ from the reference."""
        return sum(result.mismatches for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "kernels": len(self.results),
            "vectors": self.checks,
            "mismatches": self.mismatches,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "flow": self.flow,
            "results": [asdict(result) for result in self.results],
        }

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        for result in self.results:
            if result.mismatches:
                first = result.failures[0].describe() if result.failures else "a stray result"
                raise MismatchError(
                    f"{result.name}: {result.mismatches} vectors differ; the first:\n{first}"
                )


def constant_design(
    specs: Sequence[MatVecSpec], *, levels: int = 1, primitive: bool = True
) -> ConstantDesign:
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
    return ConstantDesign(tuple(units), sources)


def mapped_constant(design: ConstantDesign) -> ConstantDesign:
    """Return ``design`` with the netlist that Yosys maps each unit to instead of its RTL."""
    rtl = {name: text for name, text in design.sources.items() if not name.startswith("cell_")}
    texts = {unit.name: yosys.netlist(rtl, unit.name) for unit in design.units}
    cells = cell_sources("\n".join(texts.values()))
    return ConstantDesign(design.units, cells | {f"{n}.sv": text for n, text in texts.items()})


def _bundle_design(folder: Path) -> tuple[ConstantDesign, list[str]]:
    """Return the kernel in a folder as its files are now, and what was changed."""
    warnings = []
    try:
        ConstantBundle.load(folder)
    except InputError as error:
        warnings.append(str(error))
    record = read_record(folder / MANIFEST)
    try:
        latency = record["interface"]["latency_cycles"]
        unit = ConstantUnit(spec_from_json(record["spec"]), record["name"], latency)
        sources = {name: (folder / name).read_text() for name in record["files"]}
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{folder} holds no readable constant kernel ({error!r})") from error
    return ConstantDesign((unit,), cell_models(CELLS) | sources), warnings


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
    one = isinstance(targets, MatVecSpec | ConstantBundle | str | Path)
    listed: list[Any] = [targets] if one else list(targets)  # type: ignore[arg-type]
    if not listed:
        raise InputError("nothing to verify: no constant kernel was given")
    specs = [target for target in listed if isinstance(target, MatVecSpec)]
    designs = [constant_design(specs)] if specs else []
    warnings: list[str] = []
    for target in listed:
        if not isinstance(target, MatVecSpec):
            folder = target.folder if isinstance(target, ConstantBundle) else Path(target)
            design, found = _bundle_design(folder)
            designs.append(design)
            warnings += found
    if netlist:
        designs = [mapped_constant(design) for design in designs]
    reports = [verify_constant_design(design, seed=seed, steps=steps) for design in designs]
    return ConstantReport(
        tuple(result for report in reports for result in report.results),
        seed,
        sum(report.seconds for report in reports),
        yosys.flow() if netlist else "",
        tuple(warnings),
    )


def verify_constant_request(
    request: Constant, *, seed: int = 0, steps: int = DEFAULT_STEPS, netlist: bool = False
) -> ConstantReport:
    """Verify the kernel that options of the command line describe; see `verify_constant`."""
    design = constant_design([request.spec], levels=request.levels, primitive=request.primitive)
    ready = mapped_constant(design) if netlist else design
    report = verify_constant_design(ready, seed=seed, steps=steps)
    return replace(report, flow=yosys.flow()) if netlist else report


def verify_constant_design(
    design: ConstantDesign, *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> ConstantReport:
    """Verify a ready design in one simulator."""
    if steps < 1 or seed < 0:
        raise InputError(f"steps {steps}, seed {seed}, allowed: steps >= 1 and seed >= 0")
    start = time.monotonic()
    sources = {**design.sources, f"{TOP}.sv": _farm_sv(design.units)}
    build_ = simulator(sources, TOP, visible=VISIBLE, cpp=_farm_cpp(design.units))
    job = {"units": [unit.to_json() for unit in design.units], "seed": seed, "steps": steps}
    outcome, records, _ = run_job(build_, TOP, "sim.tb_constant", job, seed=seed)
    results = tuple(ConstantResult.from_json(record) for record in records)
    clean = not any(result.mismatches for result in results)
    whole = [result.name for result in results] == [unit.name for unit in design.units]
    if not whole or list(outcome.values()) != [clean] or not all(r.checks for r in results):
        raise ToolError(f"the simulation did not finish: {outcome}; run it again")
    return ConstantReport(results, seed, time.monotonic() - start)


def _instance(index: int, unit: ConstantUnit) -> str:
    spec = unit.spec
    words, outs = row_words(spec), 64 * out_words(spec)
    bits, acc = spec.act.bits, spec.outputs * max(spec.out_bits)
    return f"""
  // {unit.name}
  if (1) begin : gen_{index}
    bit [{32 * words - 1}:0] next;
    bit [{32 * words - 1}:0] row_q;
    logic [{spec.inputs * bits - 1}:0] act;
    logic [{acc - 1}:0] acc;
    logic valid;

    for (genvar i = 0; i < {spec.inputs}; ++i) begin : gen_input
      assign act[{bits}*i +: {bits}] = row_q[8 + 8*i +: {bits}];
    end

    {unit.name} u_unit (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]),
      .act_i(act), .valid_o(valid), .acc_o(acc)
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) hq_put_{out_words(spec)}({index}, {outs}'(acc));
      hq_get_{words}({index}, next);
      row_q <= next;
    end
  end
"""


def _farm_sv(units: Sequence[ConstantUnit]) -> str:
    gets = [
        f'  import "DPI-C" function void hq_get_{words}'
        f"(input int kernel, output bit [{32 * words - 1}:0] row);"
        for words in sorted({row_words(unit.spec) for unit in units})
    ]
    puts = [
        f'  import "DPI-C" function void hq_put_{words}'
        f"(input int kernel, input bit [{64 * words - 1}:0] value);"
        for words in sorted({out_words(unit.spec) for unit in units})
    ]
    return "\n".join(
        [
            "// SPDX-License-Identifier: Apache-2.0",
            f"module {TOP} (input bit clk_i);",
            *gets,
            *puts,
            *(_instance(index, unit) for index, unit in enumerate(units)),
            "endmodule",
            "",
        ]
    )


def _farm_cpp(units: Sequence[ConstantUnit]) -> str:
    gets = {row_words(unit.spec) for unit in units}
    puts = {out_words(unit.spec) for unit in units}
    lines = [f"HQ_GET(hq_get_{words}, {words})" for words in sorted(gets)]
    lines += [f"HQ_PUT(hq_put_{words}, {words})" for words in sorted(puts)]
    static = files("sim").joinpath("farm.cpp").read_text()
    return "\n".join(['#include "svdpi.h"', static, *lines, ""])
