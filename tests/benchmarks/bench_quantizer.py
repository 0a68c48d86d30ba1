# SPDX-License-Identifier: Apache-2.0
"""Speed of the quantizer kernel, as ratios to Brevitas's FloatQuant and to a tensor copy.

All contenders run in one process, in turn: same tensor, same threads, same allocator settings
(the script starts itself again with large malloc thresholds, or page faults would dominate).
Times are the least of several runs.  Values are compared before anything is timed.

    python tests/benchmarks/bench_quantizer.py [--elements N] [--threads N] [--format e4m3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(512 << 20),
}


def brevitas_quantizer(fmt):
    """Return Brevitas's own FloatQuant for a minifloat, scale one, in evaluation mode."""
    from brevitas.core.bit_width import BitWidthConst
    from brevitas.core.bit_width.float import StaticExponentBias, StaticMaxMantissa
    from brevitas.core.function_wrapper import FloatClamp, Identity, TensorClamp
    from brevitas.core.quant.float import FloatQuant

    quantizer = FloatQuant(
        signed=fmt.signed,
        exponent_bit_width_impl=BitWidthConst(fmt.exponent_bits),
        mantissa_bit_width_impl=BitWidthConst(fmt.mantissa_bits),
        exponent_bias_impl=StaticExponentBias(fmt.exponent_bias),
        float_clamp_impl=FloatClamp(
            TensorClamp(),
            signed=fmt.signed,
            max_available_float=float(fmt.max),
            saturating=True,
        ),
        input_view_impl=Identity(),
        compute_max_mantissa=StaticMaxMantissa(fmt.mantissa_bits),
    ).eval()
    return lambda x: quantizer(x)[0]


def main() -> None:
    """Print one JSON object with times in milliseconds and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--format", default="e4m3")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    if any(os.environ.get(key) != setting for key, setting in MALLOC.items()):
        again = [sys.executable, *sys.argv]
        os.execve(sys.executable, again, os.environ | MALLOC)  # noqa: S606

    import numpy as np
    import torch

    from hwquant import codec, codec_np
    from hwquant.formats import parse
    from hwquant.nn import kernel

    torch.set_num_threads(arguments.threads)
    fmt = parse(arguments.format)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(arguments.elements, generator=generator) * float(fmt.max) / 4

    def run(mode):
        def quantize(y):
            kernel.set_compile(mode)
            return kernel.quantize_unit(y, fmt)

        return quantize

    theirs = brevitas_quantizer(fmt)
    contenders = {
        "copy": torch.clone,
        "brevitas": theirs,
        "eager": run(False),
        "compiled": run(True),
    }
    probe = x[:2000].numpy()
    by_definition = np.array(
        [float(codec.value(fmt, codec.encode(fmt, float(v)))) for v in probe], np.float32
    )
    expected = codec_np.quantize(fmt, x.numpy())
    mismatches = {}
    for name in ("eager", "compiled", "brevitas"):
        got = contenders[name](x).numpy()
        scalar = int((got[:2000] != by_definition).sum())
        mismatches[name] = scalar + int((got.view(np.int32) != expected.view(np.int32)).sum())
    best = dict.fromkeys(contenders, float("inf"))
    with torch.no_grad():
        for _ in range(arguments.repeats):
            for name, function in contenders.items():
                start = time.perf_counter()
                function(x)
                best[name] = min(best[name], time.perf_counter() - start)
    ours = min(best["compiled"], best["eager"])
    result = {
        "format": str(fmt),
        "elements": arguments.elements,
        "threads": arguments.threads,
        "milliseconds": {name: round(seconds * 1e3, 3) for name, seconds in best.items()},
        "times_faster_than_brevitas": round(best["brevitas"] / ours, 2),
        "times_faster_than_brevitas_eager": round(best["brevitas"] / best["eager"], 2),
        "times_slower_than_copy": round(ours / best["copy"], 2),
        "mismatches": mismatches,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
