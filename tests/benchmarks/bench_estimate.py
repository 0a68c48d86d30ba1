# SPDX-License-Identifier: Apache-2.0
"""A million kernels priced as arrays, against a Python loop over the scalar estimate.

Run ``python tests/benchmarks/bench_estimate.py``.  Both in one process, in the same run; the loop
is timed on a sample and extrapolated, and the sample's results must be equal.
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

from costmodel.formulas import estimate_many
from costmodel.primitives import SpecArrays
from hwquant.formats import integers, minifloats

KERNELS = 1_000_000
SAMPLE = 200
LEAST = 200.0


def main() -> int:
    """Print the times and their ratio; 1 when it is below 200 or a price differs."""
    rng = np.random.default_rng(7)
    formats = (*integers(3, 6), *minifloats(3, 5))
    pairs = rng.integers(0, len(formats), (2, KERNELS))
    specs = SpecArrays.of(
        formats,
        pairs[0],
        pairs[1],
        lanes=rng.choice([1, 2, 4, 8, 16], KERNELS),
        length=256,
        acc=rng.integers(20, 64, KERNELS),
        saturate=rng.integers(0, 2, KERNELS),
    )
    start = perf_counter()
    estimate_many(specs)
    cold = perf_counter() - start
    start = perf_counter()
    many = estimate_many(specs)
    warm = perf_counter() - start
    chosen = rng.choice(KERNELS, SAMPLE, replace=False).tolist()
    single = [specs.spec(index) for index in chosen]
    start = perf_counter()
    one = [estimate_many([spec]) for spec in single]
    loop = (perf_counter() - start) * KERNELS / SAMPLE
    same = all(
        float(many.lut_sites[index]) == float(found.lut_sites[0])
        and float(many.ff[index]) == float(found.ff[0])
        for index, found in zip(chosen, one, strict=True)
    )
    print(f"{KERNELS} kernels as arrays: {warm:.2f} s ({cold:.2f} s with the first mapping)")
    print(f"loop over the scalar estimate: {loop:.0f} s ({SAMPLE} timed, extrapolated)")
    print(f"ratio {loop / warm:.0f}, at least {LEAST:.0f}; equal prices: {same}")
    return 0 if same and loop / warm >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
