# SPDX-License-Identifier: Apache-2.0
"""From the tracer's ONNX to a tidy QONNX graph: constants, names, shapes, data types.

qonnx's own cleanup folds ``FloatQuant`` of a weight into a plain constant; this one folds nothing
that a quantizer touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_node
from qonnx.transformation.infer_shapes import InferShapes

from hwquant.export.nodes import TAG
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format, Minifloat, parse

__all__ = ["QUANTIZER_OPS", "Tagged", "annotate", "quantized_input", "tidy"]

QUANTIZER_OPS = ("Quant", "IntQuant", "BipolarQuant", "FloatQuant")
_FIELDS = {
    "Quant": ("scale", "zero_point", "bit_width"),
    "FloatQuant": ("scale", "exponent_bits", "mantissa_bits", "exponent_bias", "max_value"),
}
_MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Tagged = dict[str, tuple[str, Format, str]]


def _constants_to_initializers(graph: Any) -> None:
    """Turn ``Constant`` nodes into initializers and give shared ones a copy per name."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Constant":
            tensor = helper.get_attribute_value(node.attribute[0])
        elif node.op_type == "Identity" and node.input[0] in stored:
            tensor = stored[node.input[0]]
        else:
            continue
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = node.output[0]
        stored[copy.name] = copy
        graph.initializer.append(copy)
        graph.node.remove(node)


def _take_tags(graph: Any) -> dict[str, tuple[str, Format, str]]:
    """Remove our attribute; return (path, format, scale kind) by output tensor."""
    tags = {}
    for node in graph.node:
        for attribute in list(node.attribute):
            if attribute.name == TAG:
                path, fmt, kind = attribute.s.decode().split("|")
                tags[node.output[0]] = (path, parse(fmt), kind)
                node.attribute.remove(attribute)
        if node.output[0] in tags:
            node.domain = "" if node.op_type == "Gather" else "qonnx.custom_op.general"
    return tags


def _quantizes(node: Any, tags: Tagged) -> bool:
    """Return whether ``node`` quantizes: by its operator, or as the look-up of a codebook."""
    return node.op_type in QUANTIZER_OPS or node.output[0] in tags


def quantized_input(node: Any) -> str:
    """Return the name of what a quantizer node quantizes, or of stored weights."""
    return str(node.input[1] if node.op_type == "Gather" else node.input[0])


