# SPDX-License-Identifier: Apache-2.0
"""Write a quantized model as QONNX, and read it back before the file gets its name."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, fx, nn

from hwquant import codec_np
from hwquant.atomic import atomic_file
from hwquant.errors import ExportError, HwquantError, InputError
from hwquant.export.block_check import block_records
from hwquant.export.clean import Tagged, annotate, quantized_input, tidy
from hwquant.export.nodes import DOMAIN, flattened, replace_quantized
from hwquant.graph import Graph, load
from hwquant.graph.layer import MacLayer, fingerprint
from hwquant.graph.model import METADATA_KEY
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import weight_quantizer

__all__ = ["OPSET", "ExportReport", "export_qonnx"]

OPSET = 20
IR_VERSION = 9  # goes with the opset; onnxruntime takes up to 13


@dataclass(frozen=True)
class ExportReport:
    """What was written: ``layers`` with formats and accumulator widths, and ``islands`` by name."""

    path: Path
    layers: tuple[MacLayer, ...]
    islands: tuple[str, ...]
    nodes: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {
            "path": str(self.path),
            "layers": [layer.to_json() for layer in self.layers],
            "islands": list(self.islands),
            "nodes": self.nodes,
            "bytes": self.bytes,
        }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracer: warnings about Python booleans, deprecations, graph dumps on failure."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _culprit(model: nn.Module, operator: str) -> str:
    """Return the calls in the model's graph that look like ``operator`` ('aten::fft' -> 'fft')."""
    short = operator.rsplit("::", 1)[-1].strip("_")
    nodes = model.graph.nodes if isinstance(model, fx.GraphModule) else ()
    found = [
        node.name
        for node in nodes
        if short and short in f"{node.target} {getattr(node.target, '__name__', '')}"
    ]
    return f"node {found[0]!r}, " if found else ""


def _traced(model: nn.Module, sample: Tensor) -> Any:
    buffer: Any = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                model,
                (sample,),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                custom_opsets={DOMAIN: 1},
                input_names=["input"],
            )
    except HwquantError:
        raise
    except Exception as error:  # the exporter has no common error class
        text = str(error).strip() or type(error).__name__
        match = re.search(r"(aten|prims?|onnx)::\w+", text)
        operator = match.group(0) if match else type(error).__name__
        raise ExportError(
            f"{_culprit(model, operator)}operator {operator} cannot be written as ONNX opset "
            f"{OPSET} ({text.splitlines()[0][:160]}); replace it in the model"
        ) from error
    return onnx.load_model_from_string(buffer.getvalue())


