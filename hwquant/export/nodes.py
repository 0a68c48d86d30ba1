# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the quantized layers that trace into QONNX nodes.

Integers become one ``Quant`` with the scale inside, which FINN and hls4ml read.  Minifloats become
a unit-scale ``FloatQuant`` between ``Div`` and ``Mul`` by the scale, because qonnx knows a data
type only for unit scales; weights are stored on the unit grid, so they need no ``Div``.  Codebooks
become a ``Gather`` from the list of values in the same place, by the rank of a value: weights
store ranks, activations get theirs from ``MultiThreshold``.
"""

from __future__ import annotations

from typing import Any

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from torch import Tensor, fx, nn
from torch.nn import functional

from hwquant.errors import ExportError, SpecError
from hwquant.export.block_nodes import BlockAct, BlockWeight
from hwquant.formats import Codebook, Format, Minifloat
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.kernel import quantize_unit, steps_up
from hwquant.nn.quantizers import Quantizer, act_quantizer, is_integer_grid, weight_quantizer

__all__ = ["DOMAIN", "TAG", "flattened", "replace_quantized"]

DOMAIN = "qonnx.custom_op.general"
LONG = 7  # ONNX's number for 64-bit integers
TAG = "hwquant_tag"  # an attribute that carries path and format out of the tracer, then goes


def _tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _number(g: Any, x: float) -> Any:
    return g.op("Constant", value_t=torch.tensor(x, dtype=torch.float32))


class _QuantNode(torch.autograd.Function):
    """``Quant``: (x, scale, zero point, bit width); ``scale`` includes the format's step."""

    @staticmethod
    def symbolic(g: Any, x: Any, scale: Any, fmt: Format, tag: str) -> Any:
        out = g.op(
            f"{DOMAIN}::Quant",
            *(x, scale, _number(g, 0.0), _number(g, float(fmt.bits))),
            signed_i=int(fmt.min_int < 0),
            narrow_i=int(fmt.min_int == -fmt.max_int),
            rounding_mode_s="ROUND",
            **{f"{TAG}_s": tag},
        )
        out.setType(x.type())
        return out

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, fmt: Format, tag: str) -> Tensor:
        del ctx, tag
        if _tracing():  # only the symbolic counts, and the kernel cannot be traced
            return x.clone()
        scale = scale / 2.0**fmt.lsb_exp
        return quantize_unit(x / scale, fmt) * scale


class _FloatQuantNode(torch.autograd.Function):
    """``FloatQuant`` of unit scale: (x, scale, E, M, bias, largest value)."""

    @staticmethod
    def symbolic(g: Any, x: Any, fmt: Format, tag: str) -> Any:
        if not isinstance(fmt, Minifloat):
            raise ExportError(f"{tag}: {fmt} is no minifloat")
        fields = (1.0, fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias, float(fmt.max))
        out = g.op(
            f"{DOMAIN}::FloatQuant",
            x,
            *(_number(g, float(n)) for n in fields),
            has_inf_i=int(fmt.specials == "ieee"),
            has_nan_i=int(fmt.specials != ""),
            has_subnormal_i=1,
            rounding_mode_s="ROUND",
            saturation_i=1,
            **{f"{TAG}_s": tag},
        )
        out.setType(x.type())
        return out

    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: Format, tag: str) -> Tensor:
        del ctx, tag
        return x.clone() if _tracing() else quantize_unit(x, fmt)


def _gather(g: Any, values: Tensor, ranks: Any, tag: str) -> Any:
    table = g.op("Constant", value_t=values)
    return g.op(f"{DOMAIN}::Gather", table, ranks, axis_i=0, **{f"{TAG}_s": tag})


class _GatherNode(torch.autograd.Function):
    """``Gather`` of a stored weight: (values, ranks)."""

    @staticmethod
    def symbolic(g: Any, ranks: Any, fmt: Codebook, tag: str) -> Any:
        out = _gather(g, steps_up(fmt)[1], ranks, tag)
        out.setType(ranks.type().with_dtype(torch.float32))
        return out

    @staticmethod
    def forward(ctx: Any, ranks: Tensor, fmt: Codebook, tag: str) -> Tensor:
        del ctx, tag
        return ranks.float() if _tracing() else steps_up(fmt)[1][ranks]


