# SPDX-License-Identifier: Apache-2.0
"""Round short vectors to a format by a search in a table: two calls, whatever the format.

Equal in value to `hwquant.nn.kernel.quantize_unit`, ties included (the sign of zero is lost).
The kernel is faster on large tensors; a column of weights is so short that calls are what costs.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hwquant.formats import Format
from hwquant.nn.kernel import quantize_unit
from hwquant.ptq.learn.grid import values_of

__all__ = ["Nearest"]


@lru_cache(maxsize=256)
def _edges(fmt: Format) -> Tensor:
    """Return, for each pair of neighbouring values, the largest float32 that goes to the lower."""
    values = values_of(fmt)
    middle = ((values[:-1].double() + values[1:].double()) / 2).float()
    up = quantize_unit(middle, fmt) > values[:-1]
    below = torch.nextafter(middle, torch.full_like(middle, -torch.inf))
    return torch.where(up, below, middle)


class Nearest:
    """Rounds to the nearest value of ``fmt``."""

    def __init__(self, fmt: Format, device: torch.device) -> None:
        self.values = values_of(fmt).to(device)
        self.edges = _edges(fmt).to(device)

    def __call__(self, unit: Tensor) -> Tensor:
        """Return the values nearest to ``unit``, saturating."""
        return self.values[torch.bucketize(unit.contiguous(), self.edges)]

    def into(self, unit: Tensor, out: Tensor) -> None:
        """Write the values nearest to the vector ``unit`` into ``out``."""
        torch.index_select(self.values, 0, torch.bucketize(unit, self.edges), out=out)
