# SPDX-License-Identifier: Apache-2.0
"""Give each operand of a concatenation a scale of its own: one multiply becomes a sum of several.

A layer that reads ``cat(a, b)`` along its input channels computes ``W_a a + W_b b``.  Taken apart,
``a`` and ``b`` (a U-Net's lifted features and those handed across, whose ranges differ) each get
their quantizer, and so do the halves of the weights.  Each part is an exact integer sum as before;
under power-of-two scales so is the sum of the parts, and under float scales it is a float
addition, which the export names.
"""

from __future__ import annotations

import operator
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

__all__ = ["CONCATENATIONS", "split_concatenations"]

CONCATENATIONS: Final[tuple[Any, ...]] = (torch.cat, torch.concat, torch.concatenate)


def split_concatenations(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """Split each layer whose input is a concatenation of channels; return the layers' paths.

    The parts of layer ``up2.0`` are ``up2.0.0``, ``up2.0.1``, ...; the first one has the bias.
    Layers with groups and layers called more than once stay whole.  The function computed is the
    same up to float32 rounding.  Needs ``node.meta["shape"]``.
    """
    calls = [str(n.target) for n in graph_module.graph.nodes if n.op == "call_module"]
    split = []
    for node in list(graph_module.graph.nodes):
        if node.op != "call_module" or calls.count(str(node.target)) > 1:
            continue
        layer = graph_module.get_submodule(str(node.target))
        operands = _operands(node, layer)
        if operands:
            _split(graph_module, node, layer, operands)
            split.append(str(node.target))
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return tuple(split)


def _operands(node: fx.Node, layer: nn.Module) -> tuple[fx.Node, ...]:
    """Return what ``layer`` reads concatenated along its input channels; () if it does not."""
    source = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(source, fx.Node) or source.target not in CONCATENATIONS:
        return ()
    rank = len(source.meta.get("shape", ()))
    given: Any = source.args[0] if source.args else source.kwargs.get("tensors")
    axis: Any = source.args[1] if len(source.args) > 1 else source.kwargs.get("dim", 0)
    if isinstance(layer, nn.Linear):
        wanted = rank - 1
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d) and layer.groups == 1:
        wanted = rank - (2 if isinstance(layer, nn.Conv1d) else 3)
    else:
        return ()
    if not isinstance(given, list | tuple) or len(given) < 2 or not isinstance(axis, int):
        return ()
    known = all(isinstance(part, fx.Node) and part.meta.get("shape") for part in given)
    return tuple(given) if rank and axis % rank == wanted and known else ()


def _split(
    graph_module: fx.GraphModule, node: fx.Node, layer: nn.Module, operands: tuple[fx.Node, ...]
) -> None:
    source: Any = node.args[0] if node.args else node.kwargs["input"]
    axis = source.args[1] if len(source.args) > 1 else source.kwargs.get("dim", 0)
    widths = [part.meta["shape"][axis] for part in operands]
    parts = nn.ModuleList(_part(layer, widths, index) for index in range(len(widths)))
    graph_module.set_submodule(str(node.target), parts)
    total: fx.Node | None = None
    with graph_module.graph.inserting_before(node):
        for index, operand in enumerate(operands):
            product = graph_module.graph.call_module(f"{node.target}.{index}", (operand,))
            product.meta = dict(node.meta)
            if total is not None:
                product = graph_module.graph.call_function(operator.add, (total, product))
                product.meta = dict(node.meta)
            total = product
    if total is not None:
        node.replace_all_uses_with(total)
    graph_module.graph.erase_node(node)


def _part(layer: Any, widths: list[int], index: int) -> nn.Module:
    """Return the layer that reads operand ``index`` of input channels ``widths``."""
    start, width = sum(widths[:index]), widths[index]
    channels = 0 if isinstance(layer, nn.ConvTranspose2d) else 1  # the weight's input axis
    weight = layer.weight.detach().narrow(channels, start, width).clone()
    bias: Tensor | None = None if layer.bias is None or index else layer.bias.detach().clone()
    shared: dict[str, Any] = {"bias": bias is not None}
    new: nn.Module
    if isinstance(layer, nn.Linear):
        new = nn.Linear(width, layer.out_features, **shared)
    else:
        names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        shared |= {name: getattr(layer, name) for name in names}
        if isinstance(layer, nn.ConvTranspose2d):
            shared["output_padding"] = layer.output_padding
        new = type(layer)(width, layer.out_channels, **shared)
    new.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        new.bias = nn.Parameter(bias, requires_grad=False)
    return new.eval()
