# SPDX-License-Identifier: Apache-2.0
"""Where a bias decides a mean, and which shift of it gives the mean that is wanted.

What the next layer reads is not the layer's output but that of the activation function behind it,
perhaps with a residual added first.  A level is such a place: the last sum that the bias reaches
alone, and the functions behind it, none of which ever falls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

__all__ = ["Level", "level", "shift_for"]

RISING: Final = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.ELU, nn.SELU, nn.CELU, nn.Sigmoid),
    *(nn.Tanh, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.LogSigmoid),
)
RISING_FUNCTIONS: Final = frozenset(
    {"relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "hardtanh", "hardtanh_", "elu", "selu"}
    | {"celu", "sigmoid", "tanh", "hardsigmoid", "softplus", "softsign", "logsigmoid"}
)
ADDITIONS: Final = frozenset({"add", "iadd", "add_"})
DOUBLINGS: Final = 10  # of the step outward
ROUNDS: Final = 20  # of the search within the bracket; a handful is the rule
CLOSE: Final = 1e-6  # of the first step: a mean as near as that is met

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Level:
    """The node whose channels a bias shifts, and what is applied to it before others read it."""

    node: str
    functions: tuple[Function, ...] = ()

    def __call__(self, value: Tensor) -> Tensor:
        """Return what follows from the node's value; ``value`` stays as it is."""
        result = value.clone() if self.functions else value  # some functions work in place
        for function in self.functions:
            result = function(result)
        return result


def level(graph_module: fx.GraphModule, name: str) -> Level:
    """Return the level of the layer at the node ``name``.

    It moves from the layer on to a sum that nobody else's correction can shift later (all other
    summands are computed before the layer), if rising functions follow; else it is the layer.
    """
    nodes = {node.name: node for node in graph_module.graph.nodes}
    order = {node: index for index, node in enumerate(graph_module.graph.nodes)}
    start = node = nodes[name]
    while True:
        functions = _rising(node, graph_module)
        if functions:
            return Level(node.name, functions)
        user = _only_user(node)
        if user is None or _operator(user) not in ADDITIONS or len(user.all_input_nodes) != 2:
            return Level(start.name)
        other = next(source for source in user.all_input_nodes if source is not node)
        alike = user.meta.get("shape") is not None and user.meta["shape"] == node.meta.get("shape")
        if user.kwargs or not alike or order[other] > order[start]:
            return Level(start.name)
        node = user


def _rising(node: fx.Node, graph_module: fx.GraphModule) -> tuple[Function, ...]:
    """Return the rising functions that are all that is done with the value of ``node``."""
    user = _only_user(node)
    if user is None:
        return ()
    if user.op == "call_module":
        module = graph_module.get_submodule(str(user.target))
        return (module,) if isinstance(module, RISING) else ()
    if _operator(user) not in RISING_FUNCTIONS or user.args[:1] != (node,):
        return ()
    rest: Sequence[Any] = user.args[1:]
    if len(user.all_input_nodes) > 1:
        return ()
    return (partial(_call, user, rest),)


def _call(node: fx.Node, rest: Sequence[Any], value: Tensor) -> Tensor:
    target: Any = getattr(Tensor, str(node.target)) if node.op == "call_method" else node.target
    result: Tensor = target(value, *rest, **node.kwargs)
    return result


def _only_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _operator(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def shift_for(excess: Callable[[Tensor], Tensor], start: Tensor, unit: Tensor) -> Tensor:
    """Return the shift of each channel at which ``excess`` is 0, float64.

    ``excess(shift)`` is a mean less the one that is wanted, channel by channel, and never falls.
    The search goes from ``start`` outward in growing steps, first ``unit`` (positive), and then
    narrows the bracket by false position (Illinois).  A channel whose mean is out of reach, where
    the function is flat, keeps ``start``.
    """
    near, least = start.double(), excess(start).double()
    close = CLOSE * unit.double()
    outward = -least.sign() * unit.double()
    far, other = near, least
    for _ in range(DOUBLINGS):
        open_ = (other * least > 0) & (other.abs() > close)
        if not bool(open_.any()):
            break
        near, least = torch.where(open_, far, near), torch.where(open_, other, least)
        far = torch.where(open_, far + outward, far)
        outward = 2 * outward
        other = torch.where(open_, excess(far), other)
    met = (other * least <= 0) | (other.abs() <= close)
    for _ in range(ROUNDS):
        if bool((other.abs() <= close)[met].all()):
            break
        slope = (other - least) / torch.where(far == near, 1.0, far - near)
        # Where both ends agree there is nothing left to narrow.
        found = torch.where(slope == 0, far, far - other / torch.where(slope == 0, 1.0, slope))
        value = excess(found).double()
        same = value * other > 0
        near = torch.where(same, near, far)
        least = torch.where(same, least / 2, other)
        far, other = found, value
    return torch.where(met, far, start.double())
