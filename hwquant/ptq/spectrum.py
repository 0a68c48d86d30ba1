# SPDX-License-Identifier: Apache-2.0
"""The largest eigenvalue of second moments, by power iteration."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["largest_eigenvalue"]

STEPS: Final = 30


def largest_eigenvalue(matrix: Tensor, steps: int = STEPS) -> Tensor:
    """Return the largest eigenvalue of each positive semidefinite (n, n) of ``matrix``, from below.

    Zero for a matrix of zeros.  The start is fixed, so the result is the same every time.
    """
    generator = torch.Generator().manual_seed(0)
    v = 0.1 + torch.rand(matrix.shape[-1], generator=generator, dtype=torch.float64)
    v = v.to(matrix).expand(*matrix.shape[:-1]).unsqueeze(-1)
    v = v / torch.linalg.vector_norm(v, dim=-2, keepdim=True)
    length = torch.zeros_like(v[..., :1, :])
    for _ in range(steps):
        product = matrix @ v
        length = torch.linalg.vector_norm(product, dim=-2, keepdim=True)
        v = product / torch.where(length > 0, length, 1.0)
    return length.squeeze(-1).squeeze(-1)
