# SPDX-License-Identifier: Apache-2.0
"""How much each weight moves the prediction: the label-free Hessian of EPTQ (arXiv 2309.11531).

Whatever the task's loss, its Hessian in the weights is bounded by that of the logits ``z``:
``E_v[(d(v z)/dw)^2]`` with normal ``v``, element by element, mean over the items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.utils import _pytree

from hwquant.errors import InputError
from hwquant.nn.layers import MatMul
from hwquant.ptq.hessian import Hessian, from_rows, to_rows, visit_inputs
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job

__all__ = ["DRAWS", "ITEMS", "float_outputs", "input_power", "label_free", "pick", "weighted"]

ITEMS: Final = 64
DRAWS: Final = 32


def pick(batches: Sequence[Tensor], count: int) -> Tensor:
    """Return ``count`` items of all batches, evenly spread; all of them if there are fewer."""
    items = torch.cat(tuple(batches))
    if len(items) <= count:
        return items
    return items[torch.linspace(0, len(items) - 1, count).round().long()]


def float_outputs(outputs: Any) -> list[Tensor]:
    """Return the real-valued tensors that a network returned, whatever they are packed in."""
    leaves = _pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def label_free(
    reference: fx.GraphModule,
    paths: Sequence[str],
    items: Tensor,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return the label-free Hessian diagonal of each layer's weight, by path, float32.

    One backward pass draws for all items: their ``v`` are independent, so the square of the
    summed gradient has the sum of the squares as its mean.  Raises `InputError` when a gradient
    is not finite.
    """
    names = [f"{path}.weight" for path in paths]
    parameters = dict(reference.named_parameters())
    leaves = {name: parameters[name].detach().clone().requires_grad_(True) for name in names}
    with torch.enable_grad():
        results = float_outputs(torch.func.functional_call(reference, leaves, (items,)))
    results = [result for result in results if result.requires_grad]
    sums = [torch.zeros_like(leaf) for leaf in leaves.values()]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws if results else 0):
        noise = [torch.randn(r.shape, generator=generator).to(r) for r in results]
        gradients = torch.autograd.grad(
            results, list(leaves.values()), noise, retain_graph=True, allow_unused=True
        )
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                sums[index] += gradient.square()
    found = {path: total / (draws * len(items)) for path, total in zip(paths, sums, strict=True)}
    for path, curvature in found.items():
        if not bool(torch.isfinite(curvature).all()):
            raise InputError(
                f"the gradient of the outputs by the weights of {path!r} holds NaN or infinity "
                "on the calibration data; check the data and the model"
            )
    return found


def input_power(job: Job) -> dict[str, Tensor]:
    """Return, for each weight, the mean square of the input it multiplies: diag of ``2/n X X^T``.

    At the float network; by path, in the weight's shape.  It needs no backward pass, but knows
    nothing of what the layer's output is worth.
    """
    found: dict[str, Tensor] = {}

    def handle(site: Site, hessian: Hessian) -> None:
        layer = job.layer(site)
        power = hessian.matrix(site.path).diagonal(dim1=1, dim2=2).unsqueeze(1)
        rows = to_rows(layer, layer.weight.detach())
        found[site.path] = from_rows(layer, power.expand_as(rows).float())

    visit_inputs(job, handle, exact=True)
    return found


def weighted(job: Job) -> list[str]:
    """Return the paths of the layers with weights."""
    return [site.path for site in job.sites if not isinstance(job.layer(site), MatMul)]
