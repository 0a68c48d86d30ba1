# SPDX-License-Identifier: Apache-2.0
"""Verified vectors per CPU-second: the farm against the usual cocotb loop, in one run.

    python tests/benchmarks/bench_verify.py

The baseline is the single-kernel testbench (``sim/agents.py``): Python drives and checks each
clock cycle of one kernel.  Both sides count everything except compiling: start of the simulator,
stimulus, reference, comparison.
"""

from __future__ import annotations

import resource

from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify_designs
from sim.pairs import all_pairs
from sim.replay import play
from sim.vectors import CLEAR, ENABLE, VALID, product_passes

SPEC = MacSpec("e4m3", "e4m3", 1, 256, 40, "saturate")
LOOP_VECTORS = 30_000


def cpu_seconds(work) -> float:
    """Return the CPU time of the programs that ``work`` starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> dict[str, float]:
    """Measure both and print the ratio."""
    block = next(product_passes(SPEC))
    pairs = zip(block.weight[:, 0].tolist(), block.act[:, 0].tolist(), strict=True)
    rows = [(ENABLE | VALID | CLEAR, w, a) for w, a in pairs][:LOOP_VECTORS]
    single = design_of_spec(SPEC)
    farm = list(designs_of_specs(all_pairs()))[-3]  # 100 kernels of 8-bit formats

    play(single, rows[:10])  # compile before the clock starts
    verify_designs([farm], steps=16)
    loop = LOOP_VECTORS / cpu_seconds(lambda: play(single, rows))
    reports = []
    seconds = cpu_seconds(lambda: reports.append(verify_designs([farm])))
    vectors = sum(r.products + r.mac_steps for r in reports[0].results)
    result = {"loop": loop, "farm": vectors / seconds, "ratio": vectors / seconds / loop}
    print(f"cocotb loop, one kernel: {loop:12,.0f} vectors per CPU-second")
    print(f"farm of {len(farm.kernels)} kernels:     {vectors / seconds:12,.0f}")
    print(f"ratio: {result['ratio']:.0f} (goal >= 100)")
    return result


if __name__ == "__main__":
    main()
