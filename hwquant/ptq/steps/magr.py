# SPDX-License-Identifier: Apache-2.0
"""MagR: shrink the largest weight of each row where the output hardly changes (arXiv 2406.00800).

``min_W  |(W - W0) X|^2 / 2 + strength * sum over rows of max|W|`` by proximal gradient steps.  The
scales found afterwards are finer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job

__all__ = ["Step", "magr", "project_onto_l1_ball"]


@dataclass(frozen=True)
class Step:
    """``num_steps`` proximal gradient steps of strength ``alpha``.

    Only the weights to be quantized change; later steps still compare with the float network.  A
    layer whose inputs are all zero is left as it is.
    """

    phase: ClassVar[str] = "transform"

    alpha: float = 0.001
    num_steps: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise SpecError(f"step magr: alpha={self.alpha}, allowed above 0, at most 1")
        if self.num_steps < 1:
            raise SpecError(f"step magr: num_steps={self.num_steps}, allowed at least 1")

    def apply(self, job: Job) -> None:
        """Shrink the weights of every layer, by the inputs that the float network gives it."""
        from hwquant.nn.layers import MatMul
        from hwquant.progress import note, track
        from hwquant.ptq.hessian import Hessian, from_rows, to_rows, visit_inputs
        from hwquant.ptq.insert import Site

        layers = [site for site in job.sites if not isinstance(job.layer(site), MatMul)]
        with track("magr", len(layers)) as advance:

            def handle(site: Site, hessian: Hessian) -> None:
                layer, h = job.layer(site), hessian.matrix(site.path)
                if bool((h == 0).all()):
                    note(f"magr: {site.path} reads zeros only, left as it is")
                else:
                    rows = to_rows(layer, layer.weight.detach())
                    layer.weight.copy_(from_rows(layer, magr(rows, h, self.alpha, self.num_steps)))
                advance(detail=site.path)

            visit_inputs(job, handle, exact=True)


def magr(rows: Tensor, h: Tensor, alpha: float, num_steps: int) -> Tensor:
    """Return ``rows`` (groups, outputs, columns) with smaller largest magnitudes.

    ``h`` is (groups, columns, columns).  The step is 1 over its largest eigenvalue, the strength
    ``alpha`` in units of the ratio of that to its largest column sum.
    """
    import torch

    from hwquant.ptq.spectrum import largest_eigenvalue

    top = largest_eigenvalue(h).reshape(-1, 1, 1)
    top = torch.where(top > 0, top, 1.0)
    strength = alpha * top / h.abs().sum(1).amax(1).clamp(min=1e-300).reshape(-1, 1, 1)
    start = rows.double()
    w = start
    for _ in range(num_steps):
        moved = w - torch.bmm(w - start, h / top)
        w = moved - project_onto_l1_ball(moved, strength)
    return w.float()


def project_onto_l1_ball(x: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest point with ``sum|x| <= radius`` along the last axis (ICML 2008, Duchi)."""
    import torch

    magnitude = x.abs()
    ordered = magnitude.sort(-1, descending=True).values
    surplus = ordered.cumsum(-1) - radius
    count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    last = (ordered * count > surplus).sum(-1, keepdim=True)
    threshold = (surplus.gather(-1, (last - 1).clamp(min=0)) / last.clamp(min=1)).clamp(min=0)
    return torch.copysign((magnitude - threshold).clamp(min=0), x)
