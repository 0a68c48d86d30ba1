# SPDX-License-Identifier: Apache-2.0
"""Find every scale: weights from themselves, activations from the float model on real data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job

__all__ = ["Step"]

RULES = ("absmax", "percentile", "mse")
CURVATURES = ("label_free", "inputs")


@dataclass(frozen=True)
class Step:
    """Options: ``rule`` (both), ``weight``, ``act`` (one of them) and ``percentile``.

    An option left out follows the recipe.  ``samples`` bounds the values kept per activation
    for the percentile and mse rules; the largest magnitude is always exact.

    ``weight=hessian`` weighs the squared error of each weight by its ``curvature``: EPTQ's
    ``label_free`` Hessian, from ``draws`` random directions on ``items`` calibration items
    (``seed``), or, cheaper, ``inputs``: the mean square of what the weight multiplies.
    """

    phase: ClassVar[str] = "scales"

    rule: str = ""
    weight: str = ""
    act: str = ""
    percentile: float = 0.0
    samples: int = 1 << 18
    curvature: str = "label_free"
    items: int = 64
    draws: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rule", "weight", "act"):
            allowed = (*RULES, "hessian") if name == "weight" else RULES
            if getattr(self, name) not in ("", *allowed):
                raise SpecError(
                    f"step calibrate: {name}={getattr(self, name)!r}, allowed: {', '.join(allowed)}"
                )
        if self.curvature not in CURVATURES:
            raise SpecError(
                f"step calibrate: curvature={self.curvature!r}, allowed: {', '.join(CURVATURES)}"
            )
        if self.items < 1 or self.draws < 1:
            raise SpecError(
                f"step calibrate: items={self.items}, draws={self.draws}, allowed 1 or more"
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
        from hwquant.ptq.run import activation_sources
        from hwquant.ptq.scales import solve

        percentile = self.percentile or job.recipe.percentile
        importance = self._importance(job)
        for site in job.sites:
            if isinstance(job.layer(site), MatMul):
                continue
            rule = self.weight or self.rule or site.settings.weight_calibration
            self._weights(job, job.layer(site), rule, percentile, importance.get(site.path))
        sources = activation_sources(job.model)
        look = (job.float_key(), sorted(sources.items()), self.samples)
        values = job.once("activations", look, lambda: observe(job, self.samples))
        rules = {path: site.settings.act_calibration for site in job.sites for path in site.acts}
        for path, sample in values.items():
            rule = self.act or self.rule or rules.get(path, job.recipe.calibration)
            quantizer = job.act(path)
            if isinstance(quantizer, BlockQuantizer):
                quantizer.calibrate(float(sample.abs().max()))
                continue
            how = (quantizer.fmt, quantizer.scale_kind, rule, percentile)
            row = sample.reshape(1, -1)
            found = job.once(
                "activation scale",
                (*look, path, *how),
                lambda row=row, how=how: {"scale": solve(row, *how)},  # type: ignore[misc]
            )
            quantizer.set_scale(found["scale"][0])

    def _importance(self, job: Job) -> dict[str, Tensor]:
        """Return what each weight's error counts, by path; nothing unless the rule asks."""
        from hwquant.ptq.curvature import input_power, label_free, pick, weighted

        if self.weight != "hessian":
            return {}
        if self.curvature == "inputs":
            return input_power(job)
        items = pick(job.batches, self.items)
        return label_free(job.reference, weighted(job), items, draws=self.draws, seed=self.seed)

    @staticmethod
    def _weights(
        job: Job, layer: Any, rule: str, percentile: float, importance: Tensor | None
    ) -> None:
        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.ptq.scale_search import weighted_scales
        from hwquant.ptq.scales import as_rows, solve

        quantizer, weight = weight_quantizer(layer), layer.weight.detach()
        if isinstance(quantizer, BlockQuantizer):
            quantizer.calibrate(float(weight.abs().max()))
            return
        rows = as_rows(weight, quantizer.channel_axis)
        how = (quantizer.fmt, quantizer.scale_kind)
        if importance is None:
            found = job.once(
                "weight scale",
                (rows, *how, rule, percentile),
                lambda: {"scale": solve(rows, *how, rule, percentile)},
            )
        else:
            count = as_rows(importance, quantizer.channel_axis)
            found = job.once(
                "weighted scale",
                (rows, count, *how),
                lambda: {"scale": weighted_scales(rows, count, *how)},
            )
        scale = found["scale"]
        shape: tuple[int, ...] = ()
        if quantizer.channel_axis is not None:
            ones = [1] * weight.dim()
            ones[quantizer.channel_axis] = -1
            shape = tuple(ones)
        quantizer.set_scale(scale.reshape(shape))
