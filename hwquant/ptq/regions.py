# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a float graph may be rescaled channel by channel without changing its function.

A region is a set of tensors that must share one factor per channel: those that a positive factor
passes through (ReLU, pooling, additions, reshapes), up to the layers that can give the factor
(their weight rows, or the gain of a norm) and those that can take it away again (their weight
columns).  Where anything else reads or makes one of the tensors, the region is not exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from hwquant.nn.layers import MULTIPLY_LAYERS
from hwquant.ptq.run import Recorder

__all__ = ["LAYERS", "NORMS", "Region", "Tap", "regions"]

PROBE: Final = 3  # items: a batch whose size is no usual axis of a tensor
LAYERS: Final = tuple(MULTIPLY_LAYERS)
NORMS: Final = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)
NORMS_LAST: Final = (nn.LayerNorm, nn.RMSNorm)  # channels on the last axis, the others on axis 1
POINTWISE: Final = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
SPATIAL: Final = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Upsample),
    *(nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d),
    nn.ReplicationPad2d,
)
POINTWISE_NAMES: Final = frozenset(
    {"relu", "relu_", "leaky_relu", "dropout", "contiguous", "clone", "detach"}
)
SPATIAL_NAMES: Final = frozenset(
    {"max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "interpolate"}
    | {"adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "boolean_dispatch"}
)
RESHAPE_NAMES: Final = frozenset({"flatten", "view", "reshape", "squeeze", "unsqueeze"})
SUMS: Final = frozenset({"add", "iadd", "add_", "sub", "isub", "sub_"})
SIZES: Final = frozenset({"size", "dim", "getattr"})  # read the shape, not the values


@dataclass(frozen=True)
class Tap:
    """A layer that reads a tensor of the region, and the nodes of the tensors it reads.

    Each channel of the region is ``repeat`` neighbouring inputs of the layer (a flattened image).
    """

    path: str
    inputs: tuple[str, ...]
    repeat: int = 1


@dataclass(frozen=True)
class Region:
    """``channels`` factors, given by ``sources`` (module paths) and taken away by ``taps``.

    ``exact`` says that scaling all sources and taps leaves the network's function as it was.
    """

    channels: int
    sources: tuple[str, ...]
    taps: tuple[Tap, ...]
    exact: bool


@dataclass
class _Group:
    """A set of tensors under way to being a region."""

    channels: int
    sources: dict[str, None] = field(default_factory=dict)
    taps: list[tuple[str, str]] = field(default_factory=list)
    exact: bool = True
    parent: _Group | None = None

    def root(self) -> _Group:
        """Return the group that stands for all joined with this one."""
        group = self
        while group.parent is not None:
            group = group.parent
        return group


class _View:
    """The channels of a tensor: a group, the axis they lie on, neighbours per channel."""

    def __init__(self, group: _Group, axis: int, repeat: int = 1) -> None:
        self.group, self.axis, self.repeat = group, axis, repeat


def regions(graph_module: fx.GraphModule, sample: Tensor) -> tuple[Region, ...]:
    """Return the regions with at least one tap, in execution order of their first tensor.

    ``sample`` is a batch that shows the shapes.  Shared layers join the regions of all their calls;
    concatenated channels, products of activations, norms and curved activation functions end a
    region.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(name: str, value: object) -> None:
        if isinstance(value, Tensor):
            shapes[name] = tuple(value.shape)

    batch = sample[:1].expand(PROBE, *sample.shape[1:])
    labels = {node.name: (node.name,) for node in graph_module.graph.nodes}
    with torch.no_grad():
        Recorder(graph_module, labels, record).run(batch)
    walk = _Walk(graph_module, shapes)
    for node in graph_module.graph.nodes:
        walk.visit(node)
    found = (walk.region(group) for group in walk.groups if group.parent is None)
    return tuple(region for region in found if region is not None)


class _Walk:
    """Visits nodes in order; joins groups, or marks them as not exact."""

    def __init__(self, graph_module: fx.GraphModule, shapes: dict[str, tuple[int, ...]]) -> None:
        self.modules = dict(graph_module.named_modules())
        self.shapes = shapes
        self.views: dict[fx.Node, _View] = {}
        self.groups: list[_Group] = []
        self.given: dict[str, _Group] = {}  # by path: the group of a layer's outputs
        self.taken: dict[str, tuple[_Group, int]] = {}  # by path: that of its inputs, repeat

    def visit(self, node: fx.Node) -> None:
        """Give the result of ``node`` a view, as far as it is a tensor with channels."""
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        name = _name(node)
        if isinstance(module, LAYERS):
            self.tap(node, str(node.target), module)
            self.source(node, str(node.target), module)
        elif isinstance(module, NORMS) and _gain(module):
            self.spoil(node)
            self.source(node, str(node.target), module)
        elif name in SIZES:
            return
        elif not self.passes(node, module, name):
            self.spoil(node)

    def tap(self, node: fx.Node, path: str, module: nn.Module) -> None:
        """Note that a layer reads a tensor."""
        source = node.all_input_nodes[0]
        view = self.views.get(source)
        channels = _inputs(module)
        axis = _axis(module, len(self.shape(source)))
        if (
            view is None
            or view.axis != axis
            or view.group.root().channels * view.repeat != channels
        ):
            self.spoil(node)
            view = _View(self.group(channels, exact=False), axis)
            self.views.setdefault(source, view)
        if path in self.taken:
            first, repeat = self.taken[path]
            if repeat != view.repeat or not self.join(first, view.group):
                first.root().exact = view.group.root().exact = False
        self.taken[path] = (view.group, view.repeat)
        view.group.root().taps.append((path, source.name))

    def source(self, node: fx.Node, path: str, module: nn.Module) -> None:
        """Start a group at the output of a layer or norm, or go on with that of an earlier call."""
        if path not in self.given:
            self.given[path] = self.group(_outputs(module))
            self.given[path].sources[path] = None
        self.views[node] = _View(self.given[path], _axis(module, len(self.shape(node))))

    def passes(self, node: fx.Node, module: nn.Module | None, name: str) -> bool:
        """Return whether a factor passes through ``node``; if so its view is noted."""
        inputs = [n for n in node.all_input_nodes if n.name in self.shapes]  # tensors
        if not inputs or any(source not in self.views for source in inputs) or not self.shape(node):
            return False
        views = [self.views[source] for source in inputs]
        if name in SUMS or name in ("cat", "concat"):
            return self.sums(node, views, name)
        first, shape, before = views[0], self.shape(node), self.shape(inputs[0])
        if len(inputs) > 1:
            return False
        axis: int | None = None
        repeat = first.repeat
        if isinstance(module, POINTWISE) or name in POINTWISE_NAMES:
            axis = first.axis
        elif isinstance(module, nn.PReLU):
            axis = first.axis if module.num_parameters == 1 or first.axis == 1 else None
        elif isinstance(module, SPATIAL) or name in SPATIAL_NAMES or _zero_pad(node, name):
            same = len(shape) == len(before) and shape[first.axis] == before[first.axis]
            axis = first.axis if same and first.axis == 1 and len(shape) > 2 else None
        elif name == "mean":
            axis = _after_mean(node, first.axis, len(before))
        elif name in ("transpose", "permute"):
            axis = _after_permutation(node, name, first.axis, len(before))
        elif isinstance(module, nn.Flatten) or name in RESHAPE_NAMES:
            axis, repeat = _after_reshape(before, shape, first.axis, first.repeat)
        elif name in ("mul", "truediv"):  # by a number, as there is one tensor
            numbers = [a for a in node.args if isinstance(a, int | float)]
            axis = first.axis if len(numbers) == 1 and node.args[0] is inputs[0] else None
        if axis is None:
            return False
        self.views[node] = _View(first.group, axis, repeat)
        return True

    def sums(self, node: fx.Node, views: list[_View], name: str) -> bool:
        """Join the groups of what is added, or stacked along another axis than the channels."""
        first, shape = views[0], self.shape(node)
        alike = {(v.axis, v.repeat) for v in views} == {(first.axis, first.repeat)}
        if name in SUMS:
            both = [a for a in node.args if isinstance(a, fx.Node) and self.shape(a) == shape]
            fits = len(both) == len(node.args) == 2
        else:
            dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            fits = isinstance(dim, int) and dim % len(shape) != first.axis
        if not alike or not fits:
            return False
        if not all(self.join(first.group, view.group) for view in views[1:]):
            return False
        self.views[node] = _View(first.group, first.axis, first.repeat)
        return True

    def spoil(self, node: fx.Node) -> None:
        """Mark what ``node`` reads: nothing there may be scaled without another multiplication."""
        for source in node.all_input_nodes:
            if source in self.views:
                self.views[source].group.root().exact = False

    def group(self, channels: int, *, exact: bool = True) -> _Group:
        """Return a new group."""
        self.groups.append(_Group(channels, exact=exact))
        return self.groups[-1]

    def join(self, a: _Group, b: _Group) -> bool:
        """Make two groups one; return whether they fit."""
        a, b = a.root(), b.root()
        if a is b:
            return True
        if a.channels != b.channels:
            return False
        a.sources |= b.sources
        a.taps += b.taps
        a.exact = a.exact and b.exact
        b.parent = a
        return True

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a tensor, () for what is none."""
        return self.shapes.get(node.name, ())

    def region(self, group: _Group) -> Region | None:
        """Return the region of a group, or None when no layer reads it."""
        inputs: dict[str, list[str]] = {}
        for path, name in group.taps:
            inputs.setdefault(path, []).append(name)
        if not inputs:
            return None
        taps = tuple(Tap(p, tuple(dict.fromkeys(n)), self.taken[p][1]) for p, n in inputs.items())
        exact = group.exact and bool(group.sources)
        return Region(group.channels, tuple(group.sources), taps, exact)


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return ""
    if node.target is getattr:
        return "getattr"
    return str(getattr(node.target, "__name__", ""))


def _axis(module: nn.Module, rank: int) -> int:
    """Return the axis of the channels in what ``module`` reads and makes."""
    return rank - 1 if isinstance(module, nn.Linear | nn.LayerNorm | nn.RMSNorm) else 1


def _gain(norm: Any) -> bool:
    """Return whether ``norm`` multiplies each channel by a weight of its own."""
    flat = not isinstance(norm, NORMS_LAST) or len(norm.normalized_shape) == 1
    return flat and norm.weight is not None


def _outputs(module: Any) -> int:
    if isinstance(module, NORMS):
        return len(module.weight)
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)


def _inputs(module: Any) -> int:
    return int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)


