# SPDX-License-Identifier: Apache-2.0
"""Distribution correction: float inputs that fit the statistics of batch norms.

PD-Quant (arXiv 2212.07048, section 3.3): a few hundred calibration items are not distributed like
the training data, but the batch norms remember how those were.  The float input of a block is
moved until mean and deviation in front of each of its batch norms come near the stored ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from hwquant.ptq.job import Job
from hwquant.ptq.learn.piece import Piece, cut, itemwise
from hwquant.ptq.learn.walk import CHUNK, BlockData, run_piece

__all__ = ["corrected"]

RATE: Final = 1e-3


def corrected(job: Job, data: BlockData, *, steps: int, weight: float) -> BlockData:
    """Return ``data`` with corrected float inputs and the targets they give.

    ``steps`` of Adam per batch minimise the squared distance of per-item means and deviations to
    the stored ones, plus the squared change of the input divided by ``weight``.  A block without
    batch norm (any block of a ViT), or with statistics all in line, comes back as it was.
    """
    graph = job.unfused
    if graph is None or not all(value.is_floating_point() for value in data.float_inputs):
        return data
    norms = _norms(graph, data)
    if not norms:
        return data
    aliases = {source: node for node, source in _sources(graph).items()}
    inside = {*data.block.nodes, *(aliases.get(name, name) for name in data.block.nodes)}
    stored = itemwise(graph, job.batches[0][:1])
    piece = cut(graph, inside, tuple(norms), stored)
    piece.module.requires_grad_(False)
    # The folded graph reads a layer where the unfused one reads its batch norm.
    behind = {name: alias for name, alias in aliases.items() if alias in piece.inputs}
    names = [behind.get(name, name) for name in data.float_names]
    by_name = dict(zip(names, data.float_inputs, strict=True))
    moved = [
        _move(
            piece,
            list(norms.values()),
            [by_name[name][start : start + CHUNK] for name in piece.inputs],
            steps,
            weight,
        )
        for start in range(0, data.items, CHUNK)
    ]
    for name, parts in zip(piece.inputs, zip(*moved, strict=True), strict=True):
        by_name[name] = torch.cat(parts)
    inputs = tuple(by_name[name] for name in names)
    new = dict(zip(data.float_names, inputs, strict=True))
    targets = run_piece(data.float_piece, [new[name] for name in data.float_piece.inputs])
    return replace(data, float_inputs=inputs, stored_targets=targets)


def _sources(graph: fx.GraphModule) -> dict[str, str]:
    """Return, for each batch norm's node, the node it normalises."""
    modules = dict(graph.named_modules())
    return {
        node.name: node.all_input_nodes[0].name
        for node in graph.graph.nodes
        if node.op == "call_module"
        and isinstance(modules[str(node.target)], nn.BatchNorm1d | nn.BatchNorm2d)
    }


def _norms(graph: fx.GraphModule, data: BlockData) -> dict[str, Any]:
    """Return the block's batch norms by the node they normalise."""
    modules = {
        node.name: graph.get_submodule(str(node.target))
        for node in graph.graph.nodes
        if node.op == "call_module"
    }
    found = {source: modules[name] for name, source in _sources(graph).items()}
    return {source: bn for source, bn in found.items() if source in data.block.nodes}


def _move(
    piece: Piece, norms: list[Any], inputs: list[Tensor], steps: int, weight: float
) -> list[Tensor]:
    """Return ``inputs`` moved towards the statistics of ``norms``."""
    moving = [value.clone().requires_grad_(True) for value in inputs]
    optimizer = torch.optim.Adam(moving, lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=inputs[0].device)
        for value, bn in zip(piece.module(*moving), norms, strict=True):
            flat = value.flatten(2) if value.dim() > 2 else value.unsqueeze(-1)
            loss = loss + (flat.mean(-1) - bn.running_mean).square().mean()
            if flat.shape[-1] > 1:
                deviation = (flat.var(-1) + bn.eps).sqrt()
                loss = loss + (deviation - (bn.running_var + bn.eps).sqrt()).square().mean()
        for value, start in zip(moving, inputs, strict=True):
            loss = loss + (value - start).square().mean() / weight
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [value.detach() for value in moving]
