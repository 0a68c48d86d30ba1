# SPDX-License-Identifier: Apache-2.0
"""Local search behind the training of a single layer: better neighbours on the grid, exactly.

The squared error of one layer is a quadratic function of its weights, ``w H w - 2 w c`` per
output with ``H = sum x x^T`` and ``c = sum x y``, so the gain of moving a weight to the next value
up or down is known without running anything.  Rows take their best move until none is left; small
layers then try all pairs of moves, and compete with a beam search.  Training gets near the
optimum, this removes what its relaxation leaves behind.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from hwquant.ptq.hessian import Hessian, from_rows, patches, to_rows
from hwquant.ptq.learn.grid import values_of
from hwquant.ptq.learn.soft import SoftBlock
from hwquant.ptq.learn.walk import CHUNK, BlockData

__all__ = ["improve", "is_quadratic", "polish"]

MOVES: Final = 2000  # per row, at most
PAIR_COLUMNS: Final = 64  # pairs of moves are tried up to here
WIDTH: Final = 64
BRANCHES: Final = 4
DAMP: Final = 1e-9
TOLERANCE: Final = 1e-9  # a gain below this share of the row's error is rounding noise


def is_quadratic(data: BlockData) -> bool:
    """Return whether the block is one layer, compared by its own result."""
    sites = data.block.sites
    return len(sites) == 1 and data.block.compared == (sites[0].node,)


def polish(soft: SoftBlock, data: BlockData) -> None:
    """Improve the final weights of a block of one layer; others stay as they are."""
    if not soft.roundings or not is_quadratic(data):
        return
    (path,) = soft.roundings
    rounding, own = soft.roundings[path], soft.layers[path]
    layer: Any = soft.job.model.get_submodule(path)
    weight = own.fixed
    if weight is None or (data.weights and not _per_item(data.weights[0])):
        return
    h, c = _moments(soft, data, layer, own)
    values = values_of(rounding.final_format()).to(weight.device)
    scale = to_rows(layer, rounding.final_scale().expand_as(weight))
    unit = to_rows(layer, weight) / scale
    nearest = torch.searchsorted((values[1:] + values[:-1]) / 2, unit.contiguous())
    problem = (values.double(), scale.double(), h, c)
    found = improve(nearest, *problem)
    if h.shape[1] <= PAIR_COLUMNS:
        other = improve(beam(*problem), *problem)
        better = objective(other, *problem) < objective(found, *problem)
        found = torch.where(better.unsqueeze(2), other, found)
    own.fixed = from_rows(layer, values[found] * scale)


def improve(index: Tensor, values: Tensor, scale: Tensor, h: Tensor, c: Tensor) -> Tensor:
    """Return ``index`` after moves that lower ``w H w - 2 w c``, ``w = scale * values[index]``.

    ``index``, ``scale`` and ``c`` are (groups, outputs, columns), ``h`` (groups, columns,
    columns), ``values`` ascending; float64.
    """
    index = index.clone()
    gradient = torch.bmm(values[index] * scale, h) - c
    diagonal = h.diagonal(dim1=1, dim2=2).unsqueeze(1)
    floor = TOLERANCE * (h.diagonal(dim1=1, dim2=2).amax(1).reshape(-1, 1) * scale.amax(2) ** 2)
    for _ in range(MOVES):
        steps = _steps(index, values, scale)
        gains = [2 * step * gradient + step.square() * diagonal for step in steps]
        best, move = torch.cat(gains, 2).min(2)
        pair = None
        if not bool((best < -floor).any()) and index.shape[2] <= PAIR_COLUMNS:
            best, move, pair = _pairs(torch.cat(gains, 2), torch.cat(steps, 2), h)
        if not bool((best < -floor).any()):
            break
        for chosen in (move,) if pair is None else (move, pair):
            _apply(chosen, best < -floor, index, gradient, torch.cat(steps, 2), h)
    return index


def objective(index: Tensor, values: Tensor, scale: Tensor, h: Tensor, c: Tensor) -> Tensor:
    """Return ``w H w - 2 w c`` of each output: (groups, outputs)."""
    w = values[index] * scale
    return ((torch.bmm(w, h) - 2 * c) * w).sum(2)


def beam(values: Tensor, scale: Tensor, h: Tensor, c: Tensor) -> Tensor:
    """Return indices found from nothing but the quadratic: a beam search over the columns.

    With ``H = L L^T`` the cost is ``|L^T (w - w*)|^2``, a sum over columns from the last to the
    first in which each depends on the later ones only (sphere decoding).  `WIDTH` partial choices
    are kept, each extended by the `BRANCHES` values nearest to its own optimum.
    """
    groups, outputs, columns = c.shape
    damp = DAMP * h.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300).reshape(-1, 1, 1)
    eye = torch.eye(columns, dtype=h.dtype, device=h.device)
    factor, failed = torch.linalg.cholesky_ex(h + damp * eye)
    for _ in range(6):  # singular but for rounding: data that hardly vary
        if not bool(failed.any()):
            break
        damp = torch.where(failed.reshape(-1, 1, 1) != 0, 100 * damp, damp)
        factor, failed = torch.linalg.cholesky_ex(h + damp * eye)
    optimum = torch.cholesky_solve(c.transpose(1, 2), factor).transpose(1, 2)
    cost = c.new_zeros(groups, outputs, 1)
    error = c.new_zeros(groups, outputs, 1, columns)
    index = torch.zeros_like(error, dtype=torch.long)
    branches = min(BRANCHES, len(values))
    offsets = torch.arange(branches, device=h.device)
    for k in range(columns - 1, -1, -1):
        row = factor[:, :, k].reshape(groups, 1, 1, columns)  # zero before the diagonal
        pivot, step = row[..., k], scale[..., k].unsqueeze(2)
        owed = (error * row).sum(3) / pivot
        wanted = (optimum[..., k].unsqueeze(2) - owed) / step
        first = torch.searchsorted(values, wanted.contiguous()) - branches // 2
        choice = first.clamp(0, len(values) - branches).unsqueeze(3) + offsets
        miss = (values[choice] - wanted.unsqueeze(3)) * (step * pivot).unsqueeze(3)
        total = (cost.unsqueeze(3) + miss.square()).flatten(2)
        cost, kept = total.topk(min(WIDTH, total.shape[2]), 2, largest=False)
        source = (kept // branches).unsqueeze(3).expand(-1, -1, -1, columns)
        error, index = error.gather(2, source), index.gather(2, source)
        index[..., k] = choice.flatten(2).gather(2, kept)
        error[..., k] = values[index[..., k]] * step - optimum[..., k].unsqueeze(2)
    return index[:, :, 0]


def _steps(index: Tensor, values: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return what one value up and one down change; 0 at the ends of the grid."""
    last = len(values) - 1
    here = values[index]
    up = (values[(index + 1).clamp(max=last)] - here) * scale
    down = (values[(index - 1).clamp(min=0)] - here) * scale
    return up, down


