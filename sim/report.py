# SPDX-License-Identifier: Apache-2.0
"""What a verification found: counts, failing vectors, and their JUnit form."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwquant import atomic, codec
from hwquant.errors import HwquantError
from hwquant.mac import MacSpec

from .coverage import Bin, summary
from .kernels import Kernel

__all__ = ["Failure", "KernelResult", "MismatchError", "Report"]


class MismatchError(HwquantError):
    """A kernel's result differs from the reference arithmetic."""


@dataclass(frozen=True)
class Failure:
    """One result that differs.

    ``weight`` and ``act`` are the codes of the failing beat, one per lane (none where no beat
    stands behind the result); ``expected`` and ``got`` are accumulators, None for no result;
    ``rows`` are the stimulus rows from the dot product's clear to the failing beat and ``before``
    those of the dot product ahead of it, as (control, weight codes, activation codes).
    """

    kernel: Kernel
    stage: str
    dot: int
    beat: int
    weight: tuple[int, ...]
    act: tuple[int, ...]
    expected: int | None
    got: int | None
    rows: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...] = field(repr=False)
    before: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...] = field(repr=False)

    def describe(self) -> str:
        """Return the failing vector in words: kernel, codes, values, expected and got."""
        spec, steps = self.kernel.spec, ""
        if len(self.weight) <= 8:
            values = [codec.decode(spec.weight, c) for c in self.weight]
            acts = [codec.decode(spec.act, c) for c in self.act]
            steps = f" (in steps: {values} x {acts})"
        return (
            f"{self.kernel.label}\n  {self.stage}, dot product {self.dot}, beat {self.beat}: "
            f"codes {list(self.weight)} x {list(self.act)}{steps}\n"
            f"  expected {_number(self.expected)}, got {_number(self.got)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return asdict(self) | {"kernel": self.kernel.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Failure:
        """Rebuild a failure from `to_json`."""

        def rows(key: str) -> tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]:
            return tuple((int(c), tuple(w), tuple(a)) for c, w, a in record[key])

        return cls(
            Kernel.from_json(record["kernel"]),
            record["stage"],
            record["dot"],
            record["beat"],
            tuple(record["weight"]),
            tuple(record["act"]),
            record["expected"],
            record["got"],
            rows("rows"),
            rows("before"),
        )


def _number(value: int | None) -> str:
    return "no result" if value is None else str(value)


