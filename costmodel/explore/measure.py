# SPDX-License-Identifier: Apache-2.0
"""What one point of a sweep costs in accuracy: runs inside workers, where torch lives."""

from __future__ import annotations

import time
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from costmodel.explore.folder import source_key
from costmodel.explore.space import Space
from hwquant import cache
from hwquant.ptq.recipe import Recipe
from hwquant.zoo.origin import content_of

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.zoo.training import TrainedModel

__all__ = ["baseline", "measure", "measured", "point_key", "quantized", "trained"]

BATCH = 256


@lru_cache(maxsize=8)
def _origin(model: str, data: str) -> tuple[str, ...]:
    """Return what names the model and the data by content, and the code that works on them."""
    versions = (version(package) for package in ("torch", "brevitas", "numpy"))
    return (model, data, *content_of(model), *content_of(data), source_key(), *versions)


def point_key(space: Space, recipe: Recipe) -> str:
    """Return the content key of a point's accuracy: model, data, recipe, seed and our source."""
    origin = _origin(space.model, space.data)
    return cache.content_key("point", origin, recipe.to_dict(), space.seed)


@lru_cache(maxsize=1)
def trained(model: str, data: str) -> TrainedModel:
    """Return the float model and its data, once per process (a zoo model is trained once ever)."""
    import torch

    from hwquant.zoo.resolve import resolve

    torch.set_num_threads(1)  # one thread per worker: results do not depend on the machine
    found: TrainedModel = resolve(model, data or None)
    return found


def baseline(model: str, data: str) -> dict[str, Any]:
    """Return the float model's accuracy and the number of test items; trains on first use."""
    given = trained(model, data)
    return {"float_top1": given.float_top1, "test_items": len(given.data.x_test)}


def quantized(model: str, data: str, recipe: Recipe, seed: int) -> Any:
    """Return the quantized model of a point; equal arguments give equal code words."""
    import torch

    from hwquant.ptq.quantize import quantize

    given = trained(model, data)
    torch.manual_seed(seed)
    return quantize(given.model, recipe, torch.split(given.data.x_calib, BATCH))


def measured(
    model: str, data: str, recipe: Recipe, seed: int = 0, on: Literal["test", "calib"] = "test"
) -> dict[str, Any]:
    """Quantize, run, and describe the work; returns ``{"metrics", "layers"}``, JSON-able.

    ``on="test"`` scores by the labels of the test part; ``on="calib"`` looks at nothing but the
    calibration inputs: ``agreement``, ``kl`` and ``logit_error`` beside the float model's outputs.
    ``layers`` are `hwquant.workload.Layer` records in execution order.
    """
    from hwquant.nn.codes import workload
    from hwquant.zoo.tasks.score import compare, outputs_of
    from hwquant.zoo.training import top1

    started = time.perf_counter()
    given = trained(model, data)
    qmodel = quantized(model, data, recipe, seed)
    work = workload(qmodel, given.data.sample)
    metrics: dict[str, Any] = {}
    if on == "test":
        metrics["top1"] = top1(qmodel, given.data.x_test, given.data.y_test)
        metrics["float_top1"] = given.float_top1
        metrics["test_items"] = len(given.data.x_test)
    else:
        outputs = outputs_of(qmodel, given.data.x_calib)
        metrics |= compare(outputs, _float_outputs(model, data), given.data.task)
    metrics |= {
        "macs": work.macs,
        "weight_bits": work.weight_bits,
        "acc_bits": max((layer.acc_bits for layer in work.layers), default=0),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return {"metrics": metrics, "layers": [layer.to_json() for layer in work.layers]}


@lru_cache(maxsize=1)
def _float_outputs(model: str, data: str) -> Tensor:
    """Return the float model's outputs on the calibration inputs."""
    from hwquant.zoo.tasks.score import outputs_of

    given = trained(model, data)
    return outputs_of(given.model, given.data.x_calib)


def measure(model: str, data: str, recipe_record: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return `measured` on the test part, of a recipe as plain data: what a worker is sent."""
    return measured(model, data, Recipe.from_dict(recipe_record), seed)
