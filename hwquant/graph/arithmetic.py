# SPDX-License-Identifier: Apache-2.0
"""Operators that are exact on scaled integers: sums, products, clamps and pools.

Each returns None where it cannot be exact; the interpreter then evaluates the node as a float
island.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from hwquant.errors import UnsupportedError
from hwquant.graph.exact import (
    FLOAT32_EXACT,
    Array,
    Exact,
    add,
    constant,
    fits_float32,
    gcd,
    largest,
    multiply,
    times,
)
from hwquant.graph.model import Node
from hwquant.graph.shapes import Value

__all__ = ["EXACT_OPS", "explicit_pads", "pool_pads", "windows"]

ExactOp = Callable[[Node, Sequence[Value]], Value | None]


def _exact(value: Value) -> Exact | None:
    """Return ``value`` if it is exact; a number among the shapes counts as a constant."""
    if isinstance(value, Exact):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return constant(value)
    return None


def _pair(inputs: Sequence[Value]) -> tuple[Exact, Exact] | None:
    a, b = _exact(inputs[0]), _exact(inputs[1])
    return None if a is None or b is None else (a, b)


def _relu(_: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    return None if x is None else replace(x, ints=np.maximum(x.ints, 0))


def _add(_: Node, inputs: Sequence[Value]) -> Value | None:
    pair = _pair(inputs)
    return None if pair is None else add(*pair)


def _sub(_: Node, inputs: Sequence[Value]) -> Value | None:
    pair = _pair(inputs)
    return None if pair is None else add(*pair, sign=-1)


def _factors(x: Exact, rank: int) -> tuple[tuple[Fraction, ...], int | None] | None:
    """Return positive ``x`` as one factor, or one per index of one axis of a tensor of ``rank``."""
    if (x.ints <= 0).any():
        return None
    long = [d for d, size in enumerate(x.shape) if size > 1]
    if len(long) > 1 or x.ints.ndim > rank:
        return None
    x = x.common()
    factors = tuple(int(i) * x.scale[0] for i in x.ints.ravel())
    return factors, (long[0] - x.ints.ndim + rank if long else None)


def _mul(_: Node, inputs: Sequence[Value]) -> Value | None:
    pair = _pair(inputs)
    if pair is None:
        return None
    for x, other in (pair, pair[::-1]):
        if other.fmt is None and other.ints.size < max(x.ints.size, 2):
            found = _factors(other, x.ints.ndim)
            if found is not None:
                return times(x, *found)
    a, b = (p.common() for p in pair)
    out = Exact(multiply(a.ints, b.ints), (a.scale[0] * b.scale[0],))
    return replace(out, proven=a.proven and b.proven and fits_float32(out))


def _div(_: Node, inputs: Sequence[Value]) -> Value | None:
    pair = _pair(inputs)
    found = None if pair is None else _factors(pair[1], pair[0].ints.ndim)
    if pair is None or found is None:
        return None
    factors, axis = found
    return times(pair[0], tuple(1 / f for f in factors), axis)


def _neg(_: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    return None if x is None else replace(x, ints=-x.ints, fmt=None, origin="")


def _clip(node: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    attributes = [node.attrs[k] for k in ("min", "max") if k in node.attrs]
    given = [_exact(v) for v in inputs[1:]] or [constant(a) for a in attributes]
    bounds = [int(b.ints.ravel()[0]) * b.scale[0] for b in given if b is not None]
    if len(bounds) != 2:
        return None
    whole = all((b / s).denominator == 1 for b in bounds for s in x.scale)
    if not whole:  # refine the unit until it divides the bounds
        x = x.common()
        x = add(x, Exact(np.zeros(1, np.int64), (gcd(x.scale[0], *filter(None, bounds)),)))
    shape = [-1 if d == x.axis else 1 for d in range(x.ints.ndim)]
    low, high = (
        np.array([int(b / s) for s in x.scale], dtype=object).reshape(shape) for b in bounds
    )
    ints = np.minimum(np.maximum(x.ints.astype(object), low), high)
    kept = ints if largest(ints) >= 1 << 62 else ints.astype(np.int64)
    out = replace(x, ints=kept, fmt=None, origin="")
    return replace(out, proven=x.proven and fits_float32(out))


def pool_pads(
    node: Node, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """Return kernel, strides, dilations and (begin, end) pads of a pool or convolution node.

    ``ceil_mode`` is turned into more end padding.
    """
    kernel = tuple(node.attrs["kernel_shape"])
    rank = len(kernel)
    strides = tuple(node.attrs.get("strides", (1,) * rank))
    dilations = tuple(node.attrs.get("dilations", (1,) * rank))
    auto = node.attrs.get("auto_pad", "NOTSET")
    flat = list(node.attrs.get("pads", (0,) * (2 * rank)))
    pads = [(flat[d], flat[d + rank]) for d in range(rank)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for d in range(rank):
            size, extent = shape[2 + d], (kernel[d] - 1) * dilations[d] + 1
            total = max((-(-size // strides[d]) - 1) * strides[d] + extent - size, 0)
            small, large = total // 2, total - total // 2
            pads[d] = (small, large) if auto == "SAME_UPPER" else (large, small)
    if node.attrs.get("ceil_mode", 0):
        for d in range(rank):
            extent = (kernel[d] - 1) * dilations[d] + 1
            rest = (shape[2 + d] + sum(pads[d]) - extent) % strides[d]
            more = strides[d] - rest if rest else 0
            starts = shape[2 + d] + pads[d][0]  # no window starts in the end padding
            last = (shape[2 + d] + sum(pads[d]) + more - extent) // strides[d] * strides[d]
            pads[d] = (pads[d][0], pads[d][1] + (more if last < starts else 0))
    return kernel, strides, dilations, pads


def explicit_pads(node: Node, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the pads without what ``ceil_mode`` adds."""
    return pool_pads(replace(node, attrs={**node.attrs, "ceil_mode": 0}), shape)[3]


