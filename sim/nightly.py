# SPDX-License-Identifier: Apache-2.0
"""Long verifications in stages and tasks that can be killed at any time and resumed.

A finished task leaves a sealed record under the key of everything it depends on: its own content,
every source file of the packages behind it, and the versions of the tools.  A record under another
key is never looked at, so nothing stale counts.
"""

from __future__ import annotations

import json
import platform
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from hw.yosys import yosys_version
from hwquant import atomic, cache
from hwquant.errors import HwquantError
from hwquant.progress import note

from . import toolchain
from .prove.solver import identity as solver

__all__ = ["Finding", "Stage", "Summary", "Task", "run"]


@dataclass(frozen=True)
class Finding:
    """What one task found: what it counted, and each failure in words.

    ``vector`` is a failing vector as `sim.replay` reads it, if the task has one.
    """

    counts: Mapping[str, int]
    failures: tuple[str, ...] = ()
    vector: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Task:
    """A unit of work that is done or not; ``content`` is JSON-able and says what it works on.

    ``seconds`` is its expected duration on two cores.
    """

    name: str
    content: Any = field(repr=False)
    seconds: float
    run: Callable[[], Finding] = field(repr=False)


@dataclass(frozen=True)
class Stage:
    """Tasks of one kind."""

    name: str
    tasks: tuple[Task, ...] = field(repr=False)

    @property
    def seconds(self) -> float:
        """Expected duration on two cores."""
        return sum(task.seconds for task in self.tasks)


@dataclass(frozen=True)
class Record:
    """One task's outcome; ``error`` is what kept it from an answer (such records are not kept)."""

    stage: str
    task: str
    finding: Finding
    seconds: float
    reused: bool
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "stage": self.stage,
            "task": self.task,
            "counts": dict(self.finding.counts),
            "failures": list(self.finding.failures),
            "vector": self.finding.vector,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Summary:
    """All tasks of a run; ``seconds`` is the work behind them, resumed or not."""

    records: tuple[Record, ...] = field(repr=False)
    planned: int

    @property
    def failures(self) -> int:
        """Failures found."""
        return sum(len(record.finding.failures) for record in self.records)

    @property
    def errors(self) -> tuple[str, ...]:
        """What kept tasks from an answer."""
        return tuple(f"{r.stage}, {r.task}: {r.error}" for r in self.records if r.error)

    @property
    def passed(self) -> bool:
        """Every planned task has an answer, and no answer is a failure."""
        return not self.failures and not self.errors and len(self.records) == self.planned

    def to_json(self) -> dict[str, Any]:
        """Return the sums of each stage, as ``nightly.json`` holds them."""
        stages: dict[str, dict[str, Any]] = {}
        for record in self.records:
            of = stages.setdefault(
                record.stage,
                {"tasks": 0, "resumed": 0, "counts": Counter(), "failures": 0, "seconds": 0.0},
            )
            of["tasks"] += 1
            of["resumed"] += record.reused
            of["counts"].update(record.finding.counts)
            of["failures"] += len(record.finding.failures)
            of["seconds"] = round(of["seconds"] + record.seconds, 2)
        return {
            "passed": self.passed,
            "tasks": len(self.records),
            "planned": self.planned,
            "failures": self.failures,
            "errors": list(self.errors),
            "seconds": round(sum(record.seconds for record in self.records), 2),
            "stages": stages,
        }

    def to_junit(self) -> str:
        """Return one JUnit document: a suite per stage, a case per task."""
        root = ET.Element("testsuites", name="hwquant verify --nightly")
        for stage in dict.fromkeys(record.stage for record in self.records):
            mine = [record for record in self.records if record.stage == stage]
            suite = ET.SubElement(
                root,
                "testsuite",
                name=stage,
                tests=str(len(mine)),
                failures=str(sum(bool(r.finding.failures) for r in mine)),
                errors=str(sum(bool(r.error) for r in mine)),
                skipped="0",
                time=f"{sum(r.seconds for r in mine):.2f}",
            )
            for record in mine:
                _case(suite, record)
        ET.indent(root)
        body = ET.tostring(root, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _case(suite: ET.Element, record: Record) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"hwquant.nightly.{record.stage}",
        name=record.task,
        time=f"{record.seconds:.2f}",
    )
    if record.finding.failures:
        failure = ET.SubElement(case, "failure", message=f"{len(record.finding.failures)} failures")
        failure.text = "\n".join(record.finding.failures)
    if record.error:
        ET.SubElement(case, "error", message=record.error.splitlines()[0]).text = record.error
    counts = json.dumps(dict(record.finding.counts))
    ET.SubElement(case, "system-out").text = counts