class _Names:
    """Hands out each name once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def free(self, name: str) -> str:
        """Return ``name``, or ``name_1``, ``name_2``, ... whichever is new."""
        candidate, number = name, 0
        while candidate in self.taken:
            number += 1
            candidate = f"{name}_{number}"
        self.taken.add(candidate)
        return candidate


def _plain_name(node: Any, paths: Mapping[str, str]) -> str:
    """Return the tracer's name with dots and module paths: '/hqleaf3/Relu' -> 'features.0.Relu'.

    The operator goes where the module has only one: a layer is called like its module.
    """
    parts = [part for part in node.name.split("/") if part]
    known = [paths.get(part.partition("_")[0], part) for part in parts]
    if node.op_type == "MatMul" and known != parts:
        known.pop()
    return ".".join(known) or node.op_type


def _node_names(graph: Any, tags: Tagged, paths: Mapping[str, str]) -> dict[str, str]:
    """Return a new name for each node, keyed by its first output: module paths where known."""
    constants = {tensor.name for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    names = _Names()
    result: dict[str, str] = {}
    wanted: dict[str, str] = {}
    for node in graph.node:
        out = node.output[0]
        if out not in tags:
            continue
        path = tags[out][0]
        weight = quantized_input(node) in constants
        own = f"{path}.weight_quant" if weight else path
        wanted[out] = own
        result_tensor = out
        if node.op_type in ("FloatQuant", "Gather"):
            for user in consumers.get(out, []):
                if user.op_type == "Mul" and user.input[1] in constants:
                    wanted[user.output[0]] = f"{own}.mul"
                    result_tensor = user.output[0]
            source = producers.get(quantized_input(node))
            for op, part in (("Cast", "rank"), ("MultiThreshold", "count")):
                if node.op_type == "Gather" and source is not None and source.op_type == op:
                    wanted[source.output[0]] = f"{own}.{part}"
                    source = producers.get(source.input[0])
            if source is not None and source.op_type == "Div":
                wanted[source.output[0]] = f"{own}.div"
                source = producers.get(source.input[0])
            if source is not None and source.op_type == "Relu" and tags[out][1].min_int == 0:
                wanted.setdefault(source.output[0], f"{own}.relu")
        for user in consumers.get(result_tensor, []) if weight else []:
            if user.op_type in _MULTIPLY:
                wanted[user.output[0]] = path
    for node in graph.node:
        out = node.output[0]
        name = wanted.get(out)
        if name is None:
            name = _plain_name(node, paths)
        result[out] = names.free(name)
    return result


def _rename(graph: Any, tags: Tagged, paths: Mapping[str, str]) -> Tagged:
    """Name nodes after modules and tensors after nodes; return the tags by new tensor name."""
    node_names = _node_names(graph, tags, paths)
    fresh = _Names()
    tensors: dict[str, str] = {}
    for index, item in enumerate(graph.input):
        tensors[item.name] = fresh.free("input" if len(graph.input) == 1 else f"input{index}")
    for index, item in enumerate(graph.output):
        tensors[item.name] = fresh.free("output" if len(graph.output) == 1 else f"output{index}")
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        own = node_names[node.output[0]]
        node.name = own
        for index, name in enumerate(node.output):
            if name not in tensors:
                tensors[name] = fresh.free(f"{own}.out" if index == 0 else f"{own}.out{index}")
        fields = _FIELDS.get(node.op_type, ())
        for index, name in enumerate(node.input):
            if name in constants and name not in tensors:
                values = index == 0 and node.op_type == "Gather" and node.output[0] in tags
                tensors[name] = fresh.free(
                    f"{own}.values" if values else _constant_name(node, own, index, fields)
                )
    for holder in (graph.input, graph.output, graph.initializer, graph.value_info):
        for item in holder:
            item.name = tensors.get(item.name, item.name)
    for node in graph.node:
        for slots in (node.input, node.output):
            slots[:] = [tensors.get(name, name) for name in slots]
        node.doc_string = ""
    return {tensors[name]: tag for name, tag in tags.items()}


def _constant_name(node: Any, own: str, index: int, fields: tuple[str, ...]) -> str:
    if fields:
        return f"{own.removesuffix('_quant')}" if index == 0 else f"{own}.{fields[index - 1]}"
    if own.endswith(".weight_quant"):
        return own.removesuffix("_quant")
    if node.op_type == "MultiThreshold":
        return f"{own.removesuffix('.count')}.thresholds"
    if node.op_type in _MULTIPLY:
        return f"{own}.{('input', 'weight', 'bias')[index]}"
    if own.endswith((".mul", ".div")):
        return f"{own[:-4]}.scale_{own[-3:]}"
    return f"{own}.constant{index}"


def _split_shared(graph: Any) -> None:
    """Give every use of an initializer by another node its own copy, as FINN wants it."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    seen: set[str] = set()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in stored:
                continue
            if name in seen:
                copy = onnx.TensorProto()
                copy.CopyFrom(stored[name])
                copy.name = f"{name}#{node.output[0]}#{index}"
                graph.initializer.append(copy)
                node.input[index] = copy.name
            seen.add(name)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    for holder in (graph.initializer, graph.value_info):
        kept = [item for item in holder if item.name in used]
        del holder[:]
        holder.extend(kept)


def _foldable(model: ModelWrapper, tags: Tagged) -> bool:
    constants = {tensor.name for tensor in model.graph.initializer}
    return any(
        not _quantizes(node, tags)
        and (node.op_type == "Shape" or all(name in constants for name in node.input if name))
        for node in model.graph.node
    )


def _fold(model: ModelWrapper, tags: Tagged) -> ModelWrapper:
    """Fold constants with the weights set aside, as inputs; return the folded model.

    Every round of folding infers shapes, which copies all weights it sees. Nothing that reads a
    weight is folded. They come back in their place.
    """
    graph = model.graph
    read = {quantized_input(node) for node in graph.node if _quantizes(node, tags)}
    order = [tensor.name for tensor in graph.initializer]
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name in read}
    rest = [tensor for tensor in graph.initializer if tensor.name not in weights]
    inputs = list(graph.input)
    shapes = [item for item in graph.value_info if item.name not in weights]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(rest)
    graph.value_info.extend(shapes)
    for name, tensor in weights.items():
        graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    while _fold_round(model, tags):
        model = model.transform(InferShapes())
    graph = model.graph
    now = {tensor.name: tensor for tensor in graph.initializer} | weights
    names = [*(name for name in order if name in now), *(name for name in now if name not in order)]
    tensors = [now[name] for name in names]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    del graph.input[:]
    graph.input.extend(inputs)
    return model


def _fold_round(model: ModelWrapper, tags: Tagged) -> bool:
    """Replace every node whose inputs, or shape, are known by its result; return if any was.

    qonnx's own transformation folds one node and infers all shapes again, in cubic time: it takes
    ViT-B-32 a quarter of an hour.
    """
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    context = model.make_empty_exec_context()
    done: list[onnx.NodeProto] = []
    for node in graph.node:
        if _quantizes(node, tags) or not node.input or len(node.output) != 1:
            continue
        shaped = node.op_type == "Shape" and model.get_tensor_shape(node.input[0]) is not None
        if not (shaped or known.issuperset(node.input)) or node.output[0] not in context:
            continue
        if done and not context[node.output[0]].size:
            continue  # its shape is not inferred yet: the next round
        for name in node.input:
            model.get_tensor_shape(name, fix_missing_init_shape=True)
        execute_node(node, context, graph, opset_version=model.model.opset_import[0].version)
        model.set_initializer(node.output[0], context[node.output[0]])
        known.add(node.output[0])
        done.append(node)
    for node in done:
        graph.node.remove(node)
    return bool(done)


