# SPDX-License-Identifier: Apache-2.0
"""Put quantizers into a float graph: one in front of every multiply, one on every weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from brevitas import nn as qnn
from torch import fx, nn
from torch.nn import functional

from hwquant.block import AnyFormat, BlockFormat
from hwquant.errors import InputError, SpecError
from hwquant.nn.block_quantizer import BlockQuantizer, act_blocks, check_pair, weight_blocks
from hwquant.nn.layers import MULTIPLY_LAYERS, MatMul, channel_axis, quantized_layer
from hwquant.nn.quantizers import Quantizer, act_injector
from hwquant.ptq.recipe import Recipe, Settings, signed_of, unsigned_of
from hwquant.ptq.trace import MATMUL_FUNCTIONS, MATMUL_METHODS, module_path

__all__ = ["ACT_PREFIX", "Site", "insert_quantizers", "is_act_quantizer", "open_matmuls"]

ACT_PREFIX: Final = "act_quant"
BLOCK_STEPS: Final = (  # what block-scaled formats can take
    *("calibrate", "bias_correction", "equalize", "smoothquant", "magr", "bn_reestimation"),
    *("gptq", "gpfq", "qronos", "adaround", "brecq", "qdrop", "flexround", "pd_quant", "eptq"),
)
POOLS: Final = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
POOL_FUNCTIONS: Final[tuple[Any, ...]] = (
    torch.mean,
    functional.avg_pool1d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d,
)
ADDITIONS: Final = ("add", "iadd", "sub", "isub", "cat", "concat", "add_", "sub_")
NON_NEGATIVE: Final = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Softmax, nn.Hardsigmoid, nn.Softplus)
NON_NEGATIVE_NAMES: Final = frozenset(
    {"relu", "relu_", "relu6", "sigmoid", "softmax", "softplus", "hardsigmoid", "square", "abs"}
)
KEEPS_SIGN: Final = (
    *(*POOLS, nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d),
    *(nn.PixelShuffle, nn.PixelUnshuffle, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ChannelShuffle),
)
KEEPS_SIGN_NAMES: Final = frozenset(
    {"flatten", "view", "reshape", "permute", "transpose", "contiguous", "dropout", "max_pool2d"}
    | {"avg_pool2d", "adaptive_avg_pool2d", "mean", "squeeze", "unsqueeze", "adaptive_max_pool2d"}
    | {"max_pool1d", "avg_pool1d", "getitem", "chunk", "unflatten", "cat", "concat", "add", "iadd"}
)


@dataclass(frozen=True)
class Site:
    """One multiply (``path`` of its module) and the quantizers of its activation operands."""

    path: str
    node: str
    acts: tuple[str, ...]
    settings: Settings


def is_act_quantizer(node: fx.Node) -> bool:
    """Return whether ``node`` is one of the activation quantizers put into the graph."""
    return node.op == "call_module" and str(node.target).startswith(f"{ACT_PREFIX}.")


def open_matmuls(graph_module: fx.GraphModule) -> None:
    """Turn every ``matmul``, ``bmm``, ``mm`` and ``@`` into a call of a `MatMul` module."""
    taken = {name for name, _ in graph_module.named_modules()}
    for node in list(graph_module.graph.nodes):
        function = node.op == "call_function" and node.target in MATMUL_FUNCTIONS
        if not function and not (node.op == "call_method" and node.target in MATMUL_METHODS):
            continue
        operands = [*node.args, *node.kwargs.values()][:2]
        parent = module_path(node)
        path = _free(f"{parent}.matmul" if parent else "matmul", taken)
        graph_module.add_submodule(path, MatMul())
        with graph_module.graph.inserting_before(node):
            new = graph_module.graph.call_module(path, tuple(operands))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph_module.graph.erase_node(node)
    graph_module.recompile()


def insert_quantizers(
    graph_module: fx.GraphModule, recipe: Recipe, *, input_non_negative: bool
) -> tuple[Site, ...]:
    """Replace multiply layers by Brevitas layers and quantize what they read; return the sites.

    Scales are 1 until a step sets them.  Two multiplies that read one tensor with the same
    settings share a quantizer; additions and concatenations of that tensor read its quantized
    form, as hardware does, which stores codes only.  Raises `SpecError` for a path in the recipe
    that the model does not have, `InputError` when nothing is left to quantize.
    """
    modules = dict(graph_module.named_modules())
    nodes = [n for n in graph_module.graph.nodes if _is_site(n, modules)]
    paths = list(dict.fromkeys(str(n.target) for n in nodes))
    _check_paths(recipe, paths)
    paths = [path for path in paths if path not in recipe.exclude]
    if not paths:
        raise InputError(
            "the model has no layer to quantize; it needs a Conv1d, Conv2d, ConvTranspose2d, "
            "Linear or matmul that the recipe does not exclude"
        )
    weighted = [path for path in paths if not isinstance(modules[path], MatMul)]
    ends = {weighted[0], weighted[-1]} if weighted else set()
    calls = [str(n.target) for n in nodes]
    inserter = _Inserter(graph_module, modules, input_non_negative)
    sites: list[Site] = []
    for node in nodes:
        path = str(node.target)
        if path not in paths:
            continue
        settings = recipe.settings(path, first_or_last=path in ends)
        matmul = isinstance(modules[path], MatMul)  # reads activations only
        check_pair(path, settings.act if matmul else settings.weight, settings.act)
        _check_steps(recipe, settings)
        operands = node.args[:2] if isinstance(modules[path], MatMul) else _input(node)
        own = path if calls.count(path) > 1 else None  # a shared layer has one input scale
        acts = tuple(
            inserter.quantize(node, arg, settings, own, i) for i, arg in enumerate(operands)
        )
        if own is None or path not in [site.path for site in sites]:
            sites.append(Site(path, node.name, acts, settings))
    _redirect(graph_module, modules, inserter, recipe)
    for site in sites:
        _replace_layer(graph_module, site)
    graph_module.graph.lint()
    graph_module.recompile()
    return tuple(sites)


class _Inserter:
    """Creates activation quantizers, one per (tensor, settings)."""

    def __init__(
        self, graph_module: fx.GraphModule, modules: dict[str, nn.Module], input_non_negative: bool
    ) -> None:
        self.graph_module = graph_module
        self.modules = modules
        self.signs = _Signs(modules, input_non_negative)
        self.by_source: dict[tuple[Any, ...], fx.Node] = {}
        self.by_owner: dict[tuple[str, int], str] = {}
        self.taken = {name for name, _ in graph_module.named_modules()}

    def quantize(
        self, node: fx.Node, source: Any, settings: Settings, owner: str | None, index: int
    ) -> str:
        """Feed operand ``index`` of ``node`` through a quantizer; return the quantizer's path."""
        if not isinstance(source, fx.Node):
            raise InputError(f"{node.target}: operand {source!r} is no tensor of the graph")
        fmt = self.act_format(source, settings)
        blocks = self.placement(node, fmt, index)
        key = (source, fmt, settings.scale, settings.act_calibration, owner, blocks)
        if key not in self.by_source:
            # A layer called twice reads two tensors through one quantizer: one input scale.
            path = self.by_owner.get((owner, index)) if owner else None
            if path is None:
                path = self.add(str(node.target), fmt, settings, index, blocks)
            if owner:
                self.by_owner[owner, index] = path
            with self.graph_module.graph.inserting_after(source):
                self.by_source[key] = self.graph_module.graph.call_module(path, (source,))
            self.by_source[key].meta["shape"] = source.meta.get("shape")
        quantized = self.by_source[key]
        if node.args:
            arguments = list(node.args)
            arguments[index] = quantized
            node.args = tuple(arguments)
        else:
            node.kwargs = {**node.kwargs, "input": quantized}
        return str(quantized.target)

    def placement(self, node: fx.Node, fmt: AnyFormat, index: int) -> tuple[int, int]:
        """Return axis and groups of the blocks in operand ``index``: nothing to most formats."""
        layer = self.modules.get(str(node.target)) if node.op == "call_module" else None
        return act_blocks(layer, index) if isinstance(fmt, BlockFormat) else (-1, 1)

    def add(
        self,
        consumer: str,
        fmt: AnyFormat,
        settings: Settings,
        index: int,
        blocks: tuple[int, int],
    ) -> str:
        """Create the quantizer module that ``consumer`` reads; return its path."""
        multiple = isinstance(self.modules.get(consumer), MatMul)
        name = f"{consumer.replace('.', '_')}{'_ab'[index + 1] if multiple else ''}"
        path = _free(f"{ACT_PREFIX}.{name}", self.taken)
        scale_kind: Any = settings.scale
        quantizer: Quantizer
        if isinstance(fmt, BlockFormat):
            quantizer = BlockQuantizer(fmt, scale_kind, *blocks, path)
        else:
            quantizer = Quantizer(fmt, scale_kind, None, path)
        identity = qnn.QuantIdentity(act_quant=act_injector(quantizer)).eval()
        self.graph_module.add_submodule(path, identity)
        return path

    def act_format(self, source: fx.Node, settings: Settings) -> AnyFormat:
        """Return the format for a tensor, by whether it can be negative."""
        if isinstance(settings.act, BlockFormat):
            return settings.act
        if settings.act.min_int >= 0:
            return settings.act if self.signs.non_negative(source) else signed_of(settings.act)
        if settings.act_unsigned and self.signs.non_negative(source):
            return unsigned_of(settings.act)
        return settings.act


