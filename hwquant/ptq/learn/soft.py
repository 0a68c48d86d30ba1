# SPDX-License-Identifier: Apache-2.0
"""A piece of the network whose weights and activation scales can be learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import Quantizer, act_quantizer, weight_quantizer
from hwquant.ptq.insert import ACT_PREFIX
from hwquant.ptq.job import Job
from hwquant.ptq.learn.rounding import Rounding
from hwquant.ptq.learn.walk import BlockData

__all__ = ["SoftAct", "SoftBlock", "SoftLayer"]


class SoftLayer(nn.Module):
    """A multiply layer that reads its weights from a `Rounding`."""

    def __init__(self, layer: Any, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding
        self.operation = layer.inner_forward_impl
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's result with the weights as they are now."""
        result: Tensor = self.operation(x, self.rounding(), self.bias)
        return result


class SoftAct(nn.Module):
    """An activation quantizer with a scale that may be learned, and two ways to soften it.

    The gradient of the scale is LSQ's (arXiv 1902.08153), which holds on any grid: the rounding
    is passed straight through.  A power-of-two scale is learned as its exponent, rounded.
    ``drop`` is the share of elements left float at random (QDrop, arXiv 2203.05740);
    ``float_share`` blends the float value in (EPTQ's annealing).
    """

    def __init__(self, quantizer: Quantizer, *, learned: bool) -> None:
        super().__init__()
        self.fmt = quantizer.fmt
        self.scale_kind = quantizer.scale_kind
        scale = quantizer.scale.detach().clone()
        start = torch.log2(scale) if self.scale_kind == "po2" else scale
        self.value = nn.Parameter(start, requires_grad=learned)
        self.drop = 0.0
        self.float_share = 0.0

    def scale(self) -> Tensor:
        """Return the scale as it is now; positive."""
        if self.scale_kind == "po2":
            return torch.exp2(self.value + (self.value.round() - self.value).detach())
        return self.value.abs().clamp(min=2.0**-126)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` quantized, softened as set."""
        scale = self.scale()
        y = quantize_unit(x / scale, self.fmt) * scale
        if self.drop:
            y = torch.where(torch.rand_like(x) < self.drop, x, y)
        if self.float_share:
            y = self.float_share * x + (1 - self.float_share) * y
        return y


class SoftBlock:
    """A block under training: ``module`` with soft layers in the places of quantized ones."""

    def __init__(
        self,
        job: Job,
        data: BlockData,
        rounding: Callable[[Tensor, Quantizer], Rounding] | None,
        *,
        learn_acts: bool,
    ) -> None:
        self.job = job
        self.module = data.piece.module
        self.roundings: dict[str, Rounding] = {}
        self.acts: dict[str, SoftAct] = {}
        inside = {str(n.target) for n in self.module.graph.nodes if n.op == "call_module"}
        self.module.requires_grad_(False)
        for site in data.block.sites:
            layer = job.layer(site)
            if rounding is not None:
                self.roundings[site.path] = rounding(layer.weight, weight_quantizer(layer))
                self.module.set_submodule(site.path, SoftLayer(layer, self.roundings[site.path]))
        for path in sorted(inside):
            if path.startswith(f"{ACT_PREFIX}."):
                self.acts[path] = SoftAct(job.act(path), learned=learn_acts)
                self.module.set_submodule(path, self.acts[path])

    def harden(self) -> None:
        """Write what was learned into the quantized model: weights on the grid, scales fixed."""
        for path, rounding in self.roundings.items():
            layer: Any = self.job.model.get_submodule(path)
            with torch.no_grad():
                layer.weight.copy_(rounding.hard())
        for path, act in self.acts.items():
            if act.value.requires_grad:
                act_quantizer(self.job.model.get_submodule(path)).set_scale(act.scale())
