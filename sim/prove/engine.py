# SPDX-License-Identifier: Apache-2.0
"""Proof of kernels for all states and inputs: one-step induction against a golden model.

`prove` gives each kernel a process with a CPU limit and a verdict: proved, refuted with a failing
vector, or gave up with the limit.  Verdicts are cached by everything they depend on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hw import yosys
from hw.manifest import Bundle
from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError, ToolError
from hwquant.mac import MacSpec
from hwquant.progress import note, track
from sim.designs import design_of_spec, design_of_target
from sim.engine import Target
from sim.kernels import LIBRARY, Design, Kernel
from sim.report import Failure, MismatchError

from . import solver
from .netlist import miter_script, miter_sources

__all__ = ["STYLES", "Proof", "ProofReport", "prove", "prove_designs"]

DEFAULT_TIMEOUT: Final = 60.0
WALL_FACTOR: Final = 30  # a process that neither computes nor ends is ended too
_CACHE: Final = "prove"

STYLES: Final = tuple(
    MacSpec(weight, act, lanes, 64, acc, overflow)
    for overflow in ("wrap", "saturate")
    for weight, act, lanes, acc in (
        ("e2m1", "e2m1", 4, 15),
        ("int8", "int8", 1, 22),
        ("e4m3", "e4m3", 1, 39),
        ("e2m1", "int8", 16, 21),
        ("e4m3fn", "uint8", 2, 40),
    )
)
"""Every accumulator style on signed, unsigned, mixed and special-code formats: the part for CI."""


@dataclass(frozen=True)
class Proof:
    """The verdict on one kernel.

    ``status`` is ``"proved"``, ``"refuted"`` or ``"gave up"``; ``detail`` says why it is not
    proved; ``products`` says how the products were settled (``"enumerated"``: all pairs of codes
    evaluated; ``"proved"``: by the solver); ``invariant`` relates registers and golden model.
    """

    kernel: Kernel
    status: str
    detail: str
    products: str
    cpu_seconds: float
    queries: int = 0
    invariant: tuple[str, ...] = field(default=(), repr=False)
    failure: Failure | None = None

    def describe(self) -> str:
        """Say the verdict, and the failing vector where there is one."""
        text = f"{self.kernel.label}: {self.status}"
        text += f" ({self.detail})" if self.detail else ""
        return text if self.failure is None else f"{text}\n{self.failure.describe()}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "kernel": self.kernel.label,
            "status": self.status,
            "detail": self.detail,
            "products": self.products,
            "cpu_seconds": self.cpu_seconds,
            "queries": self.queries,
            "invariant": list(self.invariant),
            "failure": None if self.failure is None else self.failure.to_json(),
        }


@dataclass(frozen=True)
class ProofReport:
    """All verdicts of one run, in the order of the targets, and its wall time in seconds."""

    proofs: tuple[Proof, ...]
    seconds: float
    tools: str
    warnings: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """Return how many kernels have the verdict ``status``."""
        return sum(proof.status == status for proof in self.proofs)

    def raise_for_refutation(self) -> None:
        """Raise `MismatchError` describing the first refuted kernel, if there is one."""
        for proof in self.proofs:
            if proof.status == "refuted":
                raise MismatchError(proof.describe())

    def to_json(self) -> dict[str, Any]:
        """Return what ``hwquant prove --json`` prints."""
        return {
            "kernels": len(self.proofs),
            "proved": self.count("proved"),
            "refuted": self.count("refuted"),
            "gave_up": self.count("gave up"),
            "cpu_seconds": round(sum(proof.cpu_seconds for proof in self.proofs), 2),
            "seconds": round(self.seconds, 2),
            "tools": self.tools,
            "warnings": list(self.warnings),
            "proofs": [proof.to_json() for proof in self.proofs],
        }

    def write_junit(self, path: str | Path) -> None:
        """Write one JUnit XML file with a test case per kernel; whole or not at all.

        Refuted is a failure, gave up an error: neither is a pass.
        """
        suite = ET.Element(
            "testsuite",
            name="hwquant prove",
            tests=str(len(self.proofs)),
            failures=str(self.count("refuted")),
            errors=str(self.count("gave up")),
            skipped="0",
            time=f"{self.seconds:.2f}",
        )
        for proof in self.proofs:
            case = ET.SubElement(
                suite,
                "testcase",
                classname="hwquant.prove",
                name=proof.kernel.label,
                time=f"{proof.cpu_seconds:.2f}",
            )
            if proof.status != "proved":
                kind = "failure" if proof.status == "refuted" else "error"
                told = ET.SubElement(case, kind, message=proof.detail or proof.status)
                told.text = proof.describe()
        ET.indent(suite)
        body = ET.tostring(suite, encoding="unicode")
        atomic.write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')


def prove(
    targets: Target | Iterable[Target],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    products: bool = False,
    jobs: int | None = None,
) -> ProofReport:
    """Prove kernels equal to the golden model for every state, input and stream.

    A target is a spec (its kernel is generated from the library), a bundle, or the folder of a
    bundle (its files are what is proved).  ``timeout`` is CPU seconds per kernel; ``products``
    also has the solver prove every product, which is otherwise enumerated.

    >>> report = prove(MacSpec("e2m1", "int4", lanes=4, length=64))  # doctest: +SKIP
    >>> report.raise_for_refutation()  # doctest: +SKIP

    Raises `ToolError` when Yosys or Bitwuzla is missing or Yosys refuses the RTL, `InputError`
    for a folder that holds no kernel.
    """
    single = isinstance(targets, MacSpec | Bundle | str | Path)
    listed: list[Target] = [targets] if single else list(targets)  # type: ignore[list-item,arg-type]
    if not listed:
        raise InputError("nothing to prove: no kernel was given")
    warnings: list[str] = []
    designs = []
    for target in listed:
        if isinstance(target, MacSpec):
            designs.append(design_of_spec(target))
        else:
            design, found, _ = design_of_target(target)
            designs.append(design)
            warnings += found
    return prove_designs(designs, timeout=timeout, products=products, jobs=jobs, warnings=warnings)


def prove_designs(
    designs: Sequence[Design],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    products: bool = False,
    jobs: int | None = None,
    warnings: Sequence[str] = (),
) -> ProofReport:
    """Prove every kernel of ready designs; see `prove`."""
    if not 0 < timeout <= 1e6:
        raise InputError(f"timeout {timeout}, allowed: more than 0 s, up to 1e6 s of CPU")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs {jobs}, allowed 1 or more")
    for kernel in (kernel for design in designs for kernel in design.kernels):
        if kernel.control != LIBRARY:
            raise InputError(
                f"{kernel.label} has other ports than the library's kernels (reset, enable, valid, "
                "clear, results that stay); prove takes those only, verify takes it as it is"
            )
    tools = f"Yosys {yosys.yosys_version()}, {solver.identity()}"
    start = time.monotonic()
    work = [(design, kernel) for design in designs for kernel in design.kernels]
    workers = max(min(jobs or os.cpu_count() or 1, len(work)), 1)
    with ThreadPoolExecutor(workers) as pool, track("kernels proved", len(work)) as advance:

        def one(pair: tuple[Design, Kernel]) -> Proof:
            proof = _prove_one(*pair, tools=tools, timeout=timeout, products=products)
            advance(detail=proof.status)
            return proof

        futures = [pool.submit(one, pair) for pair in work]
        try:
            proofs = tuple(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return ProofReport(proofs, time.monotonic() - start, tools, tuple(warnings))


def _key(design: Design, kernel: Kernel, tools: str, *, products: bool) -> str:
    """Hash everything a verdict depends on: both sides, the script, the prover, the tools."""
    sources = miter_sources(design, kernel)
    here = Path(__file__).parent
    prover = {path.name: cache.file_hash(path) for path in sorted(here.glob("*.py"))}
    return cache.content_key(
        sources, miter_script(list(sources)), kernel.to_json(), prover, tools, products
    )


def _prove_one(
    design: Design, kernel: Kernel, *, tools: str, timeout: float, products: bool
) -> Proof:
    key = _key(design, kernel, tools, products=products)
    try:
        stored = cache.load_json(_CACHE, key)
    except CacheError as error:
        note(f"warning: {error}; proving again")
        stored = None
    if stored is not None:
        return _proof(kernel, stored)
    found = _run(design, kernel, timeout=timeout, products=products)
    if found["status"] != "gave up":  # more time may decide it
        try:
            cache.store_json(_CACHE, key, found)
        except CacheError as error:
            note(f"warning: {error}")
    return _proof(kernel, found)


def _proof(kernel: Kernel, found: dict[str, Any]) -> Proof:
    failure = found.get("failure")
    return Proof(
        kernel,
        found["status"],
        found.get("detail", ""),
        found.get("products", ""),
        found["cpu_seconds"],
        found.get("queries", 0),
        tuple(found.get("invariant", ())),
        None if failure is None else Failure.from_json(failure),
    )


def _run(design: Design, kernel: Kernel, *, timeout: float, products: bool) -> dict[str, Any]:
    """Prove in a process of its own; return its verdict, or that it was ended."""
    with tempfile.TemporaryDirectory(prefix="hwquant-prove-") as name:
        job, result, stage = (Path(name) / file for file in ("job", "result", "stage"))
        record = {"sources": dict(design.sources), "kernel": kernel.to_json()}
        job.write_text(json.dumps(record | {"timeout": timeout, "products": products}))
        command = [sys.executable, "-m", "sim.prove.worker", str(job), str(result), str(stage)]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
            errors="replace",
        ) as process:
            try:
                _, said = process.communicate(timeout=WALL_FACTOR * max(timeout, 10))
            except subprocess.TimeoutExpired:
                said = ""
            finally:
                process.kill()
        if result.exists():
            found: dict[str, Any] = json.loads(result.read_text())
            if "error" in found:
                raise ToolError(f"{kernel.label}: {found['error']}")
            return found
        where = stage.read_text() if stage.exists() else "starting"
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        why = f"limit of {timeout:g} s CPU reached while {where}"
    elif process.returncode == -signal.SIGABRT or "MemoryError" in said:
        why = f"out of memory while {where}"
    else:
        raise ToolError(f"{kernel.label}: the prover failed while {where}:\n{said[-1500:]}")
    return {"status": "gave up", "detail": why, "cpu_seconds": timeout}
