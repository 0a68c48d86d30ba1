# SPDX-License-Identifier: Apache-2.0
"""Points per hour of ``hwquant sweep`` beside a plain loop over configurations with Brevitas alone.

Both sides quantize and test the same points (weight formats x activation formats, every layer, one
float scale per weight channel and per activation tensor, scales of least squared error) from the
same float network, calibration images and test images, on two worker processes of one thread each,
from the start of the processes to the last result.  The loop builds the Brevitas network of each
point anew, calibrates, runs GPTQ with the scales frozen and bias correction, and tests it; its
points are dealt out to its two processes one by one.  The sweep starts with an empty cache, but for
the trained float network and the cost model's mapped products of pairs of formats, which belong to
no network; it prices its points by formula besides, which the loop does not.

Two recipes: ``full`` (calibration, GPTQ, bias correction) must be 10 times as fast, ``calibration``
alone 3 times.  The accuracies must be equal within the tie rule: each point's difference from the
loop's, and that of all points together, is within 2.576 standard errors (99 %) of paired decisions,
or ours is better.  All points are tested together at the level divided by their number.

Brevitas's GPTQ leaves activations float and lets later layers see earlier rounded weights; the
sweep's ``gptq:inputs=float`` takes inputs of the float network, so that weights do not depend on
activation formats.  Brevitas's default scaling, which follows the changing weights and makes its
GPTQ do nothing, is replaced by ``ParameterFromStatsFromParameterScaling``, as its own examples do.

    python tests/benchmarks/bench_sweep.py [--points 64] [--images 4000] [--calib 2048]
        [--recipe full,calibration] [--model zoo:glyphs_resnet8]

Prints JSON: both rates, their ratio (and that of processor seconds, which other work on the machine
disturbs less), accuracies point by point and the rule; exits with 1 when a
ratio is missed or an accuracy is worse.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

WEIGHTS = ("int4", "e2m1", "int5", "e2m2", "int6", "e3m2", "int8", "e4m3")
ACTS = ("int8", "e4m3", "int7", "e3m2", "int6", "e2m3", "e4m2", "e5m2")
STEPS = {
    "full": ("calibrate", "gptq:inputs=float", "bias_correction"),
    "calibration": ("calibrate",),
}
NEEDED = {"full": 10.0, "calibration": 3.0}
LOOP_BATCH, TEST_BATCH = 64, 256
LEVEL = 0.99
NETWORKS = {}  # of a process of the plain loop


def pairs(points):
    """Return the first ``points`` of weights x activations, whole rows of weights first."""
    return [(w, a) for a in ACTS for w in WEIGHTS][:points]


def fields(name, side):
    """Return what Brevitas's maps of quantizers call a format."""
    from hwquant.formats import Integer, parse

    fmt = parse(name)
    found = {"bit_width": fmt.bits, "quant_format": "int"}
    if not isinstance(fmt, Integer):
        found |= {"quant_format": "float", "exponent_bit_width": fmt.exponent_bits}
        found |= {"mantissa_bit_width": fmt.mantissa_bits}
    return {f"{side}_{key}": item for key, item in found.items()}


def brevitas_network(model, weight, act):
    """Return the float network, batch norms merged, with Brevitas layers not calibrated yet."""
    import torch
    from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize
    from brevitas_examples.imagenet_classification.ptq.ptq_common import create_quant_maps

    merged = preprocess_for_quantize(copy.deepcopy(model), equalize_iters=0)
    maps = create_quant_maps(
        dtype=torch.float32,
        bias_bit_width=None,
        weight_param_method="mse",
        weight_scale_type="float_scale",
        weight_quant_type="sym",
        weight_quant_granularity="per_channel",
        weight_narrow_range=False,
        act_scale_type="float_scale",
        act_scale_computation_type="static",
        act_param_method="mse",
        act_quant_type="sym",
        act_quant_granularity="per_tensor",
        act_quant_percentile=99.999,
        uint_sym_act_for_unsigned_values=False,
        **fields(weight, "weight"),
        **fields(act, "act"),
    )
    return layerwise_quantize(merged, compute_layer_map=maps[1]).eval()


