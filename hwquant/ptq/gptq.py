# SPDX-License-Identifier: Apache-2.0
"""GPTQ's linear algebra (arXiv 2210.17323), on any grid: the quantizer rounds element by element.

Columns are rounded in turn; the error of each is spread over the columns not rounded yet by the
Cholesky factor of the inverse Hessian, inside a block at once, over later blocks by one product.
All groups of a layer run together.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwquant.formats import Format
from hwquant.nn.kernel import quantize_unit
from hwquant.progress import note
from hwquant.ptq.hessian import weighted_error

__all__ = ["descend", "gptq", "inverse_factor", "round_rows"]

FAINT: Final = 1e-10  # inputs of so little power, beside the mean, decide nothing
STRONGER: Final = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # damping tried in turn when a Cholesky fails


def round_rows(rows: Tensor, scale: Tensor, fmt: Format) -> Tensor:
    """Return the values ``scale * q`` nearest to float32 ``rows``."""
    return quantize_unit(rows / scale, fmt) * scale


def inverse_factor(hessian: Tensor, damp: float, name: str = "") -> Tensor:
    """Return upper triangular ``U`` with ``U^T U = (H + damp mean(diag H) I)^-1``, float64.

    ``hessian`` is (groups, columns, columns), positive semidefinite.  Columns without any input
    (zero diagonal) are taken as independent, of variance 1.  Where a matrix is singular all the
    same, the damping of its group grows (1e-8 to 1 times the mean), and a note says so.
    """
    h = hessian.double().clone()
    diagonal = h.diagonal(dim1=1, dim2=2)
    live = diagonal > 0
    mean = diagonal.sum(1) / live.sum(1).clamp(min=1)
    diagonal += torch.where(live, damp * mean.unsqueeze(1), 1.0)
    # H = R R^T with R upper, by the Cholesky factor of H read backwards; then U = R^-1.
    lower, failed = torch.linalg.cholesky_ex(h.flip(1, 2))
    for stronger in STRONGER:
        bad = failed != 0
        if not bool(bad.any()):
            break
        if stronger <= damp:
            continue
        note(f"gptq {name}: singular Hessian, damping raised to {stronger:g} of its mean diagonal")
        diagonal[bad] += torch.where(live[bad], stronger * mean[bad].unsqueeze(1), 0.0)
        lower[bad], failed[bad] = torch.linalg.cholesky_ex(h[bad].flip(1, 2))
    identity = torch.eye(h.shape[1], dtype=h.dtype, device=h.device).expand_as(h)
    return torch.linalg.solve_triangular(lower, identity, upper=False).flip(1, 2)


def gptq(
    rows: Tensor,
    hessian: Tensor,
    scale: Tensor,
    fmt: Format,
    *,
    damp: float = 0.01,
    block: int = 128,
    act_order: bool = False,
    name: str = "",
) -> Tensor:
    """Return ``rows`` rounded to ``scale`` times values of ``fmt`` so that little output is lost.

    ``rows`` (groups, outputs, columns) and ``scale`` of that shape, frozen; ``hessian`` (groups,
    columns, columns).  ``act_order`` takes the columns with the largest inputs first.
    """
    groups, outputs, columns = rows.shape
    order = torch.arange(columns, device=rows.device).expand(groups, -1)
    if act_order:
        order = torch.argsort(hessian.diagonal(dim1=1, dim2=2), descending=True, stable=True)
        hessian = _permuted(_permuted(hessian, order).transpose(1, 2), order).transpose(1, 2)
    factor = inverse_factor(hessian, damp, name).float()
    factor = factor / factor.diagonal(dim1=1, dim2=2).unsqueeze(2)  # error / U_ii, once for all
    # Columns first: each is then one piece of memory.
    taken = order.unsqueeze(2).expand(-1, -1, outputs)
    w = rows.transpose(1, 2).gather(1, taken).transpose(0, 1).contiguous()
    s = scale.expand_as(rows).transpose(1, 2).gather(1, taken).transpose(0, 1).contiguous()
    spread = factor.permute(1, 2, 0).unsqueeze(3).contiguous() if groups > 1 else factor[0]
    quantized = torch.empty_like(w)
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        error = torch.empty_like(w[start:stop])
        for i in range(start, stop):
            q = round_rows(w[i], s[i], fmt)
            quantized[i] = q
            torch.sub(w[i], q, out=error[i - start])
            if i + 1 == stop:
                continue
            if groups == 1:
                w[i + 1 : stop, 0].addr_(spread[i, i + 1 : stop], error[i - start, 0], alpha=-1)
            else:
                w[i + 1 : stop].addcmul_(spread[i, i + 1 : stop], error[i - start], value=-1)
        if stop < columns:  # (groups, later, done) @ (groups, done, outputs)
            later = factor[:, start:stop, stop:].transpose(1, 2)
            w[stop:] -= torch.bmm(later, error.transpose(0, 1)).transpose(0, 1)
    back = torch.empty_like(rows.transpose(1, 2)).scatter_(1, taken, quantized.transpose(0, 1))
    return back.transpose(1, 2).contiguous()


def descend(
    rows: Tensor, start: Tensor, hessian: Tensor, scale: Tensor, fmt: Format, sweeps: int
) -> Tensor:
    """Return ``start`` improved by coordinate descent on ``e H e^T``; never worse.

    Each sweep sets every column to its best value of ``fmt`` given all others (Gauss-Seidel on
    the same objective GPTQ relaxes), one column of all rows at a time.
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    live = diagonal > FAINT * diagonal.mean(1, keepdim=True)  # the others stay where they are
    share = hessian / torch.where(live, diagonal, 1.0).unsqueeze(2)
    coupling = torch.where(live.unsqueeze(2), share, 0.0).float().contiguous()
    w, s = (t.expand_as(rows).permute(2, 0, 1).contiguous() for t in (rows, scale))
    q = start.permute(2, 0, 1).contiguous()
    error = w - q
    best, least = start, weighted_error(rows - start, hessian)
    for _ in range(sweeps):
        for i in torch.nonzero(live.any(0)).flatten().tolist():
            if rows.shape[0] == 1:
                pull = (coupling[0, i] @ error[:, 0]).unsqueeze(0)
            else:
                pull = torch.einsum("gc,cgo->go", coupling[:, i], error)
            # q + pull is the minimum in this coordinate: w plus what the others owe.
            q[i] = round_rows(q[i] + pull, s[i], fmt)
            torch.sub(w[i], q[i], out=error[i])
        found = q.permute(1, 2, 0)
        score = weighted_error(rows - found, hessian)
        better = score < least
        best = torch.where(better.unsqueeze(2), found, best)
        if not bool(better.any()):
            break
        least = torch.minimum(score, least)
    return best.contiguous()


def _permuted(matrix: Tensor, order: Tensor) -> Tensor:
    """Return the rows of each group's matrix in ``order``."""
    return matrix.gather(1, order.unsqueeze(2).expand_as(matrix))
