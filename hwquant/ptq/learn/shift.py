# SPDX-License-Identifier: Apache-2.0
"""A learned exponent bias: the grid moves, the weights are rounded to the nearest value of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.learn.rounding import Rounding

__all__ = ["Shifted"]


class Shifted(Rounding):
    """``W = s 2**b Q(w / (s 2**b))`` with ``b`` learned for each scale.

    A real-valued exponent bias is a real scale (arXiv 2208.09225, section 4.2); under power-of-two
    scales ``b`` is rounded, which is an integer bias and free in hardware.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.whole = weight_quantizer(layer).scale_kind == "po2"
        self.bias = nn.Parameter(torch.zeros_like(self.scale))

    def shift(self) -> Tensor:
        """Return ``2**b``."""
        b: Tensor = self.bias
        if self.whole:
            b = b + (b.round() - b).detach()
        return torch.exp2(b)

    def forward(self) -> Tensor:
        """Return the weights on the moved grid."""
        shift = self.shift()
        return quantize_unit(self.unit / shift, self.fmt) * shift * self.scale

    def hard(self) -> Tensor:
        """Return the weights on the moved grid."""
        return self.forward().detach()

    def final_scale(self) -> Tensor:
        """Return the scale that holds the bias."""
        return (self.scale * self.shift()).detach()

    def rates(self) -> dict[nn.Parameter, float]:
        """Return 4 for whole biases, which move half an octave or not at all."""
        return {self.bias: 4.0 if self.whole else 1.0}