def _pairs(gains: Tensor, steps: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gain of each row's best pair of moves of two weights, and the two moves."""
    columns = h.shape[1]
    both = h.repeat(1, 2, 2).unsqueeze(1)
    total = gains.unsqueeze(3) + gains.unsqueeze(2)
    total = total + 2 * steps.unsqueeze(3) * steps.unsqueeze(2) * both
    same = torch.arange(2 * columns) % columns
    total = total.masked_fill((same.unsqueeze(0) == same.unsqueeze(1)).to(total.device), torch.inf)
    best, flat = total.flatten(2).min(2)
    return best, flat // (2 * columns), flat % (2 * columns)


def _apply(
    move: Tensor, wanted: Tensor, index: Tensor, gradient: Tensor, steps: Tensor, h: Tensor
) -> None:
    """Move one weight in each row that is ``wanted``; keep the gradient up to date."""
    columns = h.shape[1]
    column = move % columns
    direction = torch.where(move < columns, 1, -1)
    amount = torch.where(wanted, steps.gather(2, move.unsqueeze(2)).squeeze(2), 0.0)
    direction = torch.where(wanted & (amount != 0), direction, 0)
    index.scatter_add_(2, column.unsqueeze(2), direction.unsqueeze(2))
    groups = torch.arange(len(h), device=h.device).unsqueeze(1)
    gradient += amount.unsqueeze(2) * h[groups, column]


def _per_item(weights: Tensor) -> bool:
    return weights.numel() == len(weights)


def _moments(soft: SoftBlock, data: BlockData, layer: Any, own: nn.Module) -> tuple[Tensor, Tensor]:
    """Return (H, c) over all items, the layer's inputs being those of the finished block."""
    sums = Hessian(layer)
    cross = torch.zeros_like(to_rows(layer, layer.weight.detach()), dtype=torch.float64)
    inputs: list[Tensor] = []
    handle = own.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    bias = soft.layers[data.block.sites[0].path].bias.detach()
    with torch.no_grad():
        for start in range(0, data.items, CHUNK):
            index = torch.arange(start, min(start + CHUNK, data.items))
            soft.module(*(value[index] for value in data.inputs))
            (target,), x = data.targets(index), inputs.pop()
            share = data.weights[0][index] if data.weights else target.new_ones(len(index))
            root = share.flatten().sqrt()
            x = x * root.reshape(-1, *[1] * (x.dim() - 1))
            channel = target.dim() - 1 if isinstance(layer, nn.Linear) else 1
            shape = [1] * target.dim()
            shape[channel] = -1
            wanted = (target - bias.reshape(shape)).double()
            wanted = wanted * root.double().reshape(-1, *[1] * (target.dim() - 1))
            rows = wanted.movedim(channel, 0).reshape(len(cross), cross.shape[1], -1)
            sums.add(x)
            cross += torch.bmm(rows, patches(layer, x.float()).double().transpose(1, 2))
    handle.remove()
    return sums.total, cross
