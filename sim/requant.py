# SPDX-License-Identifier: Apache-2.0
"""Verify requantizers bit for bit against `hwquant.requant`, many in one simulator.

The harness is the kernels' farm: DPI memory ports (``farm.cpp``), one clock, raw words compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from hw import yosys
from hw.manifest import MANIFEST, read_record
from hw.netlist import cell_sources
from hw.requant import (
    RequantBundle,
    requant_from_json,
    requant_latency,
    requant_name,
    requant_sources,
    requant_text,
    requant_to_json,
)
from hwquant.errors import InputError, ToolError
from hwquant.requant import Requantizer, Thresholds

from .build import simulator
from .farm_top import TOP, VISIBLE
from .report import MismatchError
from .requant_vectors import row_words
from .runner import run_job

__all__ = [
    "RequantDesign",
    "RequantFailure",
    "RequantReport",
    "RequantResult",
    "Unit",
    "farm_cpp",
    "farm_sv",
    "mapped_requant",
    "requant_design",
    "verify_requant",
    "verify_requant_design",
]

DEFAULT_STEPS = 16_384
Target = Requantizer | RequantBundle | str | Path


@dataclass(frozen=True)
class Unit:
    """One generated requantizer: ``name`` is its module, ``latency`` its cycles to a code."""

    spec: Requantizer
    name: str
    latency: int

    @property
    def label(self) -> str:
        """Say in words which requantizer this is."""
        return f"{self.name}: {requant_name(self.spec)}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {"spec": requant_to_json(self.spec), "name": self.name, "latency": self.latency}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Unit:
        """Rebuild a unit from `to_json`."""
        return cls(requant_from_json(record["spec"]), record["name"], record["latency"])


@dataclass(frozen=True)
class RequantDesign:
    """Requantizers and the SystemVerilog sources (file name to text) that define them."""

    units: tuple[Unit, ...]
    sources: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class RequantFailure:
    """One result that differs; None stands for no result."""

    stage: str
    channel: int
    acc: int
    expected: int | None
    got: int | None

    def describe(self) -> str:
        """Return the failing vector in words."""
        return (
            f"{self.stage}: channel {self.channel}, accumulator {self.acc}: "
            f"expected code {self.expected}, got {self.got}"
        )


@dataclass(frozen=True)
class RequantResult:
    """Counts of one requantizer; ``exhaustive`` says that every accumulator was sent."""

    unit: Unit
    checks: int
    mismatches: int
    exhaustive: bool
    failures: tuple[RequantFailure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return asdict(self) | {"unit": self.unit.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RequantResult:
        """Rebuild a result from `to_json`."""
        return cls(
            Unit.from_json(record["unit"]),
            record["checks"],
            record["mismatches"],
            record["exhaustive"],
            tuple(RequantFailure(**failure) for failure in record["failures"]),
        )


@dataclass(frozen=True)
class RequantReport:
    """All requantizers of one verification."""

    results: tuple[RequantResult, ...]
    seed: int
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def checks(self) -> int:
        """Codes compared."""
        return sum(result.checks for result in self.results)

    @property
    def mismatches(self) -> int:
        """Codes that differ from the reference."""
        return sum(result.mismatches for result in self.results)

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        for result in self.results:
            if result.mismatches:
                first = result.failures[0].describe() if result.failures else "a stray result"
                raise MismatchError(
                    f"{result.unit.label}: {result.mismatches} codes differ; the first:\n{first}"
                )


def requant_design(specs: Sequence[Requantizer], styles: Sequence[str] = ()) -> RequantDesign:
    """Return the library's requantizers of ``specs``, in ``styles`` (``auto`` where not given)."""
    chosen = [*styles, *["auto"] * (len(specs) - len(styles))]
    sources: dict[str, str] = {}
    units, texts = [], []
    for index, (spec, style) in enumerate(zip(specs, chosen, strict=True)):
        unit = Unit(spec, f"unit_{index}", requant_latency(spec, style))
        sources |= requant_sources(spec, style)
        texts.append(requant_text(spec, unit.name, style))
        units.append(unit)
    sources["units.sv"] = "\n".join(texts)
    return RequantDesign(tuple(units), sources)


def mapped_requant(design: RequantDesign) -> RequantDesign:
    """Return ``design`` with the netlist that Yosys maps each unit to instead of its RTL.

    Raises `ToolError` for a netlist with cells that have no model, such as block RAM.
    """
    texts = {unit.name: yosys.netlist(design.sources, unit.name) for unit in design.units}
    cells = cell_sources("\n".join(texts.values()))
    return RequantDesign(design.units, cells | {f"{n}.sv": text for n, text in texts.items()})


