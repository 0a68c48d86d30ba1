# SPDX-License-Identifier: Apache-2.0
"""FlexRound's parametrisation: divide every weight by something learned, then round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hwquant.nn.kernel import quantize_unit
from hwquant.nn.layers import channel_axis
from hwquant.ptq.learn.rounding import Rounding

__all__ = ["Divided"]


class Divided(Rounding):
    """``W = s1 * Q(w / (s1 * S2 * s3 * s4))`` (arXiv 2306.00317, equation 2) for any format.

    ``S2`` has one divisor per weight, ``s3`` per output channel, ``s4`` per input channel of a
    convolution; all are learned as logarithms, which start at 0.  The gradient of ``log S2`` is
    proportional to the weight, so that large weights move further, over several grid points and
    across binades.  ``s1``, the scale, is learned too where ``learn_scale`` says so.
    """

    def __init__(self, layer: Any, *, learn_scale: bool = False) -> None:
        super().__init__(layer)
        weight: Tensor = layer.weight
        rows = channel_axis(layer)
        self.log_element = nn.Parameter(torch.zeros_like(weight))
        self.log_row = nn.Parameter(_ones_but(weight, rows))
        self.log_column = nn.Parameter(_ones_but(weight, 1 - rows), weight.dim() > 2)
        self.log_scale = nn.Parameter(torch.zeros_like(self.scale), learn_scale)

    def forward(self) -> Tensor:
        """Return the weights on the grid; the gradient passes straight through the rounding."""
        divisor = torch.exp(self.log_element + self.log_row + self.log_column + self.log_scale)
        return quantize_unit(self.unit / divisor, self.fmt) * self.final_scale()

    def hard(self) -> Tensor:
        """Return the weights on the grid."""
        return self.forward().detach()

    def final_scale(self) -> Tensor:
        """Return ``s1``."""
        learned = self.log_scale.requires_grad
        return self.scale * torch.exp(self.log_scale) if learned else self.scale


def _ones_but(weight: Tensor, axis: int) -> Tensor:
    """Return zeros that broadcast against ``weight``, one per index of ``axis``."""
    shape = [1] * weight.dim()
    shape[axis] = weight.shape[axis]
    return torch.zeros(shape, device=weight.device)
