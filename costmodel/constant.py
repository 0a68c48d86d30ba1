# SPDX-License-Identifier: Apache-2.0
"""What constant kernels cost, by formula or synthesis; the table of ``docs/kernels/constant.md``.

``python -m costmodel.constant`` prints it: random matrices, one seed, sites per weight.
``tests/benchmarks/bench_constant.py`` counts da4ml's netlists of the same matrices by the same
flow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw.constant.design import Design, build
from hw.constant.emit import constant_sources
from hw.constant.kernel import constant_text
from hw.constant.spec import MatVecSpec
from hw.yosys import flow
from hwquant import codec_np
from hwquant.formats import parse

from .formulas import fitted_flow
from .primitives.constant import constant_kernels

__all__ = ["WEIGHTS", "constant_price", "random_matrix", "rows"]

WEIGHTS: Final = {
    "ternary": "int2n",
    "int3": "int3",
    "int4": "int4",
    "int4 gaussian": "int4",
    "e2m1": "e2m1",
}
"""Name of a distribution to its format: uniform over the codes, or gaussian with sigma 2.5."""

SIGMA: Final = 2.5


def random_matrix(kind: str, inputs: int, outputs: int, act: str, *, seed: int = 0) -> MatVecSpec:
    """Return a kernel with random weights of a kind of `WEIGHTS`."""
    rng = np.random.default_rng(seed)
    fmt = parse(WEIGHTS[kind])
    shape = (outputs, inputs)
    if kind.endswith("gaussian"):
        codes: NDArray[Any] = codec_np.encode(fmt, rng.normal(0, SIGMA, shape))
    else:
        codes = np.asarray(fmt.codes)[rng.integers(0, len(fmt.codes), shape)]
    return MatVecSpec(codes, fmt, act)


def constant_price(
    spec: MatVecSpec,
    *,
    levels: int = 1,
    primitive: bool = True,
    design: Design | None = None,
    synth: bool = False,
) -> dict[str, Any]:
    """Return what a constant kernel uses: by formula, or with ``synth`` synthesized.

    The portable kernel has no formula and is always synthesized.  Raises `ToolError` when Yosys
    is needed and missing.
    """
    made = build(spec, levels=levels) if design is None else design
    synth = synth or not primitive
    used = _synthesized(made, primitive=primitive) if synth else _estimated(made)
    weights = spec.inputs * spec.outputs
    return {
        "style": "constant" if primitive else "constant-portable",
        "weight": str(spec.weight),
        "act": str(spec.act),
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        **used,
        "sites_per_weight": round(used["lut_sites"] / weights, 3),
        "estimated_sites": made.sites,
        "acc_bits": max(spec.out_bits),
        "latency_cycles": made.latency,
        "initiation_interval": 1,
        "source": "synthesis" if synth else "formula",
        "flow": flow() if synth else fitted_flow(),
    }


def _synthesized(design: Design, *, primitive: bool) -> dict[str, Any]:
    from hw.yosys import synthesize

    top = constant_text(design, "unit", primitive=primitive)
    return synthesize(constant_sources(design) | {"unit.sv": top}, "unit").to_json()


def _estimated(design: Design) -> dict[str, Any]:
    columns = constant_kernels([design]).to_columns()
    return {name: int(column[0]) for name, column in columns.items()}


def rows(
    inputs: int, outputs: int, acts: tuple[str, ...], kinds: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield one priced row per kind of weights and activation format."""
    for kind in kinds:
        for act in acts:
            spec = random_matrix(kind, inputs, outputs, act)
            yield {"weights": kind, **constant_price(spec, synth=True)}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--outputs", type=int, default=64)
    parser.add_argument("--acts", nargs="+", default=["int4", "int8"])
    parser.add_argument("--kinds", nargs="+", default=list(WEIGHTS))
    args = parser.parse_args()
    for row in rows(args.inputs, args.outputs, tuple(args.acts), tuple(args.kinds)):
        text = (
            f"| {row['weights']} | {row['act']} | {row['sites_per_weight']:.2f} "
            f"| {row['lut_sites']} | {row['lut_raw']} | {row['ff']} | {row['latency_cycles']} |"
        )
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{flow()}\n")


if __name__ == "__main__":
    _main()
