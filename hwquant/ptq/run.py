# SPDX-License-Identifier: Apache-2.0
"""Run graphs and look inside: what quantizers read, what layers return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from hwquant.ptq.insert import is_act_quantizer

__all__ = ["Lockstep", "Recorder", "activation_sources"]


def activation_sources(model: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Return, for each node, the activation quantizers that read it (names are those of nodes)."""
    readers: dict[str, tuple[str, ...]] = {}
    for node in model.graph.nodes:
        if is_act_quantizer(node):
            source = node.args[0].name
            readers[source] = (*readers.get(source, ()), str(node.target))
    return readers


class Recorder(fx.Interpreter):
    """Runs a graph and hands the result of chosen nodes to ``record(label, tensor)``."""

    def __init__(
        self,
        graph_module: fx.GraphModule,
        labels: Mapping[str, tuple[str, ...]],
        record: Callable[[str, Tensor], None],
    ) -> None:
        super().__init__(graph_module)
        self.labels = labels
        self.record = record

    def run_node(self, n: fx.Node) -> Any:
        """Run one call and record its result where asked."""
        result = super().run_node(n)
        for label in self.labels.get(n.name, ()):
            self.record(label, result)
        return result


class Lockstep:
    """Runs a graph on several batches side by side, one node at a time.

    ``hooks`` maps a node's name to ``hook(name, values) -> values``, called once with the results
    of all batches; what it returns flows on.  So a layer can be adjusted on all data before any
    later layer runs, in one pass.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        hooks: Mapping[str, Callable[[str, list[Tensor]], list[Tensor]]],
    ) -> None:
        self.graph_module = graph_module
        self.hooks = hooks

    def run(self, batches: Sequence[Tensor]) -> None:
        """Run every node for every batch; each graph input gets the batch."""
        for _ in self.walk(batches):
            pass

    def walk(self, batches: Sequence[Tensor]) -> Iterator[tuple[str, list[Any]]]:
        """Yield each node's name and values as they come, so that two graphs can run in step."""
        runners = [fx.Interpreter(self.graph_module) for _ in batches]
        last_use: dict[fx.Node, fx.Node] = {}
        for node in self.graph_module.graph.nodes:
            for source in node.all_input_nodes:
                last_use[source] = node
        for runner, batch in zip(runners, batches, strict=True):
            runner.args_iter = iter((batch,))
        for node in self.graph_module.graph.nodes:
            values = [runner.run_node(node) for runner in runners]
            if node.name in self.hooks:
                values = self.hooks[node.name](node.name, values)
            for runner, value in zip(runners, values, strict=True):
                runner.env[node] = value
                for source in node.all_input_nodes:
                    if last_use[source] is node:
                        del runner.env[source]
            yield node.name, values