def _free_batch(model: ModelWrapper) -> None:
    """Write reshapes that keep the batch as (-1, ...), so the graph serves any batch."""
    for node in model.get_nodes_by_op_type("Reshape"):
        shape = model.get_initializer(node.input[1])
        before = model.get_tensor_shape(node.input[0])
        after = model.get_tensor_shape(node.output[0])
        if shape is not None and before and after and before[0] == after[0]:
            model.set_initializer(node.input[1], np.array([-1, *after[1:]], np.int64))


def tidy(proto: Any, paths: Mapping[str, str]) -> tuple[ModelWrapper, Tagged]:
    """Return the cleaned model with shapes, and (path, format, scale kind) by tensor.

    ``paths`` are the module paths of `flattened`.
    """
    graph = proto.graph
    _constants_to_initializers(graph)
    tags = _take_tags(graph)
    _split_shared(graph)
    _drop_unused(graph)
    tags = _rename(graph, tags, paths)
    graph.name = "hwquant"
    graph.doc_string = ""
    model = ModelWrapper(proto).transform(InferShapes())
    if _foldable(model, tags):
        model = _fold(model, tags)
        _drop_unused(model.graph)
        model = model.transform(InferShapes())
    _free_batch(model)
    return model, tags


def _float_name(fmt: Minifloat, shift: int = 0) -> str | None:
    """Return qonnx's type of ``fmt`` scaled by ``2**shift``; None where qonnx has none.

    qonnx takes a bias of 0 for "not given", so that type cannot be written.
    """
    bias = fmt.exponent_bias - shift
    if bias == 0 or fmt.exponent_bits == 0:
        return None
    return f"FLOAT<{fmt.exponent_bits},{fmt.mantissa_bits},{bias}>"


def _integer_name(fmt: Format, *, unit: bool) -> str:
    bits = fmt.mantissa_bits + 1 if isinstance(fmt, Minifloat) and fmt.signed else fmt.bits
    if not unit:
        return f"SCALEDINT<{bits}>"
    if bits == 1:
        return "BINARY"
    return f"{'U' if fmt.min_int == 0 else ''}INT{bits}"


def _codebook_types(node: Any, fmt: Codebook) -> Iterator[tuple[str, str]]:
    """Yield the types of ranks and of values, which are fixed-point numbers."""
    yield node.input[1], f"UINT{fmt.bits}"
    width = signed_bits(fmt.min_int, fmt.max_int)
    if fmt.fraction_bits == 0:
        yield from ((name, f"INT{width}") for name in (node.input[0], node.output[0]))
    elif width >= fmt.fraction_bits:
        kind = f"FIXED<{width},{width - fmt.fraction_bits}>"
        yield from ((name, kind) for name in (node.input[0], node.output[0]))


def _data_types(model: ModelWrapper, tags: Tagged) -> Iterator[tuple[str, str]]:
    """Yield (tensor, qonnx data type) for every quantized tensor whose type qonnx can say."""
    for node in model.graph.node:
        out = node.output[0]
        if out not in tags:
            continue
        fmt = tags[out][1]
        if isinstance(fmt, Codebook):
            yield from _codebook_types(node, fmt)
            continue
        scale = np.asarray(model.get_initializer(node.input[1]))
        unit = bool((scale == 1).all())
        if node.op_type == "Quant":
            yield out, _integer_name(fmt, unit=unit)
            continue
        if not isinstance(fmt, Minifloat):
            continue
        plain = _float_name(fmt)
        if plain is not None:
            yield out, plain
            if model.get_initializer(node.input[0]) is not None:
                yield node.input[0], plain
        for user in model.find_consumers(out) or []:
            outer = model.get_initializer(user.input[1]) if user.op_type == "Mul" else None
            if outer is not None and outer.size == 1 and np.frexp(outer.ravel()[0])[0] == 0.5:
                shifted = _float_name(fmt, int(np.frexp(outer.ravel()[0])[1]) - 1)
                if shifted is not None:
                    yield user.output[0], shifted


def annotate(model: ModelWrapper, tags: Tagged) -> None:
    """Write the qonnx data type of every quantized tensor into the model."""
    for tensor, name in _data_types(model, tags):
        model.set_tensor_datatype(tensor, DataType[name])
