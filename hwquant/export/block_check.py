# SPDX-License-Identifier: Apache-2.0
"""Block-scaled layers in a QONNX file: what the metadata says of them, and how they are checked.

Exact, and compared for equality: the scales and elements of every quantized activation (from the
tensor the execution itself had) and the quantized weights.  The sum over blocks runs in float32 in
the file and is a float island: it is compared with a float64 sum, to within the bound that holds
for any order of summation, ``(n + 1) * 2**-24 * sum |w * a|``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hwquant import block_np
from hwquant.block import block_format
from hwquant.errors import ExportError
from hwquant.export.compare import Row
from hwquant.graph.model import Model, Node
from hwquant.graph.multiply import MULTIPLY_OPS, multiply_real
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.codes import act_quantizers, quantized_layers
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import weight_quantizer

__all__ = ["BlockCompare", "block_records"]

WHY = "block sums are exact; across blocks float32 rounds"


def _of(nodes: Iterable[Any], path: str) -> list[Any]:
    return [n for n in nodes if n.name == path or n.name.startswith(f"{path}.")]


def _ends(model: Any, path: str) -> tuple[str, str]:
    """Return the tensor that the quantizer at ``path`` reads and the one it writes."""
    graph = model.graph
    inside = _of(graph.node, path)
    constants = {tensor.name for tensor in graph.initializer}
    made = {name for node in inside for name in node.output}
    read = {name for node in inside for name in node.input} - made - constants - {""}
    outside = [node for node in graph.node if node not in inside]
    used = {name for node in outside for name in node.input} | {o.name for o in graph.output}
    given = made & used
    if len(read) != 1 or len(given) != 1:
        raise ExportError(
            f"quantizer {path!r} reads {sorted(read)} and writes {sorted(given)}, needed one each; "
            "please report this model as a bug of hwquant"
        )
    return read.pop(), given.pop()


def _crc(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values + 0.0, "<f4").tobytes())


def block_records(model: Any, qmodel: nn.Module) -> dict[str, Any]:
    """Return metadata ``blocks`` and ``block_layers`` for a tidy graph; nothing without any.

    Raises `ExportError` where a layer is not found in the graph.
    """
    acts: dict[str, Any] = {}
    layers = []
    for path, layer in quantized_layers(qmodel):
        quantizers = act_quantizers(qmodel, layer)
        if not isinstance(quantizers[0], BlockQuantizer):
            continue
        for quantizer in quantizers:
            if isinstance(quantizer, BlockQuantizer):
                acts[quantizer.module_path] = _act_record(model, quantizer)
        found = [n for n in _of(model.graph.node, path) if n.op_type in MULTIPLY_OPS]
        if not found:
            raise ExportError(f"layer {path!r} is not in the graph; please report it as a bug")
        record: dict[str, Any] = {"name": path, "tensors": [node.output[0] for node in found]}
        record |= {"act": str(quantizers[0].blocks), "weight": str(quantizers[-1].blocks)}  # type: ignore[attr-defined]
        if not isinstance(layer, MatMul):
            weight: Any = weight_quantizer(layer)
            source: Any = layer.weight
            with torch.no_grad():
                values = weight(source).detach().cpu().numpy()
            record |= {"weight": str(weight.blocks), "shape": list(values.shape)}
            record["weight_crc"] = _crc(values)
        layers.append(record)
    return {"blocks": acts, "block_layers": layers} if layers else {}


def _act_record(model: Any, quantizer: BlockQuantizer) -> dict[str, Any]:
    source, tensor = _ends(model, quantizer.module_path)
    return {
        "format": str(quantizer.blocks),
        "axis": quantizer.axis,
        "groups": quantizer.groups,
        "tensor_scale": float(quantizer.scale),
        "source": source,
        "tensor": tensor,
    }


class BlockCompare:
    """Compares the block-scaled tensors and layers of executed batches."""

    def __init__(self, model: Model) -> None:
        self.acts: Mapping[str, Any] = model.metadata.get("blocks", {})
        self.layers: list[Any] = list(model.metadata.get("block_layers", []))
        self.model = model
        self.rows: dict[str, Row] = {}

    def start(self, context: Mapping[str, Any]) -> None:
        """Take the tensors of the next executed batch."""
        for name, record in self.acts.items():
            self._note(self._act(name, record, context))
        for record in self.layers:
            for tensor in record["tensors"]:
                self._layer(record, self.model.producers.get(tensor), context)

    def _note(self, row: Row) -> None:
        key = f"{row.kind} {row.layer}"
        self.rows[key] = self.rows[key] + row if key in self.rows else row

    def _act(self, name: str, record: Mapping[str, Any], context: Mapping[str, Any]) -> Row:
        fmt = block_format(record["format"])
        source, got = context.get(record["source"]), context.get(record["tensor"])
        if fmt is None or source is None or got is None:
            why = "the quantizer is gone"
            return Row(name, "blocks", 1, 1, proven=True, why=why, format=record["format"])
        scale = float(record["tensor_scale"])
        pieces = np.split(np.asarray(source, np.float32), record["groups"], record["axis"])
        want = np.concatenate(
            [block_np.quantize(fmt, p, record["axis"], scale=scale, name=name) for p in pieces],
            record["axis"],
        ).astype(np.float32)
        exact = bool(np.frexp(scale)[0] == 0.5)
        why = "" if exact else "a tensor scale that is no power of two"
        wrong = int(np.count_nonzero(np.asarray(got, np.float32) != want))
        return Row(name, "blocks", want.size, wrong, proven=exact, why=why, format=str(fmt))

    def _layer(
        self, record: Mapping[str, Any], node: Node | None, context: Mapping[str, Any]
    ) -> None:
        name = str(record["name"])
        if node is None:
            self._note(Row(name, "block sums", 1, 1, proven=True, why="the layer is gone"))
            return
        tensors = [self._tensor(t, context) for t in node.inputs if t]
        got = np.asarray(context[node.outputs[0]], np.float64)
        want = multiply_real(node, tensors)
        reach = multiply_real(node, [np.abs(t) for t in tensors])
        length = int(np.prod(tensors[1].shape)) // max(min(tensors[1].shape), 1)
        wrong = ~(np.abs(got - want) <= (length + 1) * 2.0**-24 * reach + 2.0**-149)
        formats = f"{record['weight']} x {record['act']}"
        row = Row(name, "block sums", got.size, int(wrong.sum()), proven=True, format=formats)
        self._note(row)
        if "weight_crc" in record:
            stored = tensors[1].astype(np.float32)
            stored = stored.T if node.op == "MatMul" else stored
            bad = int(_crc(stored) != record["weight_crc"])
            why = "weights are not those written at export" if bad else ""
            row = Row(name, "block weights", stored.size, bad * stored.size, proven=True, why=why)
            self.rows.setdefault(f"block weights {name}", row)

    def _tensor(self, name: str, context: Mapping[str, Any]) -> NDArray[np.float64]:
        found = context[name] if name in context else self.model.constants[name]
        return np.asarray(found, np.float64)
