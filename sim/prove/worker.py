# SPDX-License-Identifier: Apache-2.0
"""The process that proves one kernel: ``python -m sim.prove.worker JOB RESULT STAGE``.

It is a process of its own so that a solver that runs over can be ended.  The CPU limit is set by
the process itself, in the kernel's accounting, so load on the machine does not change a verdict.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwquant.errors import HwquantError
from sim.kernels import Design, Kernel

from .invariant import guess
from .netlist import Netlist, read
from .products import Products
from .simulate import Row, simulate
from .solver import satisfy
from .step import Induction, Refused
from .trace import explain, from_product, from_state

__all__ = ["prove_kernel"]

MEMORY_BYTES = 8 << 30


class _FoundError(Exception):
    """A stimulus that shows a difference."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        super().__init__()
        self.rows = rows


def prove_kernel(
    netlist: Netlist, kernel: Kernel, *, products: bool, say: Callable[[str], object]
) -> dict[str, Any]:
    """Prove one kernel; return the verdict as JSON-able data.  ``say`` hears what is being done."""
    say("simulating")
    samples = simulate(netlist, kernel)
    if samples.wrong is not None:
        return _refuted(netlist, kernel, samples.wrong)
    say("proving the step of the accumulator")
    known = Products(netlist, kernel)

    def refused(failure: Refused) -> None:
        rows = from_product(netlist, kernel, known.wrong)
        if rows is None:
            hint = _hint(netlist, kernel, failure)
            rows = from_state(netlist, kernel, *hint, reset=failure.goal.startswith("reset"))
        if rows is not None:
            raise _FoundError(rows)

    proof = Induction(netlist, kernel, known, refused)
    try:
        kept, failed = proof.run(guess(netlist, kernel, samples))
    except _FoundError as found:
        return _refuted(netlist, kernel, found.rows)
    facts: dict[str, Any] = {
        "invariant": proof.describe(kept),
        "queries": proof.queries,
        "pairs_enumerated": known.compared,
        "products": "enumerated" if known.lemmas else "proved",
    }
    if failed is not None:
        where = f"not inductive with the relations found: {failed.goal}"
        return {"status": "gave up", "detail": where, **facts}
    if products:
        say("proving the products")
        for lemma in known.lemmas:
            wrong = _wrong_pair(netlist, kernel, lemma)
            if wrong is not None:
                raise HwquantError(f"solver and enumeration disagree on codes {wrong}")
        facts["products"] = "proved"
    return {"status": "proved", "detail": "", **facts}


def _refuted(netlist: Netlist, kernel: Kernel, rows: tuple[Row, ...]) -> dict[str, Any]:
    failure = explain(netlist, kernel, rows)
    if failure is None:
        detail = (
            "the outputs depend on what the registers held before a reset, on an undefined value, "
            "or on the inputs of the same cycle"
        )
        return {"status": "refuted", "detail": detail}
    return {"status": "refuted", "detail": "", "failure": failure.to_json()}


def _hint(netlist: Netlist, kernel: Kernel, failure: Refused) -> tuple[list[int], list[Row]]:
    """Return the accumulators and codes of a failing state."""
    width = kernel.spec.accumulator.width
    wide = [netlist.golden("acc_q")]
    wide += [register for register in netlist.names if netlist.dag.widths[register] == width]
    raw = dict.fromkeys(failure.model.get(register, 0) for register in wide)
    accumulators = [x - (1 << width) if x >> width - 1 else x for x in raw]
    last = kernel.latency - 1
    weight, act = (
        tuple(
            failure.model.get(netlist.golden(f"{port}_{last}_{lane}"), 0)
            for lane in range(kernel.spec.lanes)
        )
        for port in ("weight", "act")
    )
    legal = set(weight) <= set(kernel.spec.weight.codes) and set(act) <= set(kernel.spec.act.codes)
    return accumulators, [(0, weight, act)] if legal else []


def _wrong_pair(netlist: Netlist, kernel: Kernel, lemma: tuple[int, int]) -> list[int] | None:
    """Ask the solver for codes of lane 0 where a lemma does not hold."""
    dag, spec = netlist.dag, kernel.spec
    asserted = [dag.make("not", (dag.make("=", lemma),))]
    codes = []
    for name, fmt in (("lane_weight", spec.weight), ("lane_act", spec.act)):
        code = dag.variable(name, fmt.bits)
        codes.append(code)
        for without in set(range(1 << fmt.bits)) - set(fmt.codes):
            same = dag.make("=", (code, dag.constant(without, fmt.bits)))
            asserted.append(dag.make("not", (same,)))
    model = satisfy(dag, asserted, codes)
    return None if model is None else [model[code] for code in codes]


def main(job_file: str, result_file: str, stage_file: str) -> None:
    """Read the job, limit this process, prove, write the result."""
    sys.setrecursionlimit(100_000)  # Yosys nests a sign extension one level a bit
    job = json.loads(Path(job_file).read_text())
    seconds = max(math.ceil(job["timeout"]), 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    kernel = Kernel.from_json(job["kernel"])
    stage = Path(stage_file)
    try:
        stage.write_text("reading the netlist")
        netlist = read(Design((kernel,), job["sources"]), kernel)
        # Only now: Yosys is WebAssembly and reserves more addresses than it uses.
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        found = prove_kernel(netlist, kernel, products=job["products"], say=stage.write_text)
    except HwquantError as error:
        found = {"error": str(error)}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["cpu_seconds"] = round(time.process_time() + children.ru_utime + children.ru_stime, 2)
    Path(result_file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4])
