# SPDX-License-Identifier: Apache-2.0
"""GPFQ: greedy path following on quantized inputs (SIAM J. Math. Data Sci., 22M1511709).

Column by column, each weight is chosen so that what the layer has summed up so far, on the inputs
of the quantized network, comes nearest to what the float layer has summed up on the float ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job

__all__ = ["Step", "gpfq"]


@dataclass(frozen=True)
class Step:
    """``act_order`` takes columns with large inputs first.

    The scales stay as ``calibrate`` has found them.  A row that came out worse than
    round-to-nearest on the calibration data keeps round-to-nearest, and so does a column whose
    input is always zero.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    act_order: bool = False

    def apply(self, job: Job) -> None:
        """Round the weights of every layer, in execution order, in one pass over the data."""
        from hwquant.ptq.mismatch import round_mismatched

        def method(rows: Tensor, h: Tensor, g: Tensor, nearest: Callable[..., Tensor]) -> Tensor:
            return gpfq(rows, h, g, nearest, act_order=self.act_order)

        round_mismatched(job, "gpfq", method)


def gpfq(
    rows: Tensor,
    h: Tensor,
    g: Tensor,
    nearest: Callable[[Tensor, Any], Tensor],
    *,
    act_order: bool = False,
) -> Tensor:
    """Return ``rows`` (groups, outputs, columns) rounded by ``nearest(values, columns)``.

    With ``H = Y Y^T`` and ``G = X Y^T``, column t becomes the value nearest to
    ``(sum_{s <= t} w_s G_st - sum_{s < t} q_s H_st) / H_tt``.  Columns with ``H_tt = 0`` are
    rounded to nearest.
    """
    import torch

    columns = rows.shape[2]
    power = h.diagonal(dim1=1, dim2=2)
    order = torch.arange(columns)
    if act_order:  # one order for all groups, by their mean
        order = torch.argsort(power.mean(0), descending=True, stable=True)
    h, g = h[:, order][:, :, order], g[:, order][:, :, order]
    live = h.diagonal(dim1=1, dim2=2) > 0
    power = torch.where(live, h.diagonal(dim1=1, dim2=2), 1.0)
    w = rows.double()[:, :, order]
    target = torch.bmm(w, torch.triu(g)).permute(2, 0, 1).contiguous()
    q = torch.zeros_like(target)  # (columns, groups, outputs): each column is one piece of memory
    for t in range(columns):
        wanted = target[t]
        if t:
            wanted = wanted - torch.einsum("sg,sgo->go", h[:, :t, t].T, q[:t])
        wanted = wanted / power[:, t : t + 1]
        wanted = torch.where(live[:, t : t + 1], wanted, w[:, :, t])
        q[t] = nearest(wanted.unsqueeze(2), order[t : t + 1]).squeeze(2)
    found = torch.empty_like(rows)
    found[:, :, order] = q.permute(1, 2, 0).float()
    return found
