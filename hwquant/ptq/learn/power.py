# SPDX-License-Identifier: Apache-2.0
"""NUPES's parametrisation: codes of a power-exponent codebook, and the exponent itself."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import torch
from torch import Tensor, nn

from hwquant.codebook import Power
from hwquant.errors import FormatError, SpecError
from hwquant.formats import Format
from hwquant.nn.kernel import quantize_unit
from hwquant.ptq.learn.grid import values_of
from hwquant.ptq.learn.rounding import Rounding

__all__ = ["PowerCodes"]

DECIMALS: Final = 2  # of the exponent that is kept
RANGE: Final = (0.2, 1.5)


class PowerCodes(Rounding):
    """``W = s * sign(q) |q|**(1/a)``, ``q = round(v)`` (arXiv 2308.05600).

    ``v`` is continuous and moves over the whole codebook; ``a``, one per layer, is learned a
    hundred times slower.  The gradient with respect to ``v`` at code 0, where the power has none
    or an infinite one, is taken at one half.  Raises `SpecError` unless the layer's format is a
    power-exponent codebook (``pow4a0.75f6``), which the step ``power_quant`` chooses.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        if not isinstance(self.fmt, Power):
            raise SpecError(
                f"step nupes: the weights are {self.fmt}, allowed a power-exponent codebook; put "
                "the step power_quant first, or give the recipe a weight format like pow4a0.75f6"
            )
        a = float(self.fmt.exponent)
        self.largest = len(self.fmt.integers) // 2
        nearest = torch.searchsorted(
            values_of(self.fmt).to(self.unit.device), quantize_unit(self.unit, self.fmt)
        )
        code = (nearest - self.largest).float()  # the rank counted from zero is q
        v = self.unit.sign() * self.unit.abs().pow(a)
        self.v = nn.Parameter(torch.minimum(torch.maximum(v, code - 0.49), code + 0.49))
        self.log_exponent = nn.Parameter(torch.tensor(a).log())

    def codes(self) -> Tensor:
        """Return ``q``, whole numbers in float32."""
        return self.v.round().clamp(-self.largest, self.largest)

    def forward(self) -> Tensor:
        """Return the weights with the exponent as it is now."""
        root = 1 / self.log_exponent.exp().clamp(*RANGE)
        code = self.codes().detach()
        straight = self.v + (code - self.v).detach()
        zero = code == 0
        slope = (root * torch.tensor(0.5).pow(root - 1)).detach()
        base = torch.where(zero, torch.ones_like(code), straight.abs())
        value = torch.where(zero, straight * slope, code.sign() * base.pow(root))
        return value * self.scale

    def hard(self) -> Tensor:
        """Return the weights at the values of `final_format`."""
        values = values_of(self.final_format()).to(self.unit.device)
        return values[(self.codes() + self.largest).long()] * self.scale

    def final_format(self) -> Format:
        """Return the codebook of the learned exponent, rounded; the first one if impossible."""
        start: Any = self.fmt
        learned = float(self.log_exponent.detach().exp().clamp(*RANGE))
        exponent = Fraction(round(learned * 10**DECIMALS), 10**DECIMALS)
        if abs(learned - float(start.exponent)) < 0.5 / 10**DECIMALS:
            return self.fmt
        try:
            return Power(start.bits, exponent, start.fraction_bits)
        except FormatError:
            return self.fmt

    def rates(self) -> dict[nn.Parameter, float]:
        """Return 1 for the codes and 0.01 for the exponent."""
        return {self.v: 1.0, self.log_exponent: 0.01}
