# SPDX-License-Identifier: Apache-2.0
"""A piece of the network whose weights and activation scales can be learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import Quantizer, act_quantizer, weight_quantizer
from hwquant.ptq.insert import ACT_PREFIX
from hwquant.ptq.job import Job
from hwquant.ptq.learn.rounding import Rounding
from hwquant.ptq.learn.walk import BlockData
from hwquant.ptq.reformat import set_weight_format

__all__ = ["SoftAct", "SoftBlock", "SoftLayer"]


class SoftLayer(nn.Module):
    """A multiply layer that reads its weights from a `Rounding`."""

    def __init__(self, layer: Any, rounding: Rounding, *, learn_bias: bool = False) -> None:
        super().__init__()
        self.rounding = rounding
        self.operation = layer.inner_forward_impl
        self.fixed: Tensor | None = None
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=learn_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's result with the weights as they are now, or with the fixed ones."""
        weight = self.rounding() if self.fixed is None else self.fixed
        result: Tensor = self.operation(x, weight, self.bias)
        return result


class SoftAct(nn.Module):
    """An activation quantizer with a scale that may be learned, and two ways to soften it.

    The scale is learned as its logarithm, rounded where it is a power of two; its gradient is
    LSQ's (arXiv 1902.08153), which holds on any grid, the rounding being passed straight through.
    ``drop`` is the share of elements left float at random (QDrop, arXiv 2203.05740);
    ``float_share`` blends the float value in (EPTQ's annealing).
    """

    start: Tensor

    def __init__(self, quantizer: Quantizer, *, learned: bool) -> None:
        super().__init__()
        self.fmt = quantizer.fmt
        self.scale_kind = quantizer.scale_kind
        self.register_buffer("start", quantizer.scale.detach().clone())
        # Block scales follow the data at hand: there is nothing to learn.
        self.blocks = quantizer if isinstance(quantizer, BlockQuantizer) else None
        learned = learned and self.blocks is None
        self.log2_factor = nn.Parameter(torch.zeros_like(quantizer.scale), learned)
        self.drop = 0.0
        self.float_share = 0.0

    @property
    def rate(self) -> float:
        """The learning rate's factor: a power of two moves half an octave or not at all."""
        return 4.0 if self.scale_kind == "po2" else 1.0

    @property
    def learned(self) -> bool:
        """Whether the scale is being learned."""
        return self.log2_factor.requires_grad

    def scale(self) -> Tensor:
        """Return the scale as it is now; positive, exactly as found while nothing was learned."""
        factor: Tensor = self.log2_factor
        if self.scale_kind == "po2":
            factor = factor + (factor.round() - factor).detach()
        return self.start * torch.exp2(factor)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` quantized, softened as set."""
        x = x.float()  # under autocast the layers before hand over bfloat16
        scale = self.scale()
        y = self.blocks(x) if self.blocks else quantize_unit(x / scale, self.fmt) * scale
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
        rounding: Callable[[Any], Rounding] | None,
        *,
        learn_acts: bool = False,
        learn_bias: bool = False,
    ) -> None:
        self.job = job
        self.module = data.piece.module
        self.roundings: dict[str, Rounding] = {}
        self.layers: dict[str, SoftLayer] = {}
        self.acts: dict[str, SoftAct] = {}
        inside = {str(n.target) for n in self.module.graph.nodes if n.op == "call_module"}
        self.module.requires_grad_(False)
        for site in data.block.sites:
            layer = job.layer(site)
            if rounding is not None:
                self.roundings[site.path] = rounding(layer)
                soft = SoftLayer(layer, self.roundings[site.path], learn_bias=learn_bias)
                self.layers[site.path] = soft
                self.module.set_submodule(site.path, soft)
        for path in sorted(inside):
            if path.startswith(f"{ACT_PREFIX}."):
                self.acts[path] = SoftAct(job.act(path), learned=learn_acts)
                self.module.set_submodule(path, self.acts[path])

    def state(self) -> dict[str, Any]:
        """Return what training changes."""
        return self.module.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Bring what training changes to a stored state."""
        self.module.load_state_dict(state)

    def fix(self) -> None:
        """End the training: from here on the layers use their weights on the grid."""
        for path, rounding in self.roundings.items():
            self.layers[path].fixed = rounding.hard().detach()

    def harden(self) -> None:
        """Write what was learned into the quantized model: weights on the grid, scales fixed."""
        for path, rounding in self.roundings.items():
            set_weight_format(self.job.model, path, rounding.final_format())
            layer: Any = self.job.model.get_submodule(path)
            quantizer = weight_quantizer(layer)
            found: Any = self.layers[path].fixed
            if isinstance(quantizer, BlockQuantizer):
                found = quantizer.settled(found, quantizer(layer.weight.detach()))
            else:
                quantizer.set_scale(rounding.final_scale())
            with torch.no_grad():
                layer.weight.copy_(found)
                layer.bias.copy_(self.layers[path].bias)
        for path, act in self.acts.items():
            if act.learned:
                act_quantizer(self.job.model.get_submodule(path)).set_scale(act.scale())
