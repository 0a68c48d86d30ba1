# SPDX-License-Identifier: Apache-2.0
"""A quantized network for running only: weights rounded once, no bookkeeping of Brevitas.

Its outputs equal those of the network it was made from, bit for bit, because the same operators
see the same numbers.  It can be neither exported nor quantized further.
"""

from __future__ import annotations

from typing import Any

import torch
from brevitas import nn as qnn
from torch import fx, nn

from hwquant.nn.layers import MULTIPLY_LAYERS
from hwquant.nn.quantizers import act_quantizer, weight_quantizer

__all__ = ["frozen"]


def frozen(qmodel: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of ``qmodel`` of plain layers and our quantizers; ``qmodel`` stays as it is."""
    modules: dict[str, nn.Module] = {}
    kinds = tuple(MULTIPLY_LAYERS.values())
    for path, module in qmodel.named_modules():
        if isinstance(module, kinds):
            modules[path] = _plain(module)
        elif isinstance(module, qnn.QuantIdentity):
            modules[path] = act_quantizer(module)
    root = nn.Module()
    for node in qmodel.graph.nodes:
        if node.op == "call_module":
            path = str(node.target)
            _put(root, path, modules.get(path, qmodel.get_submodule(path)))
        elif node.op == "get_attr":
            _put(root, str(node.target), _attribute(qmodel, str(node.target)))
    graph = fx.Graph()
    graph.output(graph.graph_copy(qmodel.graph, {}))
    return fx.GraphModule(root, graph).eval()


def _plain(layer: Any) -> nn.Module:
    """Return the float layer with the weights that the quantized ``layer`` multiplies by."""
    kind: Any = next(f for f, q in MULTIPLY_LAYERS.items() if isinstance(layer, q))
    names: tuple[str, ...] = ("in_features", "out_features")
    if not isinstance(layer, nn.Linear):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
        names += ("groups", "padding_mode")
    if isinstance(layer, nn.ConvTranspose2d):
        names += ("output_padding",)
    plain: nn.Module = kind(**{name: getattr(layer, name) for name in names}, bias=True)
    with torch.no_grad():
        plain.weight.copy_(weight_quantizer(layer)(layer.weight))  # type: ignore[operator,union-attr]
        plain.bias.copy_(layer.bias)  # type: ignore[operator,union-attr]
    return plain.requires_grad_(False)


def _attribute(root: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(root.get_submodule(owner), name)


def _put(root: nn.Module, path: str, item: Any) -> None:
    """Set ``item`` at a dotted path, with empty modules on the way."""
    owner, _, name = path.rpartition(".")
    place = root
    for part in filter(None, owner.split(".")):
        if not hasattr(place, part):
            place.add_module(part, nn.Module())
        place = getattr(place, part)
    if isinstance(item, torch.Tensor) and not isinstance(item, nn.Parameter):
        place.register_buffer(name, item)
    else:
        setattr(place, name, item)
