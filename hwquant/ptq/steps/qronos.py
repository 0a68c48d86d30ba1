# SPDX-License-Identifier: Apache-2.0
"""Qronos: correct for quantized inputs first, then diffuse rounding errors (arXiv 2505.11695).

The first column is chosen given all others; the others are then solved for in closed form, so that
the layer on the inputs of the quantized network comes nearest to the float layer on float inputs;
what rounding adds is spread over later columns as in GPTQ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job

__all__ = ["Step", "qronos"]


@dataclass(frozen=True)
class Step:
    """Options of Qronos.

    ``alpha`` times the largest eigenvalue of the inputs' second moments is added to their diagonal;
    ``act_order`` takes columns with large inputs first.  The scales stay as ``calibrate`` has found
    them.  A row that came out worse than round-to-nearest on the calibration data keeps
    round-to-nearest, and so does a column whose input is always zero.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    alpha: float = 1e-3
    act_order: bool = False

    def __post_init__(self) -> None:
        if not 1e-9 <= self.alpha <= 1:
            raise SpecError(f"step qronos: alpha={self.alpha}, allowed 1e-9 to 1")

    def apply(self, job: Job) -> None:
        """Round the weights of every layer, in execution order, in one pass over the data."""
        from hwquant.ptq.mismatch import round_mismatched

        def method(rows: Tensor, h: Tensor, g: Tensor, nearest: Callable[..., Tensor]) -> Tensor:
            return qronos(rows, h, g, nearest, alpha=self.alpha, act_order=self.act_order)

        round_mismatched(job, "qronos", method)


def qronos(
    rows: Tensor,
    h: Tensor,
    g: Tensor,
    nearest: Callable[[Tensor, Any], Tensor],
    *,
    alpha: float = 1e-3,
    act_order: bool = False,
) -> Tensor:
    """Return ``rows`` (groups, outputs, columns) rounded by ``nearest(values, columns)``.

    ``H = Y Y^T`` and ``G = X Y^T`` as in `hwquant.ptq.mismatch`; columns without input are taken as
    independent of the others.
    """
    import torch

    from hwquant.ptq.spectrum import largest_eigenvalue

    columns = rows.shape[2]
    power = h.diagonal(dim1=1, dim2=2)
    order = torch.arange(columns)
    if act_order:  # one order for all groups, by their mean
        order = torch.argsort(power.mean(0), descending=True, stable=True)
    h, g = h[:, order][:, :, order], g[:, order][:, :, order]
    w = rows.double()[:, :, order]
    q = torch.empty_like(w)
    first = h[:, :1, :1]
    wanted = torch.bmm(w, g[:, :, :1]) - torch.bmm(w[:, :, 1:], h[:, 1:, :1])
    wanted = torch.where(first > 0, wanted / torch.where(first > 0, first, 1.0), w[:, :, :1])
    q[:, :, :1] = nearest(wanted, order[:1]).double()
    if columns > 1:
        damp = alpha * largest_eigenvalue(h)
        damp = torch.where(damp > 0, damp, 1.0).reshape(-1, 1, 1)
        damped = damp * torch.eye(columns, dtype=h.dtype)
        # Damping both sides pulls towards w, not towards zero.
        right = torch.bmm(w, (g + damped)[:, :, 1:]) - torch.bmm(q[:, :, :1], h[:, :1, 1:])
        rest = (h + damped)[:, 1:, 1:]
        v = torch.cholesky_solve(right.transpose(1, 2), torch.linalg.cholesky(rest)).transpose(1, 2)
        dead = h.diagonal(dim1=1, dim2=2)[:, 1:] <= 0
        v = torch.where(dead.unsqueeze(1), w[:, :, 1:], v)
        # rest^-1 = U^T U: the Cholesky factor of rest read backwards, inverted and read back.
        backwards = torch.linalg.cholesky(rest.flip(1, 2))
        identity = torch.eye(columns - 1, dtype=h.dtype).expand_as(rest)
        factor = torch.linalg.solve_triangular(backwards, identity, upper=False).flip(1, 2)
        factor = factor / factor.diagonal(dim1=1, dim2=2).unsqueeze(2)
        for t in range(columns - 1):
            q[:, :, t + 1 : t + 2] = nearest(v[:, :, t : t + 1], order[t + 1 : t + 2]).double()
            error = v[:, :, t : t + 1] - q[:, :, t + 1 : t + 2]
            v[:, :, t + 1 :] -= error * factor[:, t : t + 1, t + 1 :]
    found = torch.empty_like(rows)
    found[:, :, order] = q.float()
    return found
