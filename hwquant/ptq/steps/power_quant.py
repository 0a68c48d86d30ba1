# SPDX-License-Identifier: Apache-2.0
"""PowerQuant: the power that suits the weights, found without data (arXiv 2301.09858).

Each weight format of ``b`` bits becomes ``powBaXfF``: the exponent is the one whose codebook
leaves the least squared error, summed over layers, each relative to the layer's own power.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import FormatError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.codebook import Power
    from hwquant.ptq.job import Job

__all__ = ["Step"]

COARSE = 5  # hundredths
RANGE = (30, 130)  # hundredths


@dataclass(frozen=True)
class Step:
    """Options: ``per`` (network: one exponent, layer: one each), ``fraction_bits``, scale ``rule``.

    ``rule`` is that of the scales the search assumes; the paper's is absmax.
    """

    phase: ClassVar[str] = "formats"

    per: str = "network"
    fraction_bits: int = 6
    rule: str = "mse"

    def __post_init__(self) -> None:
        if self.per not in ("network", "layer"):
            raise SpecError(f"step power_quant: per={self.per!r}, allowed: network, layer")

    def apply(self, job: Job) -> None:
        """Set the weight format of every layer that follows the recipe's."""
        from hwquant.nn.layers import MatMul
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.ptq.reformat import set_weight_format
        from hwquant.ptq.scales import as_rows

        rows: dict[str, tuple[Tensor, Any]] = {}
        for site in job.sites:
            layer = job.layer(site)
            if site.settings.weight == job.recipe.weight and not isinstance(layer, MatMul):
                quantizer = weight_quantizer(layer)
                weight = as_rows(layer.weight.detach(), quantizer.channel_axis)
                rows[site.path] = (weight, quantizer)
        groups = [list(rows)] if self.per == "network" else [[path] for path in rows]
        for paths in groups:
            fmt = self._best([rows[path] for path in paths])
            for path in paths:
                set_weight_format(job.model, path, fmt)

    def _best(self, tensors: list[tuple[Tensor, Any]]) -> Power:
        """Return the codebook of least error: a coarse search, then one by hundredths."""
        coarse = [self._format(h, tensors) for h in range(RANGE[0], RANGE[1] + 1, COARSE)]
        found = min(filter(None, coarse), key=lambda fmt: self._error(fmt, tensors))
        centre = int(found.exponent * 100)
        fine = [self._format(h, tensors) for h in range(centre - COARSE + 1, centre + COARSE)]
        return min(filter(None, fine), key=lambda fmt: self._error(fmt, tensors))

    def _format(self, hundredths: int, tensors: list[tuple[Tensor, Any]]) -> Power | None:
        from hwquant.codebook import Power

        bits = tensors[0][1].fmt.bits
        try:
            return Power(bits, Fraction(hundredths, 100), self.fraction_bits)
        except FormatError:  # two values would fall together
            return None

    def _error(self, fmt: Power, tensors: list[tuple[Tensor, Any]]) -> float:
        from hwquant.ptq.scales import solve, squared_error

        total = 0.0
        for weight, quantizer in tensors:
            scale = solve(weight, fmt, quantizer.scale_kind, self.rule)
            power = float(weight.double().square().sum())
            total += float(squared_error(weight, scale, fmt).sum()) / max(power, 1e-30)
        return total