@dataclass(frozen=True)
class KernelResult:
    """Counts of one kernel; ``rails`` are results that stood at a rail of the accumulator."""

    kernel: Kernel
    products: int
    mac_steps: int
    mismatches: int
    rails: int
    failures: tuple[Failure, ...] = ()
    coverage: Mapping[str, Bin] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        return {
            "kernel": self.kernel.to_json(),
            "products": self.products,
            "mac_steps": self.mac_steps,
            "mismatches": self.mismatches,
            "rails": self.rails,
            "failures": [failure.to_json() for failure in self.failures],
            "coverage": {name: part.to_json() for name, part in self.coverage.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> KernelResult:
        """Rebuild a result from `to_json`."""
        return cls(
            Kernel.from_json(record["kernel"]),
            record["products"],
            record["mac_steps"],
            record["mismatches"],
            record["rails"],
            tuple(Failure.from_json(failure) for failure in record["failures"]),
            {name: Bin(*part) for name, part in record.get("coverage", {}).items()},
        )


@dataclass(frozen=True)
class Report:
    """All kernels of one verification, with its seed and its wall time in seconds.

    ``warnings`` says what else was found, for example a source file that differs from its
    manifest; ``untested`` what the ports of an own module leave no way to test; ``flow`` how the
    netlists were made that were verified instead of the RTL (empty for RTL).
    """

    results: tuple[KernelResult, ...] = field(repr=False)
    seed: int
    seconds: float
    warnings: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    flow: str = ""

    @property
    def kernels(self) -> int:
        """Kernels verified."""
        return len(self.results)

    @property
    def products(self) -> int:
        """Distinct products compared: code pairs of distinct format pairs."""
        return sum(_pairs(spec) for spec in {_pair(r.kernel.spec) for r in self.results})

    @property
    def mac_steps(self) -> int:
        """Accumulator steps (beats of streams) compared."""
        return sum(result.mac_steps for result in self.results)

    @property
    def mismatches(self) -> int:
        """Results that differ from the reference."""
        return sum(result.mismatches for result in self.results)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The first failing vectors of each kernel."""
        return tuple(failure for result in self.results for failure in result.failures)

    def coverage(self) -> dict[str, Any]:
        """Return bins hit and possible over all kernels, and those missed, by kernel."""
        return summary(self._tables())

    def _tables(self) -> dict[str, Mapping[str, Bin]]:
        """Return the coverage of each kernel by its label, numbered where labels repeat."""
        tables: dict[str, Mapping[str, Bin]] = {}
        for result in self.results:
            label, number = result.kernel.label, 1
            while label in tables:
                number += 1
                label = f"{result.kernel.label} ({number})"
            tables[label] = result.coverage
        return tables

    def write_coverage(self, path: str | Path) -> None:
        """Write the table of every kernel as JSON: bin to count and need; whole or not at all.

        A count is null where formats, ports or the distance of the rails make it impossible.
        """
        kernels = {
            label: {
                name: {"count": part.count, "need": part.need, "hit": part.hit}
                for name, part in bins.items()
            }
            for label, bins in self._tables().items()
        }
        record = {"seed": self.seed, **self.coverage(), "kernels": kernels}
        atomic.write_text(path, json.dumps(record, indent=1) + "\n")

    def raise_for_mismatch(self) -> None:
        """Raise `MismatchError` describing the first failing vector, if there is one."""
        if self.mismatches:
            first = self.failures[0].describe() if self.failures else "no vector recorded"
            raise MismatchError(f"{self.mismatches} results differ; the first:\n{first}")

    def to_json(self) -> dict[str, Any]:
        """Return the counts, as ``hwquant verify --json`` prints them."""
        return {
            "kernels": self.kernels,
            "pairs": len({_pair(r.kernel.spec) for r in self.results}),
            "products": self.products,
            "product_checks": sum(r.products for r in self.results),
            "mac_steps": self.mac_steps,
            "steps_at_a_rail": sum(r.rails for r in self.results),
            "mismatches": self.mismatches,
            "seconds": round(self.seconds, 2),
            "seed": self.seed,
            "warnings": list(self.warnings),
            "untested": list(self.untested),
            "coverage": self.coverage(),
            "level": "netlist" if self.flow else "rtl",
            "flow": self.flow,
        }

    def write_junit(self, path: str | Path) -> None:
        """Write one JUnit XML file with a test case per kernel; whole or not at all."""
        suite = ET.Element(
            "testsuite",
            name="hwquant verify",
            tests=str(self.kernels),
            failures=str(sum(r.mismatches > 0 for r in self.results)),
            errors="0",
            skipped="0",
            time=f"{self.seconds:.2f}",
        )
        properties = ET.SubElement(suite, "properties")
        facts = self.to_json()
        covered = facts.pop("coverage")
        facts |= {f"coverage.{key}": covered[key] for key in ("bins_hit", "bins_possible")}
        for key, value in facts.items():
            ET.SubElement(properties, "property", name=key, value=str(value))
        for result in self.results:
            case = ET.SubElement(
                suite, "testcase", classname="hwquant.verify", name=result.kernel.label, time="0"
            )
            if result.coverage:
                _junit_coverage(case, result)
            if result.mismatches:
                text = "\n".join(failure.describe() for failure in result.failures)
                failure = ET.SubElement(
                    case, "failure", message=f"{result.mismatches} results differ"
                )
                failure.text = text
        ET.indent(suite)
        body = ET.tostring(suite, encoding="unicode")
        atomic.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def _junit_coverage(case: ET.Element, result: KernelResult) -> None:
    """Add how many possible bins a kernel hit, and which it missed, as properties of its case."""
    covered = summary({"": result.coverage})
    properties = ET.SubElement(case, "properties")
    values = {
        "coverage": f"{covered['bins_hit']} of {covered['bins_possible']} bins",
        "missed": ", ".join(covered["missed"].get("", [])),
    }
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=value)


def _pair(spec: MacSpec) -> MacSpec:
    return MacSpec(spec.weight, spec.act)


def _pairs(spec: MacSpec) -> int:
    return len(spec.weight.codes) * len(spec.act.codes)


def merge(reports: Sequence[Report], seconds: float) -> Report:
    """Return one report of several runs with the same seed."""
    return Report(
        tuple(result for report in reports for result in report.results),
        reports[0].seed,
        seconds,
        tuple(text for report in reports for text in report.warnings),
        tuple(text for report in reports for text in report.untested),
        "; ".join(dict.fromkeys(report.flow for report in reports if report.flow)),
    )
