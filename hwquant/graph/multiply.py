# SPDX-License-Identifier: Apache-2.0
"""The multiply nodes: Conv, ConvTranspose, Gemm and MatMul on integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from hwquant import codec_np
from hwquant.errors import UnsupportedError
from hwquant.formats import Format
from hwquant.graph.arithmetic import pool_pads
from hwquant.graph.exact import Array, Exact, add, constant, fits_float32, largest
from hwquant.graph.layer import MacLayer, certify, fingerprint
from hwquant.graph.matmul import (
    Product,
    Window,
    conv,
    conv_shape,
    conv_transpose,
    conv_transpose_shape,
    matmul,
)
from hwquant.graph.model import Node
from hwquant.mac import product_range

__all__ = ["MULTIPLY_OPS", "Bias", "multiply_exact", "multiply_real"]

MULTIPLY_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Bias:
    """A bias constant and the tensor that holds the biased result."""

    values: Array
    tensor: str


def _window(node: Node, x: tuple[int, ...], w: tuple[int, ...]) -> Window:
    attrs = {**node.attrs, "kernel_shape": node.attrs.get("kernel_shape", w[2:])}
    shaped = replace(node, attrs=attrs)
    if node.op == "ConvTranspose" and (
        node.attrs.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attrs
    ):
        raise UnsupportedError(f"{node.label} has auto_pad or output_shape, allowed: explicit pads")
    _, strides, dilations, pads = pool_pads(shaped, x)
    groups = int(node.attrs.get("group", 1))
    extra = tuple(node.attrs.get("output_padding", (0,) * len(strides)))
    return Window(strides, dilations, tuple(pads), groups, extra)


def _oriented(node: Node, a: Array, b: Array) -> tuple[Array, Array]:
    if node.op == "Gemm":
        a = a.T if node.attrs.get("transA", 0) else a
        b = b.T if node.attrs.get("transB", 0) else b
    return a, b


def _product(node: Node, a: Array, b: Array, product: Product) -> Array:
    if node.op in ("Conv", "ConvTranspose"):
        window = _window(node, a.shape, b.shape)
        run = conv if node.op == "Conv" else conv_transpose
        return run(a, b, window, product)
    return product(*_oriented(node, a, b))


def _shape(node: Node, a: Array, b: Array) -> tuple[int, ...]:
    """Return the shape of the product without computing it."""
    if node.op in ("Conv", "ConvTranspose"):
        shape_of = conv_shape if node.op == "Conv" else conv_transpose_shape
        return shape_of(a.shape, b.shape, _window(node, a.shape, b.shape))
    a, b = _oriented(node, a, b)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) if b.ndim > 1 else a.shape[:-2]
    return (*lead, *a.shape[-2:-1], *b.shape[-1:])


def multiply_real(node: Node, inputs: Sequence[Array]) -> Array:
    """Return the float64 product of a layer that is not quantized."""
    out = _product(node, inputs[0], inputs[1], np.matmul)
    if node.op == "Gemm":
        out = out * node.attrs.get("alpha", 1.0)
    if len(inputs) > 2:
        shape = (-1, *[1] * (out.ndim - 2)) if node.op.startswith("Conv") else inputs[2].shape
        beta = node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0
        out = out + beta * inputs[2].reshape(shape)
    return out


def _per_channel(node: Node, w: Array) -> Array:
    """Return weights as (channels, length): the row of products each output channel sums."""
    if node.op == "Conv":
        return w.reshape(w.shape[0], -1)
    if node.op == "ConvTranspose":
        groups = int(node.attrs.get("group", 1))
        split = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
        return split.transpose(0, 2, 1, 3).reshape(groups * w.shape[1], -1)
    if node.op == "Gemm":
        return w if node.attrs.get("transB", 0) else w.T
    return w.reshape(-1, w.shape[-1]).T


def _weight_axis(node: Node, w: Exact) -> bool:
    """Return whether the per-channel scale of ``w`` follows the output channels."""
    if node.op == "MatMul":
        return w.axis == w.ints.ndim - 1
    if node.op == "Gemm":
        return w.axis == (0 if node.attrs.get("transB", 0) else 1)
    return w.axis == (0 if node.op == "Conv" else 1)


def _grid_bias(bias: Array, unit: tuple[Fraction, ...], channels: int) -> tuple[list[int], int]:
    """Return the bias as integers on the accumulator grid, and how many do not lie on it.

    A float32 bias counts as on the grid when it is the float32 nearest to an integer multiple of
    the unit: with float scales that is all a file can hold.
    """
    values = [float(v) for v in np.broadcast_to(np.asarray(bias, np.float32).ravel(), (channels,))]
    units = unit if len(unit) == channels else unit * (channels // len(unit))
    whole = [round(Fraction(v) / u) for v, u in zip(values, units, strict=True)]
    off = sum(
        np.float32(float(n * u)) != np.float32(v)
        for n, u, v in zip(whole, units, values, strict=True)
    )
    return whole, int(off)


def _expanded(bias: Bias | None, channels: int) -> Array | None:
    return None if bias is None else np.broadcast_to(np.ravel(bias.values), (channels,))


def _unit_and_axis(
    node: Node, x: Exact, w: Exact, rank: int
) -> tuple[tuple[Fraction, ...], int | None]:
    """Return the accumulator's unit per output channel, and the axis of the channels."""
    if w.axis is None:
        return (x.scale[0] * w.scale[0],), None
    repeat = int(node.attrs.get("group", 1)) if node.op == "ConvTranspose" else 1
    axis = 1 if node.op.startswith("Conv") else rank - 1
    return tuple(x.scale[0] * s for s in w.scale) * repeat, axis


