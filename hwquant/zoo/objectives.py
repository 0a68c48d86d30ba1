# SPDX-License-Identifier: Apache-2.0
"""What each task minimizes in training: one function (model, x, y, generator, device) -> loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwquant.zoo.data import Task

__all__ = ["objective"]

Objective = Callable[[nn.Module, Tensor, Tensor, torch.Generator, str], Tensor]


def objective(task: Task, label_smoothing: float) -> Objective:
    """Return the loss of ``task``: cross entropy over axis 1 unless it is boxes or noise."""
    if task == "denoise":
        return _denoise
    if task == "detect":
        from hwquant.zoo.tasks.detection import detection_loss

        def detect(
            model: nn.Module, x: Tensor, y: Tensor, _generator: torch.Generator, device: str
        ) -> Tensor:
            return detection_loss(model(x.to(device)), y.to(device))

        return detect

    def classify(
        model: nn.Module, x: Tensor, y: Tensor, _generator: torch.Generator, device: str
    ) -> Tensor:
        outputs: Any = model(x.to(device))
        return functional.cross_entropy(outputs, y.to(device), label_smoothing=label_smoothing)

    return classify


def _denoise(
    model: nn.Module, x: Tensor, _y: Tensor, generator: torch.Generator, device: str
) -> Tensor:
    """Mean square error of the predicted noise, one random noise level an image (2006.11239)."""
    from hwquant.zoo.tasks.diffusion import add_noise

    level = torch.rand(len(x), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    return functional.mse_loss(model(add_noise(x, noise, level).to(device)), noise.to(device))