def _rows(codes: NDArray[np.uint8], layer: Any) -> NDArray[np.uint8]:
    """Return weight codes as (output channels, products), as the graph reads them."""
    if not isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
        return codes.reshape(codes.shape[0], -1)
    groups = layer.groups
    split = codes.reshape(groups, codes.shape[0] // groups, codes.shape[1], -1)
    return split.transpose(0, 2, 1, 3).reshape(groups * codes.shape[1], -1)


def _fingerprints(qmodel: nn.Module) -> dict[str, str]:
    """Return the fingerprint of each weighted layer, from the PyTorch modules."""
    result = {}
    for path, layer in quantized_layers(qmodel):
        if isinstance(layer, MatMul) or isinstance(weight_quantizer(layer), BlockQuantizer):
            continue
        stored = layer_codes(layer)
        codes = codec_np.canonical(stored.fmt, stored.codes)
        bias: Any = layer.bias
        values = None if bias is None else bias.detach().cpu().numpy()
        result[path] = fingerprint(_rows(codes, layer), values)
    return result


def _quantizer_records(model: ModelWrapper, tags: Tagged) -> dict[str, Any]:
    """Return format, scale kind and scale exponents by quantized tensor."""
    records = {}
    for node in model.graph.node:
        if node.output[0] not in tags:
            continue
        path, fmt, kind = tags[node.output[0]]
        look_up = node.op_type == "Gather"
        unit = np.float32(1) if look_up else model.get_initializer(node.input[1])
        scale = np.asarray(unit, np.float32)
        if look_up or node.op_type == "FloatQuant":
            for user in model.find_consumers(node.output[0]) or []:
                outer = model.get_initializer(user.input[1]) if user.op_type == "Mul" else None
                if outer is not None:
                    scale = np.asarray(outer, np.float32)
        else:
            scale = np.ldexp(scale, -fmt.lsb_exp)
        record: dict[str, Any] = {"name": path, "format": str(fmt), "scale_kind": kind}
        record["scale_crc"] = zlib.crc32(np.ascontiguousarray(scale.ravel(), "<f4").tobytes())
        record["weight"] = model.get_initializer(quantized_input(node)) is not None
        if kind == "po2":
            record["scale_exponent"] = (np.frexp(scale.ravel())[1] - 1).tolist()
        records[node.output[0]] = record
    return records


def _finish(model: ModelWrapper, metadata: dict[str, Any]) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    proto = model.model
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "hwquant", version("hwquant")
    proto.doc_string = ""
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata, sort_keys=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _layer_records(graph: Graph, prints: dict[str, str]) -> tuple[list[Any], tuple[MacLayer, ...]]:
    """Return the metadata of the layers; the file must hold what the modules hold."""
    layers, _ = graph.survey()
    records = []
    for layer in layers:
        told = prints.get(layer.name) or prints.get(re.sub(r"_\d+$", "", layer.name))
        if told is not None and told != layer.fingerprint:
            raise ExportError(
                f"layer {layer.name!r}: the file would not hold the weight codes of the model; "
                "please report this model as a bug of hwquant"
            )
        records.append(layer.to_json() | {"fingerprint": layer.fingerprint})
    return records, layers


def export_qonnx(qmodel: nn.Module, path: str | Path, sample: Tensor) -> ExportReport:
    """Write ``qmodel`` (of `hwquant.quantize`) as QONNX, for inputs shaped as ``sample``.

    Integers become ``Quant`` with the scale inside, minifloats a unit-scale ``FloatQuant`` between
    ``Div`` and ``Mul``, unsigned ones behind a ``Relu``, ``e0mM`` a narrow ``Quant``, codebooks a
    ``Gather`` of values (behind a ``MultiThreshold`` where they are activations).  The file
    carries formats, scale exponents, accumulator widths and float islands as JSON in its metadata
    entry ``hwquant``.  It is read back and compared with the modules before it gets its name.

    Raises `ExportError` naming node and operator for what QONNX or the integer graph cannot say,
    `InputError` for a model that is not quantized or an unwritable path.
    """
    if not isinstance(sample, Tensor) or sample.dim() < 2 or not len(sample):
        raise InputError("the sample is no tensor of shape (batch, ...) with at least one item")
    prints = _fingerprints(qmodel)
    traced = copy.deepcopy(qmodel).eval().cpu()
    if not replace_quantized(traced):
        raise InputError("this model is not quantized; pass it through hwquant.quantize first")
    flat, paths = flattened(traced)
    model, tags = tidy(_traced(flat, sample.detach().cpu().float()), paths)
    annotate(model, tags)
    metadata: dict[str, Any] = {"version": 1, "quantizers": _quantizer_records(model, tags)}
    metadata |= block_records(model, qmodel)
    with atomic_file(path) as temporary:
        try:
            temporary.write_bytes(_finish(model, metadata))
            graph = load(temporary)
            records, layers = _layer_records(graph, prints)
            islands = tuple(f"{i.op} {i.node}: {i.why}" for i in graph.survey()[1])
        except HwquantError as error:
            message = str(error).replace(f"{temporary}: ", "")
            raise ExportError(f"cannot export to {path}: {message}") from error
        metadata |= {"layers": records, "islands": list(islands)}
        data = _finish(model, metadata)
        temporary.write_bytes(data)
    return ExportReport(Path(path), layers, islands, len(model.graph.node), len(data))