class _Signs:
    """Proves tensors non-negative from the operators that made them."""

    def __init__(self, modules: dict[str, nn.Module], input_non_negative: bool) -> None:
        self.modules = modules
        self.input_non_negative = input_non_negative

    def non_negative(self, node: fx.Node) -> bool:
        """Return whether no element of ``node`` can be negative."""
        if node.op == "placeholder":
            return self.input_non_negative
        if node.op == "call_module":
            module = self.modules.get(str(node.target))
            if isinstance(module, NON_NEGATIVE):
                return True
            keeps = isinstance(module, (*KEEPS_SIGN, qnn.QuantIdentity))
            return keeps and self.inputs_non_negative(node)
        name = _function_name(node)
        if name in NON_NEGATIVE_NAMES:
            return True
        return name in KEEPS_SIGN_NAMES and self.inputs_non_negative(node)

    def inputs_non_negative(self, node: fx.Node) -> bool:
        """Return whether every tensor ``node`` reads is non-negative, numbers included."""
        numbers = [a for a in node.args if isinstance(a, int | float) and not isinstance(a, bool)]
        adds = _function_name(node) in ("add", "iadd")
        if adds and (node.kwargs or any(number < 0 for number in numbers)):
            return False
        return all(self.non_negative(source) for source in node.all_input_nodes)


