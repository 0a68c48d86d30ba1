# SPDX-License-Identifier: Apache-2.0
"""The graph as written in an ONNX file: nodes, constants, shapes.  onnx is imported on use."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwquant.errors import ExportError, InputError
from hwquant.graph.exact import Array

__all__ = ["METADATA_KEY", "Model", "Node", "links", "read_onnx"]

METADATA_KEY = "hwquant"  # the entry of metadata_props that holds our JSON


@dataclass(frozen=True, slots=True)
class Node:
    """One operator call; ``attrs`` holds numbers, lists, strings and arrays."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.op} {self.name or self.outputs[0]!r}"


@dataclass(frozen=True)
class Model:
    """Nodes in execution order, constants by tensor name, input shapes (None where free)."""

    path: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: Mapping[str, tuple[int | None, ...] | None]
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any]
    opset: int
    consumers: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    producers: Mapping[str, Node] = field(default_factory=dict)


def _attributes(proto: Any) -> dict[str, Any]:
    from onnx import AttributeProto, helper, numpy_helper

    attrs: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.STRING:
            value = value.decode()
        elif attribute.type == AttributeProto.TENSOR:
            value = numpy_helper.to_array(value)
        elif attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            value = tuple(value)
        attrs[attribute.name] = value
    return attrs


def _shape(value_info: Any) -> tuple[int | None, ...] | None:
    tensor = value_info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"no file {path}; give the path of a QONNX file")
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no stubs and several homes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{path} is not a readable ONNX file ({reason}); it may be cut short: export it again"
        ) from error
    if not proto.graph.node:
        raise ExportError(f"{path} holds no ONNX graph; it may be cut short: export it again")
    return proto


def _constants(proto: Any, path: Path) -> dict[str, Array]:
    from onnx import numpy_helper

    constants = {}
    for tensor in proto.graph.initializer:
        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise ExportError(
                f"{path}: constant {tensor.name!r} is damaged ({error}); export the file again"
            ) from error
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise InputError(f"{path}: constant {tensor.name!r} holds NaN; train the model again")
        constants[tensor.name] = array
    return constants


def _metadata(proto: Any, path: Path) -> dict[str, Any]:
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                loaded = json.loads(entry.value)
            except ValueError as error:
                raise ExportError(
                    f"{path}: metadata {METADATA_KEY!r} is no JSON; export the file again"
                ) from error
            return loaded if isinstance(loaded, dict) else {}
    return {}


def _check_sorted(model: Model) -> None:
    """Raise `ExportError` unless each tensor is produced once and before it is used."""
    known = set(model.constants) | set(model.inputs) | {""}
    for node in model.nodes:
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise ExportError(
                f"{model.path}: {node.label} reads {missing[0]!r}, which nothing before it writes; "
                "the file may be damaged: export it again"
            )
        known.update(node.outputs)
    lost = [name for name in model.outputs if name not in known]
    if lost:
        raise ExportError(f"{model.path}: output {lost[0]!r} is never written; export it again")


def links(nodes: Iterable[Node]) -> tuple[dict[str, tuple[Node, ...]], dict[str, Node]]:
    """Return the readers and the writer of each tensor."""
    consumers: dict[str, tuple[Node, ...]] = {}
    producers: dict[str, Node] = {}
    for node in nodes:
        for name in node.inputs:
            consumers[name] = (*consumers.get(name, ()), node)
        producers |= dict.fromkeys(node.outputs, node)
    return consumers, producers


def read_onnx(path: str | Path) -> Model:
    """Return the graph of an ONNX file, checked for wholeness.

    Raises `InputError` for a missing file or NaN constants, `ExportError` for a damaged file.
    """
    file = Path(path)
    proto = _parse(file)
    constants = _constants(proto, file)
    nodes = []
    for item in proto.graph.node:
        attrs = _attributes(item)
        if item.op_type == "Constant" and "value" in attrs:
            constants[item.output[0]] = attrs["value"]
            continue
        nodes.append(
            Node(item.name, item.op_type, item.domain, tuple(item.input), tuple(item.output), attrs)
        )
    consumers, producers = links(nodes)
    model = Model(
        path=str(file),
        nodes=tuple(nodes),
        constants=constants,
        inputs={i.name: _shape(i) for i in proto.graph.input if i.name not in constants},
        outputs=tuple(o.name for o in proto.graph.output),
        metadata=_metadata(proto, file),
        opset=max(
            (o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0
        ),
        consumers=consumers,
        producers=producers,
    )
    _check_sorted(model)
    return model
