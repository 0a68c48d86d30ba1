# SPDX-License-Identifier: Apache-2.0
"""Which format a ``Quant``, ``FloatQuant`` or ``LookUp`` node means, and with which scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import ExportError, FormatError, HwquantError, UnsupportedError
from hwquant.formats import Format, Integer, Minifloat, parse
from hwquant.graph.codebook import LOOK_UP, read_codebook
from hwquant.graph.exact import Array, scale_fractions
from hwquant.graph.model import Model, Node

__all__ = ["Quantizer", "is_quantizer", "read_quantizer"]

_OPS = ("Quant", "IntQuant", "FloatQuant")
_NEAREST = ("ROUND", "HALF_EVEN")


@dataclass(frozen=True, slots=True)
class Quantizer:
    """The node's output is ``scale`` times the nearest value of ``fmt`` to its input / scale.

    ``scale`` is float32, one number or one per index of ``axis`` (counted from the last axis:
    -1, -2, ...); ``outer`` is the constant power-of-two or float
    factor of the ``Mul`` behind a unit-scale ``FloatQuant`` (1 where there is none), so the
    tensor's scale in the network is ``scale * outer``.
    """

    name: str
    tensor: str
    source: str
    fmt: Format
    scale: NDArray[np.float32]
    axis: int | None
    outer: NDArray[np.float32]
    is_weight: bool

    @property
    def scales(self) -> tuple[Fraction, ...]:
        """The node's own scales, exact."""
        return scale_fractions(self.scale)

    @property
    def network_scales(self) -> tuple[Fraction, ...]:
        """The quantized tensor's scales in the network, exact."""
        inner, outer = self.scales, scale_fractions(self.outer)
        size = max(len(inner), len(outer))
        pairs = zip(inner * (size // len(inner)), outer * (size // len(outer)), strict=True)
        return tuple(a * b for a, b in pairs)

    @property
    def network_scale(self) -> NDArray[np.float32]:
        """The quantized tensor's scale in the network, float32."""
        return np.asarray(self.scale * self.outer, np.float32)

    @property
    def po2(self) -> bool:
        """Whether every scale is a power of two."""
        return bool((np.frexp(self.network_scale)[0] == 0.5).all())

    @property
    def inner_po2(self) -> bool:
        """Whether the node's own scale is a power of two, so that dividing by it is exact."""
        return bool((np.frexp(self.scale)[0] == 0.5).all())


def is_quantizer(node: Node) -> bool:
    """Return whether ``node`` quantizes."""
    return node.op in (*_OPS, LOOK_UP) and node.domain != "ai.onnx"


def _constant(model: Model, node: Node, index: int, what: str) -> Array:
    name = node.inputs[index] if len(node.inputs) > index else ""
    if name not in model.constants:
        raise UnsupportedError(
            f"{model.path}: {node.label} has no constant {what}; allowed: a constant, fold the "
            "graph first"
        )
    return model.constants[name]


def _axis_of(array: Array) -> int | None:
    long = [axis for axis, size in enumerate(array.shape) if size > 1]
    if len(long) > 1:
        raise UnsupportedError(
            f"a scale of shape {array.shape}, allowed: one number, or one per channel of one axis"
        )
    return long[0] - array.ndim if long else None


def _scalar(array: Array, node: Node, what: str) -> float:
    if np.asarray(array).size != 1:
        raise UnsupportedError(
            f"{node.label}: {what} has {np.asarray(array).size} values, allowed 1"
        )
    return float(np.asarray(array).ravel()[0])


def _integer(model: Model, node: Node) -> Format:
    zero = np.asarray(_constant(model, node, 2, "zero point"))
    if np.any(zero != 0):
        raise UnsupportedError(
            f"{node.label}: zero point {float(zero.ravel()[0]):g}, allowed 0; "
            "quantize symmetrically"
        )
    bits = _scalar(_constant(model, node, 3, "bit width"), node, "bit width")
    signed, narrow = bool(node.attrs.get("signed", 1)), bool(node.attrs.get("narrow", 1))
    if bits != int(bits) or (narrow and not signed):
        raise UnsupportedError(
            f"{node.label}: {bits:g} bits, signed={signed:d}, narrow={narrow:d}; allowed 1..8 "
            "bits, narrow only when signed"
        )
    return Integer(int(bits), signed=signed, narrow=narrow and signed)


def _minifloat(model: Model, node: Node) -> Format:
    fields = ("exponent bits", "mantissa bits", "exponent bias", "largest value")
    e, m, bias, largest = (
        _scalar(_constant(model, node, i + 2, what), node, what) for i, what in enumerate(fields)
    )
    if any(x != int(x) for x in (e, m, bias)):
        raise UnsupportedError(
            f"{node.label}: E={e:g}, M={m:g}, bias={bias:g}; allowed: whole numbers"
        )
    if not node.attrs.get("saturation", 1):
        raise UnsupportedError(f"{node.label} does not saturate; allowed: saturation=1")
    allowed = []
    for specials in ("", "fn", "ieee"):
        try:
            fmt = Minifloat(int(e), int(m), bias=int(bias), specials=specials)
        except FormatError:
            if not specials:
                raise
            continue
        if float(fmt.max) == largest or (not specials and largest >= fmt.max):
            return fmt
        allowed.append(f"{float(fmt.max):g}")
    raise UnsupportedError(
        f"{node.label}: largest value {largest:g}, allowed {', '.join(allowed)} for "
        f"E={int(e)}, M={int(m)}, bias={int(bias)}"
    )


def _told(record: Mapping[str, Any], node: Node, found: Format, *, strict: bool) -> Format:
    """Return the format of our metadata, which a node cannot spell out (unsigned, e0mM)."""
    told = parse(str(record["format"]))
    if not strict:
        return told
    if isinstance(found, Integer):
        same = (told.min_int, told.max_int) == (found.min_int, found.max_int)
        grid = isinstance(told, Minifloat) and told.exponent_bits == 0
        same = same and (isinstance(told, Integer) or grid)
    else:
        same = (
            isinstance(told, Minifloat)
            and isinstance(found, Minifloat)
            and (told.exponent_bits, told.mantissa_bits, told.bias, told.specials)
            == (found.exponent_bits, found.mantissa_bits, found.bias, found.specials)
        )
    if not same:
        raise ExportError(
            f"{node.label} quantizes to {found}, but the file's metadata says {told}; "
            "the file was changed after export: export it again"
        )
    return told


def _outer(model: Model, node: Node) -> NDArray[np.float32]:
    users = model.consumers.get(node.outputs[0], ())
    if len(users) == 1 and users[0].op == "Mul":
        other = [name for name in users[0].inputs if name != node.outputs[0]]
        if len(other) == 1 and other[0] in model.constants:
            return np.asarray(model.constants[other[0]], np.float32)
    return np.float32(1) * np.ones((), np.float32)


def read_quantizer(model: Model, node: Node, *, strict: bool = True) -> Quantizer:
    """Return what ``node`` means.

    ``strict`` refuses what our arithmetic does not do (rounding other than to nearest even) and a
    node that contradicts the metadata; a check reads with ``strict=False``, because executing
    the file shows such faults as differing codes.

    Raises `UnsupportedError` naming the node for a quantizer outside our formats.
    """
    rounding = str(node.attrs.get("rounding_mode", "ROUND")).upper()
    if strict and rounding not in _NEAREST:
        raise UnsupportedError(
            f"{model.path}: {node.label} rounds by {rounding}, allowed {', '.join(_NEAREST)}"
        )
    record = model.metadata.get("quantizers", {}).get(node.outputs[0])
    if node.op == LOOK_UP:
        told = None if record is None else parse(str(record["format"]))
        fmt = read_codebook(model, node, told, strict=strict)
        return _unit_scale(model, node, fmt, np.ones((), np.float32), None)
    scale = np.asarray(_constant(model, node, 1, "scale"), np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UnsupportedError(f"{model.path}: {node.label} has a scale that is not positive")
    try:
        found = _minifloat(model, node) if node.op == "FloatQuant" else _integer(model, node)
        axis = _axis_of(scale)
    except HwquantError as error:
        raise UnsupportedError(f"{model.path}: {error} ({node.label})") from error
    fmt = found if record is None else _told(record, node, found, strict=strict)
    if node.op == "FloatQuant":
        return _unit_scale(model, node, fmt, scale, axis)
    # e0mM with an explicit bias and every integer share the node's unit: one step.
    stepped = np.asarray(np.ldexp(scale, -fmt.lsb_exp), np.float32)
    return replace(_unit_scale(model, node, fmt, stepped, axis), outer=np.ones((), np.float32))


def _unit_scale(
    model: Model, node: Node, fmt: Format, scale: NDArray[np.float32], axis: int | None
) -> Quantizer:
    """Return a quantizer whose scale in the network is that of the ``Mul`` behind it."""
    return Quantizer(
        name=node.name or node.outputs[0],
        tensor=node.outputs[0],
        source=node.inputs[0],
        fmt=fmt,
        scale=scale,
        axis=axis,
        outer=_outer(model, node),
        is_weight=node.inputs[0] in model.constants,
    )
