# SPDX-License-Identifier: Apache-2.0
"""All figures of a model on its data: by the labels, and beside the float model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from hwquant.zoo.data import Data, Task
from hwquant.zoo.tasks.detection import decode, mean_average_precision
from hwquant.zoo.tasks.diffusion import ddim_sample, frechet_distance, sample_distance
from hwquant.zoo.tasks.language import perplexity
from hwquant.zoo.tasks.outputs import accuracy, agreement, kl_divergence, logit_error
from hwquant.zoo.tasks.segmentation import confusion, mean_iou

__all__ = ["MAIN_METRIC", "compare", "diffusion_figures", "outputs_of", "score"]

# The figure that stands for a task in a table, and whether more of it is better.
MAIN_METRIC: Final[dict[Task, tuple[str, bool]]] = {
    "classify": ("top1", True),
    "language": ("perplexity", False),
    "segment": ("miou", True),
    "detect": ("map50", True),
    "denoise": ("noise_mse", False),
}


def outputs_of(model: Callable[[Tensor], Tensor], x: Tensor, batch: int = 256) -> Tensor:
    """Return the outputs of all items, computed ``batch`` at a time."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(x, batch)])


def score(model: nn.Module, data: Data, reference: nn.Module | None = None) -> dict[str, float]:
    """Return the figures of the task of ``data`` on its test part, the main one first.

    Beside a ``reference`` (the float model) also `compare`'s, for which no labels are used.
    """
    outputs = outputs_of(model, data.x_test)
    figures = _by_labels(outputs, data)
    if reference is not None:
        figures |= compare(outputs, outputs_of(reference, data.x_test), data.task)
    return figures


def _by_labels(outputs: Tensor, data: Data) -> dict[str, float]:
    if data.task == "language":
        return {
            "perplexity": perplexity(outputs, data.y_test),
            "top1": accuracy(outputs, data.y_test),
        }
    if data.task == "segment":
        counts = confusion(outputs.argmax(1), data.y_test, outputs.shape[1])
        return {"miou": mean_iou(counts), "top1": accuracy(outputs, data.y_test)}
    if data.task == "detect":
        truth = [boxes[boxes[:, 0] >= 0] for boxes in data.y_test.numpy().astype(np.float64)]
        found = decode(outputs)
        coco = tuple(0.5 + 0.05 * i for i in range(10))
        return {
            "map50": mean_average_precision(found, truth),
            "map": mean_average_precision(found, truth, coco),
        }
    if data.task == "denoise":
        return {"noise_mse": float((outputs.double() - data.y_test).square().mean())}
    return {"top1": accuracy(outputs, data.y_test)}


def compare(outputs: Tensor, wanted: Tensor, task: Task) -> dict[str, float]:
    """Return how far ``outputs`` are from ``wanted``, those of the float model.

    ``logit_error`` for every task; ``agreement`` and ``kl`` where axis 1 holds classes.
    """
    figures = {"logit_error": logit_error(outputs, wanted)}
    if task in ("classify", "language", "segment"):
        figures["agreement"] = agreement(outputs, wanted)
        figures["kl"] = kl_divergence(outputs, wanted)
    return figures


def diffusion_figures(
    model: Callable[[Tensor], Tensor],
    reference: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    *,
    count: int = 512,
    side: int = 16,
    steps: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """Return ``sample_mse`` and ``frechet`` of samples to the reference's own from the same noise.

    ``features`` maps samples (n, 1, side, side) to (n, d); fewer samples than features make the
    Frechet distance unreliable.
    """
    noise = torch.randn((count, 1, side, side), generator=torch.Generator().manual_seed(seed))
    made, wanted = ddim_sample(model, noise, steps), ddim_sample(reference, noise, steps)
    a, b = (outputs_of(features, part).double().numpy() for part in (made, wanted))
    return {"sample_mse": sample_distance(made, wanted), "frechet": frechet_distance(a, b)}
