# SPDX-License-Identifier: Apache-2.0
"""Compare the tensors of an executed QONNX graph with the integer reference, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant import codec_np
from hwquant.graph.exact import Array, Exact, Real
from hwquant.graph.layer import MacLayer
from hwquant.graph.model import Model, Node
from hwquant.graph.network import Graph
from hwquant.graph.quantizer import Quantizer
from hwquant.graph.run import Visitor

__all__ = ["Compare", "Row"]


@dataclass(frozen=True)
class Row:
    """One comparison: ``differences`` of ``compared`` numbers differ.

    ``kind`` is ``codes`` (a quantized activation), ``weights``, ``accumulators`` (a layer's sums),
    ``logits`` (sums that no quantizer follows), ``fingerprint`` (codes, biases and scales against
    those written at export) or ``outputs`` (against another forward).  ``proven`` says that the
    numbers must be equal; ``why`` says what keeps them from being proven, or what went wrong.
    """

    layer: str
    kind: str
    compared: int
    differences: int
    proven: bool
    why: str = ""
    format: str = ""
    acc_bits: int | None = None

    @property
    def counts(self) -> bool:
        """Whether the row counts in the report's totals: inner sums only explain the codes."""
        return self.kind in ("codes", "weights", "logits")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {key: value for key, value in vars(self).items() if value not in ("", None)}

    def __add__(self, other: Row) -> Row:
        """Return the row of two batches together."""
        return replace(
            self,
            compared=self.compared + other.compared,
            differences=self.differences + other.differences,
            proven=self.proven and other.proven,
            why=self.why or other.why,
        )


def _broadcast(scale: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """Return a quantizer's scale in the shape that multiplies a tensor of ``rank`` axes."""
    return scale.reshape((1,) * (rank - scale.ndim) + scale.shape) if scale.ndim < rank else scale


def _reason(graph: Graph, node: Node, layer: MacLayer | None) -> str:
    """Say why float32 may round at ``node``."""
    near = {
        *node.inputs,
        *(t for n in graph.model.consumers.get(node.outputs[0], ()) for t in n.outputs),
    }
    if node.op in ("Mul", "Div") and near & set(graph.quantizers):
        return f"{node.name or node.label}: float scale"
    if layer is None:
        what = {
            "Add": "terms whose scales are no power of two apart, or a sum beyond 24 bits",
            "Mul": "a factor that is no power of two",
            "Div": "a divisor that is no power of two",
        }.get(node.op, "a mean over a number that is no power of two, or beyond 24 bits")
    elif layer.off_grid:
        what = f"{layer.off_grid} bias values off the accumulator grid"
    elif any(u.numerator & (u.numerator - 1) for u in layer.unit):
        what = "float scales"
    else:
        what = f"certificate {layer.acc_bits} bits, float32 sums are exact to 24"
    return f"{node.label}: {what}"


def _listed(reasons: list[str]) -> str:
    """Return the reasons in one line, the last three (the nearest) in full."""
    distinct = list(dict.fromkeys(reasons))
    more = f"{len(distinct) - 3} earlier; " if len(distinct) > 3 else ""
    return more + "; ".join(distinct[-3:])


class Compare(Visitor):
    """Feeds each layer the codes the execution had, and counts where its results differ."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows: dict[tuple[str, str], Row] = {}
        self.context: Mapping[str, Array] = {}
        self.reasons: dict[str, str] = {}
        self.layers: dict[str, MacLayer] = {}
        self.finals = _unquantized(graph.model, graph.quantizers)

    def start(self, context: Mapping[str, Array]) -> None:
        """Take the tensors of the next executed batch."""
        self.context = context

    def _note(self, key: str, row: Row) -> None:
        old = self.rows.get((row.kind, key))
        if old is None:
            self.rows[row.kind, key] = row
        elif row.kind != "weights":  # weights are the same in every batch
            self.rows[row.kind, key] = old + row

    def quantized(self, quantizer: Quantizer, source: Exact | Real, codes: Array) -> Array:
        """Compare codes; go on with the executed ones."""
        q = quantizer
        got = np.asarray(self.context[q.tensor], np.float32)
        scale = _broadcast(q.scale, got.ndim)
        with np.errstate(invalid="ignore"):
            unit = np.nan_to_num(got.astype(np.float64) / scale, nan=0.0)
        found = codec_np.canonical(q.fmt, codec_np.encode(q.fmt, unit, q.tensor))
        off_grid = codec_np.values(q.fmt, found) * scale != got
        wrong = int(np.count_nonzero((found != codes) | off_grid))
        proven = source.proven and q.inner_po2
        if not q.inner_po2:
            self.reasons[q.tensor] = f"{q.name}: float scale"
        row = Row(
            layer=q.name,
            kind="weights" if q.is_weight else "codes",
            compared=codes.size,
            differences=wrong,
            proven=proven or q.is_weight,
            why="" if proven or q.is_weight else self._why(q),
            format=str(q.fmt),
        )
        self._note(q.tensor, row)
        return found

    def layer(self, layer: MacLayer, result: Exact) -> None:
        """Compare accumulators: equal where proven, else to the nearest integer."""
        self.layers[layer.node] = layer
        got = np.asarray(self.context[layer.tensor], np.float64)
        want = result.reals()
        if result.proven:
            wrong = got != want
        else:
            unit = np.array([float(u) for u in result.scale])
            if result.axis is not None:
                unit = unit.reshape([-1 if d == result.axis else 1 for d in range(got.ndim)])
            wrong = ~(np.abs(got - want) <= unit / 2)
        row = Row(
            layer=layer.name,
            kind="logits" if layer.tensor in self.finals else "accumulators",
            compared=got.size,
            differences=int(np.count_nonzero(wrong)),
            proven=result.proven,
            format=f"{layer.weight} x {layer.act}",
            acc_bits=layer.acc_bits,
        )
        self._note(layer.tensor, row)

    def rounds(self, node: Node) -> None:
        """Remember why the numbers after ``node`` are not proven."""
        self.reasons[node.outputs[0]] = _reason(self.graph, node, self.layers.get(node.name))

    def island(self, node: Node, why: str) -> None:
        """Remember a float island."""
        self.reasons[node.outputs[0]] = f"{node.label}: {why}"

    def _why(self, q: Quantizer) -> str:
        found = [self.reasons[t] for t in _region(self.graph, q.source) if t in self.reasons]
        if not q.inner_po2:
            found.append(f"{q.name}: float scale")
        return _listed(found)

    def finish(self) -> list[Row]:
        """Return the rows in execution order, with the reasons of unproven accumulators."""
        rows = []
        for (kind, tensor), row in self.rows.items():
            missing = kind in ("accumulators", "logits") and not row.proven
            nodes = _region(self.graph, tensor) if missing else ()
            reasons = [self.reasons[t] for t in nodes if t in self.reasons]
            if missing and (row.acc_bits or 0) > 24:
                reasons.append(f"sums of up to {row.acc_bits} bits, float32 holds 24")
            why = _listed(reasons)
            rows.append(replace(row, why=why or row.why))
        return rows


def _region(graph: Graph, tensor: str) -> list[str]:
    """Return the tensors from the nearest quantizers to ``tensor``, both included."""
    found: list[str] = []
    stack = [tensor]
    while stack:
        name = stack.pop()
        node = graph.model.producers.get(name)
        if node is None or name in found:
            continue
        found.append(name)
        if name not in graph.quantizers:
            stack.extend(node.inputs)
    return found[::-1]


def _unquantized(model: Model, quantizers: Iterable[str]) -> set[str]:
    """Return the tensors that reach an output of the network without passing a quantizer."""
    stop = set(quantizers)
    found: set[str] = set()
    stack = list(model.outputs)
    while stack:
        name = stack.pop()
        node = model.producers.get(name)
        if node is None or name in found or name in stop:
            continue
        found.add(name)
        stack.extend(node.inputs)
    return found
