# SPDX-License-Identifier: Apache-2.0
"""GPTQ's linear algebra (arXiv 2210.17323), on any grid: the quantizer rounds element by element.

Columns are rounded in turn, each after the errors of those before it have been passed on.  GPTQ
spreads an error forward with the Cholesky factor of the inverse Hessian; the same numbers come
from ``H = (I + A) D (I + A)^T``, A strictly upper triangular, as ``w_k + sum_(j<k) A_jk e_j``
(arXiv 2307.13304, theorem 6), which needs no inverse.  All groups of a layer run together, in
units of each row's scale.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwquant.formats import Format
from hwquant.progress import note
from hwquant.ptq.hessian import weighted_error
from hwquant.ptq.nearest import Nearest

__all__ = ["descend", "feedback", "gptq"]

FAINT: Final = 1e-10  # inputs of so little power, beside the mean, decide nothing
STRONGER: Final = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # damping tried in turn when a Cholesky fails
SWEEP_BLOCK: Final = 64


def feedback(hessian: Tensor, damp: float, name: str = "") -> Tensor:
    """Return ``I + A`` (groups, columns, columns), float64, from the damped Hessian.

    ``hessian`` is positive semidefinite; ``damp`` times its mean diagonal is added to it.
    Columns without any input (zero diagonal) are taken as independent, of variance 1.  Where a
    matrix is singular all the same, the damping of its group grows (1e-8 to 1 times the mean),
    and a note says so.
    """
    h = hessian.double().flip(1, 2)
    diagonal = h.diagonal(dim1=1, dim2=2)
    live = diagonal > 0
    mean = (diagonal.sum(1) / live.sum(1).clamp(min=1)).unsqueeze(1)
    diagonal += torch.where(live, damp * mean, 1.0)
    # H = R R^T with R upper: the Cholesky factor of H read backwards, read backwards.
    lower, failed = torch.linalg.cholesky_ex(h)
    for stronger in (s for s in STRONGER if s > damp):
        bad = failed != 0
        if not bool(bad.any()):
            break
        note(f"gptq {name}: singular Hessian, damping raised to {stronger:g} of its mean diagonal")
        diagonal[bad] += torch.where(live[bad], stronger * mean[bad], 0.0)
        lower[bad], failed[bad] = torch.linalg.cholesky_ex(h[bad])
    upper = lower.flip(1, 2)
    return upper / upper.diagonal(dim1=1, dim2=2).unsqueeze(1)


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

    ``rows`` is (groups, outputs, columns), ``scale`` (groups, outputs, 1) or one for each weight,
    ``hessian`` (groups, columns, columns).  The errors of ``block`` columns reach the later ones in
    one product.
    ``act_order`` takes the columns with the largest inputs first.
    """
    groups, columns = len(rows), rows.shape[2]
    steps = None
    if scale.shape[2] > 1:  # errors are passed on in the weights' own units
        steps, scale = scale.transpose(1, 2).contiguous(), torch.ones_like(scale[:, :, :1])
    w = (rows / scale).transpose(1, 2).contiguous()  # a column is one piece of memory
    if act_order:
        order = torch.argsort(hessian.diagonal(dim1=1, dim2=2), descending=True, stable=True)
        hessian = _taken(_taken(hessian, order).transpose(1, 2), order)
        w = _taken(w, order)
        steps = steps if steps is None else _taken(steps, order)
    factor = feedback(hessian, damp, name).float().transpose(1, 2).contiguous()
    nearest = Nearest(fmt, rows.device)
    error = torch.empty_like(w)
    found = torch.empty_like(w)
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        wanted = w[:, start:stop]
        if start:
            wanted = torch.baddbmm(wanted, factor[:, start:stop, :start], error[:, :start])
        if groups == 1 and steps is None:
            _flat(wanted[0], w[0], factor[0], error[0], found[0], start, nearest)
            continue
        for k in range(start, stop):
            target = wanted[:, k - start]
            if k > start:
                passed = torch.bmm(factor[:, k : k + 1, start:k], error[:, start:k])
                target = target + passed[:, 0]
            step = 1.0 if steps is None else steps[:, k]
            found[:, k] = nearest(target / step) * step
            torch.sub(w[:, k], found[:, k], out=error[:, k])
    if act_order:
        found = torch.empty_like(found).scatter_(1, _wide(order, found), found)
    return found.transpose(1, 2) * scale


def _flat(
    wanted: Tensor,
    w: Tensor,
    factor: Tensor,
    error: Tensor,
    found: Tensor,
    start: int,
    nearest: Nearest,
) -> None:
    """Round the columns from ``start`` on of a layer of one group: ``wanted`` has those of a block.

    The inner loop of it all: four calls a column.
    """
    count = len(wanted)
    targets, weights = wanted.unbind(), w[start : start + count].unbind()
    errors, results = error[start : start + count], found[start : start + count].unbind()
    written = errors.unbind()
    across = errors.t()
    inside = factor[start : start + count, start : start + count].unbind()
    for k in range(count):
        target = targets[k]
        if k:
            target = torch.addmv(target, across[:, :k], inside[k][:k])
        nearest.into(target, results[k])
        torch.sub(weights[k], results[k], out=written[k])


def descend(
    rows: Tensor, start: Tensor, hessian: Tensor, scale: Tensor, fmt: Format, sweeps: int
) -> Tensor:
    """Return ``start`` improved by coordinate descent on ``e H e^T``; no row gets worse.

    Each sweep sets every column in turn to its best value of ``fmt`` given all others: the
    objective GPTQ relaxes, undamped.  Shapes as in `gptq`.
    """
    columns = rows.shape[2]
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    live = diagonal > FAINT * diagonal.mean(1, keepdim=True)  # the others stay where they are
    share = hessian / torch.where(live, diagonal, 1.0).unsqueeze(2)
    coupling = torch.where(live.unsqueeze(2), share, 0.0).float()
    w = (rows / scale).transpose(1, 2).contiguous()
    q = (start / scale).transpose(1, 2).contiguous()
    nearest = Nearest(fmt, rows.device)
    error = w - q
    best, least = start, weighted_error(rows - start, hessian)
    for _ in range(sweeps):
        for first in range(0, columns, SWEEP_BLOCK):
            last = min(first + SWEEP_BLOCK, columns)
            # q + pull is the minimum in a coordinate: its weight plus what the others owe.
            pull = torch.bmm(coupling[:, first:last], error)
            moved = torch.zeros_like(pull)
            for k in range(first, last):
                target = q[:, k] + pull[:, k - first]
                if k > first:
                    inside = coupling[:, k : k + 1, first:k]
                    target = target + torch.bmm(inside, moved[:, : k - first])[:, 0]
                value = nearest(target)
                torch.sub(q[:, k], value, out=moved[:, k - first])
                q[:, k] = value
            error[:, first:last] += moved
        found = q.transpose(1, 2) * scale
        score = weighted_error(rows - found, hessian)
        better = score < least
        best = torch.where(better.unsqueeze(2), found, best)
        if not bool(better.any()):
            break
        least = torch.minimum(score, least)
    return best


def _wide(order: Tensor, like: Tensor) -> Tensor:
    return order.unsqueeze(2).expand_as(like)


def _taken(matrix: Tensor, order: Tensor) -> Tensor:
    """Return the rows of each group's matrix in ``order``."""
    return matrix.gather(1, _wide(order, matrix))