def _bundle_design(folder: Path) -> tuple[RequantDesign, list[str]]:
    """Return the requantizer in a folder as its files are now, and what was changed."""
    warnings = []
    try:
        RequantBundle.load(folder)
    except InputError as error:
        warnings.append(str(error))
    record = read_record(folder / MANIFEST)
    try:
        unit = Unit(
            requant_from_json(record["spec"]),
            record["name"],
            record["interface"]["latency_cycles"],
        )
        sources = {name: (folder / name).read_text() for name in record["files"]}
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{folder} holds no readable requantizer ({error!r})") from error
    return RequantDesign((unit,), sources), warnings


def verify_requant(
    targets: Target | Iterable[Target], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> RequantReport:
    """Verify requantizers against `hwquant.requant`, in Verilator.

    A target is a requantizer (its RTL is generated), a bundle, or the folder of a bundle (the
    files there are what is verified).  Accumulators of up to 16 bits are all sent, through every
    channel; wider ones at every cut, rail and power of two and at ``steps`` random places.  All
    are also sent with stalls, idle cycles and resets.

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no requantizer.
    """
    one = isinstance(targets, Requantizer | RequantBundle | str | Path)
    listed: list[Any] = [targets] if one else list(targets)  # type: ignore[arg-type]
    if not listed:
        raise InputError("nothing to verify: no requantizer was given")
    specs = [target for target in listed if isinstance(target, Requantizer)]
    designs = [requant_design(specs)] if specs else []
    warnings: list[str] = []
    for target in listed:
        if not isinstance(target, Requantizer):
            folder = target.folder if isinstance(target, RequantBundle) else Path(target)
            design, found = _bundle_design(folder)
            designs.append(design)
            warnings += found
    reports = [verify_requant_design(design, seed=seed, steps=steps) for design in designs]
    return RequantReport(
        tuple(result for report in reports for result in report.results),
        seed,
        sum(report.seconds for report in reports),
        tuple(warnings),
    )


def verify_requant_design(
    design: RequantDesign, *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> RequantReport:
    """Verify a ready design in one simulator."""
    if steps < 1 or seed < 0:
        raise InputError(f"steps {steps}, seed {seed}, allowed: steps >= 1 and seed >= 0")
    start = time.monotonic()
    sources = {**design.sources, f"{TOP}.sv": farm_sv(design.units)}
    build = simulator(sources, TOP, visible=VISIBLE, cpp=farm_cpp(design.units))
    job = {"units": [unit.to_json() for unit in design.units], "seed": seed, "steps": steps}
    outcome, records, _ = run_job(build, TOP, "sim.tb_requant", job, seed=seed)
    results = tuple(RequantResult.from_json(record) for record in records)
    clean = not any(result.mismatches for result in results)
    whole = [result.unit for result in results] == list(design.units)
    if not whole or list(outcome.values()) != [clean] or not all(r.checks for r in results):
        raise ToolError(f"the simulation did not finish: {outcome}; run it again")
    return RequantReport(results, seed, time.monotonic() - start)


def _instance(index: int, unit: Unit) -> str:
    words, acc = row_words(unit.spec), unit.spec.acc_bits
    bits = unit.spec.bits if isinstance(unit.spec, Thresholds) else unit.spec.fmt.bits
    chan = max(1, (unit.spec.channels - 1).bit_length())
    return f"""
  // {unit.label}
  if (1) begin : gen_{index}
    bit [{32 * words - 1}:0] next;
    bit [{32 * words - 1}:0] row_q;
    logic [{bits - 1}:0] code;
    logic valid;

    {unit.name} u_unit (
      .clk_i, .rst_i(row_q[3]), .en_i(row_q[0]), .valid_i(row_q[1]),
      .chan_i(row_q[8+:{chan}]), .acc_i(row_q[24+:{acc}]), .valid_o(valid), .code_o(code)
    );

    always @(posedge clk_i) begin
      if (row_q[0] && valid) hq_put_1({index}, 64'(code));
      hq_get_{words}({index}, next);
      row_q <= next;
    end
  end
"""


def farm_sv(units: Sequence[Unit]) -> str:
    """Return the SystemVerilog of a top that instantiates ``units``."""
    gets = [
        f'  import "DPI-C" function void hq_get_{words}'
        f"(input int kernel, output bit [{32 * words - 1}:0] row);"
        for words in sorted({row_words(unit.spec) for unit in units})
    ]
    return "\n".join(
        [
            "// SPDX-License-Identifier: Apache-2.0",
            f"module {TOP} (input bit clk_i);",
            *gets,
            '  import "DPI-C" function void hq_put_1(input int kernel, input longint value);',
            *(_instance(index, unit) for index, unit in enumerate(units)),
            "endmodule",
            "",
        ]
    )


def farm_cpp(units: Sequence[Unit]) -> str:
    """Return the C++ that serves the imports of `farm_sv`."""
    gets = [
        f"HQ_GET(hq_get_{words}, {words})"
        for words in sorted({row_words(unit.spec) for unit in units})
    ]
    static = files("sim").joinpath("farm.cpp").read_text()
    return "\n".join(['#include "svdpi.h"', static, *gets, "HQ_PUT_INT(hq_put_1)", ""])