def _is_site(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    kinds = (*MULTIPLY_LAYERS, MatMul)
    return node.op == "call_module" and isinstance(modules[str(node.target)], kinds)


def _input(node: fx.Node) -> tuple[Any, ...]:
    return node.args[:1] if node.args else (node.kwargs["input"],)


def _check_paths(recipe: Recipe, paths: list[str]) -> None:
    named = [("exclude", path) for path in recipe.exclude]
    named += [("overrides", path) for path, _ in recipe.overrides]
    for field, path in named:
        if path not in paths:
            raise SpecError(
                f"recipe: {field} names {path!r}, which is no multiply layer of the model; "
                f"allowed: {', '.join(paths)}"
            )


def _check_steps(recipe: Recipe, settings: Settings) -> None:
    """Refuse steps that search scales or codes of single numbers for block-scaled formats."""
    if not isinstance(settings.act, BlockFormat):
        return
    for step in recipe.steps:
        if step.name not in BLOCK_STEPS:
            raise SpecError(
                f"recipe: step {step.name} cannot do block-scaled formats ({settings.act}); "
                f"allowed: {', '.join(BLOCK_STEPS)}"
            )


def _free(path: str, taken: set[str]) -> str:
    """Return ``path``, or ``path_1``, ``path_2``, ... whichever is new; and take it."""
    candidate, number = path, 0
    while candidate in taken:
        number += 1
        candidate = f"{path}_{number}"
    taken.add(candidate)
    return candidate


def _redirect(
    graph_module: fx.GraphModule, modules: dict[str, nn.Module], inserter: _Inserter, recipe: Recipe
) -> None:
    """Let additions (and pools, if the recipe says so) read codes."""
    for (source, *_), quantized in list(inserter.by_source.items()):
        for user in list(source.users):
            if user is not quantized and _function_name(user) in ADDITIONS:
                user.replace_input_with(source, quantized)
    if recipe.sums == "accumulator":
        return
    for node in list(graph_module.graph.nodes):
        if not _is_sum(node, modules):
            continue
        settings = recipe.settings(node.name)
        for index, source in enumerate(node.args[:2]):
            if isinstance(source, fx.Node) and not str(source.target).startswith(ACT_PREFIX):
                inserter.quantize(node, source, settings, None, index)


def _function_name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def _is_sum(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules.get(str(node.target)), POOLS)
    if node.op == "call_function" and node.target in POOL_FUNCTIONS:
        return True
    return _function_name(node) in ("add", "iadd", "mean") and bool(node.meta.get("shape"))


def _replace_layer(graph_module: fx.GraphModule, site: Site) -> None:
    layer: Any = graph_module.get_submodule(site.path)
    if not isinstance(layer, MatMul):
        axis = channel_axis(layer) if site.settings.granularity == "per_channel" else None
        kind: Any = site.settings.scale
        fmt = site.settings.weight
        quantizer: Quantizer
        if isinstance(fmt, BlockFormat):
            quantizer = BlockQuantizer(fmt, kind, *weight_blocks(layer), site.path)
        else:
            quantizer = Quantizer(fmt, kind, axis, site.path)
        layer = quantized_layer(layer, quantizer)
        graph_module.set_submodule(site.path, layer)
    layer.act_paths = site.acts