class _LookUpNode(torch.autograd.Function):
    """``MultiThreshold`` counts the ranks below, ``Gather`` takes the value."""

    @staticmethod
    def symbolic(g: Any, x: Any, fmt: Codebook, tag: str) -> Any:
        thresholds, values = steps_up(fmt)
        count = g.op(
            f"{DOMAIN}::MultiThreshold",
            x,
            g.op("Constant", value_t=thresholds.reshape(1, -1)),
            out_dtype_s=f"UINT{fmt.bits}",
        )
        count.setType(x.type())
        out = _gather(g, values, g.op("Cast", count, to_i=LONG), tag)
        out.setType(x.type())
        return out

    @staticmethod
    def forward(ctx: Any, x: Tensor, fmt: Codebook, tag: str) -> Tensor:
        del ctx, tag
        return x.clone() if _tracing() else quantize_unit(x, fmt)


def _tag(quantizer: Quantizer, path: str) -> str:
    return f"{path}|{quantizer.fmt}|{quantizer.scale_kind}"


def _node_scale(scale: Tensor, fmt: Format) -> Tensor:
    """Return the scale to store; an integer node counts in steps of the format."""
    step = 2.0**fmt.lsb_exp if is_integer_grid(fmt) else 1.0
    return (scale.detach() * step).contiguous().clone()


def _is_one(scale: Tensor) -> bool:
    return bool((scale == 1).all())


class _Act(nn.Module):
    """An activation quantizer."""

    scale: Tensor

    def __init__(self, quantizer: Quantizer, path: str) -> None:
        super().__init__()
        self.fmt, self.tag = quantizer.fmt, _tag(quantizer, path)
        self.register_buffer("scale", _node_scale(quantizer.scale, quantizer.fmt))

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized ``x``."""
        if is_integer_grid(self.fmt):
            out: Tensor = _QuantNode.apply(x, self.scale, self.fmt, self.tag)  # type: ignore[no-untyped-call]
            return out
        if isinstance(self.fmt, Codebook):
            scaled = x if _is_one(self.scale) else x / self.scale
            found: Tensor = _LookUpNode.apply(scaled, self.fmt, self.tag)  # type: ignore[no-untyped-call]
            return found if _is_one(self.scale) else found * self.scale
        if self.fmt.min_int == 0:  # the node has no sign attribute: clamp in front
            x = torch.relu(x)
        if _is_one(self.scale):
            unit: Tensor = _FloatQuantNode.apply(x, self.fmt, self.tag)  # type: ignore[no-untyped-call]
            return unit
        inner: Tensor = _FloatQuantNode.apply(x / self.scale, self.fmt, self.tag)  # type: ignore[no-untyped-call]
        return inner * self.scale


class _Weight(nn.Module):
    """A weight quantizer over a stored weight: real values for ``Quant``, unit grid otherwise."""

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Module, path: str, *, transposed: bool = False) -> None:
        super().__init__()
        quantizer = weight_quantizer(layer)
        self.fmt, self.tag = quantizer.fmt, _tag(quantizer, path)
        scale = quantizer.scale.detach()
        source: Any = layer.weight
        unit = quantize_unit(source.detach() / scale, quantizer.fmt) + 0.0  # -0 becomes 0
        if transposed:
            unit, scale = unit.t(), scale.t() if scale.dim() == 2 else scale
        stored = unit * scale if is_integer_grid(self.fmt) else unit
        if isinstance(self.fmt, Codebook):
            stored = torch.bucketize(unit.contiguous(), steps_up(self.fmt)[0], right=True)
        self.register_buffer("weight", stored.contiguous().clone())
        self.register_buffer("scale", _node_scale(scale, self.fmt))

    def forward(self) -> Tensor:
        """Return the quantized weight."""
        if is_integer_grid(self.fmt):
            out: Tensor = _QuantNode.apply(self.weight, self.scale, self.fmt, self.tag)  # type: ignore[no-untyped-call]
            return out
        node = _GatherNode if isinstance(self.fmt, Codebook) else _FloatQuantNode
        unit: Tensor = node.apply(self.weight, self.fmt, self.tag)  # type: ignore[no-untyped-call]
        return unit if _is_one(self.scale) else unit * self.scale


def _element(x: Tensor, fmt: Any, tag: str) -> Tensor:
    """Quantize to elements of a block-scaled format; MXINT8 has steps of 2**-6."""
    if is_integer_grid(fmt):
        step = torch.tensor(2.0 ** -(fmt.bits - 2))
        whole: Tensor = _QuantNode.apply(x, step, fmt, tag)  # type: ignore[no-untyped-call]
        return whole
    unit: Tensor = _FloatQuantNode.apply(x, fmt, tag)  # type: ignore[no-untyped-call]
    return unit


def _act(quantizer: Quantizer, path: str) -> nn.Module:
    if isinstance(quantizer, BlockQuantizer):
        return BlockAct(quantizer, path, _element)
    return _Act(quantizer, path)


def _weight(layer: Any, path: str, *, transposed: bool = False) -> nn.Module:
    quantizer = weight_quantizer(layer)
    if isinstance(quantizer, BlockQuantizer):
        return BlockWeight(quantizer, layer.weight, path, _element, transposed=transposed)
    return _Weight(layer, path, transposed=transposed)


class _Linear(nn.Module):
    """A linear layer: ``Gemm`` on matrices, ``MatMul`` of a stored transpose otherwise."""

    def __init__(self, layer: nn.Module, path: str, bias: Tensor | None) -> None:
        super().__init__()
        self.flat = _weight(layer, path)
        self.turned = _weight(layer, path, transposed=True)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x W^T + b``."""
        bias: Any = self.bias
        if x.dim() == 2:
            return functional.linear(x, self.flat(), bias)
        out = torch.matmul(x, self.turned())
        return out if bias is None else out + bias


