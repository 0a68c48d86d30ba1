# SPDX-License-Identifier: Apache-2.0
"""What a learned method changes about the weights: up or down, a divisor, or more.

A `Rounding` starts at round-to-nearest: ``hard()`` before training equals the quantizer's own
rounding for every format.  Its ``forward()`` is differentiable, its ``hard()`` is on the grid.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import torch
from torch import Tensor, nn

from hwquant.formats import Format
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.learn.grid import neighbours

__all__ = ["Rounding", "UpOrDown"]


class Rounding(nn.Module):
    """The quantized weights of one layer as a function of what is learned.

    ``layer`` is a quantized multiply layer whose weight is still float; its quantizer says format
    and scale.
    """

    scale: Tensor
    unit: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        quantizer = weight_quantizer(layer)
        self.fmt = quantizer.fmt
        weight: Tensor = layer.weight.detach()
        blocks = isinstance(quantizer, BlockQuantizer)
        scale = quantizer.scale_of(weight) if blocks else quantizer.scale
        self.register_buffer("scale", scale.detach().clone())
        # A block of zeros may have the scale 0 (NVFP4): its elements are 0 under any scale.
        self.register_buffer("unit", weight / torch.where(scale == 0, 1.0, scale))

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the weights during training, shape of the layer's weight."""

    @abstractmethod
    def hard(self) -> Tensor:
        """Return the final weights: ``scale`` times values of the format."""

    def final_scale(self) -> Tensor:
        """Return the scale the weights end with; frozen unless a method learns it."""
        return self.scale

    def final_format(self) -> Format:
        """Return the format the weights end with; the one they had unless a method learns it."""
        return self.fmt

    def penalty(self, beta: float) -> Tensor:
        """Return what drives the weights to the grid; 0 for one that is always on it."""
        return torch.zeros(()) * beta

    def rates(self) -> dict[nn.Parameter, float]:
        """Return each parameter with its learning rate as a multiple of the method's."""
        return dict.fromkeys(self.parameters(), 1.0)


class UpOrDown(Rounding):
    """AdaRound's rectified sigmoid (arXiv 2004.10568, equations 22-24) on any grid.

    ``W = s * (low + h(V) * (high - low))`` with the two values of the format around ``w / s``
    and ``h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)``; ``V`` starts where ``W = w``.  The local step
    ``high - low`` is that of the weight's own binade, without which minifloats start wrong.
    ``learn_scale`` learns a factor per scale too, a hundred times slower (EPTQ).
    """

    STRETCH: Final = 1.2
    OFFSET: Final = 0.1

    low: Tensor
    step: Tensor

    def __init__(self, layer: Any, *, learn_scale: bool = False) -> None:
        super().__init__(layer)
        self.log_scale = nn.Parameter(torch.zeros_like(self.scale), learn_scale)
        low, high = neighbours(self.unit, self.fmt)
        self.register_buffer("low", low)
        self.register_buffer("step", high - low)
        share = ((self.unit - low) / self.step).clamp(0, 1)
        start = torch.logit((share + self.OFFSET) / self.STRETCH)
        # Ties, and grids whose nearest value is not decided by the middle, follow the quantizer.
        up = quantize_unit(self.unit, self.fmt) > low
        tiny = torch.finfo(torch.float32).eps
        start = torch.where(up, start.clamp(min=tiny), start.clamp(max=-tiny))
        self.V = nn.Parameter(start)

    def share(self) -> Tensor:
        """Return ``h(V)``, 0 for down and 1 for up."""
        return (torch.sigmoid(self.V) * self.STRETCH - self.OFFSET).clamp(0, 1)

    def forward(self) -> Tensor:
        """Return the soft weights."""
        return (self.low + self.share() * self.step) * self.final_scale()

    def hard(self) -> Tensor:
        """Return each weight at the neighbour its ``V`` leans to."""
        return (self.low + (self.V >= 0) * self.step) * self.final_scale()

    def final_scale(self) -> Tensor:
        """Return the scale times its learned factor."""
        learned = self.log_scale.requires_grad
        return self.scale * torch.exp(self.log_scale) if learned else self.scale

    def rates(self) -> dict[nn.Parameter, float]:
        """Return 1 for ``V`` and 0.01 for the factor of the scale."""
        return {self.V: 1.0, self.log_scale: 0.01}

    def penalty(self, beta: float) -> Tensor:
        """Return ``sum(1 - abs(2h - 1)**beta)``, equation 24."""
        return (1 - (2 * self.share() - 1).abs().pow(beta)).sum()