def loop_point(given, weight, act, recipe, images, calib):
    """Quantize and test one point with Brevitas alone; return whether each image came out right."""
    import torch
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.graph.gptq import gptq_mode

    batches = torch.split(given.data.x_calib[:calib], LOOP_BATCH)
    with torch.no_grad():
        model = brevitas_network(given.model, weight, act)
        with calibration_mode(model):
            for batch in batches:
                model(batch)
        model(batches[0][:2])  # weight scales are set in a pass with weights quantized
        if recipe == "full":
            with gptq_mode(model, use_quant_activations=False) as running:
                for _ in range(running.num_layers):
                    for batch in batches:
                        running.model(batch)
                    running.update()
            with bias_correction_mode(model):
                for batch in batches:
                    model(batch)
        x, y = given.data.x_test[:images], given.data.y_test[:images]
        found = [model(part).argmax(1) for part in torch.split(x, TEST_BATCH)]
        return torch.cat(found) == y


def loop_task(task):
    """Return one point's decisions: a task of the plain loop's processes."""
    import torch

    from hwquant.zoo.resolve import resolve

    name, weight, act, recipe, images, calib = task
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if name not in NETWORKS:
        NETWORKS[name] = resolve(name, None)
    return loop_point(NETWORKS[name], weight, act, recipe, images, calib).numpy()


def plain_loop(points, recipe, arguments):
    """Return decisions by point, and seconds."""
    context = multiprocessing.get_context("spawn")
    rest = (recipe, arguments.images, arguments.calib)
    tasks = [(arguments.model, *point, *rest) for point in points]
    started = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, context) as pool:
        found = list(pool.map(loop_task, tasks))
        seconds = time.perf_counter() - started
    return dict(zip(points, found, strict=True)), seconds


def processor_seconds():
    """Return the processor time of this process and of all its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def our_sweep(points, recipe, arguments, folder):
    """Return the rows of the sweep by point, and seconds."""
    from costmodel.explore.space import Space
    from costmodel.explore.sweep import sweep

    # Whole rows of the product first; an incomplete last row is a space of its own.
    count = len(WEIGHTS)
    spaces = []
    for first in range(0, len(points), count):
        part = points[first : first + count]
        spaces.append((tuple(w for w, _ in part), part[0][1]))
    whole = [act for weights, act in spaces if len(weights) == count]
    jobs = [(WEIGHTS, tuple(whole))] if whole else []
    jobs += [(weights, (act,)) for weights, act in spaces if len(weights) < count]
    started = time.perf_counter()
    rows = {}
    for number, (weights, acts) in enumerate(jobs):
        space = Space(
            model=arguments.model,
            weights=weights,
            acts=acts,
            steps=(STEPS[recipe],),
            scales=("float",),
            price="formula",
            test_items=arguments.images,
            calib_items=arguments.calib,
        )
        done = sweep(space, folder / f"{recipe}{number}", workers=arguments.workers)
        if done.failed:
            raise SystemExit(f"failed: {done.failed[0].error}")
        rows |= {(row.point["weight"], row.point["act"]): row for row in done.rows}
    return rows, time.perf_counter() - started


def our_decisions(points, recipe, arguments):
    """Return decisions by point: the sweep's networks once more, outside of the measured time."""
    import torch

    from costmodel.explore.measure import TEST_BATCH as OUR_BATCH
    from costmodel.explore.measure import quantized, trained
    from hwquant.nn.frozen import frozen
    from hwquant.ptq.recipe import Recipe

    given = trained(arguments.model, "")
    x, y = (t[: arguments.images] for t in (given.data.x_test, given.data.y_test))
    found = {}
    for weight, act in points:
        chosen = Recipe(weight, act, scale="float", steps=STEPS[recipe])
        qmodel = quantized(arguments.model, "", chosen, 0, (arguments.images, arguments.calib))
        runner = frozen(qmodel)
        with torch.no_grad():
            parts = [runner(part).argmax(1) for part in torch.split(x, OUR_BATCH)]
        found[weight, act] = (torch.cat(parts) == y).numpy()
    return found