def _zero_pad(node: fx.Node, name: str) -> bool:
    if name != "pad" or node.target is not functional.pad:
        return False
    given: dict[str, Any] = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False))
    given |= dict(node.kwargs)
    return given.get("mode", "constant") != "constant" or not given.get("value")


def _after_mean(node: fx.Node, axis: int, rank: int) -> int | None:
    """Return where the channels are behind a mean, None when it averages them."""
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if dims is None:
        return None
    averaged = {int(d) % rank for d in (dims if isinstance(dims, tuple | list) else (dims,))}
    keeps = bool(node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False))
    if axis in averaged:
        return None
    return axis if keeps else axis - sum(d < axis for d in averaged)


def _after_permutation(node: fx.Node, name: str, axis: int, rank: int) -> int | None:
    given: Any = node.args[1:]
    if node.kwargs or not given:
        return None
    dims = given[0] if len(given) == 1 and isinstance(given[0], tuple | list) else given
    if not all(isinstance(d, int) for d in dims):
        return None
    order = [int(d) % rank for d in dims]
    if name == "permute":
        return order.index(axis)
    swapped = {order[0]: order[1], order[1]: order[0]}
    return swapped.get(axis, axis)


def _after_reshape(
    before: tuple[int, ...], after: tuple[int, ...], axis: int, repeat: int
) -> tuple[int | None, int]:
    """Return axis and repeat behind a reshape that keeps each channel's values together."""
    left, own, right = math.prod(before[:axis]), before[axis], math.prod(before[axis + 1 :])
    for place, size in enumerate(after):
        if math.prod(after[:place]) != left:
            continue
        if size == own:
            return place, repeat
        if size == own * right:
            return place, repeat * right
    return None, repeat
