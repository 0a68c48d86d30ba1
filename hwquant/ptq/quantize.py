# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization of any module made of convolutions, linear layers and attention."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from hwquant.errors import InputError
from hwquant.nn.from_brevitas import adopt, is_brevitas_quantized
from hwquant.nn.layers import MatMul, set_bias_on_grid
from hwquant.nn.quantizers import act_quantizer
from hwquant.ptq.attention import open_attention, open_scaled_dot_product
from hwquant.ptq.calibration import Calibration, calibration_batches
from hwquant.ptq.concat import split_concatenations
from hwquant.ptq.fold import fold_batch_norms
from hwquant.ptq.insert import insert_quantizers, open_matmuls
from hwquant.ptq.job import Job, build_step
from hwquant.ptq.order import check_order
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.shared import Shared
from hwquant.ptq.trace import check_weights, optional_inputs, propagate_shapes, run_forward, trace

__all__ = ["META", "adopt_brevitas", "applied", "prepare", "quantize"]

META = "hwquant"  # the key of what we remember in a quantized model's ``meta``


def quantize(
    model: nn.Module,
    recipe: Recipe,
    calib: Calibration,
    *,
    inplace: bool = False,
    device: str | torch.device = "cpu",
    autocast: bool = False,
    shared: Shared | None = None,
) -> fx.GraphModule:
    """Return a quantized copy of ``model`` in evaluation mode; the float model stays as it was.

    ``calib`` is a tensor, a loader of batches (labels are not read), or the name of a set such as
    ``"digits"``; a batch is what the model takes, first axis the items: float32, or integers where
    the model takes token ids.  The copy is a graph of Brevitas layers
    (``weight_quant`` ours), ``QuantIdentity`` in front of every multiply, and whatever else the
    model does, in float.  ``inplace`` spends the given model instead of copying it.  A model that
    Brevitas has quantized keeps its formats and scales (see `adopt_brevitas`).

    The work is done on ``device``, whose memory holds both networks, the calibration data and the
    activations around one block; the result comes back on the CPU.  ``autocast`` lets learned
    methods run layers in bfloat16; rounding, losses and everything exact stay float32.  ``shared``
    keeps what several quantizations of one network have in common (`hwquant.ptq.shared`): the code
    words are those without it.

    Raises `InputError` for NaN weights, empty or unfitting data; `UnsupportedError` for layers
    that cannot be quantized; `SpecError` for a recipe that does not fit the model.
    """
    batches = calibration_batches(calib)
    if is_brevitas_quantized(model):
        return adopt_brevitas(model, recipe, batches, inplace=inplace)
    job = applied(
        model, recipe, batches, inplace=inplace, device=device, autocast=autocast, shared=shared
    )
    return job.model


def applied(
    model: nn.Module,
    recipe: Recipe,
    batches: tuple[Tensor, ...],
    *,
    inplace: bool = False,
    device: str | torch.device = "cpu",
    autocast: bool = False,
    shared: Shared | None = None,
    watch: Callable[[str, Job], None] | None = None,
) -> Job:
    """Return the finished job of a float ``model``: what `quantize` returns, and its float twin.

    ``watch(name, job)`` is called after each step.
    """
    _check_device(device)
    steps = [build_step(spec) for spec in recipe.steps]
    check_order([(str(spec), step) for spec, step in zip(recipe.steps, steps, strict=True)])
    non_negative = all(float(batch.min()) >= 0 for batch in batches)
    job = prepare(
        model,
        recipe,
        batches,
        input_non_negative=non_negative,
        inplace=inplace,
        keep_unfused=any(getattr(step, "needs_unfused", False) for step in steps),
        device=device,
    )
    job = replace(job, autocast=autocast, shared=shared)
    for spec, step in zip(recipe.steps, steps, strict=True):
        step.apply(job)
        if watch is not None:
            watch(spec.name, job)
    finish(job.model)
    job.model.cpu()
    job.reference.cpu()
    return replace(job, batches=batches)


def _check_device(device: str | torch.device) -> None:
    """Raise `InputError` for a device that torch does not know or this machine does not have."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device {str(device)!r} cannot be used ({reason}); allowed: cpu, or cuda where torch "
            "finds a graphics processor"
        ) from error


def finish(model: fx.GraphModule) -> None:
    """Put every bias on its accumulator grid; nothing is trained any more."""
    model.requires_grad_(False)
    for path in model.meta[META]["layers"]:
        layer: Any = model.get_submodule(path)
        if not isinstance(layer, MatMul):
            set_bias_on_grid(layer, act_quantizer(model.get_submodule(layer.act_paths[0])))


def adopt_brevitas(
    model: nn.Module, recipe: Recipe, batches: tuple[Tensor, ...], *, inplace: bool = False
) -> fx.GraphModule:
    """Return a model that Brevitas quantized, on our quantizers; formats and scales are kept.

    The recipe's formats and steps do not apply.  A batch norm behind a quantized layer stays a
    float operation: folding it would change the quantized weights.
    """
    check_weights(model)
    source = (model if inplace else copy.deepcopy(model)).eval().requires_grad_(False)
    optional_inputs(source)
    run_forward(source, batches[0][:1])
    graph = trace(source)
    open_matmuls(graph)
    layers = adopt(graph)
    graph.meta[META] = {
        "recipe": recipe,
        "input_shape": tuple(batches[0].shape[1:]),
        "input_dtype": str(batches[0].dtype).removeprefix("torch."),
        "input_non_negative": False,
        "layers": layers,
    }
    finish(graph.eval())
    return graph


def prepare(
    model: nn.Module,
    recipe: Recipe,
    batches: tuple[Tensor, ...],
    *,
    input_non_negative: bool,
    inplace: bool = False,
    keep_unfused: bool = False,
    device: str | torch.device = "cpu",
) -> Job:
    """Return the job before any step: folded float graph and the graph with scale-1 quantizers."""
    check_weights(model)
    source = (model if inplace else copy.deepcopy(model)).eval().requires_grad_(False).to(device)
    batches = tuple(batch.to(device) for batch in batches)
    optional_inputs(source)
    run_forward(source, batches[0][:1])
    reference = trace(open_attention(source))
    propagate_shapes(reference, batches[0][:1])
    unfused = copy.deepcopy(reference).eval() if keep_unfused else None
    fold_batch_norms(reference)
    if recipe.concat == "separate":
        split_concatenations(reference)
    open_scaled_dot_product(reference)
    open_matmuls(reference)
    reference.eval()
    model_ = copy.deepcopy(reference)
    sites = insert_quantizers(model_, recipe, input_non_negative=input_non_negative)
    model_.meta[META] = {
        "recipe": recipe,
        "input_shape": tuple(batches[0].shape[1:]),
        "input_dtype": str(batches[0].dtype).removeprefix("torch."),
        "input_non_negative": input_non_negative,
        "layers": tuple(site.path for site in sites),
    }
    return Job(reference, model_.eval(), sites, batches, recipe, unfused)
