# SPDX-License-Identifier: Apache-2.0
"""The training loop: AdamW with a one-cycle rate, the same steps on a CPU and on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwquant.progress import track
from hwquant.zoo.data import Data
from hwquant.zoo.objectives import objective

__all__ = ["TrainingRecipe", "fit"]


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained.

    ``batch`` is items a step, ``rate`` the largest learning rate, ``shift`` by how many pixels an
    image moves at most at each sight of it, ``threads`` how many a CPU spends: sums depend on
    their order, so the count is part of the recipe.
    """

    epochs: int
    rate: float
    batch: int = 64
    seed: int = 0
    weight_decay: float = 1e-4
    label_smoothing: float = 0.05
    shift: int = 0
    threads: int = 1
    channels_last: bool = False


def fit(model: nn.Module, data: Data, recipe: TrainingRecipe, name: str, device: str) -> None:
    """Train ``model`` in place on ``device``; leave it there, in evaluation mode."""
    loss_of = objective(data.task, recipe.label_smoothing)
    generator = torch.Generator().manual_seed(recipe.seed)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    steps = -(-len(data.x_train) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.rate, total_steps=recipe.epochs * steps
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with track(f"train {name}", recipe.epochs) as advance:
            for _ in range(recipe.epochs):
                order = torch.randperm(len(data.x_train), generator=generator)
                for part in torch.split(order, recipe.batch):
                    x, y = data.x_train[part], data.y_train[part]
                    if recipe.shift:
                        x = _shifted(x, recipe.shift, generator)
                    optimizer.zero_grad()
                    loss = loss_of(model, x, y, generator, device)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                advance(detail=f"loss {float(loss.detach()):.3f}")
    finally:
        torch.set_num_threads(threads)
    model.eval()


def _shifted(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return images (n, c, h, w), each moved by up to ``most`` pixels, edges repeated."""
    count, channels, height, width = x.shape
    padded = functional.pad(x, (most,) * 4, mode="replicate")
    by = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows, columns = by[0] + torch.arange(height), by[1] + torch.arange(width)
    index = torch.arange(count)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2) if channels > 1 else moved.reshape(count, 1, height, width)
