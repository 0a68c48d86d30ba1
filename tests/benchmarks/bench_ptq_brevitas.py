# SPDX-License-Identifier: Apache-2.0
"""Accuracy and time of our steps beside those of Brevitas, scales frozen on both sides.

Both start from one quantized network (same layers, formats, scales and calibration images) and
are scored on the same test images, so differences are paired: the standard error of the mean of
(ours right) - (theirs right).  Learned rounding trains Brevitas's rounding modules and penalty in
a loop of the same length, batch and rate, because its trainer needs half precision and the
package accelerate.  CLE and SmoothQuant rescale the folded float network, then scales are found by
the same step.  One process, one thread; times are wall time, CPU time beside it.

    python tests/benchmarks/bench_ptq_brevitas.py [--models digits_cnn,glyphs_resnet8]
        [--weight int3] [--act int8] [--images 512] [--test 10000] [--only gptq,gpfq]

Exits with 1 when ours is worse than theirs by more than two standard errors anywhere.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
import warnings

ITERATIONS, BATCH, RATE = 500, 32, 1e-2  # learned rounding, both sides


def setting(model, weight, act, x, *steps, granularity="per_channel"):
    """Return the job after ``steps``: float scales, the ends at int8."""
    from hwquant.ptq.job import build_step
    from hwquant.ptq.quantize import prepare
    from hwquant.ptq.recipe import Recipe
    from hwquant.ptq.step import StepSpec

    recipe = Recipe(
        weight, act, scale="float", granularity=granularity, first_last=("int8", "int8")
    )
    job = prepare(model, recipe, (x,), input_non_negative=False)
    for step in steps:
        build_step(StepSpec.parse(step)).apply(job)
    job.model.requires_grad_(False)
    return job


def timed(work):
    """Return what ``work()`` returns, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def ours(job, step):
    from hwquant.ptq.job import build_step
    from hwquant.ptq.step import StepSpec

    build_step(StepSpec.parse(step)).apply(job)
    return job.model


def one_by_one(job, mode):
    """Run Brevitas's greedy methods: one layer at a time, all batches each time."""
    import torch

    with torch.no_grad(), mode as running:
        for _ in range(running.num_layers):
            for batch in batches(job):
                running.model(batch)
            running.update()
    return job.model


def batches(job):
    import torch

    return [part for batch in job.batches for part in torch.split(batch, 64)]


def brevitas_gptq(job):
    from brevitas.graph.gptq import gptq_mode

    return one_by_one(job, gptq_mode(job.model, use_quant_activations=True))


def brevitas_gpfq(job):
    from brevitas.graph.gpfq import gpfq_mode

    return one_by_one(job, gpfq_mode(job.model, use_quant_activations=True))


def brevitas_qronos(job):
    from brevitas.graph.gpfq import gpfq_mode
    from brevitas.graph.qronos import Qronos

    mode = gpfq_mode(job.model, use_quant_activations=True, algorithm_impl=Qronos)
    return one_by_one(job, mode)


def brevitas_bias(job):
    import torch
    from brevitas.graph.calibrate import bias_correction_mode

    with torch.no_grad(), bias_correction_mode(job.model):
        for batch in batches(job):
            job.model(batch)
    return job.model


