# SPDX-License-Identifier: Apache-2.0
"""Verify units (`sim.unit`) in one simulator: run the kind's testbench, judge, and report."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from hwquant import atomic
from hwquant.errors import InputError, ToolError

from .build import simulator
from .farm_top import TOP, VISIBLE
from .report import MismatchError
from .runner import run_job
from .unit import Design, Unit, farm_cpp, farm_sv

__all__ = ["DEFAULT_STEPS", "Failure", "Report", "Result", "verify_design", "verify_designs"]

DEFAULT_STEPS = 16_384


@dataclass(frozen=True)
class Failure(ABC):
    """One result that differs, in stage ``stage`` of the stimulus."""

    stage: str

    @abstractmethod
    def describe(self) -> str:
        """Return the failing vector in words."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild a failure from ``asdict``."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class Result:
    """Counts of one unit: results compared, those that differ, and the first of them.

    A kind names its classes, and with ``COUNTED`` the fields it adds up over the stimulus.
    """

    UNIT: ClassVar[type[Unit[Any]]]
    FAILURE: ClassVar[type[Failure]]
    COUNTED: ClassVar[tuple[str, ...]] = ()

    unit: Any
    checks: int
    mismatches: int
    failures: tuple[Any, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        own = {name: getattr(self, name) for name in ("checks", "mismatches", *self.COUNTED)}
        failures = [asdict(failure) for failure in self.failures]
        return {"unit": self.unit.to_json(), "failures": failures} | own

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild a result from `to_json`."""
        unit = cls.UNIT.from_json(record["unit"])
        failures = tuple(cls.FAILURE.from_json(item) for item in record["failures"])
        return cls(**{**record, "unit": unit, "failures": failures})


AnyResult = TypeVar("AnyResult", bound=Result)


@dataclass(frozen=True)
class Report(Generic[AnyResult]):
    """All units of one verification.

    A kind names its class of results, its testbench, and what is compared.
    """

    RESULT: ClassVar[type[Result]]
    TESTBENCH: ClassVar[str]
    NOUN: ClassVar[str] = "results"

    results: tuple[AnyResult, ...]
    seed: int
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def checks(self) -> int:
        """Results compared."""
        return sum(result.checks for result in self.results)

    @property
    def mismatches(self) -> int:
        """Results that differ from the reference."""
        return sum(result.mismatches for result in self.results)

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        for result in self.results:
            if result.mismatches:
                first = result.failures[0].describe() if result.failures else "a stray result"
                raise MismatchError(
                    f"{result.unit.label}: {result.mismatches} {self.NOUN} differ; "
                    f"the first:\n{first}"
                )

    def write_junit(self, path: str | Path) -> None:
        """Write one JUnit XML file with a test case per unit; whole or not at all."""
        failed = sum(result.mismatches > 0 for result in self.results)
        suite = ET.Element(
            "testsuite",
            name="hwquant verify",
            tests=str(len(self.results)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{self.seconds:.2f}",
        )
        for result in self.results:
            case = ET.SubElement(
                suite,
                "testcase",
                classname="hwquant.verify",
                name=result.unit.title,
                time="0",
            )
            if result.mismatches:
                message = f"{result.mismatches} {self.NOUN} differ"
                failure = ET.SubElement(case, "failure", message=message)
                failure.text = "\n".join(f.describe() for f in result.failures)
        ET.indent(suite)
        body = ET.tostring(suite, encoding="unicode")
        atomic.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


AnyReport = TypeVar("AnyReport", bound=Report[Any])


def verify_design(
    design: Design[Any], report: type[AnyReport], *, seed: int, steps: int
) -> AnyReport:
    """Verify the units of ``design`` in one simulator.

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, or when the
    simulation does not finish.
    """
    if steps < 1 or seed < 0:
        raise InputError(f"steps {steps}, seed {seed}, allowed: steps >= 1 and seed >= 0")
    start = time.monotonic()
    sources = {**design.sources, f"{TOP}.sv": farm_sv(design.units)}
    build = simulator(sources, TOP, visible=VISIBLE, cpp=farm_cpp(design.units))
    units = [unit.to_json() for unit in design.units]
    job = {"units": units, "seed": seed, "steps": steps}
    outcome, records, _ = run_job(build, TOP, report.TESTBENCH, job, seed=seed)
    results = tuple(report.RESULT.from_json(record) for record in records)
    clean = not any(result.mismatches for result in results)
    whole = [result.unit.to_json() for result in results] == units
    if not whole or list(outcome.values()) != [clean] or not all(r.checks for r in results):
        raise ToolError(f"the simulation did not finish: {outcome}; run it again")
    return report(results, seed, time.monotonic() - start, design.warnings)


def verify_designs(
    designs: Sequence[Design[Any]], report: type[AnyReport], *, seed: int, steps: int
) -> AnyReport:
    """Verify each design (`verify_design`) and return one report of them all."""
    reports = [verify_design(design, report, seed=seed, steps=steps) for design in designs]
    return report(
        tuple(result for one in reports for result in one.results),
        seed,
        sum(one.seconds for one in reports),
        tuple(text for one in reports for text in one.warnings),
    )
