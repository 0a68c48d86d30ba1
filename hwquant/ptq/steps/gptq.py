# SPDX-License-Identifier: Apache-2.0
"""GPTQ: round column by column and let the columns left make up for it (arXiv 2210.17323).

Layer by layer on the inputs that the quantized network before the layer gives, or on those of the
float network; the scales stay as ``calibrate`` has found them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.hessian import Hessian
    from hwquant.ptq.insert import Site
    from hwquant.ptq.job import Job

__all__ = ["Step"]

INPUTS = ("quantized", "float")


@dataclass(frozen=True)
class Step:
    """Options of GPTQ.

    ``damp`` is added to the Hessian's diagonal as a share of its mean; ``block`` columns are
    finished before later ones hear of their errors; ``act_order`` takes columns with large inputs
    first.  ``sweeps`` of coordinate descent follow, which lower the same error further.  A row
    that came out worse than round-to-nearest keeps round-to-nearest, and so does a column whose
    input is always zero.

    ``inputs=float`` takes the inputs that the float network gives each layer: the errors of earlier
    layers are not made up for, but the rounded weights depend on no activation format and on no
    other layer, so a sweep rounds them once for each weight format.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    damp: float = 0.01
    block: int = 128
    act_order: bool = False
    sweeps: int = 1
    inputs: str = "quantized"

    def __post_init__(self) -> None:
        if not 0 <= self.damp <= 10:
            raise SpecError(f"step gptq: damp={self.damp}, allowed 0 to 10")
        if self.block < 1 or self.sweeps < 0:
            raise SpecError(
                f"step gptq: block={self.block}, sweeps={self.sweeps}, allowed at least 1 and 0"
            )
        if self.inputs not in INPUTS:
            raise SpecError(f"step gptq: inputs={self.inputs!r}, allowed: {', '.join(INPUTS)}")

    def apply(self, job: Job) -> None:
        """Round the weights of every layer, in execution order, in one pass over the data."""
        from hwquant.nn.layers import MatMul
        from hwquant.progress import track
        from hwquant.ptq.hessian import visit_inputs

        layers = [site for site in job.sites if not isinstance(job.layer(site), MatMul)]
        with track("gptq", len(layers)) as advance:
            if self.inputs == "float":
                key = job.float_key()
                found = job.once("hessian", (key, _paths(layers)), lambda: _float_hessians(job))
                for site in layers:
                    if site.path in found:
                        self._round(job, site, found[site.path], (key, site.path))
                    advance(detail=site.path)
                return

            def handle(site: Site, hessian: Hessian) -> None:
                self._round(job, site, hessian.matrix(site.path), ())
                advance(detail=site.path)

            visit_inputs(job, handle)

    def _round(self, job: Job, site: Site, h: Tensor, source: tuple[str, ...]) -> None:
        """Round one layer's weights; ``source`` names where ``h`` is from, if others share it."""
        import torch

        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.quantizers import weight_quantizer

        layer = job.layer(site)
        quantizer = weight_quantizer(layer)
        weight = layer.weight.detach()
        if not source or isinstance(quantizer, BlockQuantizer):
            weights = self._rounded(layer, quantizer, weight, h, site.path)
        else:
            scale = (quantizer.scale, quantizer.fmt)
            weights = job.once(
                "gptq",
                (self, *source, weight, *scale),
                lambda: {"weight": self._rounded(layer, quantizer, weight, h, site.path)},
            )["weight"]
        with torch.no_grad():
            layer.weight.copy_(weights)

    def _rounded(self, layer: Any, quantizer: Any, weight: Tensor, h: Tensor, path: str) -> Tensor:
        """Return the rounded weights of a layer whose inputs have the second moments ``h``."""
        import torch

        from hwquant.nn.block_quantizer import BlockQuantizer
        from hwquant.nn.kernel import quantize_unit
        from hwquant.ptq.gptq import descend, gptq
        from hwquant.ptq.hessian import from_rows, to_rows, weighted_error

        rows = to_rows(layer, weight)
        scale = to_rows(layer, quantizer.scale_of(weight))
        blocks = quantizer if isinstance(quantizer, BlockQuantizer) else None
        if blocks is None:  # one scale a row
            scale = scale[:, :, :1]
        scale = torch.where(scale == 0, 1.0, scale)
        nearest = quantize_unit(rows / scale, quantizer.fmt) * scale
        found = gptq(
            rows,
            h,
            scale,
            quantizer.fmt,
            damp=self.damp,
            block=self.block,
            act_order=self.act_order,
            name=path,
        )
        # Written so that a NaN counts as lost.
        kept = weighted_error(rows - found, h) <= weighted_error(rows - nearest, h)
        found = torch.where(kept.unsqueeze(2), found, nearest)
        if blocks is None:
            found = descend(rows, found, h, scale, quantizer.fmt, self.sweeps)
        weights = from_rows(layer, found)
        return weights if blocks is None else blocks.settled(weights, blocks(weight))


def _paths(sites: list[Site]) -> list[str]:
    return [site.path for site in sites]


def _float_hessians(job: Job) -> dict[str, Tensor]:
    """Return the second moments of what each layer of the float network reads, by path."""
    from hwquant.ptq.hessian import visit_inputs

    found: dict[str, Tensor] = {}

    def handle(site: Site, hessian: Hessian) -> None:
        found[site.path] = hessian.matrix(site.path)

    visit_inputs(job, handle, exact=True)
    return found
