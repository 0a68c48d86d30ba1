# SPDX-License-Identifier: Apache-2.0
"""Verified vectors per CPU-second: the farm against the usual cocotb loop, in one run.

    python tests/benchmarks/bench_verify.py

Farm: the middle one of the farms of ``hwquant verify --all-pairs`` (they are ordered by size; 100
kernels, a fifth of them with accumulators beyond 62 bits), with everything it does: every product,
65,536 accumulator steps, gaps, resets, coverage.
Loop: ``tb_naive.py`` on every 25th kernel of that same farm, with the first 20,000 vectors of the
same products and the first 20,000 of the same streams.
Both sides are one thread, and count all CPU time but compiling: start of the simulator, stimulus,
reference and comparison of every result.
"""

from __future__ import annotations

import resource
from itertools import islice

import numpy as np

from sim.build import simulator
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import DEFAULT_STEPS, verify_designs
from sim.pairs import all_pairs
from sim.runner import run_job
from sim.vectors import product_passes, stream_passes

EVERY = 25
VECTORS = 20_000  # of products, and as many of streams
PORTS = ("clk_i", "rst_i", "en_i", "valid_i", "clear_i", "weight_i", "act_i", "acc_o")


def cpu_seconds(work) -> float:
    """Return the CPU time of the programs that ``work`` starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows_of(spec) -> list[tuple[int, int, int]]:
    """Return (clear, weight code, activation code) of the vectors that the farm sends first."""
    rows = []
    for block in (next(product_passes(spec)), next(stream_passes(spec, 0, DEFAULT_STEPS))):
        dots, beats, _ = block.weight.shape
        clear = np.tile(np.arange(beats) == 0, dots)
        columns = clear, block.weight.ravel(), block.act.ravel()
        rows += islice(zip(*(column.tolist() for column in columns), strict=True), VECTORS)
    return [(int(clear), w, a) for clear, w, a in rows]


def naive(spec, rows) -> int:
    """Run the loop on one kernel; return how many results it compared."""
    design = design_of_spec(spec)
    (kernel,) = design.kernels
    visible = [f'public_flat_rw -module "{kernel.name}" -var "{port}"' for port in PORTS]
    build = simulator(
        design.sources, kernel.name, visible="\n".join(["`verilator_config", *visible, ""])
    )
    job = {"kernel": kernel.to_json(), "rows": rows}
    outcome, compared, log = run_job(build, kernel.name, "tb_naive", job, seed=0)
    if not all(outcome.values()):
        raise SystemExit(log)
    return int(compared)


def main() -> dict[str, float]:
    """Measure both and print the ratio."""
    farms = list(designs_of_specs(all_pairs()))
    farm = farms[len(farms) // 2]
    sample = [(k.spec, rows_of(k.spec)) for k in farm.kernels[::EVERY]]
    for spec, rows in sample:  # compile before the clock starts
        naive(spec, rows[:10])
    verify_designs([farm], steps=16)

    compared = []
    seconds = cpu_seconds(lambda: compared.extend(naive(*one) for one in sample))
    loop = sum(compared) / seconds
    reports = []
    seconds = cpu_seconds(lambda: reports.append(verify_designs([farm])))
    reports[0].raise_for_mismatch()
    vectors = sum(r.products + r.mac_steps for r in reports[0].results)
    result = {"loop": loop, "farm": vectors / seconds, "ratio": vectors / seconds / loop}
    print(f"cocotb loop, {len(sample)} of these kernels: {loop:12,.0f} vectors per CPU-second")
    print(f"farm of {len(farm.kernels)} kernels:           {vectors / seconds:12,.0f}")
    print(f"ratio: {result['ratio']:.0f} (goal >= 100)")
    return result


if __name__ == "__main__":
    main()
