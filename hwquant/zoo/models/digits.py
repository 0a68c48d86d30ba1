# SPDX-License-Identifier: Apache-2.0
"""Networks for 8 x 8 digits: a residual CNN, a perceptron, and a small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwquant.zoo.models.transformer import Block

__all__ = ["DigitsCnn", "DigitsMlp", "DigitsVit"]


def _conv(taken: int, given: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(taken, given, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(given)
    )


class DigitsCnn(nn.Module):
    """Convolutions with batch norm, one residual block, max pooling, global average, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 16)
        self.block1, self.block2 = _conv(16, 16), _conv(16, 16)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.wide = _conv(16, 32)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 1, 8, 8)."""
        x = self.relu(self.stem(x))
        x = self.relu(x + self.block2(self.relu(self.block1(x))))
        x = self.relu(self.wide(self.pool(x)))
        logits: Tensor = self.head(self.average(x).flatten(1))
        return logits


class DigitsMlp(nn.Module):
    """Three linear layers with batch norm and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
            nn.Linear(32, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 1, 8, 8)."""
        logits: Tensor = self.layers(x)
        return logits


class DigitsVit(nn.Module):
    """A vision transformer: 16 patches of 2 x 2, width 32, two blocks of four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, stride=2)
        self.position = nn.Parameter(torch.zeros(1, 16, 32))
        self.blocks = nn.Sequential(Block(32, 4), Block(32, 4))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 1, 8, 8)."""
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits
