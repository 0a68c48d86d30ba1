# SPDX-License-Identifier: Apache-2.0
"""Mean and deviation of each channel of what a layer returns, over many batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ChannelStats", "output_axis"]


class ChannelStats:
    """Sums of each channel's values and squares, float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, value: Tensor, axis: int) -> None:
        """Add a batch whose channels lie along ``axis``."""
        rows = value.detach().movedim(axis, 0).flatten(1).double()
        self.total = self.total + rows.sum(1)
        self.squares = self.squares + rows.square().sum(1)
        self.count += rows.shape[1]

    @property
    def mean(self) -> Tensor:
        """Mean per channel."""
        return self.total / self.count

    @property
    def deviation(self) -> Tensor:
        """Standard deviation per channel; 0 where a channel is constant but for rounding."""
        variance = self.squares / self.count - self.mean.square()
        return torch.where(variance > 1e-12 * self.squares / self.count, variance, 0.0).sqrt()


def output_axis(layer: Any, value: Tensor) -> int:
    """Return the axis of the output channels in what ``layer`` returned."""
    if isinstance(layer, nn.Linear):
        return value.dim() - 1
    return value.dim() - 2 if isinstance(layer, nn.Conv1d) else value.dim() - 3
