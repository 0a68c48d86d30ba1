# SPDX-License-Identifier: Apache-2.0
"""Operators that only move numbers: they keep codes codes, and work on any tensor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hwquant.errors import UnsupportedError
from hwquant.graph.exact import Array, Exact, Real, concat
from hwquant.graph.model import Node

__all__ = ["SHAPE_OPS", "Value", "move", "real"]

Value = Exact | Real | Array
ShapeOp = Callable[[Node, Sequence[Value]], list[Value]]


def real(value: Value) -> Array:
    """Return the numbers of ``value`` as an array (float64 for tensors, as is for shapes)."""
    if isinstance(value, Exact):
        return value.reals()
    return value.values if isinstance(value, Real) else value


def move(value: Value, function: Callable[[Array], Array], axis: int | None = None) -> Value:
    """Apply a rearrangement; ``axis`` is where the channel axis of the scales goes.

    Without it, per-channel scales are first brought to one scale (the codes are then lost).
    """
    if isinstance(value, Exact):
        if value.axis is not None and axis is None:
            value = value.common()
        return replace(value, ints=function(value.ints), axis=axis)
    if isinstance(value, Real):
        return replace(value, values=function(value.values))
    return function(value)


def _ints(value: Value) -> list[int]:
    return [int(i) for i in np.asarray(real(value)).ravel()]


def _identity(_: Node, inputs: Sequence[Value]) -> list[Value]:
    return [inputs[0]]


def _cast(node: Node, inputs: Sequence[Value]) -> list[Value]:
    x = inputs[0]
    to = int(node.attrs["to"])
    if to in (1, 10, 11, 16):  # float, float16, double, bfloat16
        if isinstance(x, Exact | Real) and to in (1, 11):
            return [x]
        if not isinstance(x, Exact | Real):
            return [Real(np.asarray(x, np.float64), proven=True)]
        raise UnsupportedError(f"{node.label} to a 16-bit float, allowed: float32")
    return [np.asarray(real(x)).astype(bool if to == 9 else np.int64)]


def _shape(node: Node, inputs: Sequence[Value]) -> list[Value]:
    start, end = node.attrs.get("start", 0), node.attrs.get("end")
    return [np.array(inputs[0].shape[start:end], np.int64)]


def _reshape(_: Node, inputs: Sequence[Value]) -> list[Value]:
    shape = inputs[0].shape
    target = [shape[i] if n == 0 else n for i, n in enumerate(_ints(inputs[1]))]
    return [move(inputs[0], lambda a: a.reshape(target))]


def _flatten(node: Node, inputs: Sequence[Value]) -> list[Value]:
    shape = inputs[0].shape
    axis = int(node.attrs.get("axis", 1)) % (len(shape) + 1)
    return [move(inputs[0], lambda a: a.reshape(int(np.prod(shape[:axis])), -1))]


def _transpose(node: Node, inputs: Sequence[Value]) -> list[Value]:
    x = inputs[0]
    order = tuple(node.attrs.get("perm", reversed(range(len(x.shape)))))
    axis = order.index(x.axis) if isinstance(x, Exact) and x.axis is not None else None
    return [move(x, lambda a: a.transpose(order), axis)]


def _axes(node: Node, inputs: Sequence[Value]) -> list[int] | None:
    if len(inputs) > 1:
        return _ints(inputs[1])
    return list(node.attrs["axes"]) if "axes" in node.attrs else None


def _squeeze(node: Node, inputs: Sequence[Value]) -> list[Value]:
    axes = _axes(node, inputs)
    return [move(inputs[0], lambda a: a.squeeze(None if axes is None else tuple(axes)))]


def _unsqueeze(node: Node, inputs: Sequence[Value]) -> list[Value]:
    axes = tuple(_axes(node, inputs) or ())
    return [move(inputs[0], lambda a: np.expand_dims(a, axes))]


def _slice(node: Node, inputs: Sequence[Value]) -> list[Value]:
    x = inputs[0]
    if "starts" in node.attrs:
        starts, ends = list(node.attrs["starts"]), list(node.attrs["ends"])
        axes = list(node.attrs.get("axes", range(len(starts))))
        steps = [1] * len(starts)
    else:
        starts, ends = _ints(inputs[1]), _ints(inputs[2])
        axes = _ints(inputs[3]) if len(inputs) > 3 else list(range(len(starts)))
        steps = _ints(inputs[4]) if len(inputs) > 4 else [1] * len(starts)
    cut = [slice(None)] * len(x.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        begin = max(start + size, 0) if start < 0 else start
        stop: int | None = max(end + size, -1 if step < 0 else 0) if end < 0 else end
        cut[axis] = slice(begin, None if step < 0 and stop == -1 else stop, step)
    return [move(x, lambda a: a[tuple(cut)])]


def _gather(node: Node, inputs: Sequence[Value]) -> list[Value]:
    index = np.asarray(real(inputs[1])).astype(np.int64)
    axis = int(node.attrs.get("axis", 0))
    return [move(inputs[0], lambda a: np.take(a, index, axis))]


def _split(node: Node, inputs: Sequence[Value]) -> list[Value]:
    x, axis = inputs[0], int(node.attrs.get("axis", 0))
    if len(inputs) > 1 or "split" in node.attrs:
        sizes = _ints(inputs[1]) if len(inputs) > 1 else list(node.attrs["split"])
    else:
        count = len(node.outputs)
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    ends = np.cumsum([0, *sizes])
    spans = [range(int(a), int(b)) for a, b in itertools.pairwise(ends)]
    return [move(x, partial(_take, span=span, axis=axis)) for span in spans]


def _take(array: Array, span: range, axis: int) -> Array:
    return np.take(array, np.array(span), axis)


def _concat(node: Node, inputs: Sequence[Value]) -> list[Value]:
    axis = int(node.attrs["axis"])
    exact = [x for x in inputs if isinstance(x, Exact)]
    if len(exact) == len(inputs):
        return [concat(exact, axis)]
    if any(isinstance(x, Exact | Real) for x in inputs):
        return [Real(np.concatenate([real(x) for x in inputs], axis))]
    return [np.concatenate([np.atleast_1d(real(x)) for x in inputs], axis)]


def _expand(_: Node, inputs: Sequence[Value]) -> list[Value]:
    target = np.broadcast_shapes(inputs[0].shape, tuple(_ints(inputs[1])))
    return [move(inputs[0], lambda a: np.broadcast_to(a, target))]


def _tile(_: Node, inputs: Sequence[Value]) -> list[Value]:
    return [move(inputs[0], lambda a: np.tile(a, _ints(inputs[1])))]


def _pad(node: Node, inputs: Sequence[Value]) -> list[Value]:
    x = inputs[0]
    mode = node.attrs.get("mode", "constant")
    pads = _ints(inputs[1]) if len(inputs) > 1 else list(node.attrs["pads"])
    fill = float(np.asarray(real(inputs[2])).ravel()[0]) if len(inputs) > 2 else 0.0
    if mode == "constant" and fill != 0:
        raise UnsupportedError(f"{node.label} pads with {fill:g}, allowed: 0, reflect, edge")
    rank = len(x.shape)
    axes = [a % rank for a in _ints(inputs[3])] if len(inputs) > 3 else list(range(rank))
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[i + len(axes)])
    kind: Any = mode
    grow = tuple((max(a, 0), max(b, 0)) for a, b in widths)
    cut = tuple(slice(max(-a, 0), None if b >= 0 else b) for a, b in widths)
    return [move(x, lambda a: np.pad(a, grow, mode=kind)[cut])]


def _depth_to_space(node: Node, inputs: Sequence[Value]) -> list[Value]:
    n, c, h, w = inputs[0].shape
    b = int(node.attrs["blocksize"])
    if node.attrs.get("mode", "DCR") == "DCR":
        split, order = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    shape = (n, c // (b * b), h * b, w * b)
    return [move(inputs[0], lambda a: a.reshape(split).transpose(order).reshape(shape))]


def _resize(node: Node, inputs: Sequence[Value]) -> list[Value]:
    shape = inputs[0].shape
    sizes = _ints(inputs[3]) if len(inputs) > 3 else []
    scales = [] if sizes else [float(s) for s in np.asarray(real(inputs[-1])).ravel()]
    factors = [n / m for n, m in zip(sizes, shape, strict=True)] if sizes else scales
    if node.attrs.get("mode", "nearest") != "nearest" or any(f != int(f) or f < 1 for f in factors):
        raise UnsupportedError(f"{node.label}, allowed: mode nearest with whole factors")
    x = inputs[0]
    for axis, factor in enumerate(factors):
        x = move(x, partial(np.repeat, repeats=int(factor), axis=axis))
    return [x]


SHAPE_OPS: dict[str, ShapeOp] = {
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _cast,
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Concat": _concat,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "Resize": _resize,
    "Upsample": _resize,
}
