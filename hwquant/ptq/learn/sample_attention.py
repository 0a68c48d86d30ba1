# SPDX-License-Identifier: Apache-2.0
"""EPTQ's sample-layer attention: how much a layer's error on one item moves the prediction.

arXiv 2309.11531, section 3.2: the label-free Hessian of the prediction bounds the loss of any
task by the Jacobian ``J`` of the logits with respect to the layer's output.  The attention of
layer l on item n is ``max over channels of E_v[mean over space of (J^T v)^2]``, estimated with
random signs v, at the float network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from hwquant.ptq.job import Job
from hwquant.ptq.learn.walk import CHUNK, BlockData

__all__ = ["attention", "attentive"]


class _Gradients(fx.Interpreter):
    """Runs the float network so that the results of some nodes can be differentiated by."""

    def __init__(self, graph_module: fx.GraphModule, names: tuple[str, ...]) -> None:
        super().__init__(graph_module)
        self.names = frozenset(names)
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one call; the first layers become leaves of the gradient."""
        result = super().run_node(n)
        if n.name in self.names:
            if not result.requires_grad:
                result.requires_grad_(True)
            self.found[n.name] = result
        return result


def attention(
    reference: fx.GraphModule, items: Tensor, names: tuple[str, ...], draws: int, seed: int
) -> Tensor:
    """Return the attention of each layer (rows, in the order of ``names``) on each item."""
    generator = torch.Generator().manual_seed(seed)
    columns = []
    for start in range(0, len(items), CHUNK):
        runner = _Gradients(reference, names)
        output = runner.run(items[start : start + CHUNK])
        logits: Tensor = output[0] if isinstance(output, tuple | list) else output
        layers = [runner.found[name] for name in names]
        sums = [torch.zeros((), device=items.device) for _ in names]
        for _ in range(draws):
            signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
            gradients = torch.autograd.grad(
                logits, layers, signs.to(logits.device), retain_graph=True, allow_unused=True
            )
            for index, (layer, gradient) in enumerate(zip(layers, gradients, strict=True)):
                known = torch.zeros_like(layer) if gradient is None else gradient
                sums[index] = sums[index] + _per_channel(known.square())
        columns.append(torch.stack([total.amax(1) / draws for total in sums]))
    return torch.cat(columns, 1)


def attentive(job: Job, data: BlockData, *, draws: int, seed: int) -> BlockData:
    """Return ``data`` weighted by attention, the largest layer's mean being 1."""
    names = data.block.compared
    found = attention(job.reference, torch.cat(job.batches), names, draws, seed)
    largest = float(found.mean(1).amax())
    found = found / largest if largest > 0 else torch.ones_like(found)
    targets = data.targets(torch.arange(1))
    weights = tuple(
        row.reshape(-1, *[1] * (target.dim() - 1))
        for row, target in zip(found, targets, strict=True)
    )
    share = dict(zip(names, found.mean(1).tolist(), strict=True))
    importance = {site.path: share.get(site.node, 1.0) for site in data.block.sites}
    return replace(data, weights=weights, importance=importance)


def _per_channel(squares: Tensor) -> Tensor:
    """Return (items, channels): the mean over space, or over the positions of tokens."""
    if squares.dim() == 4:
        return squares.mean((2, 3))
    return squares.flatten(1, -2).mean(1) if squares.dim() == 3 else squares.flatten(1)
