# SPDX-License-Identifier: Apache-2.0
"""An explicit multiplication of each channel of an activation: a float operation with a name."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from hwquant.errors import InputError

__all__ = ["PREFIX", "ChannelScale", "insert_channel_scales"]

PREFIX: Final = "channel_scale"


class ChannelScale(nn.Module):
    """``x * factor``, one positive factor per channel; ``shape`` broadcasts against ``x``."""

    factor: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return each channel of ``x`` times its factor."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Return what ``print(model)`` shows."""
        return f"channels={self.factor.numel()}"


def insert_channel_scales(graph_module: fx.GraphModule, records: list[dict[str, Any]]) -> None:
    """Put a `ChannelScale` of factors 1 in front of chosen readers of a tensor.

    A record holds ``source`` (a node), ``readers`` (those that read the product from now on),
    ``released`` (pairs of nodes: the second reads the source instead of the first, as a sum does
    that read codes which now have other units) and ``shape``.  The same records insert the same
    into a graph of the same structure.  Raises `InputError` for a node the graph does not have.
    """
    by_name = {node.name: node for node in graph_module.graph.nodes}
    for record in records:
        names = [record["source"], *record["readers"], *(n for p in record["released"] for n in p)]
        if missing := [name for name in names if name not in by_name]:
            raise InputError(f"the graph has no node {missing[0]!r} to scale the channels at")
        source = by_name[record["source"]]
        path = f"{PREFIX}.{source.name}"
        graph_module.add_submodule(path, ChannelScale(tuple(record["shape"])).eval())
        with graph_module.graph.inserting_after(source):
            scaled = graph_module.graph.create_node(
                "call_module", path, (source,), name=f"{PREFIX}_{source.name}"
            )
        scaled.meta = {"shape": source.meta.get("shape")}
        for name in record["readers"]:
            by_name[name].replace_input_with(source, scaled)
        for before, reader in record["released"]:
            by_name[reader].replace_input_with(by_name[before], source)
        by_name[scaled.name] = scaled
    graph_module.graph.lint()
    graph_module.recompile()
