# SPDX-License-Identifier: Apache-2.0
"""The character GPT and the diffusion network, quantized by several methods: what each costs.

    python tests/benchmarks/bench_ptq_generative.py [--net text_gpt] [--weight e2m1]

Prints one line per method.  Text: perplexity and bits per character on the test part, and the
divergence from the float model.  Diffusion: samples from the same noise as the float model's, by
mean square distance and Frechet distance of a classifier's features; ``trajectory`` calibrates on
what the float sampler meets, the others on images with noise added, ``separate`` gives the
operands of concatenations their own scales.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from typing import Any

import torch

from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.trajectory import sampled_inputs
from hwquant.zoo.tasks.features import glyph_features
from hwquant.zoo.tasks.score import diffusion_figures, score
from hwquant.zoo.training import TrainedModel, load

NETS = ("text_gpt", "glyphs_ddpm")


def methods(iterations: int) -> dict[str, list[str]]:
    """Return steps by name; every learned one for the same number of iterations."""
    return {
        "nearest, absmax": ["calibrate:rule=absmax"],
        "nearest": ["calibrate"],
        "bias_correction": ["calibrate", "bias_correction"],
        "smoothquant": ["smoothquant", "calibrate"],
        "gptq": ["calibrate", "gptq"],
        "format_search": ["format_search", "calibrate"],
        "flexround": ["calibrate", f"flexround:iterations={iterations}"],
        "adaround": ["calibrate", f"adaround:iterations={iterations}"],
        "search+adaround": ["format_search", "calibrate", f"adaround:iterations={iterations}"],
        "smoothquant+gptq": ["smoothquant", "calibrate", "gptq"],
    }


def figures(net: str, model: Any, trained: TrainedModel, samples: int) -> dict[str, float]:
    """Return what is measured of ``model`` beside the float one."""
    if net == "text_gpt":
        found = score(model, trained.data, trained.model)
        bits = math.log2(found["perplexity"])
        return {"perplexity": found["perplexity"], "bits": bits, "kl": found["kl"]}
    noise = score(model, trained.data)
    drawn = diffusion_figures(model, trained.model, glyph_features(), count=samples)
    return noise | drawn


def main() -> None:
    """Run all methods on the nets asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--weight", default="e2m1")
    parser.add_argument("--act", default="int8")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--test", type=int, default=500, help="test items")
    parser.add_argument("--samples", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for net in options.net or NETS:
        trained = load(net)
        data = trained.data
        cut = replace(data, x_test=data.x_test[: options.test], y_test=data.y_test[: options.test])
        trained = replace(trained, data=cut)
        base = Recipe(options.weight, options.act, first_last=("int8", "int8"))
        line = figures(net, trained.model, trained, options.samples)
        print(f"{net}, weights {options.weight}, activations {options.act}, ends int8")
        show("float", line, 0.0)
        for name, steps in methods(options.iterations).items():
            recipe = replace(base, steps=steps)
            variants = {name: (recipe, data.x_calib)}
            if net == "glyphs_ddpm" and name in ("nearest", "search+adaround"):
                met = sampled_inputs(trained.model, data)
                variants[f"{name}, trajectory"] = recipe, met
                variants[f"{name}, trajectory, separate"] = replace(recipe, concat="separate"), met
            for title, (chosen, calib) in variants.items():
                start = time.process_time()
                quantized = quantize(trained.model, chosen, calib)
                spent = time.process_time() - start
                show(title, figures(net, quantized, trained, options.samples), spent)


def show(name: str, line: dict[str, float], spent: float) -> None:
    """Print one line of the table."""
    cells = "  ".join(f"{key} {value:9.5f}" for key, value in line.items())
    print(f"  {name:<38} {cells}  {spent:7.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
