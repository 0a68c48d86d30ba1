# SPDX-License-Identifier: Apache-2.0
"""Float islands: operators that are no exact sum, evaluated in float64 and always named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwquant.graph.arithmetic import explicit_pads, pool_pads, windows
from hwquant.graph.exact import Array
from hwquant.graph.model import Node

__all__ = ["FLOAT_OPS"]

FloatOp = Callable[[Node, Sequence[Array]], Array]


def _sigmoid(x: Array) -> Array:
    half: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return half


_erf: Callable[[Any], Array] = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    if node.attrs.get("approximate", "none") == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))


def _softmax(node: Node, inputs: Sequence[Array]) -> Array:
    axis = int(node.attrs.get("axis", -1))
    power = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return np.asarray(power / power.sum(axis=axis, keepdims=True))


def _log_softmax(node: Node, inputs: Sequence[Array]) -> Array:
    return np.asarray(np.log(_softmax(node, inputs)))


def _layer_norm(node: Node, inputs: Sequence[Array]) -> Array:
    x, gain = inputs[0], inputs[1]
    axes = tuple(range(int(node.attrs.get("axis", -1)) % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    normal = centred / np.sqrt(variance + node.attrs.get("epsilon", 1e-5)) * gain
    return np.asarray(normal + inputs[2] if len(inputs) > 2 else normal)


def _channels(array: Array, rank: int) -> Array:
    return array.reshape(1, -1, *[1] * (rank - 2))


def _batch_norm(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    gain, shift, mean, variance = (_channels(p, x.ndim) for p in inputs[1:5])
    return np.asarray(
        (x - mean) / np.sqrt(variance + node.attrs.get("epsilon", 1e-5)) * gain + shift
    )


def _instance_norm(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(
        (centred**2).mean(axis=axes, keepdims=True) + node.attrs.get("epsilon", 1e-5)
    )
    gain, shift = (_channels(p, x.ndim) for p in inputs[1:3])
    return np.asarray(centred / deviation * gain + shift)


def _average_pool(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    view, axes = windows(node, x, 0.0)
    bare = replace(node, attrs={**node.attrs, "ceil_mode": 0})
    given, grown = explicit_pads(bare, x.shape), pool_pads(node, x.shape)[3]
    border = float(bool(node.attrs.get("count_include_pad", 0)))
    ones = np.pad(np.ones((1, 1, *x.shape[2:])), [(0, 0), (0, 0), *given], constant_values=border)
    rest = [(g - e, h - f) for (e, f), (g, h) in zip(given, grown, strict=True)]
    flat = tuple(n for side in zip(*rest, strict=True) for n in side)
    inner = replace(bare, attrs={**bare.attrs, "pads": flat, "auto_pad": "NOTSET"})
    inside, _ = windows(inner, ones, 0.0)
    return np.asarray(view.sum(axis=axes) / inside.sum(axis=axes))


def _max_pool(node: Node, inputs: Sequence[Array]) -> Array:
    view, axes = windows(node, inputs[0], -np.inf)
    return np.asarray(view.max(axis=axes))


def _reduce(function: Callable[..., Array]) -> FloatOp:
    def run(node: Node, inputs: Sequence[Array]) -> Array:
        given: Any = inputs[1].ravel() if len(inputs) > 1 else node.attrs.get("axes")
        axes = None if given is None else tuple(int(a) for a in given)
        return np.asarray(
            function(inputs[0], axis=axes, keepdims=bool(node.attrs.get("keepdims", 1)))
        )

    return run


def _clip(node: Node, inputs: Sequence[Array]) -> Array:
    low = inputs[1] if len(inputs) > 1 else node.attrs.get("min", -np.inf)
    high = inputs[2] if len(inputs) > 2 else node.attrs.get("max", np.inf)
    return np.asarray(np.minimum(np.maximum(inputs[0], low), high))


def _gemm(node: Node, inputs: Sequence[Array]) -> Array:
    a = inputs[0].T if node.attrs.get("transA", 0) else inputs[0]
    b = inputs[1].T if node.attrs.get("transB", 0) else inputs[1]
    out = node.attrs.get("alpha", 1.0) * (a @ b)
    return np.asarray(out + node.attrs.get("beta", 1.0) * inputs[2] if len(inputs) > 2 else out)


def _unary(function: Callable[[Array], Any]) -> FloatOp:
    return lambda _, inputs: np.asarray(function(inputs[0]))


def _binary(function: Callable[[Array, Array], Any]) -> FloatOp:
    return lambda _, inputs: np.asarray(function(inputs[0], inputs[1]))


def _elu(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    return np.asarray(np.where(x > 0, x, node.attrs.get("alpha", 1.0) * np.expm1(np.minimum(x, 0))))


def _selu(node: Node, inputs: Sequence[Array]) -> Array:
    gamma = node.attrs.get("gamma", 1.0507009873554805)
    alpha = node.attrs.get("alpha", 1.6732632423543772)
    x = inputs[0]
    return np.asarray(gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def _leaky(node: Node, inputs: Sequence[Array]) -> Array:
    x = inputs[0]
    return np.asarray(np.where(x >= 0, x, node.attrs.get("alpha", 0.01) * x))


def _hard_sigmoid(node: Node, inputs: Sequence[Array]) -> Array:
    alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
    return np.asarray(np.clip(alpha * inputs[0] + beta, 0, 1))


FLOAT_OPS: dict[str, FloatOp] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(np.divide),
    "Pow": _binary(np.power),
    "Max": lambda _, inputs: np.asarray(np.maximum.reduce(np.broadcast_arrays(*inputs))),
    "Min": lambda _, inputs: np.asarray(np.minimum.reduce(np.broadcast_arrays(*inputs))),
    "PRelu": _binary(lambda x, slope: np.where(x >= 0, x, slope * x)),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "Neg": _unary(np.negative),
    "Abs": _unary(np.abs),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Sqrt": _unary(np.sqrt),
    "Reciprocal": _unary(np.reciprocal),
    "Tanh": _unary(np.tanh),
    "Erf": _unary(_erf),
    "Sin": _unary(np.sin),
    "Cos": _unary(np.cos),
    "Sigmoid": _unary(_sigmoid),
    "Softplus": _unary(lambda x: np.logaddexp(0, x)),
    "Softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "HardSwish": _unary(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Mish": _unary(lambda x: x * np.tanh(np.logaddexp(0, x))),
    "HardSigmoid": _hard_sigmoid,
    "Elu": _elu,
    "Selu": _selu,
    "LeakyRelu": _leaky,
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "Where": lambda _, inputs: np.where(inputs[0].astype(bool), inputs[1], inputs[2]),
    "Equal": _binary(np.equal),
    "Less": _binary(np.less),
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Not": _unary(lambda x: ~x.astype(bool)),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda _, inputs: np.asarray(
        inputs[0].mean(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
    ),
    "GlobalMaxPool": lambda _, inputs: np.asarray(
        inputs[0].max(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
    ),
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "MatMul": _binary(np.matmul),
    "Gemm": _gemm,
}
