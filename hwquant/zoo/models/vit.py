# SPDX-License-Identifier: Apache-2.0
"""A vision transformer behind a convolutional stem (Xiao et al., 2021; arXiv 2106.14881)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwquant.zoo.models.transformer import Block

__all__ = ["Vit"]


class Vit(nn.Module):
    """Three strided convolutions make 16 tokens; blocks; the mean token is classified."""

    def __init__(self, width: int = 64, depth: int = 3, heads: int = 4, outputs: int = 47) -> None:
        super().__init__()
        stem: list[nn.Module] = []
        for taken, given in ((1, width // 4), (width // 4, width // 2), (width // 2, width)):
            conv = nn.Conv2d(taken, given, 3, stride=2, padding=1, bias=False)
            stem += [conv, nn.BatchNorm2d(given), nn.ReLU()]
        self.stem = nn.Sequential(*stem)
        self.patch = nn.Conv2d(width, width, 1)
        self.position = nn.Parameter(torch.zeros(1, 16, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of images (batch, 1, 32, 32)."""
        tokens = self.patch(self.stem(x)).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits
