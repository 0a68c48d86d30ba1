# SPDX-License-Identifier: Apache-2.0
"""Walk the nodes of a quantized network with exact integers.

The walk needs no pattern of nodes: a quantizer turns any tensor into codes, a multiply node whose
operands carry codes is a layer, whatever lies between is evaluated exactly where it can be and in
float64, by name, where it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwquant.errors import InputError, UnsupportedError
from hwquant.graph.arithmetic import EXACT_OPS
from hwquant.graph.exact import Array, Exact, Real, constant, from_codes, is_po2, quantize
from hwquant.graph.islands import FLOAT_OPS
from hwquant.graph.layer import MacLayer
from hwquant.graph.matmul import Product, matmul
from hwquant.graph.model import Model, Node
from hwquant.graph.multiply import MULTIPLY_OPS, Bias, multiply_exact, multiply_real
from hwquant.graph.quantizer import Quantizer, is_quantizer
from hwquant.graph.shapes import SHAPE_OPS, Value, real

__all__ = ["Visitor", "walk"]


class Visitor:
    """What to do on the way; the base class does nothing."""

    def product(self, node: Node) -> Product:
        """Return the exact matrix product a layer is computed with; one may watch its operands.

        It is called with (..., positions, length) and (..., length, channels): once per image for a
        convolution, once per batch otherwise; never in a dry walk.
        """
        del node
        return matmul

    def layer(self, layer: MacLayer, result: Exact) -> None:
        """See a multiply layer and its result, in accumulator units (zero in a dry walk)."""

    def quantized(self, quantizer: Quantizer, source: Exact | Real, codes: Array) -> Array:
        """See a quantizer's codes; what is returned is what the network goes on with."""
        del quantizer, source
        return codes

    def island(self, node: Node, why: str) -> None:
        """See a node that is evaluated in float64, or that float32 rounds."""

    def rounds(self, node: Node) -> None:
        """See the first node on a path whose float32 result is not proven exact."""