def ties(ours, theirs):
    """Return one record a point, and whether all are ties or better."""
    import numpy as np
    from scipy.stats import norm

    bound = float(norm.ppf(0.5 + LEVEL / 2))
    each = float(norm.ppf(1 - (1 - LEVEL) / 2 / len(ours)))  # Bonferroni over the points
    records, differences = [], []
    for point in ours:
        difference = ours[point].astype(float) - theirs[point].astype(float)
        differences.append(difference)
        error = difference.std() / len(difference) ** 0.5
        records.append(
            {
                "point": "/".join(point),
                "ours": round(100 * ours[point].mean(), 2),
                "brevitas": round(100 * theirs[point].mean(), 2),
                "standard_error": round(100 * error, 3),
                "equal": bool(difference.mean() >= -each * error),
            }
        )
    whole = np.mean(differences, axis=0)
    error = whole.std() / len(whole) ** 0.5
    mean = {"difference": round(100 * whole.mean(), 3), "standard_error": round(100 * error, 3)}
    together = bool(whole.mean() >= -bound * error)
    return records, mean | {"equal": together}, together and all(r["equal"] for r in records)


def compare(recipe, arguments, home):
    """Return the record of one recipe."""
    from hwquant.zoo.resolve import resolve

    resolve(arguments.model, None)  # trained before anybody's time counts
    points = pairs(arguments.points)
    warm = home.parent / "warm"
    shutil.copytree(home, warm)
    os.environ["HWQUANT_CACHE"] = str(warm)
    few = argparse.Namespace(**vars(arguments) | {"images": 64, "calib": 64})
    our_sweep(points, "calibration", few, warm / "runs")
    shutil.copytree(warm / "mapped", home / "mapped")
    os.environ["HWQUANT_CACHE"] = str(home)
    before = processor_seconds()
    ours, our_seconds = our_sweep(points, recipe, arguments, home / "runs")
    between = processor_seconds()
    theirs, their_seconds = plain_loop(points, recipe, arguments)
    our_cpu, their_cpu = between - before, processor_seconds() - between
    decisions = our_decisions(points, recipe, arguments)
    for point, row in ours.items():
        if row.metrics["top1"] != decisions[point].mean():
            raise SystemExit(f"{point}: the sweep measured {row.metrics['top1']}, not the same now")
    records, mean, equal = ties(decisions, theirs)
    rates = [3600 * len(points) / seconds for seconds in (our_seconds, their_seconds)]
    ratio = rates[0] / rates[1]
    return {
        "recipe": recipe,
        "points": len(points),
        "images": arguments.images,
        "calibration_images": arguments.calib,
        "workers": arguments.workers,
        "our_seconds": round(our_seconds, 1),
        "brevitas_seconds": round(their_seconds, 1),
        "our_points_per_hour": round(rates[0], 1),
        "brevitas_points_per_hour": round(rates[1], 1),
        "ratio": round(ratio, 2),
        "our_cpu_seconds": round(our_cpu, 1),
        "brevitas_cpu_seconds": round(their_cpu, 1),
        "cpu_ratio": round(their_cpu / our_cpu, 2),
        "needed": NEEDED[recipe],
        "tie_rule": f"paired decisions, {100 * LEVEL:g} %, not worse; Bonferroni over the points",
        "all_points": mean,
        "accuracies": records,
        "passed": bool(ratio >= NEEDED[recipe] and equal),
    }


def main() -> None:
    """Print one JSON object a recipe; exit with 1 when a ratio is missed or an accuracy worse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="zoo:glyphs_resnet8")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--calib", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="full,calibration")
    arguments = parser.parse_args()
    if not 1 <= arguments.points <= len(WEIGHTS) * len(ACTS):
        parser.error(f"--points {arguments.points}, allowed 1 to {len(WEIGHTS) * len(ACTS)}")
    warnings.simplefilter("ignore")
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    from hwquant import cache

    passed = True
    trained = cache.root()
    for recipe in arguments.recipe.split(","):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "cache"
            for kind in ("zoo", "zoo-score", "data"):
                if (trained / kind).is_dir():
                    shutil.copytree(trained / kind, home / kind)
            record = compare(recipe, arguments, home)
        os.environ["HWQUANT_CACHE"] = str(trained)
        passed = passed and record["passed"]
        print(json.dumps(record), flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
