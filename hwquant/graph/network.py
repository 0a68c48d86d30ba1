# SPDX-License-Identifier: Apache-2.0
"""The integer graph of a quantized network: layers, formats, certificates, exact execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hwquant.errors import ExportError, InputError
from hwquant.graph.codebook import merge_look_ups
from hwquant.graph.exact import Array, Exact, Real
from hwquant.graph.layer import MacLayer
from hwquant.graph.model import Model, Node, read_onnx
from hwquant.graph.quantizer import Quantizer, is_quantizer, read_quantizer
from hwquant.graph.run import Visitor, walk
from hwquant.graph.shapes import Value, real
from hwquant.workload import Workload

__all__ = ["Graph", "Island", "load"]


@dataclass(frozen=True, slots=True)
class Island:
    """A node that is no exact integer sum: ``op`` at ``node``, and why."""

    node: str
    op: str
    why: str


class _Survey(Visitor):
    """Collects layers and islands on a dry walk."""

    def __init__(self) -> None:
        self.layers: list[MacLayer] = []
        self.islands: list[Island] = []

    def layer(self, layer: MacLayer, result: Exact) -> None:
        del result
        self.layers.append(layer)

    def island(self, node: Node, why: str) -> None:
        self.islands.append(Island(node.name or node.outputs[0], node.op, why))


class _Codes(Visitor):
    """Collects the codes of every quantized tensor."""

    def __init__(self) -> None:
        self.codes: dict[str, Array] = {}

    def quantized(self, quantizer: Quantizer, source: Exact | Real, codes: Array) -> Array:
        del source
        self.codes[quantizer.tensor] = codes
        return codes


def _joined(parts: list[Value]) -> Value:
    """Return the outputs of several batches as one."""
    if len(parts) == 1:
        return parts[0]
    exact = [p for p in parts if isinstance(p, Exact)]
    if len(exact) == len(parts):
        keep = replace(exact[0], proven=all(p.proven for p in exact))
        return replace(keep, ints=np.concatenate([p.ints for p in exact]))
    values = np.concatenate([real(p) for p in parts])
    return Real(values, proven=all(isinstance(p, Real) and p.proven for p in parts))


@dataclass(frozen=True)
class Graph:
    """A quantized network read from a QONNX file.

    ``quantizers`` maps each quantized tensor to its format and scale, activations and weights, in
    execution order.  `layers`, `workload` and `execute` walk the graph; nothing is rewritten.
    """

    model: Model
    quantizers: Mapping[str, Quantizer]

    @property
    def path(self) -> str:
        """The file."""
        return self.model.path

    def input_shape(self, shape: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return the shape of the (only) input, one inference if the file leaves the batch free.

        Raises `InputError` when the file leaves other sizes free and ``shape`` is not given.
        """
        (declared,) = self.model.inputs.values()
        if shape is not None:
            return tuple(shape)
        if declared is None or any(n is None for n in declared[1:]):
            raise InputError(
                f"{self.path}: the input shape is not fixed in the file; give input_shape"
            )
        first = declared[0] if declared[0] is not None else 1
        return (first, *(n for n in declared[1:] if n is not None))

    def survey(
        self, input_shape: Sequence[int] | None = None
    ) -> tuple[tuple[MacLayer, ...], tuple[Island, ...]]:
        """Return the multiply layers and the float islands, in execution order.

        ``input_shape`` includes the batch.  Only shapes and weights are computed.
        """
        survey = _Survey()
        zeros = np.broadcast_to(np.float32(0), self.input_shape(input_shape))
        walk(self.model, self.quantizers, self._feed(zeros), survey, dry=True)
        if not survey.layers and not self.model.metadata.get("block_layers"):
            raise ExportError(
                f"{self.path} has quantizers but no multiply layer with both operands quantized; "
                "quantize weights and activations"
            )
        return tuple(survey.layers), tuple(survey.islands)

    def layers(self, input_shape: Sequence[int] | None = None) -> tuple[MacLayer, ...]:
        """Return the multiply layers, in execution order."""
        return self.survey(input_shape)[0]

    def workload(self, input_shape: Sequence[int] | None = None) -> Workload:
        """Return what the network asks of the hardware, per inference.

        Raises `ExportError` for a network with block-scaled layers: they have other kernels.
        """
        if blocks := self.model.metadata.get("block_layers"):
            raise ExportError(
                f"{self.path}: layer {blocks[0]['name']!r} is block-scaled; its kernel is that of "
                "its formats: hwquant rtl, verify or cost --weight F --act F --window MSB:LSB"
            )
        return Workload(tuple(layer.workload_layer() for layer in self.layers(input_shape)))

    def execute(self, inputs: ArrayLike, visitor: Visitor | None = None) -> dict[str, Value]:
        """Return the outputs by name for float32 ``inputs`` of shape (batch, ...).

        An output is `Exact` (integers times scale) unless a float island made it `Real`.
        """
        array = np.asarray(inputs, np.float32)
        size = self.fixed_batch() or max(len(array), 1) if array.ndim else 1
        parts = [
            walk(self.model, self.quantizers, self._feed(piece), visitor or Visitor())
            for piece in np.split(array, range(size, len(array), size))
        ]
        return {name: _joined([part[name] for part in parts]) for name in self.model.outputs}

    def fixed_batch(self) -> int | None:
        """Return the batch size a reshape has written into the file, None if any size runs."""
        (declared,) = self.model.inputs.values()
        batch = declared[0] if declared else None
        for node in self.model.nodes:
            shape = self.model.constants.get(node.inputs[1]) if node.op == "Reshape" else None
            if batch and shape is not None and shape.size and shape.ravel()[0] == batch:
                return batch
        return None

    def codes(self, inputs: ArrayLike) -> dict[str, Array]:
        """Return the code words of every quantized tensor, activations and weights, by name."""
        collect = _Codes()
        self.execute(inputs, collect)
        return collect.codes

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able summary."""
        layers, islands = self.survey()
        return {
            "path": self.path,
            "layers": [layer.to_json() for layer in layers],
            "islands": [f"{i.op} {i.node}: {i.why}" for i in islands],
        }

    def _feed(self, array: Array) -> dict[str, Array]:
        if len(self.model.inputs) != 1:
            names = ", ".join(self.model.inputs)
            raise InputError(f"{self.path} has inputs {names}; allowed: one input")
        return {next(iter(self.model.inputs)): array}


def load(path: str | Path, *, strict: bool = True) -> Graph:
    """Read a quantized network from a QONNX file, ours or exported by Brevitas.

    ``strict=False`` tolerates quantizers that round differently or contradict the metadata, for a
    check that will find them by executing the file.

    Raises `InputError` for a missing file, `ExportError` for a damaged file or one without
    quantizers, `UnsupportedError` naming the node for quantizers outside our formats.
    """
    model = merge_look_ups(read_onnx(path))
    quantizers = {
        node.outputs[0]: read_quantizer(model, node, strict=strict)
        for node in model.nodes
        if is_quantizer(node)
    }
    if not quantizers:
        raise ExportError(
            f"{model.path} is not quantized: it holds no Quant, FloatQuant or codebook Gather; "
            "run hwquant quantize or hwquant export on the model first"
        )
    return Graph(model, quantizers)
