# SPDX-License-Identifier: Apache-2.0
"""From any module to a graph of calls, and the refusal of what cannot be quantized honestly."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from torch import Tensor, fx, nn
from torch.nn import functional

from hwquant.errors import InputError, UnsupportedError
from hwquant.nn.layers import MULTIPLY_LAYERS, MatMul

__all__ = [
    "MATMUL_FUNCTIONS",
    "MATMUL_METHODS",
    "check_weights",
    "optional_inputs",
    "overwrites",
    "propagate_shapes",
    "trace",
]

MATMUL_FUNCTIONS: Final = (torch.matmul, torch.bmm, torch.mm, operator.matmul, operator.imatmul)
MATMUL_METHODS: Final = ("matmul", "bmm", "mm", "__matmul__")
# Leaf modules that hold no products of activations and weights.
FREE_MODULES: Final[tuple[type[nn.Module], ...]] = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish),
    *(nn.Hardsigmoid, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax, nn.Threshold),
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Flatten),
    *(nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d),
    *(nn.InstanceNorm2d, nn.Embedding, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle),
    *(nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ChannelShuffle, nn.LocalResponseNorm),
    *(nn.RMSNorm, nn.Softmin, nn.GLU, nn.Fold, nn.Unfold),
)
FORBIDDEN_FUNCTIONS: Final[frozenset[Any]] = frozenset(
    {
        *(torch.einsum, torch.tensordot, torch.addmm, torch.baddbmm, torch.addbmm, torch.mv),
        *(torch.dot, torch.inner, torch.outer, torch.kron, torch.cdist, torch.chain_matmul),
        *(
            torch.addmv,
            torch.addr,
            torch.convolution,
            torch.vdot,
            torch.linalg.multi_dot,
            torch.linalg.matmul,
        ),
        *(
            functional.linear,
            functional.bilinear,
            functional.conv1d,
            functional.conv2d,
            functional.conv3d,
            functional.conv_transpose1d,
        ),
        *(
            functional.conv_transpose2d,
            functional.conv_transpose3d,
            functional.multi_head_attention_forward,
        ),
    }
)
FORBIDDEN_METHODS: Final = frozenset(
    {"addmm", "baddbmm", "addbmm", "mv", "dot", "inner", "outer", "addmv", "addr", "vdot"}
)
ALLOWED: Final = (
    "Conv1d, Conv2d, ConvTranspose2d, Linear, MultiheadAttention, scaled_dot_product_attention, "
    "matmul/bmm/@, BatchNorm1d/2d, activations, pooling, norms and reshapes"
)


class _Tracer(fx.Tracer):
    """Enter user modules, stop at torch.nn, Brevitas and `MatMul`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether ``m`` becomes one call of the graph."""
        brevitas = isinstance(m, QuantWeightBiasInputOutputLayer | QuantNonLinearActLayer)
        leaf: bool = brevitas or isinstance(m, MatMul)
        return leaf or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule:
    """Return ``model`` as a graph that shares its parameters.

    Raises `UnsupportedError` naming the module or operator when the model cannot be traced or
    holds a multiply operator that would silently stay float.
    """
    try:
        graph = _Tracer().trace(model, concrete_args=optional_inputs(model))
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, NameError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"{type(model).__name__} cannot be traced ({reason[0]}); its forward may not branch on "
            "tensor values: move such code out of the model"
        ) from error
    _drop_fixed_inputs(graph)
    module = fx.GraphModule(model, graph, class_name=type(model).__name__)
    _check_operators(module)
    _check_in_place(module)
    return module


def optional_inputs(model: nn.Module) -> dict[str, Any]:
    """Return the optional arguments of ``model``: all but the first are fixed at their defaults.

    Raises `UnsupportedError` when more than one argument is needed.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())
    positional = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in positional[1:] if p.default is p.empty and p.kind != p.VAR_POSITIONAL]
    if needed:
        raise UnsupportedError(
            f"{type(model).__name__} takes {len(needed) + 1} inputs ({needed[0]!r} has no "
            "default), allowed: one tensor; wrap the model"
        )
    return {p.name: p.default for p in positional[1:] if p.default is not p.empty}


