# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization: even out the ranges of weight channels (arXiv 1906.04721, section 4.1).

A positive factor on an output channel passes through ReLU, pooling and additions and is taken
away by the columns of the next layers.  It is chosen so that rows and columns have equal ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job
    from hwquant.ptq.regions import Region

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options of cross-layer equalization.

    At most ``iterations`` passes over all regions, fewer when no factor is further than
    ``threshold`` from 1.  ``alpha`` is the weight of the source: a channel's factor is
    ``columns**(1 - alpha) / rows**alpha`` of the largest magnitudes.  ``bias`` is the share of a
    source's bias that counts as a weight of its row (0 in the paper, about 0.5 in Brevitas): it
    keeps a channel of small weights and a large bias from ruling the range of the activations.
    """

    phase: ClassVar[str] = "transform"

    iterations: int = 20
    threshold: float = 0.01
    alpha: float = 0.5
    bias: float = 0.0

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.threshold < 0:
            raise SpecError(
                f"step equalize: iterations={self.iterations}, threshold={self.threshold}, "
                "allowed at least 1 and 0"
            )
        if not 0 <= self.alpha <= 1 or not 0 <= self.bias <= 1:
            raise SpecError(
                f"step equalize: alpha={self.alpha}, bias={self.bias}, allowed 0 to 1 each"
            )

    def apply(self, job: Job) -> None:
        """Rescale both graphs; the float function stays as it was."""
        from hwquant.progress import note
        from hwquant.ptq.regions import regions
        from hwquant.ptq.rescale import fold_factors

        found = [r for r in regions(job.reference, job.batches[0]) if r.exact and r.channels > 1]
        if not found:
            note("equalize: no two layers are linked by operations a factor passes through")
        for _ in range(self.iterations):
            furthest = 0.0
            for region in found:
                factors = self._factors(job, region)
                fold_factors(job, region, factors)
                furthest = max(furthest, float((factors - 1).abs().max()))
            if furthest <= self.threshold:
                break

    def _factors(self, job: Job, region: Region) -> Tensor:
        """Return one factor per channel; 1 where a range is zero."""
        import torch

        from hwquant.ptq.factors import input_range, output_range

        layer, channels = job.reference.get_submodule, region.channels
        rows = torch.stack([output_range(layer(p), channels, self.bias) for p in region.sources])
        columns = torch.stack([input_range(layer(t.path), channels, t.repeat) for t in region.taps])
        rows, columns = rows.amax(0), columns.amax(0)
        live = (rows > 0) & (columns > 0)
        ones = torch.ones_like(rows)
        rows, columns = torch.where(live, rows, ones), torch.where(live, columns, ones)
        return columns ** (1 - self.alpha) / rows**self.alpha