def brevitas_rounding(job):
    """Train Brevitas's hard-sigmoid rounding, its initial values and its penalty, by layer."""
    import torch
    from brevitas.core.function_wrapper import Identity
    from brevitas.core.function_wrapper.learned_round import (
        LearnedRoundHardSigmoid,
        LearnedRoundSte,
    )
    from brevitas_examples.common.learned_round.learned_round_method import (
        RoundRegularisationLoss,
        learned_round_value_init_non_linear,
    )

    from hwquant.nn.quantizers import weight_quantizer
    from hwquant.ptq.learn.blocks import blocks
    from hwquant.ptq.learn.walk import run_piece, walk

    generator = torch.Generator().manual_seed(0)
    for data in walk(job, blocks(job, "layer")):
        layer = job.layer(data.block.sites[0])
        read = []
        hook = layer.register_forward_pre_hook(lambda _, given, into=read: into.append(given[0]))
        run_piece(data.piece, data.inputs)
        hook.remove()
        inputs = torch.cat(read).detach()
        quantizer = weight_quantizer(layer)
        low, high = quantizer.fmt.min_int, quantizer.fmt.max_int
        start = learned_round_value_init_non_linear(layer)
        layer.learned = LearnedRoundSte(LearnedRoundHardSigmoid(), start, Identity())
        penalty = RoundRegularisationLoss(layer, max_count=ITERATIONS)
        optimizer = torch.optim.Adam([layer.learned.value], lr=RATE)

        def weight(layer=layer, quantizer=quantizer, low=low, high=high):
            rounded = layer.learned(layer.weight / quantizer.scale)
            return rounded.clamp(low, high) * quantizer.scale

        layer.learned.train()
        for _ in range(ITERATIONS):
            index = torch.randint(len(inputs), (BATCH,), generator=generator)
            (target,) = data.targets(index)
            out = layer.inner_forward_impl(inputs[index], weight(), layer.bias)
            # AdaRound's distance: summed over channels, averaged over the rest.
            axis = 1 if out.dim() > 2 else out.dim() - 1
            loss = (out - target).square().sum(axis).mean() + penalty(out, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        layer.learned.eval()
        with torch.no_grad():
            layer.weight.copy_(weight())
        del layer.learned
    return job.model


def rescaled(kind, model, x, options):
    """Return the folded float network that Brevitas has rescaled, quantized by our scales."""
    import torch

    float_graph = copy.deepcopy(setting(model, *options[:2], x).reference)
    if kind == "equalize":
        from brevitas.graph.equalize import EqualizeGraph

        float_graph = EqualizeGraph(iterations=20, threshold=0.01).apply(float_graph)
    else:
        from brevitas.graph.equalize import activation_equalization_mode

        with (
            torch.no_grad(),
            activation_equalization_mode(
                float_graph, alpha=0.5, layerwise=False, add_mul_node=False
            ),
        ):
            for batch in torch.split(x, 64):
                float_graph(batch)
    return float_graph.eval()


def judged(model, data, items):
    """Return the logits, and whether each test image is classified rightly, as float64."""
    from hwquant.zoo.tasks.score import outputs_of

    logits = outputs_of(model, data.x_test[:items]).double()
    return logits, (logits.argmax(1) == data.y_test[:items]).double()


def greedy(name, step, theirs, model, x, arguments):
    """Return (our network, theirs, our times, their times) of a method on frozen scales."""
    from hwquant.ptq.quantize import finish

    del name
    base = (model, arguments.weight, arguments.act, x, "calibrate")
    mine, other = setting(*base), setting(*base)
    found, *our_times = timed(lambda: ours(mine, step))
    given, *their_times = timed(lambda: theirs(other))
    finish(found)
    finish(given)
    return found, given, our_times, their_times


def transform(name, step, _theirs, model, x, arguments):
    """Return the same of a method that rescales the float network."""
    from hwquant.ptq.quantize import finish

    del arguments
    # What each is for: CLE one scale per tensor, SmoothQuant narrow activations.
    options = ("int4", "int8") if name == "cle" else ("int4", "int4")
    granularity = "per_tensor" if name == "cle" else "per_channel"
    mine = setting(model, *options, x, granularity=granularity)
    found, *our_times = timed(lambda: ours(mine, step))
    ours(mine, "calibrate")
    graph, *their_times = timed(lambda: rescaled(step.split(":")[0], model, x, options))
    other = setting(graph, *options, x, "calibrate", granularity=granularity)
    finish(found)
    finish(other.model)
    return found, other.model, our_times, their_times


METHODS = {
    "gptq": (greedy, "gptq", brevitas_gptq),
    "gpfq": (greedy, "gpfq", brevitas_gpfq),
    "qronos": (greedy, "qronos", brevitas_qronos),
    "bias": (greedy, "bias_correction", brevitas_bias),
    "bias_layer": (greedy, "bias_correction:behind=layer", brevitas_bias),
    "rounding": (
        greedy,
        f"adaround:iterations={ITERATIONS},batch={BATCH},lr={RATE}",
        brevitas_rounding,
    ),
    "cle": (transform, "equalize:bias=0.5", None),  # Brevitas merges the bias, halved
    "smoothquant": (transform, "smoothquant:po2=false,add_mul_node=false", None),
}


def compare(name, model_name, arguments):
    """Return one row: both accuracies, their paired difference, both times."""
    from hwquant.zoo.resolve import resolve
    from hwquant.zoo.tasks.outputs import kl_divergence

    trained = resolve(f"zoo:{model_name}", None)
    x = trained.data.x_calib[: arguments.images]
    run, step, theirs = METHODS[name]
    found, given, our_times, their_times = run(name, step, theirs, trained.model, x, arguments)
    (want, exact), (mine, a), (other, b) = (
        judged(net, trained.data, arguments.test) for net in (trained.model, found, given)
    )
    difference = a - b
    error = float(difference.std() / len(difference) ** 0.5)
    gain = float(difference.mean())
    return {
        "model": model_name,
        "method": name,
        "float": round(100 * float(exact.mean()), 2),
        "ours": round(100 * float(a.mean()), 2),
        "brevitas": round(100 * float(b.mean()), 2),
        "difference": round(100 * gain, 2),
        "standard_error": round(100 * error, 2),
        "logit_error": round(float((mine - want).square().mean() / want.var()), 4),
        "brevitas_logit_error": round(float((other - want).square().mean() / want.var()), 4),
        "kl": round(kl_divergence(mine, want), 4),
        "brevitas_kl": round(kl_divergence(other, want), 4),
        "wall_ratio": round(their_times[0] / our_times[0], 2),
        "cpu_ratio": round(their_times[1] / our_times[1], 2),
        "our_seconds": round(our_times[0], 2),
        "passed": gain >= -2 * error,
    }


def main() -> None:
    """Print one JSON object a line; exit with 1 when ours is worse anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="digits_cnn,glyphs_resnet8")
    parser.add_argument("--weight", default="int3")
    parser.add_argument("--act", default="int8")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--only", default=",".join(m for m in METHODS if m != "bias_layer"))
    arguments = parser.parse_args()

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    passed = True
    for model_name in arguments.models.split(","):
        for name in arguments.only.split(","):
            if name == "rounding" and not arguments.weight.startswith("int"):
                continue  # its initial values are those of an integer grid
            row = compare(name, model_name, arguments)
            passed = passed and row["passed"]
            print(json.dumps(row), flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
