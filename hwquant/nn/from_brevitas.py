# SPDX-License-Identifier: Apache-2.0
"""Accept a model already quantized with Brevitas (after or during training).

Each Brevitas quantizer is read once, in evaluation mode: format, scale, zero point.  Where they
fit our formats, the layer is rebuilt around a `Quantizer` that computes the same values; where
they do not, the quantizer is named and refused.  Weights are taken as the quantized values, so
any rounding (learned rounding too) is kept.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from brevitas import nn as qnn
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from brevitas.quant_tensor import FloatQuantTensor, IntQuantTensor
from torch import Tensor, fx, nn

from hwquant.errors import FormatError, UnsupportedError
from hwquant.formats import Format, Integer, Minifloat
from hwquant.nn.layers import MULTIPLY_LAYERS, channel_axis, is_multiply, quantized_layer
from hwquant.nn.quantizers import Quantizer, ScaleKind, act_injector

__all__ = ["adopt", "is_brevitas_quantized", "read_quantizer"]

ALLOWED: Final = (
    "static integer quantizers of 2..8 bits with zero point 0 and static saturating minifloat "
    "quantizers of 2..8 bits, scales per tensor or per output channel"
)
# What passes code words through unchanged, so that a quantizer may stand before it.
TRANSPARENT: Final = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.Identity),
    *(nn.Dropout, nn.Dropout2d, nn.PixelShuffle, nn.ZeroPad2d, nn.ReLU),
)
TRANSPARENT_NAMES: Final = frozenset(
    {"flatten", "view", "reshape", "permute", "transpose", "contiguous", "dropout", "getitem"}
    | {"max_pool2d", "max_pool1d", "squeeze", "unsqueeze", "unflatten", "relu", "chunk"}
)


def is_brevitas_quantized(model: nn.Module) -> bool:
    """Return whether ``model`` holds a Brevitas layer with a quantizer that is on."""
    kinds = (QuantWeightBiasInputOutputLayer, QuantNonLinearActLayer)
    for module in model.modules():
        if isinstance(module, kinds):
            for name in ("weight_quant", "input_quant", "act_quant", "output_quant"):
                if getattr(getattr(module, name, None), "is_quant_enabled", False):
                    return True
    return False


def adopt(graph_module: fx.GraphModule) -> tuple[str, ...]:
    """Rebuild the Brevitas layers of a traced graph on our quantizers, in place.

    Returns the paths of the multiply layers.  Raises `UnsupportedError` naming a quantizer that
    does not map, or a multiply whose input is not quantized.
    """
    for node in list(graph_module.graph.nodes):
        if node.op != "call_module":
            continue
        path = str(node.target)
        module = graph_module.get_submodule(path)
        if isinstance(module, QuantNonLinearActLayer):
            _adopt_activation(graph_module, node, path, module)
        elif isinstance(module, QuantWeightBiasInputOutputLayer):
            _adopt_layer(graph_module, node, path, module)
    paths = []
    for node in graph_module.graph.nodes:
        if node.op != "call_module":
            continue
        layer: Any = graph_module.get_submodule(str(node.target))
        if is_multiply(layer):
            layer.act_paths = tuple(
                _quantizer_before(graph_module, source, str(node.target))
                for source in node.all_input_nodes
            )
            paths.append(str(node.target))
    graph_module.graph.lint()
    graph_module.recompile()
    graph_module.delete_all_unused_submodules()
    return tuple(dict.fromkeys(paths))


def read_quantizer(tensor: Any, narrow: bool, path: str, axis: int | None) -> Quantizer:
    """Return our quantizer for a Brevitas quant tensor, or raise `UnsupportedError`."""
    try:
        fmt = _format(tensor, narrow)
    except (FormatError, UnsupportedError) as error:
        raise UnsupportedError(f"quantizer {path!r}: {error}; allowed: {ALLOWED}") from error
    if not isinstance(tensor.scale, Tensor):
        raise UnsupportedError(f"quantizer {path!r} has no scale; allowed: {ALLOWED}")
    scale = tensor.scale.detach().float()
    if scale.numel() == 1:
        scale, axis = scale.reshape(()), None
    elif axis is None or scale.dim() <= axis or scale.numel() != scale.shape[axis]:
        raise UnsupportedError(
            f"quantizer {path!r} has scales of shape {tuple(scale.shape)}; allowed: {ALLOWED}"
        )
    exact = bool((torch.frexp(scale)[0] == 0.5).all())
    kind: ScaleKind = "po2" if exact else "float"
    return Quantizer(fmt, kind, axis, path, scale)


def _format(tensor: Any, narrow: bool) -> Format:
    if isinstance(tensor, IntQuantTensor):
        if bool((tensor.zero_point != 0).any()):
            raise UnsupportedError("its zero point is not 0")
        bits = float(tensor.bit_width)
        if bits != int(bits):
            raise UnsupportedError(f"its bit width is {bits}")
        return Integer(int(bits), signed=bool(tensor.signed), narrow=narrow and bool(tensor.signed))
    if isinstance(tensor, FloatQuantTensor):
        e, m, bias = (
            float(x)
            for x in (tensor.exponent_bit_width, tensor.mantissa_bit_width, tensor.exponent_bias)
        )
        if e != int(e) or m != int(m) or bias != int(bias):
            raise UnsupportedError(f"its widths and bias are E={e} M={m} bias={bias}")
        if not bool(tensor.saturating):
            raise UnsupportedError("it does not saturate")
        specials = "ieee" if tensor.inf_values else "fn" if tensor.nan_values else ""
        return Minifloat(
            int(e), int(m), bias=int(bias), signed=bool(tensor.signed), specials=specials
        )
    raise UnsupportedError(f"its tensors are {type(tensor).__name__}")


def _read_proxy(proxy: Any, path: str) -> tuple[nn.Module, Quantizer]:
    """Return the activation function inside a proxy, and our quantizer."""
    fused = proxy.fused_activation_quant_proxy
    probe = proxy.eval()(torch.zeros(1))
    quantizer = read_quantizer(probe, bool(proxy.is_narrow_range), path, None)
    function: nn.Module = fused.activation_impl
    values = torch.linspace(-4, 4, 4097) * quantizer.scale * float(quantizer.fmt.max) / 3
    theirs = fused.tensor_quant(values)[0]
    if not torch.equal(theirs, quantizer(values)):
        raise UnsupportedError(
            f"quantizer {path!r} does not round to nearest even and saturate as {quantizer.fmt} "
            f"does; allowed: {ALLOWED}"
        )
    return function, quantizer


def _identity(quantizer: Quantizer) -> nn.Module:
    identity: nn.Module = qnn.QuantIdentity(act_quant=act_injector(quantizer)).eval()
    return identity


def _insert_after(
    graph_module: fx.GraphModule, node: fx.Node, path: str, new: nn.Module
) -> fx.Node:
    """Send every use of ``node`` through the new module."""
    graph_module.add_submodule(path, new)
    with graph_module.graph.inserting_after(node):
        added = graph_module.graph.call_module(path, (node,))
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    added.meta = dict(node.meta)
    return added


def _quantize_input(graph_module: fx.GraphModule, node: fx.Node, path: str, proxy: Any) -> None:
    function, quantizer = _read_proxy(proxy, f"act_quant.{path.replace('.', '_')}")
    if not isinstance(function, nn.Identity):
        raise UnsupportedError(f"quantizer {path!r}.input_quant applies a function; allowed: none")
    graph_module.add_submodule(quantizer.module_path, _identity(quantizer))
    source = node.all_input_nodes[0]
    with graph_module.graph.inserting_before(node):
        added = graph_module.graph.call_module(quantizer.module_path, (source,))
    node.replace_input_with(source, added)


def _adopt_activation(graph_module: fx.GraphModule, node: fx.Node, path: str, module: Any) -> None:
    """Replace QuantReLU, QuantIdentity and the like by the plain function and a QuantIdentity."""
    if module.input_quant.is_quant_enabled:
        _quantize_input(graph_module, node, path, module.input_quant)
    function: nn.Module = nn.Identity()
    if module.act_quant.is_quant_enabled:
        function, quantizer = _read_proxy(module.act_quant, f"act_quant.{path.replace('.', '_')}")
        if quantizer.module_path not in dict(graph_module.named_modules()):
            _insert_after(graph_module, node, quantizer.module_path, _identity(quantizer))
    elif module.act_quant.fused_activation_quant_proxy is not None:
        function = module.act_quant.fused_activation_quant_proxy.activation_impl
    if type(function).__module__.startswith("brevitas") or isinstance(function, nn.Identity):
        function = nn.Identity() if not isinstance(function, nn.ReLU) else nn.ReLU()
    graph_module.set_submodule(path, function)


def _adopt_layer(graph_module: fx.GraphModule, node: fx.Node, path: str, module: Any) -> None:
    """Rebuild a weight layer on our quantizer; its input and output quantizers become nodes."""
    multiply = isinstance(module, tuple(MULTIPLY_LAYERS.values()))
    if not multiply or not module.weight_quant.is_quant_enabled:
        raise UnsupportedError(
            f"layer {path!r} ({type(module).__name__}) has no weight quantizer of ours to map; "
            f"allowed: {', '.join(c.__name__ for c in MULTIPLY_LAYERS.values())} with weight_quant"
        )
    if module.input_quant.is_quant_enabled:
        _quantize_input(graph_module, node, path, module.input_quant)
    if module.output_quant.is_quant_enabled:
        _, output = _read_proxy(module.output_quant, f"act_quant.{path.replace('.', '_')}_out")
        _insert_after(graph_module, node, output.module_path, _identity(output))
    theirs = module.quant_weight()
    quantizer = read_quantizer(
        theirs, bool(module.weight_quant.is_narrow_range), path, channel_axis(module)
    )
    new: Any = quantized_layer(module, quantizer)
    with torch.no_grad():
        new.weight.copy_(theirs.value)
        if not torch.equal(new.quant_weight().value, theirs.value):
            raise UnsupportedError(
                f"quantizer {path!r}.weight_quant gives values outside {quantizer.fmt}; "
                f"allowed: {ALLOWED}"
            )
    graph_module.set_submodule(path, new.requires_grad_(False))


def _quantizer_before(graph_module: fx.GraphModule, node: fx.Node, reader: str) -> str:
    """Return the path of the quantizer whose codes arrive at ``node``."""
    name = str(node.target)
    if node.op == "call_module":
        module = graph_module.get_submodule(name)
        if isinstance(module, qnn.QuantIdentity):
            return name
        passes = isinstance(module, TRANSPARENT)
    else:
        label = name if node.op == "call_method" else getattr(node.target, "__name__", "")
        passes = node.op != "placeholder" and label in TRANSPARENT_NAMES
    if passes and node.all_input_nodes:
        return _quantizer_before(graph_module, node.all_input_nodes[0], reader)
    raise UnsupportedError(
        f"layer {reader!r} reads {node.name!r}, which no quantizer has put on a grid; give it an "
        "input_quant, or a QuantIdentity or QuantReLU in front"
    )