def identity() -> str:
    """Return one hash over everything that any answer depends on: our sources, the tools."""
    sources = [
        (package, str(path.relative_to(root)), cache.file_hash(path))
        for package, pattern in (("hwquant", "*.*"), ("hw", "**/*.*"), ("sim", "**/*.*"))
        for root in [Path(str(files(package)))]
        for path in sorted(root.glob(pattern))
        if path.is_file() and path.suffix != ".pyc"
    ]
    versions = [platform.python_version(), np.__version__, yosys_version(), solver()]
    return cache.content_key(sources, versions, toolchain.find().identity)


def run(stages: Sequence[Stage], out: str | Path) -> Summary:
    """Run every task that ``out`` holds no answer for; write ``nightly.json`` and ``nightly.xml``.

    Both files stand for what is answered so far after each task, so a killed run leaves them too.
    A task that ends with an error is reported, not kept, and the others run.
    Raises `InputError` when ``out`` cannot be written, `ToolError` when the tools are missing.
    """
    folder = Path(out)
    tasks = [(stage.name, task) for stage in stages for task in stage.tasks]
    basis = identity()
    paths = [_path(folder, basis, stage, task) for stage, task in tasks]
    known = [_load(path, stage, task) for path, (stage, task) in zip(paths, tasks, strict=True)]
    left = sum(task.seconds for (_, task), found in zip(tasks, known, strict=True) if found is None)
    resumed = sum(found is not None for found in known)
    note(f"{len(tasks)} tasks, {resumed} of them answered before; about {_minutes(left)} left")
    records: list[Record] = []
    spent = planned = 0.0
    for number, ((stage, task), path, found) in enumerate(
        zip(tasks, paths, known, strict=True), start=1
    ):
        if found is not None:
            records.append(found)
            continue
        record = _answer(stage, task, basis)
        if not record.error:
            value = record.to_json()
            text = json.dumps({"seal": cache.content_key(value), "value": value}, sort_keys=True)
            atomic.write_text(path, text)
        if record.finding.vector is not None:
            failing = folder / f"failure-{path.stem[:12]}.json"
            atomic.write_text(failing, json.dumps(record.finding.vector, indent=1) + "\n")
            note(f"replay: hwquant verify --replay {failing} --waves {failing.with_suffix('.vcd')}")
        records.append(record)
        _write(folder, Summary((*records, *filter(None, known[number:])), len(tasks)))
        spent, planned, left = spent + record.seconds, planned + task.seconds, left - task.seconds
        note(
            f"[{number}/{len(tasks)}] {stage}, {task.name}: {_verdict(record)} in "
            f"{record.seconds:.0f} s; about {_minutes(left * spent / max(planned, 1e-9))} left"
        )
    summary = Summary(tuple(records), len(tasks))
    _write(folder, summary)
    return summary


def _answer(stage: str, task: Task, basis: str) -> Record:
    start = time.monotonic()
    try:
        found, error = task.run(), ""
        if identity() != basis:
            found, error = Finding({}), "sources or tools changed while it ran; run it again"
    except HwquantError as caught:
        found, error = Finding({}), str(caught)
    return Record(stage, task.name, found, time.monotonic() - start, reused=False, error=error)


def _verdict(record: Record) -> str:
    if record.error:
        return f"ERROR {record.error.splitlines()[0]}"
    return f"{len(record.finding.failures)} FAILURES" if record.finding.failures else "passed"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _path(folder: Path, basis: str, stage: str, task: Task) -> Path:
    key = cache.content_key(basis, stage, task.name, task.content)
    return folder / "tasks" / f"{key}.json"


def _load(path: Path, stage: str, task: Task) -> Record | None:
    """Return a task's answer of an earlier run; a damaged one is none, with a note."""
    try:
        sealed = json.loads(path.read_bytes())
        value = sealed["value"]
        whole = sealed["seal"] == cache.content_key(value)
        finding = Finding(value["counts"], tuple(value["failures"]), value["vector"])
        seconds = float(value["seconds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        note(f"{path} is damaged ({error!r}); its task runs again")
        return None
    if not whole:
        note(f"{path} does not match its seal; its task runs again")
        return None
    return Record(stage, task.name, finding, seconds, reused=True)


def _write(folder: Path, summary: Summary) -> None:
    atomic.write_text(folder / "nightly.json", json.dumps(summary.to_json(), indent=1) + "\n")
    atomic.write_text(folder / "nightly.xml", summary.to_junit())
