# SPDX-License-Identifier: Apache-2.0
"""Fold batch normalisation into the multiply layer before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["fold_batch_norms", "folded_norms"]


def fold_batch_norms(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """Fold each BN whose input is a multiply layer used nowhere else; return the folded paths.

    ``y = gamma * (W x + b - mean) / sqrt(var + eps) + beta`` becomes ``W' x + b'``, computed in
    float64.  A BN that normalises another axis than the layer's output channels stays (BN1d after
    a Linear on three-dimensional input).  Needs ``node.meta["shape"]``.
    """
    modules = dict(graph_module.named_modules())
    calls: dict[str, int] = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    folded = []
    for node in list(graph_module.graph.nodes):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node):
            continue
        bn = modules[str(node.target)]
        layer = modules.get(str(source.target)) if source.op == "call_module" else None
        if not isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d) or layer is None:
            continue
        once = calls[str(node.target)] == calls[str(source.target)] == 1
        if not once or len(source.users) != 1 or not _foldable(layer, source, bn):
            continue
        _fold(layer, bn)
        node.replace_all_uses_with(source)
        graph_module.graph.erase_node(node)
        folded.append(str(node.target))
    graph_module.graph.lint()
    graph_module.recompile()
    graph_module.delete_all_unused_submodules()
    return tuple(folded)


def folded_norms(unfused: fx.GraphModule, folded: fx.GraphModule) -> dict[str, str]:
    """Return, by the path of its layer, the batch norm that ``folded`` has no more."""
    left = {str(node.target) for node in folded.graph.nodes if node.op == "call_module"}
    found = {}
    for node in unfused.graph.nodes:
        if node.op != "call_module" or str(node.target) in left:
            continue
        if isinstance(unfused.get_submodule(str(node.target)), nn.BatchNorm1d | nn.BatchNorm2d):
            found[str(node.all_input_nodes[0].target)] = str(node.target)
    return found


def _foldable(layer: nn.Module, node: fx.Node, bn: nn.Module) -> bool:
    if getattr(bn, "running_mean", None) is None:
        return False
    if isinstance(layer, nn.Linear):
        return len(node.meta.get("shape", ())) == 2
    return type(layer) in (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def _fold(layer: Any, bn: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    mean, var = bn.running_mean, bn.running_var
    if mean is None or var is None:  # excluded by _foldable; keeps the types honest
        return
    gain = torch.rsqrt(var.double() + bn.eps)
    if bn.weight is not None:
        gain = gain * bn.weight.detach().double()
    weight: Tensor = layer.weight.detach().double()
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, kh, kw), in ordered by group
        per_input = gain.reshape(layer.groups, 1, -1).expand(
            -1, weight.shape[0] // layer.groups, -1
        )
        scaled = weight * per_input.reshape(weight.shape[0], weight.shape[1], 1, 1)
    else:
        scaled = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
    bias = torch.zeros_like(mean.double()) if layer.bias is None else layer.bias.detach().double()
    bias = (bias - mean.double()) * gain
    if bn.bias is not None:
        bias = bias + bn.bias.detach().double()
    layer.weight = nn.Parameter(scaled.float())
    layer.bias = nn.Parameter(bias.float())
