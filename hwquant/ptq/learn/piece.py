# SPDX-License-Identifier: Apache-2.0
"""Cut a piece out of a graph: a module that computes some nodes from the values of earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from hwquant.ptq.run import Recorder

__all__ = ["Piece", "cut", "itemwise"]

PROBE = 3  # items: a batch whose size is no usual axis of a tensor


@dataclass(frozen=True)
class Piece:
    """``module(*inputs)`` returns the tuple of ``outputs``; both are names of nodes."""

    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def itemwise(graph_module: fx.GraphModule, sample: Tensor) -> frozenset[str]:
    """Return the nodes whose value has one entry per item of the batch along its first axis.

    Only such values can be stored for all items and drawn at random; the others (sizes, position
    tables, tensors with the batch on another axis) are computed again where they are read.
    ``sample`` is a batch of at least one item.
    """
    batch = sample[:1].expand(PROBE, *sample.shape[1:])
    fed: set[str] = set()
    for node in graph_module.graph.nodes:
        if node.op == "placeholder" or any(n.name in fed for n in node.all_input_nodes):
            fed.add(node.name)
    found: set[str] = set()

    def record(name: str, value: object) -> None:
        if isinstance(value, Tensor) and value.dim() and value.shape[0] == PROBE:
            found.add(name)

    with torch.no_grad():
        Recorder(graph_module, {name: (name,) for name in fed}, record).run(batch)
    return frozenset(found)


def cut(
    graph_module: fx.GraphModule,
    nodes: Collection[str],
    outputs: Sequence[str],
    stored: Collection[str],
) -> Piece:
    """Return the piece of ``graph_module`` that computes ``outputs`` by ``nodes``.

    A value made outside ``nodes`` is an input if it is among ``stored``, else its node joins the
    piece.  Modules are shared with ``graph_module``: a change there shows here, but a module
    replaced by `torch.nn.Module.set_submodule` in the piece is replaced in the piece alone.
    """
    by_name = {node.name: node for node in graph_module.graph.nodes}
    needed: set[str] = set()
    entries: set[str] = set()
    waiting = [by_name[name] for name in outputs]
    while waiting:
        node = waiting.pop()
        if node.name in needed or node.name in entries:
            continue
        if node.op == "placeholder" or (node.name not in nodes and node.name in stored):
            entries.add(node.name)
            continue
        needed.add(node.name)
        waiting.extend(node.all_input_nodes)
    inputs = tuple(name for name in by_name if name in entries)
    graph = fx.Graph()
    copied = {by_name[name]: graph.placeholder(name) for name in inputs}
    for name, node in by_name.items():
        if name in needed:
            copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(tuple(copied[by_name[name]] for name in outputs))
    module = fx.GraphModule(graph_module, graph)
    return Piece(module, inputs, tuple(outputs))