class _Conv(nn.Module):
    """A convolution, plain or transposed, with the geometry of its layer."""

    def __init__(self, layer: Any, path: str, bias: Tensor | None) -> None:
        super().__init__()
        self.quantized = _weight(layer, path)
        self.register_buffer("bias", bias)
        self.geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self.extra = getattr(layer, "output_padding", 0)
        self.transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
        self.one = isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
        self.mode = layer.padding_mode
        self.around = [] if self.transposed else layer._reversed_padding_repeated_twice  # noqa: SLF001

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x``."""
        stride, padding, dilation, groups = self.geometry
        weight, bias = self.quantized(), self.bias
        if self.transposed:
            turn: Any = functional.conv_transpose1d if self.one else functional.conv_transpose2d
            turned: Tensor = turn(x, weight, bias, stride, padding, self.extra, groups, dilation)
            return turned
        if self.mode != "zeros":
            x, padding = functional.pad(x, self.around, mode=self.mode), 0
        run: Any = functional.conv1d if self.one else functional.conv2d
        out: Tensor = run(x, weight, bias, stride, padding, dilation, groups)
        return out


def _bias(layer: Any) -> Tensor | None:
    bias = layer.bias
    if bias is None or bool((bias == 0).all()):
        return None
    stored: Tensor = bias.detach().clone()
    return stored


def _stand_in(module: nn.Module, path: str) -> nn.Module | None:
    """Return what to trace instead of ``module``, or None to keep it."""
    if isinstance(module, Quantizer):
        return _act(module, path)
    try:
        if isinstance(module, QuantNonLinearActLayer):
            return _act(act_quantizer(module), path)
        if isinstance(module, QuantWeightBiasInputOutputLayer):
            build = _Linear if isinstance(module, nn.Linear) else _Conv
            return build(module, path, _bias(module))
    except SpecError as error:
        raise ExportError(f"layer {path!r}: {error}") from error
    return None


def replace_quantized(model: nn.Module) -> int:
    """Replace every quantized module inside ``model`` by its stand-in; return how many.

    Raises `ExportError` naming a Brevitas layer whose quantizer is not ours.
    """
    count = 0
    for path, module in list(model.named_modules()):
        if not path:
            continue
        try:
            model.get_submodule(path)
        except AttributeError:
            continue  # inside a module that was replaced
        found = _stand_in(module, path)
        if found is not None:
            model.set_submodule(path, found.eval())
            count += 1
    return count


def flattened(model: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """Return a graph module whose leaves have names the tracer keeps, and their paths by name.

    The tracer names nodes by attribute, which is ambiguous for nested modules: ``blocks.0.norm``
    and ``blocks.1.norm`` would both be called ``norm``.
    """
    if not isinstance(model, fx.GraphModule):
        return model, {}
    graph = fx.Graph()
    graph.output(graph.graph_copy(model.graph, {}))
    holder: dict[str, Any] = {}
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            path = str(node.target)
            name = names.setdefault(path, f"hqleaf{len(names)}")
            holder[name] = model.get_submodule(path)
            node.target = name
        elif node.op == "get_attr":
            parent, _, last = str(node.target).rpartition(".")
            holder[str(node.target)] = getattr(model.get_submodule(parent), last)
    return fx.GraphModule(holder, graph).eval(), {name: path for path, name in names.items()}
