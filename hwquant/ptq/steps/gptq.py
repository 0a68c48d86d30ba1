# SPDX-License-Identifier: Apache-2.0
"""GPTQ: round column by column and let the columns left make up for it (arXiv 2210.17323).

Layer by layer on the inputs that the quantized network before the layer gives; the scales stay
as ``calibrate`` has found them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options of GPTQ.

    ``damp`` is added to the Hessian's diagonal as a share of its mean; ``block`` columns are
    finished before later ones hear of their errors; ``act_order`` takes columns with large inputs
    first.  ``sweeps`` of coordinate descent follow, which lower the same error further.  A row
    that came out worse than round-to-nearest keeps round-to-nearest, and so does a column whose
    input is always zero.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    damp: float = 0.01
    block: int = 128
    act_order: bool = False
    sweeps: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.damp <= 10:
            raise SpecError(f"step gptq: damp={self.damp}, allowed 0 to 10")
        if self.block < 1 or self.sweeps < 0:
            raise SpecError(
                f"step gptq: block={self.block}, sweeps={self.sweeps}, allowed at least 1 and 0"
            )

    def apply(self, job: Job) -> None:
        """Round the weights of every layer, in execution order, in one pass over the data."""
        import torch

        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.kernel import quantize_unit
        from hwquant.nn.layers import MatMul
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.progress import track
        from hwquant.ptq.gptq import descend, gptq
        from hwquant.ptq.hessian import Hessian, from_rows, to_rows, visit_inputs, weighted_error
        from hwquant.ptq.insert import Site

        layers = [site for site in job.sites if not isinstance(job.layer(site), MatMul)]
        with track("gptq", len(layers)) as advance:

            def handle(site: Site, hessian: Hessian) -> None:
                layer = job.layer(site)
                quantizer = weight_quantizer(layer)
                weight = layer.weight.detach()
                rows = to_rows(layer, weight)
                scale = to_rows(layer, quantizer.scale_of(weight))
                blocks = quantizer if isinstance(quantizer, BlockQuantizer) else None
                if blocks is None:  # one scale a row
                    scale = scale[:, :, :1]
                scale = torch.where(scale == 0, 1.0, scale)
                h = hessian.matrix(site.path)
                nearest = quantize_unit(rows / scale, quantizer.fmt) * scale
                found = gptq(
                    rows,
                    h,
                    scale,
                    quantizer.fmt,
                    damp=self.damp,
                    block=self.block,
                    act_order=self.act_order,
                    name=site.path,
                )
                # Written so that a NaN counts as lost.
                kept = weighted_error(rows - found, h) <= weighted_error(rows - nearest, h)
                found = torch.where(kept.unsqueeze(2), found, nearest)
                if blocks is None:
                    found = descend(rows, found, h, scale, quantizer.fmt, self.sweeps)
                weights = from_rows(layer, found)
                if blocks is not None:
                    weights = blocks.settled(weights, blocks(weight))
                layer.weight.copy_(weights)
                advance(detail=site.path)

            visit_inputs(job, handle)
