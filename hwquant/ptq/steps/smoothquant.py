# SPDX-License-Identifier: Apache-2.0
"""SmoothQuant: move the range of activations into the weights (arXiv 2211.10438).

Each input channel of a layer is divided by ``s = max|x|**alpha / max|w|**(1 - alpha)`` and the
layer's columns are multiplied by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwquant.errors import InputError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job
    from hwquant.ptq.regions import Tap

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options of SmoothQuant.

    ``alpha`` is the share of the activations' range that moves.  ``po2`` rounds every factor to a
    power of two, with which folding is exact and an explicit multiplication is a shift.  The
    division goes into the rows of the layers or the gain of the norm before, where a factor passes
    through all that lies between; elsewhere it is an explicit multiplication, a float operation of
    its own (``add_mul_node``), or left out.
    """

    phase: ClassVar[str] = "transform"

    alpha: float = 0.5
    po2: bool = True
    add_mul_node: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise SpecError(f"step smoothquant: alpha={self.alpha}, allowed 0 to 1")

    def apply(self, job: Job) -> None:
        """Rescale both graphs; the float function stays as it was."""
        from hwquant.progress import note
        from hwquant.ptq.regions import regions
        from hwquant.ptq.rescale import components, fold_factors, insert_factors

        found = regions(job.reference, job.batches[0])
        ranges = self._ranges(job, {name for r in found for tap in r.taps for name in tap.inputs})
        sites = {site.path for site in job.sites}
        for region in found:
            if region.channels == 1:  # one factor is what the scale is for
                continue
            if region.exact:
                factors = self._factors(job, region.taps, region.channels, ranges, sites)
                fold_factors(job, region, 1 / factors)
                continue
            for taps in components(region) if self.add_mul_node else ():
                factors = self._factors(job, taps, region.channels, ranges, sites)
                if bool((factors == factors[0]).all()):
                    continue
                if reason := insert_factors(job, taps, 1 / factors):
                    note(f"smoothquant: {', '.join(t.path for t in taps)} left as it is: {reason}")

    def _factors(
        self,
        job: Job,
        taps: tuple[Tap, ...],
        channels: int,
        ranges: dict[str, Tensor],
        sites: set[str],
    ) -> Tensor:
        """Return ``s`` per channel; 1 where activations or weights are zero, or stay float."""
        import torch

        from hwquant.ptq.factors import input_range

        acts, weights = torch.zeros(2, channels, dtype=torch.float64)
        for tap in taps:
            if tap.path not in sites:
                continue
            layer = job.reference.get_submodule(tap.path)
            weights = torch.maximum(weights, input_range(layer, channels, tap.repeat))
            for name in tap.inputs:
                per_input = _channel_range(ranges[name], layer)
                acts = torch.maximum(acts, per_input.reshape(channels, tap.repeat).amax(1))
        live = (acts > 0) & (weights > 0)
        ones = torch.ones_like(acts)
        acts, weights = torch.where(live, acts, ones), torch.where(live, weights, ones)
        factors = acts**self.alpha / weights ** (1 - self.alpha)
        return torch.exp2(torch.round(torch.log2(factors))) if self.po2 else factors

    @staticmethod
    def _ranges(job: Job, names: set[str]) -> dict[str, Tensor]:
        """Return the largest magnitude of each element of an item, over all items."""
        import torch

        from hwquant.ptq.run import Recorder

        ranges: dict[str, Tensor] = {}

        def record(name: str, value: Tensor) -> None:
            reach = value.detach().abs().double().amax(0)
            if not bool(torch.isfinite(reach).all()):
                raise InputError(
                    f"the activation {name!r} holds NaN or infinity on the calibration data; "
                    "check the data and the model"
                )
            ranges[name] = torch.maximum(ranges[name], reach) if name in ranges else reach

        recorder = Recorder(job.reference, {name: (name,) for name in names}, record)
        with torch.no_grad():
            for batch in job.batches:
                recorder.run(batch)
        return ranges


def _channel_range(reach: Tensor, layer: object) -> Tensor:
    """Return the largest magnitude per input channel of ``layer``."""
    from torch import nn

    axis = -1 if isinstance(layer, nn.Linear) else 0
    return reach.movedim(axis, 0).flatten(1).amax(1) if reach.dim() > 1 else reach