@dataclass
class _Walk:
    model: Model
    quantizers: Mapping[str, Quantizer]
    visitor: Visitor
    dry: bool
    batch: int

    def __post_init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.fixed: set[str] = set(self.model.constants)
        self.uses = {name: len(users) for name, users in self.model.consumers.items()}
        self.done: set[str] = set()

    def value(self, name: str) -> Value:
        """Return a tensor; float constants become exact where they are finite."""
        if name in self.values:
            return self.values[name]
        array = np.asarray(self.model.constants[name])
        if array.dtype.kind != "f":
            return array
        found: Value
        if np.isfinite(array).all() and array.dtype != np.float64:
            found = constant(array)
        else:
            found = Real(array.astype(np.float64))
        self.values[name] = found
        return found

    def run(self, node: Node) -> None:
        """Evaluate one node."""
        if node.outputs[0] in self.done:
            return
        if node.inputs and all(name in self.fixed or not name for name in node.inputs):
            self.fixed.update(node.outputs)
        if is_quantizer(node):
            self._quantize(self.quantizers[node.outputs[0]])
        elif node.op in MULTIPLY_OPS and self._multiply(node):
            pass
        else:
            self._plain(node)
        for name in node.inputs:
            self.uses[name] = self.uses.get(name, 1) - 1
            if self.uses[name] <= 0 and name not in self.model.outputs:
                self.values.pop(name, None)

    def _quantize(self, q: Quantizer) -> None:
        x = self.value(q.source)
        if not isinstance(x, Exact | Real):
            raise UnsupportedError(f"{q.name} quantizes a tensor of shapes, allowed: numbers")
        axis = None if q.axis is None else q.axis + len(x.shape)
        if self.dry and q.source not in self.fixed:
            codes: Array = np.broadcast_to(np.uint8(0), x.shape)
        else:
            codes = self.visitor.quantized(q, x, quantize(x, q.fmt, q.scales, axis, q.source))
        self.values[q.tensor] = from_codes(q.fmt, codes, q.scales, axis, q.tensor)

    def _operands(self, node: Node) -> tuple[Exact, Exact] | None:
        a, b = (self.value(name) for name in node.inputs[:2])
        if isinstance(a, Exact) and isinstance(b, Exact) and a.fmt and b.fmt:
            return a, b
        return None

    def _bias(self, node: Node) -> Bias | None:
        """Return the bias input, or the constant that the only user of the product adds."""
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = self.value(node.inputs[2]) if node.inputs[2] in self.fixed else None
            if bias is None:
                raise UnsupportedError(f"{node.label} has a computed bias, allowed: a constant")
            return Bias(real(bias), node.outputs[0])
        users = self.model.consumers.get(node.outputs[0], ())
        if node.op == "MatMul" and len(users) == 1 and users[0].op == "Add":
            other = [name for name in users[0].inputs if name != node.outputs[0]]
            if len(other) == 1 and other[0] in self.fixed:
                values = real(self.value(other[0]))
                if values.ndim and values.size == values.shape[-1]:
                    return Bias(values, users[0].outputs[0])
        return None

    def _multiply(self, node: Node) -> bool:
        """Evaluate a multiply node as a layer; return False if an operand is not quantized."""
        operands = self._operands(node)
        if operands is None:
            return False
        w_constant = node.inputs[1] in self.fixed
        if node.op == "MatMul" and node.inputs[0] in self.fixed:
            raise UnsupportedError(f"{node.label} has its weights first, allowed: second")
        bias = self._bias(node) if w_constant or len(node.inputs) > 2 else None
        name = layer_name(node)
        result, layer = multiply_exact(
            node,
            name,
            operands,
            bias,
            w_constant=w_constant,
            batch=self.batch,
            dry=self.dry,
            product=self.visitor.product(node),
        )
        self.values[layer.tensor] = result
        if layer.tensor != node.outputs[0]:
            self.done.add(layer.tensor)
        self.visitor.layer(layer, result)
        if not result.proven and all(x.proven for x in operands):
            self.visitor.rounds(node)
        return True

    def _plain(self, node: Node) -> None:
        inputs = [self.value(name) for name in node.inputs if name]
        outputs = self._exactly(node, inputs)
        if outputs is None:
            outputs = _rescaled(node, inputs)
        if outputs is None:
            self.values[node.outputs[0]] = self._float(node, inputs)
            return
        before = [x for x in inputs if isinstance(x, Exact | Real)]
        after = [x for x in outputs if isinstance(x, Exact | Real)]
        if any(not x.proven for x in after) and all(x.proven for x in before):
            self.visitor.rounds(node)
        if node.op in ("Mul", "Div") and not any(name in self.fixed for name in node.inputs):
            outputs = [
                replace(x, fmt=None, origin="") if isinstance(x, Exact) else x for x in outputs
            ]
        why = _why_island(node, inputs, outputs, self.fixed)
        if why:
            self.visitor.island(node, why)
        self.values.update(zip(node.outputs, outputs, strict=False))

    def _exactly(self, node: Node, inputs: list[Value]) -> list[Value] | None:
        if node.domain not in ("", "ai.onnx"):
            raise _unsupported(self.model, node)
        if node.op in SHAPE_OPS:
            return SHAPE_OPS[node.op](node, inputs)
        if not any(isinstance(x, Exact | Real) for x in inputs):
            return None
        if node.op in EXACT_OPS and not any(isinstance(x, Real) for x in inputs):
            found = EXACT_OPS[node.op](node, inputs)
            return None if found is None else [found]
        return None

    def _float(self, node: Node, inputs: list[Value]) -> Value:
        arrays = [np.asarray(real(x)) for x in inputs]
        numbers = any(isinstance(x, Exact | Real) for x in inputs)
        run = FLOAT_OPS.get(node.op)
        with np.errstate(all="ignore"):
            if node.op in MULTIPLY_OPS:
                result = multiply_real(node, arrays)
            elif run is not None:
                result = run(node, arrays)
            else:
                raise _unsupported(self.model, node)
        if not numbers or result.dtype.kind == "b":
            return result
        if node.op in ("Abs", "ReduceMax"):  # no rounding
            proven = all(x.proven for x in inputs if isinstance(x, Exact | Real))
            return Real(result.astype(np.float64), proven=proven)
        if not all(name in self.fixed or not name for name in node.inputs):
            self.visitor.island(node, "evaluated in float")
        return Real(result.astype(np.float64))