def windows(node: Node, array: Array, fill: Any) -> tuple[Array, tuple[int, ...]]:
    """Return the view (N, C, out..., kernel...) of padded ``array``, and the kernel's axes."""
    kernel, strides, dilations, pads = pool_pads(node, array.shape)
    rank = len(kernel)
    padded = np.pad(array, [(0, 0), (0, 0), *pads], constant_values=fill)
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    spatial = tuple(range(2, 2 + rank))
    view = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=spatial)
    steps = tuple(slice(None, None, s) for s in (*strides, *dilations))
    return view[(slice(None), slice(None), *steps)], tuple(range(2 + rank, 2 + 2 * rank))


def _max_pool(node: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    if len(node.outputs) > 1:
        raise UnsupportedError(f"{node.label} returns indices, allowed: only the maximum")
    lowest = int(x.ints.min()) if x.ints.size else 0
    view, axes = windows(node, x.ints, lowest)
    return replace(x, ints=view.max(axis=axes))


def _global_max(_: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    return replace(x, ints=x.ints.max(axis=tuple(range(2, x.ints.ndim)), keepdims=True))


def _summable(x: Exact, count: int) -> Array:
    """Return the integers in a type that holds sums of ``count`` of them."""
    return x.ints if largest(x.ints) * count < 1 << 62 else x.ints.astype(object)


def _mean(x: Exact, sums: Array, count: int) -> Exact:
    """Return ``sums / count``: the division only changes the scale, so it is exact."""
    out = Exact(sums, tuple(s / count for s in x.scale), x.axis)
    bounded = largest(x.ints) * count <= FLOAT32_EXACT
    return replace(out, proven=x.proven and bounded and fits_float32(out))


def _average_pool(node: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    count = math.prod(node.attrs["kernel_shape"])
    view, axes = windows(node, _summable(x, count), 0)
    given, grown = explicit_pads(node, x.shape), pool_pads(node, x.shape)[3]
    padded = any(sum(p) for p in given) and not node.attrs.get("count_include_pad", 0)
    if padded or given != grown:
        return None  # the divisor differs at the border
    return _mean(x, view.sum(axis=axes), count)


def _global_average(_: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    axes = tuple(range(2, x.ints.ndim))
    count = math.prod(x.shape[2:])
    return _mean(x, _summable(x, count).sum(axis=axes, keepdims=True), count)


def _reduce_axes(node: Node, inputs: Sequence[Value], rank: int) -> tuple[int, ...]:
    if len(inputs) > 1 and isinstance(inputs[1], np.ndarray):
        given: Any = inputs[1].ravel()
    else:
        given = node.attrs.get("axes", range(rank))
    return tuple(int(a) % rank for a in given)


def _reduce(node: Node, inputs: Sequence[Value]) -> Value | None:
    x = _exact(inputs[0])
    if x is None:
        return None
    axes = _reduce_axes(node, inputs, x.ints.ndim)
    if x.axis is not None and (x.axis in axes or not node.attrs.get("keepdims", 1)):
        x = x.common()
    keep = bool(node.attrs.get("keepdims", 1))
    if node.op == "ReduceMax":
        return replace(x, ints=x.ints.max(axis=axes, keepdims=keep))
    count = math.prod(x.shape[a] for a in axes)
    sums = _summable(x, count).sum(axis=axes, keepdims=keep)
    out = _mean(x, sums, count)
    return out if node.op == "ReduceMean" else times(out, (Fraction(count),), None)


EXACT_OPS: dict[str, ExactOp] = {
    "Relu": _relu,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Neg": _neg,
    "Clip": _clip,
    "MaxPool": _max_pool,
    "GlobalMaxPool": _global_max,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "ReduceMax": _reduce,
}
