# SPDX-License-Identifier: Apache-2.0
"""What one point of a sweep costs in accuracy: runs inside workers, where torch lives."""

from __future__ import annotations

import time
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from costmodel.explore.folder import source_key
from costmodel.explore.space import Point, Space
from hwquant import cache
from hwquant.ptq.recipe import Recipe
from hwquant.zoo.origin import content_of

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.shared import Shared
    from hwquant.zoo.training import TrainedModel

__all__ = ["Items", "baseline", "measure", "measured", "measurement_key", "outline"]
__all__ += ["outline_key", "point_key", "quantized", "shared", "trained"]

BATCH = 256
TEST_BATCH = 128  # what a layer makes of so many small images stays in the caches
Items = tuple[int, int]  # test and calibration items to use, 0 for all


@lru_cache(maxsize=8)
def _origin(model: str, data: str) -> tuple[str, ...]:
    """Return what names the model and the data by content, and the code that works on them."""
    versions = (version(package) for package in ("torch", "brevitas", "numpy"))
    return (model, data, *content_of(model), *content_of(data), source_key(), *versions)


def measurement_key(space: Space, recipe: Recipe, seed: int) -> str:
    """Return the content key of an accuracy: model, data, items, recipe, seed and our source."""
    origin = _origin(space.model, space.data)
    items = (space.test_items, space.calib_items)
    extra = (items,) if any(items) else ()
    return cache.content_key("point", origin, recipe.to_dict(), seed, *extra)


def point_key(space: Space, point: Point | Recipe) -> str:
    """Return the content key of a point: that of its accuracy, and its kernels' style.

    A recipe alone stands for the point with the seed of the space and plain kernels.
    """
    if isinstance(point, Recipe):
        point = Point(point, space.seed)
    key = measurement_key(space, point.recipe, point.seed)
    return key if point.style == "plain" else cache.content_key(key, point.style)


@lru_cache(maxsize=1)
def trained(model: str, data: str) -> TrainedModel:
    """Return the float model and its data, once per process (a zoo model is trained once ever)."""
    import torch

    from hwquant.zoo.resolve import resolve

    torch.set_num_threads(1)  # one thread per worker: results do not depend on the machine
    found: TrainedModel = resolve(model, data or None)
    return found


@lru_cache(maxsize=1)
def shared(model: str, data: str) -> Shared:
    """Return what the points of this model and data have in common, once per process."""
    from hwquant.ptq.shared import Shared

    return Shared(cache.content_key(_origin(model, data)))


def baseline(model: str, data: str) -> dict[str, Any]:
    """Return the float model's accuracy and the number of test items; trains on first use."""
    given = trained(model, data)
    return {"float_top1": given.float_top1, "test_items": len(given.data.x_test)}


def quantized(
    model: str, data: str, recipe: Recipe, seed: int, items: Items = (0, 0), *, alone: bool = False
) -> Any:
    """Return the quantized model of a point; equal arguments give equal code words.

    Work that other points have done is taken up; ``alone`` computes everything anew.
    """
    import torch

    from hwquant.ptq.quantize import quantize

    given = trained(model, data)
    torch.manual_seed(seed)
    calib = given.data.x_calib[: items[1] or None]
    kept = None if alone else shared(model, data)
    return quantize(given.model, recipe, torch.split(calib, BATCH), shared=kept)


def measured(
    model: str,
    data: str,
    recipe: Recipe,
    seed: int = 0,
    on: Literal["test", "calib"] = "test",
    *,
    items: Items = (0, 0),
    alone: bool = False,
) -> dict[str, Any]:
    """Quantize, run, and describe the work; returns ``{"metrics", "layers"}``, JSON-able.

    ``on="test"`` scores by the labels of the test part; ``on="calib"`` looks at nothing but the
    calibration inputs: ``agreement``, ``kl`` and ``logit_error`` beside the float model's outputs.
    ``layers`` are `hwquant.workload.Layer` records in execution order.  ``alone``: see `quantized`.
    """
    from hwquant.nn.codes import workload
    from hwquant.nn.frozen import frozen
    from hwquant.zoo.tasks.score import compare, outputs_of
    from hwquant.zoo.training import top1

    started = time.perf_counter()
    given = trained(model, data)
    qmodel = quantized(model, data, recipe, seed, items, alone=alone)
    work = workload(qmodel, given.data.sample)
    runner = frozen(qmodel)
    metrics: dict[str, Any] = {}
    if on == "test":
        x, y = (part[: items[0] or None] for part in (given.data.x_test, given.data.y_test))
        metrics["top1"] = top1(runner, x, y, TEST_BATCH)
        metrics["float_top1"] = _float_top1(model, data, len(x))
        metrics["test_items"] = len(x)
    else:
        outputs = outputs_of(runner, given.data.x_calib[: items[1] or None], TEST_BATCH)
        metrics |= compare(outputs, _float_outputs(model, data, items[1]), given.data.task)
    metrics |= {
        "macs": work.macs,
        "weight_bits": work.weight_bits,
        "acc_bits": max((layer.acc_bits for layer in work.layers), default=0),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return {"metrics": metrics, "layers": [layer.to_json() for layer in work.layers]}


@lru_cache(maxsize=4)
def _float_top1(model: str, data: str, items: int) -> float:
    """Return the float model's accuracy on the first ``items`` test items."""
    from hwquant.zoo.training import top1

    given = trained(model, data)
    if items == len(given.data.x_test):
        return given.float_top1
    return top1(given.model, given.data.x_test[:items], given.data.y_test[:items], TEST_BATCH)


@lru_cache(maxsize=1)
def _float_outputs(model: str, data: str, items: int) -> Tensor:
    """Return the float model's outputs on the calibration inputs."""
    from hwquant.zoo.tasks.score import outputs_of

    given = trained(model, data)
    return outputs_of(given.model, given.data.x_calib[: items or None])


def measure(
    model: str, data: str, recipe_record: dict[str, Any], seed: int, items: Items = (0, 0)
) -> dict[str, Any]:
    """Return `measured` on the test part, of a recipe as plain data: what a worker is sent."""
    return measured(model, data, Recipe.from_dict(recipe_record), seed, items=items)


def outline_key(space: Space) -> str:
    """Return the content key of `outline`."""
    return cache.content_key("outline", _origin(space.model, space.data), _outlined(space))


def _outlined(space: Space) -> dict[str, Any]:
    """Return the fields of a recipe that decide which multiplies there are."""
    return {k: v for k, v in space.recipe.items() if k in ("exclude", "concat", "sums")}


def outline(space: Space) -> list[dict[str, Any]]:
    """Return each multiply of the network before formats are chosen, in execution order.

    Records of `hwquant.workload.Layer` with ``first_or_last``, and ``non_negative``: whether what
    the layer reads cannot be negative.  Seconds; nothing is calibrated.
    """
    from hwquant.nn.codes import workload
    from hwquant.ptq.quantize import finish, prepare

    given = trained(space.model, space.data)
    fields = _outlined(space) | {"first_last": ("int7", "int7"), "act_unsigned": True}
    job = prepare(
        given.model,
        Recipe("int8", "int8", **fields),
        (given.data.x_calib[: space.calib_items or None],),
        input_non_negative=bool((given.data.x_calib[: space.calib_items or None] >= 0).all()),
    )
    finish(job.model)
    return [
        layer.to_json()
        | {"first_or_last": "7" in f"{layer.weight}", "non_negative": layer.act.min_int >= 0}
        for layer in workload(job.model, given.data.sample).layers
    ]
