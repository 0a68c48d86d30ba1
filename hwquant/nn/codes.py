# SPDX-License-Identifier: Apache-2.0
"""What hardware needs from a quantized model: code words, integer biases, the workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hwquant import codec_np, mac
from hwquant.errors import InputError, SpecError
from hwquant.fixed import signed_bits
from hwquant.formats import Format
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.layers import MatMul, bias_integers, is_multiply
from hwquant.nn.quantizers import Quantizer, act_quantizer, weight_quantizer
from hwquant.workload import Layer, Workload

__all__ = ["Codes", "accumulator_bits", "act_quantizers", "layer_codes", "quantized_layers"]
__all__ += ["weight_rows", "workload"]


@dataclass(frozen=True)
class Codes:
    """Code words of a tensor: ``fmt``, ``codes`` (uint8) and ``scale`` (float32, broadcastable)."""

    fmt: Format
    codes: NDArray[np.uint8]
    scale: NDArray[np.float32]

    def __iter__(self) -> Iterator[Any]:
        """Unpack as ``fmt, codes, scale``."""
        return iter((self.fmt, self.codes, self.scale))

    @property
    def integers(self) -> NDArray[Any]:
        """The decoded integers, in units of ``scale * fmt.step``."""
        return codec_np.decode(self.fmt, self.codes)


def quantized_layers(qmodel: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (path, module) of every quantized multiply, in execution order.

    Modules are Brevitas layers, or `MatMul` where both operands are activations.
    """
    if not isinstance(qmodel, fx.GraphModule):
        raise InputError("this model is not quantized; pass it through hwquant.quantize first")
    seen: set[str] = set()
    for node in qmodel.graph.nodes:
        path = str(node.target)
        if node.op == "call_module" and path not in seen:
            seen.add(path)
            module = qmodel.get_submodule(path)
            if is_multiply(module) and getattr(module, "act_paths", None):
                yield path, module


def act_quantizers(qmodel: nn.Module, layer: nn.Module) -> tuple[Quantizer, ...]:
    """Return the quantizers of what ``layer`` reads: one, or two for a `MatMul`."""
    paths: tuple[str, ...] = getattr(layer, "act_paths", ())
    return tuple(act_quantizer(qmodel.get_submodule(path)) for path in paths)


def layer_codes(layer: nn.Module) -> Codes:
    """Return the weight codes of a quantized layer, shape of its weight.

    Raises `SpecError` for a layer without a quantized weight, `InputError` for NaN weights.
    """
    quantizer = weight_quantizer(layer)
    weight: Any = layer.weight
    if isinstance(quantizer, BlockQuantizer):
        raise SpecError(
            f"{quantizer.module_path} has block-scaled weights ({quantizer.blocks}), more than "
            "codes and one scale; take BlockQuantizer.block_codes"
        )
    return Codes(quantizer.fmt, quantizer.codes(weight), quantizer.scale.cpu().numpy())


def weight_rows(layer: nn.Module) -> NDArray[Any]:
    """Return decoded weight integers as (output channels, products per output).

    For a transposed convolution a row holds every tap that can reach one output channel, which
    bounds each of its outputs.
    """
    integers = layer_codes(layer).integers
    if not isinstance(layer, nn.ConvTranspose2d):
        return integers.reshape(integers.shape[0], -1)
    groups = layer.groups
    split = integers.reshape(groups, integers.shape[0] // groups, integers.shape[1], -1)
    return split.transpose(0, 2, 1, 3).reshape(layer.out_channels, -1)


def accumulator_bits(qmodel: nn.Module, layer: nn.Module, length: int = 0) -> int:
    """Return the accumulator width certified for ``layer``, of sums without and with the bias.

    From the actual weight codes and the range of the activation format; for a `MatMul` of
    ``length`` products, from both formats.
    """
    acts = act_quantizers(qmodel, layer)
    if isinstance(acts[0], BlockQuantizer):
        raise SpecError(f"{acts[0].module_path}: block-scaled formats have no accumulator law")
    if isinstance(layer, MatMul):
        low, high = mac.product_range(acts[0].fmt, acts[1].fmt)
        return signed_bits(min(low, 0) * length, max(high, 0) * length)
    return signed_bits(*mac.certificate(weight_rows(layer), acts[0].fmt, bias_integers(layer)))


class _Shapes(fx.Interpreter):
    """Notes the shapes of operands and results of multiplies."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one call and note the shapes around a multiply."""
        result = super().run_node(n)
        if n.op == "call_module" and is_multiply(self.module.get_submodule(str(n.target))):
            first = self.env[n.all_input_nodes[0]]
            self.calls.append((str(n.target), tuple(first.shape), tuple(result.shape)))
        return result


def workload(qmodel: nn.Module, sample: Tensor) -> Workload:
    """Return what one inference asks of the hardware, with certified accumulator widths.

    ``sample`` has a batch axis; counts are for one item of it.
    """
    layers = dict(quantized_layers(qmodel))
    shapes = _Shapes(qmodel) if isinstance(qmodel, fx.GraphModule) else None
    if shapes is None or not len(sample):
        raise InputError("workload needs a quantized model and a sample of at least one item")
    with torch.no_grad():
        shapes.run(sample[:1])
    found = []
    for path, taken, given in shapes.calls:
        if path in layers:
            found.append(_layer(qmodel, path, layers[path], taken, given))
    return Workload(tuple(found))


def _layer(
    qmodel: nn.Module,
    path: str,
    layer: nn.Module,
    taken: tuple[int, ...],
    given: tuple[int, ...],
) -> Layer:
    acts = act_quantizers(qmodel, layer)
    outputs = int(np.prod(given[1:], dtype=np.int64))
    if isinstance(layer, MatMul):
        length = taken[-1]
        bits = accumulator_bits(qmodel, layer, length)
        return Layer(path, "matmul", length, outputs, 0, given[-1], acts[0].fmt, acts[1].fmt, bits)
    rows = weight_rows(layer)
    length = rows.shape[1]
    if isinstance(layer, nn.ConvTranspose2d):  # a stride spreads the taps over stride^2 outputs
        length = max(length // int(np.prod(layer.stride)), 1)
    return Layer(
        name=path,
        op=type(layer).__name__.removeprefix("Quant").lower(),
        length=length,
        outputs=outputs,
        weights=rows.size,
        channels=rows.shape[0],
        weight=weight_quantizer(layer).fmt,
        act=acts[0].fmt,
        acc_bits=accumulator_bits(qmodel, layer),
    )
