# SPDX-License-Identifier: Apache-2.0
"""da4ml's constant matrix-vector products, counted by our flow on the matrices of ours.

Needs ``pip install da4ml`` (0.6; LGPL, so it is neither shipped nor imported anywhere else).
``python tests/benchmarks/bench_constant.py`` prints sites per weight, ours beside theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from costmodel.constant import WEIGHTS, constant_price, random_matrix
from hw.yosys import flow, synthesize


def da4ml_sites(spec):
    """Return (LUT sites, adders) of da4ml's Verilog for the matrix of ``spec``."""
    from da4ml.codegen import rtl
    from da4ml.codegen.rtl.verilog.comb import comb_logic_gen
    from da4ml.trace import FixedVariableArrayInput, comb_trace

    act = spec.act
    kernel = np.array(spec.weights, float).T
    inputs = FixedVariableArrayInput(spec.inputs)
    inputs = inputs.quantize(int(act.signed), act.bits - act.signed, 0)
    # One trace: two solutions put together by hand lose outputs, as their shifts differ.
    logic = comb_trace(inputs, inputs @ kernel)
    x = np.random.default_rng(1).integers(act.min_int, act.max_int + 1, (64, spec.inputs))
    got = [np.asarray(logic(row.astype(float), quantize=False), float) for row in x]
    if not np.array_equal(got, x @ kernel):
        raise SystemExit("da4ml's model differs from the product: nothing to compare")
    blocks = Path(rtl.__file__).parent / "verilog" / "source"
    sources = {name: (blocks / name).read_text() for name in ("shift_adder.v", "negative.v")}
    sources["top.v"] = comb_logic_gen(logic, "unit")
    used = synthesize(sources, "unit")
    return used.lut_sites, sum(op.opcode in (0, 1) for op in logic.ops)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=32)
    parser.add_argument("--outputs", type=int, default=16)
    parser.add_argument("--acts", nargs="+", default=["int4", "int8"])
    parser.add_argument("--kinds", nargs="+", default=list(WEIGHTS))
    args = parser.parse_args()
    weights = args.inputs * args.outputs
    for kind in args.kinds:
        for act in args.acts:
            spec = random_matrix(kind, args.inputs, args.outputs, act)
            ours = constant_price(spec, synth=True)
            theirs, adders = da4ml_sites(spec)
            print(
                f"| {kind} | {act} | {ours['sites_per_weight']:.2f} | {theirs / weights:.2f} "
                f"| {adders / weights:.2f} | {ours['ff']} | {ours['latency_cycles']} |",
                flush=True,
            )
    print(flow())


if __name__ == "__main__":
    main()
