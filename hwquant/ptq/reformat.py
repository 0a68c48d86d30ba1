# SPDX-License-Identifier: Apache-2.0
"""Give a quantizer of a quantized graph another format; its scale starts anew at 1."""

from __future__ import annotations

from typing import Any

from brevitas import nn as qnn
from torch import fx

from hwquant.formats import Format
from hwquant.nn.layers import quantized_layer
from hwquant.nn.quantizers import Quantizer, act_injector, act_quantizer, weight_quantizer

__all__ = ["set_act_format", "set_weight_format"]


def set_weight_format(model: fx.GraphModule, path: str, fmt: Format) -> None:
    """Quantize the weights of the layer at ``path`` by ``fmt``; weights and bias stay."""
    old: Any = model.get_submodule(path)
    quantizer = weight_quantizer(old)
    if quantizer.fmt == fmt:
        return
    new = quantized_layer(
        old, Quantizer(fmt, quantizer.scale_kind, quantizer.channel_axis, quantizer.module_path)
    )
    new.act_paths = old.act_paths
    model.set_submodule(path, new)


def set_act_format(model: fx.GraphModule, path: str, fmt: Format) -> None:
    """Quantize the activation at ``path`` by ``fmt``."""
    quantizer = act_quantizer(model.get_submodule(path))
    if quantizer.fmt == fmt:
        return
    injector = act_injector(Quantizer(fmt, quantizer.scale_kind, None, quantizer.module_path))
    model.set_submodule(path, qnn.QuantIdentity(act_quant=injector).eval())
