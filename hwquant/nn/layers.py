# SPDX-License-Identifier: Apache-2.0
"""The multiply layers: float layer -> Brevitas layer, and the integer bias on its accumulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from brevitas import nn as qnn
from numpy.typing import NDArray
from torch import Tensor, nn

from hwquant.errors import SpecError
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.quantizers import Quantizer, weight_injector, weight_quantizer

__all__ = ["MULTIPLY_LAYERS", "MatMul", "accumulator_unit", "bias_integers", "channel_axis"]
__all__ += ["is_multiply", "quantized_layer", "set_bias_on_grid"]

MULTIPLY_LAYERS: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.Conv1d: qnn.QuantConv1d,
    nn.Conv2d: qnn.QuantConv2d,
    nn.ConvTranspose2d: qnn.QuantConvTranspose2d,
    nn.Linear: qnn.QuantLinear,
}


class MatMul(nn.Module):
    """The product of two activations, both quantized: ``torch.matmul(a, b)``.

    ``act_paths`` names the quantizers of ``a`` and ``b``.
    """

    act_paths: tuple[str, ...] = ()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return ``a @ b`` with the broadcasting of `torch.matmul`."""
        return torch.matmul(a, b)


def is_multiply(module: nn.Module) -> bool:
    """Return whether ``module`` is a quantized multiply layer, or a `MatMul`."""
    return isinstance(module, (*MULTIPLY_LAYERS.values(), MatMul))


def channel_axis(layer: nn.Module) -> int:
    """Return the weight axis of the output channels.

    A transposed convolution stores (in, out / groups, ...): its groups share their scales.
    """
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def quantized_layer(layer: nn.Module, quantizer: Quantizer) -> nn.Module:
    """Return the Brevitas layer with the weights and bias of ``layer``, and ``quantizer``.

    ``quantizer`` says format, scale kind, axis, path and scale.  The layer always gets a bias,
    because bias correction and BN folding need one.
    """
    shared: dict[str, Any] = {
        "weight_quant": weight_injector(quantizer),
        "bias": True,
        "bias_quant": None,
    }
    if isinstance(layer, nn.Linear):
        new = qnn.QuantLinear(layer.in_features, layer.out_features, **shared)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
        shared |= {name: getattr(layer, name) for name in (*names, "groups", "padding_mode")}
        if isinstance(layer, nn.ConvTranspose2d):
            shared["output_padding"] = layer.output_padding
        new = next(q for f, q in MULTIPLY_LAYERS.items() if isinstance(layer, f))(**shared)
    else:
        raise SpecError(f"{type(layer).__name__} is no multiply layer")
    with torch.no_grad():
        new.weight.copy_(layer.weight)
        new.bias.zero_() if layer.bias is None else new.bias.copy_(layer.bias)
    new.register_buffer("bias_integer", torch.zeros(new.bias.shape, dtype=torch.float64))
    new.act_paths = ()
    return new.eval()


def accumulator_unit(layer: nn.Module, act: Quantizer) -> NDArray[np.float64]:
    """Return the real value of accumulator integer 1, per output channel.

    ``s_w * step_w * s_a * step_a`` with the weight scale expanded to every output channel.
    """
    weight = weight_quantizer(layer)
    scales = weight.scale.double().cpu().numpy().reshape(-1)
    channels = layer.bias.shape[0] if isinstance(layer.bias, Tensor) else scales.size
    per_channel = np.resize(scales, channels)  # repeats over the groups of a transposed one
    steps = np.ldexp(1.0, weight.fmt.lsb_exp + act.fmt.lsb_exp)
    unit: NDArray[np.float64] = per_channel * float(act.scale) * steps
    return unit


def set_bias_on_grid(layer: Any, act: Quantizer) -> None:
    """Round the bias to integers on the accumulator grid and keep both forms.

    With power-of-two scales the float32 bias equals integer x unit exactly: a float32 that is
    wider than 24 bits on the grid is already a multiple of the unit.  Block-scaled formats have no
    such grid: their bias stays a float32 number.
    """
    if isinstance(act, BlockQuantizer):
        return
    unit = torch.from_numpy(accumulator_unit(layer, act))
    integers = torch.round(layer.bias.detach().double() / unit)
    layer.bias_integer.copy_(integers)
    with torch.no_grad():
        layer.bias.copy_((integers * unit).float())


def bias_integers(layer: Any) -> NDArray[Any]:
    """Return the bias per output channel as exact integers, in units of `accumulator_unit`.

    int64 where they fit, else Python integers.
    """
    exact = [int(item) for item in layer.bias_integer.tolist()]
    fits = all(abs(item) < 1 << 62 for item in exact)
    return np.array(exact, dtype=np.int64 if fits else np.object_)