def _why_island(node: Node, inputs: list[Value], outputs: list[Value], fixed: set[str]) -> str:
    """Say why hardware cannot compute an exact result as an integer sum of shifted terms."""
    exact = [x for x in inputs if isinstance(x, Exact)]
    out = outputs[0]
    if not exact or not isinstance(out, Exact):
        return ""
    if "Average" in node.op or node.op == "ReduceMean":
        count = exact[0].scale[0] / out.scale[0]
        return "" if is_po2(count) else f"a mean over {count} numbers, no power of two"
    moving = [x for x, name in zip(inputs, node.inputs, strict=False) if name not in fixed]
    if node.op in ("Add", "Sub", "Concat") and len(moving) > 1:
        scales = [s for x in moving if isinstance(x, Exact) for s in x.scale]
        if not all(is_po2(s / scales[0]) for s in scales):
            return "terms whose scales are no power of two apart"
    return ""


def _rescaled(node: Node, inputs: list[Value]) -> list[Value] | None:
    """Return a clamp or a scaling of a float tensor (part of a quantizer), which is no island."""
    x = inputs[0]
    if not isinstance(x, Real):
        return None
    if node.op == "Relu":
        return [Real(np.maximum(x.values, 0), proven=x.proven)]
    if node.op in ("Div", "Mul") and len(inputs) > 1 and isinstance(inputs[1], Exact):
        factor = inputs[1].reals()
        values = x.values / factor if node.op == "Div" else x.values * factor
        po2 = bool((np.frexp(factor)[0] == 0.5).all())
        return [Real(values, proven=x.proven and po2)]
    return None


def _unsupported(model: Model, node: Node) -> UnsupportedError:
    allowed = sorted({*SHAPE_OPS, *EXACT_OPS, *FLOAT_OPS, *MULTIPLY_OPS})
    return UnsupportedError(
        f"{model.path}: {node.label} is not supported (operator {node.domain or 'ai.onnx'}."
        f"{node.op}); allowed: {', '.join(allowed)}"
    )


def layer_name(node: Node) -> str:
    """Return a layer's name: its node's, with the path separators of a PyTorch module."""
    parts = [part for part in node.name.split("/") if part]
    if len(parts) > 1 and parts[-1].split("_")[0] == node.op:
        parts.pop()
    return ".".join(parts) or node.outputs[0]


def walk(
    model: Model,
    quantizers: Mapping[str, Quantizer],
    feeds: Mapping[str, Any],
    visitor: Visitor,
    *,
    dry: bool = False,
) -> dict[str, Value]:
    """Run ``feeds`` (float arrays by input name) through the network; return its outputs.

    Inputs are taken as float32.  ``dry`` computes shapes and certificates only.

    Raises `InputError` for a missing input, a wrong shape or NaN, `UnsupportedError` naming the
    node for an operator outside the tables.
    """
    batch = 1
    values: dict[str, Value] = {}
    for name, shape in model.inputs.items():
        if name not in feeds:
            raise InputError(
                f"{model.path}: no input {name!r}, given: {', '.join(feeds) or 'none'}"
            )
        array = np.asarray(feeds[name], np.float32)
        _check_input(model, name, array, shape)
        values[name] = Real(array.astype(np.float64), proven=True)
        batch = max(batch, array.shape[0] if array.ndim else 1)
    state = _Walk(model, quantizers, visitor, dry, batch)
    state.values.update(values)
    for node in model.nodes:
        try:
            state.run(node)
        except (ValueError, IndexError, KeyError, ZeroDivisionError, TypeError) as error:
            raise InputError(
                f"{model.path}: {node.label} cannot be evaluated ({error}); check the input shape"
            ) from error
    return {name: state.value(name) for name in model.outputs}


def _check_input(
    model: Model, name: str, array: Array, shape: tuple[int | None, ...] | None
) -> None:
    if np.isnan(array).any():
        raise InputError(f"input {name!r} holds NaN, allowed: finite numbers")
    if shape is None:
        return
    fits = len(shape) == array.ndim and all(
        want in (None, got) or axis == 0
        for axis, (want, got) in enumerate(zip(shape, array.shape, strict=False))
    )
    if not fits:
        want = " x ".join("any" if n is None else str(n) for n in shape)
        got = " x ".join(map(str, array.shape))
        raise InputError(f"{model.path}: input {name!r} has shape {got}, allowed {want}")
