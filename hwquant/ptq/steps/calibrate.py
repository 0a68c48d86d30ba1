# SPDX-License-Identifier: Apache-2.0
"""Find every scale: weights from themselves, activations from the float model on real data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:

    from hwquant.ptq.job import Job

__all__ = ["Step"]

RULES = ("absmax", "percentile", "mse")


@dataclass(frozen=True)
class Step:
    """Options: ``rule`` (both), ``weight``, ``act`` (one of them) and ``percentile``.

    An option left out follows the recipe.  ``samples`` bounds the values kept per activation
    for the percentile and mse rules; the largest magnitude is always exact.
    """

    phase: ClassVar[str] = "scales"

    rule: str = ""
    weight: str = ""
    act: str = ""
    percentile: float = 0.0
    samples: int = 1 << 18

    def __post_init__(self) -> None:
        for name in ("rule", "weight", "act"):
            if getattr(self, name) not in ("", *RULES):
                raise SpecError(
                    f"step calibrate: {name}={getattr(self, name)!r}, allowed: {', '.join(RULES)}"
                )
        if self.percentile and not 50 < self.percentile <= 100:
            raise SpecError(f"step calibrate: percentile={self.percentile}, allowed (50, 100]")
        if self.samples < 1024:
            raise SpecError(f"step calibrate: samples={self.samples}, allowed 1024 or more")

    def apply(self, job: Job) -> None:
        """Set the scale of every quantizer of ``job.model``."""
        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.layers import MatMul
        from hwquant.ptq.observe import observe
        from hwquant.ptq.scales import solve

        percentile = self.percentile or job.recipe.percentile
        for site in job.sites:
            if isinstance(job.layer(site), MatMul):
                continue
            rule = self.weight or self.rule or site.settings.weight_calibration
            self._weights(job.layer(site), rule, percentile)
        values = observe(job, self.samples)
        rules = {path: site.settings.act_calibration for site in job.sites for path in site.acts}
        for path, sample in values.items():
            rule = self.act or self.rule or rules.get(path, job.recipe.calibration)
            quantizer = job.act(path)
            if isinstance(quantizer, BlockQuantizer):
                quantizer.calibrate(float(sample.abs().max()))
                continue
            scale = solve(
                sample.reshape(1, -1), quantizer.fmt, quantizer.scale_kind, rule, percentile
            )
            quantizer.set_scale(scale[0])

    @staticmethod
    def _weights(layer: Any, rule: str, percentile: float) -> None:
        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.ptq.scales import solve

        quantizer, weight = weight_quantizer(layer), layer.weight.detach()
        if isinstance(quantizer, BlockQuantizer):
            quantizer.calibrate(float(weight.abs().max()))
            return
        shape: tuple[int, ...] = ()
        if quantizer.channel_axis is None:
            rows = weight.reshape(1, -1)
        else:
            rows = weight.movedim(quantizer.channel_axis, 0).flatten(1)
            ones = [1] * weight.dim()
            ones[quantizer.channel_axis] = -1
            shape = tuple(ones)
        scale = solve(rows, quantizer.fmt, quantizer.scale_kind, rule, percentile)
        quantizer.set_scale(scale.reshape(shape))
