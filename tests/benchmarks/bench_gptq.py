# SPDX-License-Identifier: Apache-2.0
"""GPTQ against Brevitas's, on the same layers, data, frozen scales and block counts, in one run.

Layers: Brevitas keeps its own weight quantizer (scales frozen by ``parameter_from_stats``), ours
takes that quantizer's scales.  The error is ``e H e^T`` with the float64 Hessian of the layer's
own data, summed over all weights.  Network: both start from the same calibrated copy, whose
weight quantizer is ours on both sides, which only helps Brevitas's time.

Times are processor seconds of one thread, the least of several runs; both include the Hessian,
the network's the forward passes too (Brevitas runs one a layer, ours one in all).

    python tests/benchmarks/bench_gptq.py [--blocks 100] [--repeats 3] [--network glyphs_resnet8]
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from statistics import geometric_mean

LAYERS = {
    "linear 128x256": (lambda nn: nn.Linear(256, 128), (512, 256)),
    "linear tokens 96x64": (lambda nn: nn.Linear(64, 96), (64, 16, 64)),
    "conv 32x16x3x3": (lambda nn: nn.Conv2d(16, 32, 3, padding=1), (64, 16, 8, 8)),
    "conv 64x64x3x3": (lambda nn: nn.Conv2d(64, 64, 3, padding=1), (64, 64, 6, 6)),
    "conv groups 4": (lambda nn: nn.Conv2d(32, 32, 3, padding=1, groups=4), (64, 32, 8, 8)),
    "depthwise 64x3x3": (lambda nn: nn.Conv2d(64, 64, 3, padding=1, groups=64), (64, 64, 8, 8)),
    "conv1d 32x32x5": (lambda nn: nn.Conv1d(32, 32, 5, padding=2), (64, 32, 40)),
}


def clock(function, repeats):
    """Return (least processor seconds, the last result)."""
    least, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        least = min(least, time.process_time() - start)
    return least, result


def brevitas_layer(layer):
    """Return ``layer`` as Brevitas quantizes it to 3 bits, scales frozen, the weights copied."""
    import torch
    from brevitas import nn as qnn
    from brevitas.quant import Int8WeightPerChannelFloat
    from torch import nn

    kinds = {nn.Linear: qnn.QuantLinear, nn.Conv1d: qnn.QuantConv1d, nn.Conv2d: qnn.QuantConv2d}
    if isinstance(layer, nn.Linear):
        arguments = (layer.in_features, layer.out_features)
        options = {}
    else:
        arguments = (layer.in_channels, layer.out_channels, layer.kernel_size)
        options = {"padding": layer.padding, "groups": layer.groups}
    frozen = Int8WeightPerChannelFloat.let(bit_width=3, scaling_impl_type="parameter_from_stats")
    new = kinds[type(layer)](*arguments, bias=True, weight_quant=frozen, **options)
    with torch.no_grad():
        new.weight.copy_(layer.weight)
        new.bias.copy_(layer.bias)
    new = new.eval()
    new.quant_weight()  # fixes the scales
    return new


def one_layer(name, blocks, repeats):
    """Return times, errors and their ratios for one layer."""
    import torch
    from brevitas.graph.gptq import gptq_mode
    from torch import nn

    from hwquant.formats import parse
    from hwquant.nn.kernel import quantize_unit
    from hwquant.ptq.gptq import descend, gptq
    from hwquant.ptq.hessian import Hessian, to_rows, weighted_error

    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make(nn).eval()
    mixed = torch.randn(shape) @ torch.randn(shape[-1], shape[-1]) / shape[-1] ** 0.5
    x = torch.relu(mixed + 0.5 * torch.randn(shape[:2] + (1,) * (len(shape) - 2)))
    fmt = parse("int3n")  # Brevitas's weights are of narrow range
    start = brevitas_layer(layer)
    scale = start.quant_weight().scale.detach()

    def theirs():
        model = nn.Sequential(copy.deepcopy(start))
        with torch.no_grad(), gptq_mode(model, num_blocks=blocks) as mode:
            mode.model(x)
            mode.update()
        return to_rows(layer, model[0].quant_weight().value.detach())

    rows = to_rows(layer, layer.weight.detach())
    scales = to_rows(layer, scale.expand_as(layer.weight))[:, :, :1]
    block = -(-rows.shape[2] // blocks)

    def hessian():
        sums = Hessian(layer)
        sums.add(x)
        return sums.matrix(name)

    def ours(sweeps):
        with torch.no_grad():
            h = hessian()
            found = gptq(rows, h, scales, fmt, block=block)
            return descend(rows, found, h, scales, fmt, sweeps) if sweeps else found

    h = hessian()
    rounded = quantize_unit(rows / scales, fmt) * scales
    nearest = float(weighted_error(rows - rounded, h).sum())
    figures = {"layer": name, "blocks": blocks}
    for who, run in (("brevitas", theirs), ("gptq", lambda: ours(0)), ("sweep", lambda: ours(1))):
        seconds, found = clock(run, repeats)
        figures[f"{who}_ms"] = round(seconds * 1e3, 2)
        # 0 is no error, 1 that of round-to-nearest.
        figures[f"{who}_error"] = round(float(weighted_error(rows - found, h).sum()) / nearest, 4)
    figures["times_faster"] = round(figures["brevitas_ms"] / figures["gptq_ms"], 1)
    figures["times_faster_with_sweep"] = round(figures["brevitas_ms"] / figures["sweep_ms"], 1)
    return figures


def network(name, blocks, repeats):
    """Return times, accuracy and layer errors on a network of the zoo."""
    import torch
    from brevitas.graph.gptq import gptq_mode

    from hwquant.nn.layers import MatMul
    from hwquant.ptq.hessian import to_rows, visit_inputs, weighted_error
    from hwquant.ptq.job import Job, build_step
    from hwquant.ptq.quantize import finish, prepare
    from hwquant.ptq.recipe import Recipe
    from hwquant.ptq.step import StepSpec
    from hwquant.zoo.resolve import resolve
    from hwquant.zoo.tasks.score import score

    trained = resolve(f"zoo:{name}", None)
    batches = (trained.data.x_calib[:512],)
    recipe = Recipe("int3", "int8", scale="float", first_last=("int8", "int8"), steps=["calibrate"])
    start = prepare(trained.model, recipe, batches, input_non_negative=True)
    build_step(recipe.steps[0]).apply(start)

    def job():
        return Job(start.reference, copy.deepcopy(start.model), start.sites, batches, recipe)

    def theirs():
        found = job()
        with torch.no_grad(), gptq_mode(found.model, num_blocks=blocks) as mode:
            for _ in range(mode.num_layers):
                mode.model(batches[0])
                mode.update()
        return found

    def ours(sweeps):
        found = job()
        build_step(StepSpec.parse(f"gptq:sweeps={sweeps}")).apply(found)
        return found

    def errors(found):
        """Return the error of each layer on its own inputs, over that of its float output."""
        shares = []

        def measure(site, hessian):
            layer, h = found.layer(site), hessian.matrix(site.path)
            exact = to_rows(layer, found.float_layer(site).weight.detach())
            written = to_rows(layer, layer.quant_weight().value.detach())
            lost = weighted_error(exact - written, h).sum() / weighted_error(exact, h).sum()
            shares.append(float(lost))

        visit_inputs(found, measure)
        return geometric_mean(shares)

    figures = {"network": name, "blocks": blocks}
    layers = sum(not isinstance(start.layer(site), MatMul) for site in start.sites)
    figures["layers"] = layers
    for who, run in (("brevitas", theirs), ("gptq", lambda: ours(0)), ("sweep", lambda: ours(1))):
        seconds, found = clock(run, repeats)
        error = errors(found)
        finish(found.model)
        top1 = score(found.model, trained.data)["top1"]
        figures |= {f"{who}_seconds": round(seconds, 3), f"{who}_top1": round(top1, 5)}
        figures[f"{who}_error"] = round(error, 6)

    def forward():
        with torch.no_grad():
            start.model(batches[0])

    def hessians():
        visit_inputs(job(), lambda site, hessian: hessian.matrix(site.path))

    # What cannot be left out: one pass over the data, and with it the Hessians; the rest rounds.
    figures["forward_seconds"] = round(clock(forward, repeats)[0], 3)
    figures["forward_and_hessians_seconds"] = round(clock(hessians, repeats)[0], 3)
    figures["times_faster"] = round(figures["brevitas_seconds"] / figures["gptq_seconds"], 1)
    figures["times_faster_with_sweep"] = round(
        figures["brevitas_seconds"] / figures["sweep_seconds"], 1
    )
    return figures


def main() -> None:
    """Print one JSON object a layer, one for the network, and one with the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", default="glyphs_resnet8")
    arguments = parser.parse_args()

    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for name in LAYERS:
        rows.append(one_layer(name, arguments.blocks, arguments.repeats))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.network:
        print(json.dumps(network(arguments.network, arguments.blocks, 1)), flush=True)
    worse = [row["layer"] for row in rows if row["gptq_error"] > row["brevitas_error"]]
    summary = {
        "times_faster": round(geometric_mean(row["times_faster"] for row in rows), 1),
        "least_times_faster": min(row["times_faster"] for row in rows),
        "error_ratio": round(
            geometric_mean(row["gptq_error"] / row["brevitas_error"] for row in rows), 4
        ),
        "error_ratio_with_sweep": round(
            geometric_mean(row["sweep_error"] / row["brevitas_error"] for row in rows), 4
        ),
        "worse_than_brevitas": worse,
        "worse_with_sweep": [r["layer"] for r in rows if r["sweep_error"] > r["brevitas_error"]],
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