def _length(node: Node, x: Exact, w: Exact) -> int:
    """Return the most products an output can sum; a stride spreads a transposed kernel."""
    if node.op == "Conv":
        return int(np.prod(w.shape[1:]))
    if node.op == "ConvTranspose":
        strides = node.attrs.get("strides", (1,) * (w.ints.ndim - 2))
        taps = [-(-k // s) for k, s in zip(w.shape[2:], strides, strict=True)]
        return w.shape[0] // int(node.attrs.get("group", 1)) * int(np.prod(taps))
    return int(_oriented(node, x.ints, w.ints)[0].shape[-1])


def multiply_exact(
    node: Node,
    name: str,
    operands: tuple[Exact, Exact],
    bias: Bias | None,
    *,
    w_constant: bool,
    batch: int,
    dry: bool,
    product: Product = matmul,
) -> tuple[Exact, MacLayer]:
    """Return the exact result (bias included) and the layer's record.

    ``operands`` carry the formats of their codes; ``batch`` inferences run at once.  ``dry`` only
    finds shapes: the result is zero.  ``product`` is `matmul` or watches its operands.
    Raises `UnsupportedError` for a Gemm with alpha or beta other than 1.
    """
    if any(node.attrs.get(k, 1.0) != 1.0 for k in ("alpha", "beta")):
        raise UnsupportedError(f"{node.label} has alpha or beta, allowed: 1")
    x, w = operands
    act, weight = _format(x), _format(w)
    codes = None
    if w_constant:
        real = np.ldexp(w.ints.astype(np.float64), weight.lsb_exp)
        codes = _per_channel(node, codec_np.encode(weight, real))
    stretch = 1
    if x.axis is not None:  # per-channel activations: bring the integers to one scale
        stretch = max(int(s / x.common().scale[0]) for s in x.scale)
        x = x.common()
    if w.axis is not None and not _weight_axis(node, w):
        w = w.common()
    a, b = x.ints, w.ints
    shape = _shape(node, a, b)
    ints = np.broadcast_to(np.int64(0), shape) if dry else _product(node, a, b, product)
    unit, axis = _unit_and_axis(node, x, w, len(shape))
    channels = shape[1] if node.op.startswith("Conv") else shape[-1]
    whole, off = ([0] * channels, 0)
    if bias is not None:
        whole, off = _grid_bias(bias.values, unit, channels)
    length = _length(node, x, w)
    range_ = (min(act.min_int, 0) * stretch, act.max_int * stretch)
    if w_constant:
        rows = _per_channel(node, w.ints)
        low, high, peak = certify(rows, *range_, [0] * channels if off else whole)
    else:
        rows = None
        least, most = product_range(weight, act)
        low, high = min(least, 0) * length * stretch, max(most, 0) * length * stretch
        peak = max(-low, high)
    layer = MacLayer(
        name=name,
        op=node.op,
        node=node.name,
        tensor=node.outputs[0] if bias is None else bias.tensor,
        acts=(x.origin,) if w_constant else (x.origin, w.origin),
        weight=weight,
        act=act,
        length=length,
        outputs=int(np.prod(shape)) // max(batch, 1),
        channels=channels,
        unit=unit,
        low=low,
        high=high,
        peak=peak,
        weight_ints=rows,
        weight_codes=codes,
        bias=None if bias is None or off else np.array(whole, dtype=object),
        window=_window(node, a.shape, b.shape) if node.op.startswith("Conv") else None,
        off_grid=off,
        act_range=range_,
        fingerprint="" if codes is None else fingerprint(codes, _expanded(bias, channels)),
    )
    out = Exact(ints, unit, axis)
    in_range = fits_float32(replace(out, ints=np.ones(1, np.int64)))  # the unit is a normal float32
    out = replace(out, proven=x.proven and w.proven and layer.float32_exact and in_range)
    if bias is not None and not dry:
        position = 1 if node.op.startswith("Conv") else len(shape) - 1
        out = _with_bias(out, bias, whole, off, position)
    return out, layer


def _format(x: Exact) -> Format:
    if x.fmt is None:
        raise UnsupportedError("a multiply operand is no quantized tensor")
    return x.fmt


def _with_bias(out: Exact, bias: Bias, whole: list[int], off: int, position: int) -> Exact:
    shape = [1] * out.ints.ndim
    shape[position] = -1
    if off:
        values = np.broadcast_to(np.asarray(bias.values, np.float32).ravel(), (len(whole),))
        return add(out, constant(values.reshape(shape)))
    offset = np.array(whole, dtype=object).reshape(shape)
    if largest(out.ints) + largest(offset) < 1 << 62:
        return replace(out, ints=out.ints + offset.astype(np.int64))
    return replace(out, ints=out.ints.astype(object) + offset)
