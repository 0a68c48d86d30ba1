# SPDX-License-Identifier: Apache-2.0
"""Segmentation: mean intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

from hwquant.errors import InputError

__all__ = ["confusion", "mean_iou"]


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return pixel counts (true class, predicted class) of two int64 maps of one shape."""
    if predicted.shape != labels.shape or not labels.numel():
        raise InputError(
            f"masks of shape {tuple(predicted.shape)} beside {tuple(labels.shape)}, allowed one "
            "shape with at least one pixel"
        )
    both = torch.stack([predicted.min(), labels.min(), -predicted.max(), -labels.max()])
    if int(both[:2].min()) < 0 or int(both[2:].min()) <= -classes:
        raise InputError(f"masks hold classes outside 0..{classes - 1}")
    pairs = torch.bincount((labels * classes + predicted).flatten(), minlength=classes * classes)
    return pairs.view(classes, classes)


def mean_iou(counts: Tensor) -> float:
    """Return the mean over classes of intersection / union, from `confusion` counts.

    Classes that occur neither in truth nor in prediction do not count.
    """
    counts = counts.double()
    inner = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - inner
    seen = union > 0
    if not bool(seen.any()):
        raise InputError("mean_iou: no pixel was counted")
    return float((inner[seen] / union[seen]).mean())
