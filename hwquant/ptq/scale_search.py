# SPDX-License-Identifier: Apache-2.0
"""Search scales by a weighted squared error: ``sum h (w - Q(w))^2`` per row (EPTQ's HMSE).

With weights the best scale may clip far more than the plain one does, since what is clipped may
not matter.  Float scales are searched over octaves (a minifloat's error repeats from one to the
next), then refined; the optimum for given codes has a closed form.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwquant.formats import Format
from hwquant.nn.kernel import quantize_unit
from hwquant.ptq.scales import no_clip_exponents

__all__ = ["weighted_errors", "weighted_scales"]

OCTAVES: Final = (4, 16)  # searched below the clip-free scale, at least and at most
STEPS: Final = 32  # scales tried per octave
FINER: Final = 4  # then per step, on either side
BEST: Final = 4  # of the first search are refined
EXPONENTS: Final = 16  # powers of two tried below the clip-free one
ELEMENTS: Final = 1 << 22  # quantized at once: bounds the memory
LOWEST: Final = 2.0**-126
HIGHEST: Final = 3e38


def weighted_errors(rows: Tensor, importance: Tensor, scales: Tensor, fmt: Format) -> Tensor:
    """Return the errors (candidates, rows) of ``scales`` (candidates, rows), float64."""
    count, size = rows.shape
    several = max(ELEMENTS // max(size, 1), 1)
    found = torch.empty(scales.shape, dtype=torch.float64, device=rows.device)
    for top in range(0, count, several):
        part, weight = rows[top : top + several], importance[top : top + several]
        at_once = max(ELEMENTS // part.numel(), 1)
        for first in range(0, len(scales), at_once):
            column = scales[first : first + at_once, top : top + several].unsqueeze(2)
            wrong = quantize_unit(part / column, fmt) * column - part
            found[first : first + at_once, top : top + several] = (
                wrong.double().square() * weight
            ).sum(2)
    return found


def weighted_scales(rows: Tensor, importance: Tensor, fmt: Format, kind: str) -> Tensor:
    """Return one float32 scale per row of ``rows`` (scales, values); rows of zeros get 1.

    ``importance`` has the shape of ``rows``, not negative; a row of which nothing matters is
    taken as if everything did.  ``kind`` is ``po2`` or ``float``.
    """
    rows = rows.detach().float()
    blind = importance.sum(1, keepdim=True) == 0
    weight = torch.where(blind, torch.ones_like(rows), importance.float())
    reach = rows.abs().amax(1)
    if kind == "po2":
        top = no_clip_exponents(reach, fmt)
        # A tie keeps the first, so the clip-free one comes before the coarser one.
        offsets = torch.tensor([*range(0, -EXPONENTS - 1, -1), 1], device=rows.device)
        exponents = (top + offsets.unsqueeze(1)).clamp(-126, 127).int()
        scales = ((exponents + 127) << 23).view(torch.float32)
        best = _best(scales, weighted_errors(rows, weight, scales, fmt))[0]
    else:
        best = _best_float(rows, weight, fmt, reach)
    return torch.where(reach == 0, torch.ones_like(best), best)


def _best_float(rows: Tensor, weight: Tensor, fmt: Format, reach: Tensor) -> Tensor:
    """Return the best real scales: octaves first, then around the best few of them."""
    top = (reach / float(fmt.max)).clamp(min=LOWEST)
    rms = ((weight * rows.square()).sum(1) / weight.sum(1)).sqrt()
    below = torch.log2(reach / rms.clamp(min=LOWEST)).clamp(0, OCTAVES[1]).amax()
    depth = min(max(int(below) + 3, OCTAVES[0]), OCTAVES[1])  # down to what clips most of it
    octaves = torch.arange(STEPS // 4, -depth * STEPS - 1, -1, device=rows.device) / STEPS
    scales = (top * torch.exp2(octaves).unsqueeze(1)).clamp(LOWEST, HIGHEST)
    errors = weighted_errors(rows, weight, scales, fmt)
    best, least = _best(
        torch.cat([top.unsqueeze(0), scales]),
        torch.cat([weighted_errors(rows, weight, top.unsqueeze(0), fmt), errors]),
    )
    finer = torch.exp2(torch.arange(-FINER, FINER + 1, device=rows.device) / (FINER * STEPS))
    for index in errors.topk(BEST, dim=0, largest=False).indices:
        centre = scales.gather(0, index.unsqueeze(0))
        around = (centre * finer.unsqueeze(1)).clamp(LOWEST, HIGHEST)
        found, error = _best(around, weighted_errors(rows, weight, around, fmt))
        found, error = _least_squares(rows, weight, fmt, found, error)
        best, least = torch.where(error < least, found, best), torch.minimum(error, least)
    return best


def _best(scales: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Return (scale, error) of the first least error of each row."""
    least, index = errors.min(0)
    first = (errors == least).int().argmax(0) if len(errors) > 1 else index
    return scales.gather(0, first.unsqueeze(0))[0], least


def _least_squares(
    rows: Tensor, weight: Tensor, fmt: Format, scale: Tensor, least: Tensor, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """Return ``scale`` moved to the optimum of the codes it gives, while that helps; its error."""
    for _ in range(rounds):
        q = quantize_unit(rows / scale.unsqueeze(1), fmt).double()
        power = (weight * q.square()).sum(1)
        moved = ((weight * rows.double() * q).sum(1) / power.clamp(min=1e-300)).float()
        usable = (power > 0) & (moved >= LOWEST) & torch.isfinite(moved)
        moved = torch.where(usable, moved, scale)
        error = weighted_errors(rows, weight, moved.unsqueeze(0), fmt)[0]
        scale = torch.where(error < least, moved, scale)
        least = torch.minimum(error, least)
    return scale, least
