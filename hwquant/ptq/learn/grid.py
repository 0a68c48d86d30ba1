# SPDX-License-Identifier: Apache-2.0
"""A format's values as a sorted tensor, and the two of them around each number."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hwquant import codec_np
from hwquant.formats import Format

__all__ = ["neighbours", "values_of"]


@lru_cache(maxsize=256)
def values_of(fmt: Format) -> Tensor:
    """Return the distinct values of ``fmt``, ascending, float32 (exact: a value is m * 2**k)."""
    integers = codec_np.decode(fmt, np.array(fmt.codes, np.uint8))
    distinct = sorted({int(item) for item in integers})
    return torch.tensor([float(item * fmt.step) for item in distinct], dtype=torch.float32)


def neighbours(unit: Tensor, fmt: Format) -> tuple[Tensor, Tensor]:
    """Return the values of ``fmt`` just below and above each ``unit`` (``w / scale``).

    ``low <= clamp(unit) <= high`` and ``low < high``: a number on the grid, or beyond its end,
    is paired with the next value inside.
    """
    values = values_of(fmt).to(unit.device)
    inside = unit.clamp(float(values[0]), float(values[-1]))
    index = (torch.searchsorted(values, inside.contiguous(), right=True) - 1).clamp(
        0, len(values) - 2
    )
    return values[index], values[index + 1]