def _drop_fixed_inputs(graph: fx.Graph) -> None:
    """Remove the placeholders (and the checks on them) of arguments fixed while tracing."""
    for node in [n for n in graph.nodes if n.op == "placeholder"][1:]:
        _erase(graph, node)


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Erase ``node`` and everything that reads it."""
    for user in list(node.users):
        _erase(graph, user)
    graph.erase_node(node)


def _check_operators(graph_module: fx.GraphModule) -> None:
    modules = dict(graph_module.named_modules())
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            leaf = modules[str(node.target)]
            brevitas = isinstance(leaf, QuantWeightBiasInputOutputLayer | QuantNonLinearActLayer)
            supported = (*MULTIPLY_LAYERS, *FREE_MODULES, MatMul)
            if not brevitas and not isinstance(leaf, supported):
                raise UnsupportedError(
                    f"layer {node.target!r} is a {type(leaf).__name__}, allowed: {ALLOWED}; "
                    "replace it or quantize a part of the model without it"
                )
        elif node.op == "call_function" and node.target in FORBIDDEN_FUNCTIONS:
            raise UnsupportedError(
                f"{_where(node)} calls {node.target.__name__}, allowed: {ALLOWED}; "
                "write the product as a layer or as torch.matmul"
            )
        elif node.op == "call_method" and node.target in FORBIDDEN_METHODS:
            raise UnsupportedError(
                f"{_where(node)} calls Tensor.{node.target}, allowed: {ALLOWED}; "
                "write the product as a layer or as torch.matmul"
            )


def _check_in_place(graph_module: fx.GraphModule) -> None:
    """Refuse a tensor that is read again after an operator has overwritten it.

    Quantizers are put where a tensor is made, so such a reader would see the older values.
    """
    modules = dict(graph_module.named_modules())
    order = {node: place for place, node in enumerate(graph_module.graph.nodes)}
    for node in graph_module.graph.nodes:
        if not overwrites(node, modules) or not node.all_input_nodes:
            continue
        for reader in node.all_input_nodes[0].users:
            if order[reader] > order[node]:
                raise UnsupportedError(
                    f"{_where(reader)} reads {node.all_input_nodes[0].name!r} after {node.name!r} "
                    "has overwritten it; use inplace=False there"
                )


def overwrites(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a call changes its first operand in place."""
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    return node.target is operator.iadd or node.kwargs.get("inplace") is True


def module_path(node: fx.Node) -> str:
    """Return the path of the module whose forward made this call ('' at the top)."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _where(node: fx.Node) -> str:
    return f"module {module_path(node) or 'at the top'!r}"


def check_weights(model: nn.Module) -> None:
    """Raise `InputError` naming the first parameter or buffer that holds NaN or infinity."""
    named: list[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in named:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            what = "NaN" if bool(torch.isnan(tensor).any()) else "infinity"
            raise InputError(
                f"parameter {name!r} holds {what}, allowed finite numbers; train or load the "
                "model again"
            )


class _Shapes(fx.Interpreter):
    """Runs the graph once and notes the shape of every tensor."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one call, noting what it returned."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


def propagate_shapes(graph_module: fx.GraphModule, sample: Tensor) -> None:
    """Run ``sample`` through the graph and store each node's shape in ``node.meta["shape"]``.

    Raises `InputError` when the sample does not fit the model.
    """
    run_forward(_Shapes(graph_module).run, sample)


def run_forward(forward: Callable[[Tensor], Any], x: Tensor) -> Any:
    """Return ``forward(x)`` without gradients; raises `InputError` when the shape does not fit."""
    try:
        with torch.no_grad():
            return forward(x)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"the model does not accept an input of shape {tuple(x.shape)} and type {x.dtype}: "
            f"{reason[0]}"
        ) from error
