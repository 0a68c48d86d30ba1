# SPDX-License-Identifier: Apache-2.0
"""What the plots of a quantization show, as numbers: errors, weights on the grid, ranges, flips."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hwquant.errors import UnsupportedError
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.from_brevitas import is_brevitas_quantized
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import act_quantizer, weight_quantizer
from hwquant.ptq.calibration import Calibration, calibration_batches
from hwquant.ptq.hessian import pieces
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job
from hwquant.ptq.learn.grid import values_of
from hwquant.ptq.quantize import applied, finish
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.run import Recorder, activation_sources

__all__ = ["ActFacts", "Facts", "LayerFacts", "WeightFacts", "quantize_with_facts"]

KEPT: Final = 1 << 15  # activations kept per quantizer for the percentiles
SHARES: Final = (0.1, 1.0, 50.0, 99.0, 99.9)  # percentiles


@dataclass(frozen=True)
class LayerFacts:
    """Squared error of a layer's output over that of its float twin, whole network quantized.

    ``before``: scales found, weights rounded to nearest, no correction; ``after``: all steps.
    """

    path: str
    before: float
    after: float


@dataclass(frozen=True)
class WeightFacts:
    """A layer's weights in units of their scales: ``float_unit`` before, ``unit`` on the grid.

    ``grid`` are the values of the format.  ``up`` and ``down`` are the shares of weights whose
    code is above or below round-to-nearest of the float weight.
    """

    path: str
    fmt: str
    grid: NDArray[np.float32]
    float_unit: NDArray[np.float32]
    unit: NDArray[np.float32]
    up: float
    down: float


@dataclass(frozen=True)
class ActFacts:
    """What a quantizer reads on the data: extremes, percentiles (`SHARES`), the format's range."""

    path: str
    fmt: str
    low: float
    high: float
    percentiles: tuple[float, ...]
    format_low: float
    format_high: float


@dataclass(frozen=True)
class Facts:
    """Everything the plots need, layers in execution order."""

    layers: tuple[LayerFacts, ...]
    weights: tuple[WeightFacts, ...]
    acts: tuple[ActFacts, ...]


def quantize_with_facts(
    model: nn.Module,
    recipe: Recipe,
    calib: Calibration,
    *,
    device: str | torch.device = "cpu",
    autocast: bool = False,
) -> tuple[fx.GraphModule, Facts]:
    """Do as `hwquant.quantize` does with a float ``model``; return also the facts on ``calib``.

    Block-scaled layers have errors but no single grid: they are left out of weights and ranges.
    Raises `UnsupportedError` for a model that Brevitas has quantized.
    """
    if is_brevitas_quantized(model):
        raise UnsupportedError(
            f"{type(model).__name__} is quantized by Brevitas, allowed here: a float model"
        )
    batches = calibration_batches(calib)
    snapshots: list[fx.GraphModule] = []

    def watch(name: str, job: Job) -> None:
        if name == "calibrate":
            snapshots.append(copy.deepcopy(job.model).cpu())
            finish(snapshots[-1])

    job = applied(model, recipe, batches, device=device, autocast=autocast, watch=watch)
    before = _errors(job, snapshots[-1])
    after = _errors(job, job.model)
    layers = tuple(LayerFacts(s.path, before[s.node], after[s.node]) for s in job.sites)
    weights = tuple(
        _weight_facts(job, snapshots[-1], site)
        for site in job.sites
        if not isinstance(job.layer(site), MatMul)
        and not isinstance(weight_quantizer(job.layer(site)), BlockQuantizer)
    )
    return job.model, Facts(layers, weights, _act_facts(job))


def _errors(job: Job, graph: fx.GraphModule) -> dict[str, float]:
    """Return the squared error of each layer's output over the square of the float one."""
    labels = {site.node: (site.node,) for site in job.sites}
    wrong, power = dict.fromkeys(labels, 0.0), dict.fromkeys(labels, 0.0)
    exact: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        exact[name] = value.double()  # a copy: an activation function may work in place

    def compare(name: str, found: Tensor) -> None:
        wanted = exact.pop(name)
        wrong[name] += float((found.double() - wanted).square().sum())
        power[name] += float(wanted.square().sum())

    with torch.no_grad():
        for batch in pieces(job.batches):
            Recorder(job.reference, labels, keep).run(batch)
            Recorder(graph, labels, compare).run(batch)
    return {name: wrong[name] / power[name] if power[name] else 0.0 for name in labels}


def _weight_facts(job: Job, before: fx.GraphModule, site: Site) -> WeightFacts:
    layer: Any = job.layer(site)
    old: Any = before.get_submodule(site.path)
    quantizer = weight_quantizer(layer)
    grid, exact = values_of(quantizer.fmt), old.weight.detach()
    nearest = _index(grid, quantizer(exact) / quantizer.scale)
    place = _index(grid, quantizer(layer.weight.detach()) / quantizer.scale)
    return WeightFacts(
        site.path,
        str(quantizer.fmt),
        grid.numpy(),
        (exact / quantizer.scale).flatten().cpu().numpy(),
        grid[place].flatten().numpy(),
        float((place > nearest).double().mean()),
        float((place < nearest).double().mean()),
    )


def _index(grid: Tensor, values: Tensor) -> Tensor:
    """Return the place of each value in the format's ascending values (nearest: scales round)."""
    middle = (grid[:-1] + grid[1:]) / 2
    return torch.bucketize(values.cpu().contiguous(), middle)


def _act_facts(job: Job) -> tuple[ActFacts, ...]:
    """Return the range of what each quantizer of the finished network reads."""
    kept: dict[str, list[Tensor]] = {}

    def record(path: str, value: Tensor) -> None:
        flat = value.detach().reshape(-1).float()
        if flat.numel():
            step = -(-flat.numel() * len(job.batches) // KEPT)
            ends = torch.stack([flat.amin(), flat.amax()])
            kept.setdefault(path, []).append(torch.cat([ends, flat[::step]]))

    with torch.no_grad():
        for batch in job.batches:
            Recorder(job.model, activation_sources(job.model), record).run(batch)
    facts = []
    for path, parts in kept.items():
        quantizer = act_quantizer(job.model.get_submodule(path))
        if isinstance(quantizer, BlockQuantizer):
            continue
        values, fmt, scale = torch.cat(parts), quantizer.fmt, float(quantizer.scale)
        marks = np.percentile(torch.cat([part[2:] for part in parts]).numpy(), SHARES)
        facts.append(
            ActFacts(
                path.removeprefix("act_quant."),
                str(fmt),
                float(values.min()),
                float(values.max()),
                tuple(float(mark) for mark in marks),
                float(fmt.min_int * fmt.step) * scale,
                float(fmt.max) * scale,
            )
        )
    return tuple(facts)
