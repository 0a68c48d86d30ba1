# SPDX-License-Identifier: Apache-2.0
"""Loss terms: what a learned method minimises, added up by `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwquant.ptq.learn.fit import Moment
from hwquant.ptq.learn.prediction import divergence, logits_behind
from hwquant.ptq.learn.walk import CHUNK, BlockData

__all__ = ["GridPenalty", "PredictionDifference", "Reconstruction", "reconstruction_error"]


def reconstruction(
    data: BlockData, index: Tensor, outputs: Sequence[Tensor], targets: Sequence[Tensor]
) -> Tensor:
    """Return the weighted squared error of ``outputs`` for the items ``index``."""
    parts = []
    for number, (out, target) in enumerate(zip(outputs, targets, strict=True)):
        error = (out - target).square()
        if data.weights is not None:
            error = error * data.weights[number][index]
        # Channels are axis 1 of images, the last axis of rows and tokens.
        parts.append(error.sum(1 if error.dim() == 4 else -1).mean())
    return torch.stack(parts).sum()


def reconstruction_error(data: BlockData) -> float:
    """Return the weighted squared error of the block as it is, mean over all items."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, data.items, CHUNK):
            index = torch.arange(start, min(start + CHUNK, data.items))
            outputs = data.piece.module(*(value[index] for value in data.inputs))
            error = reconstruction(data, index, outputs, data.targets(index))
            total += float(error) * len(index)
    return total / data.items


@dataclass(frozen=True)
class Reconstruction:
    """Squared error of the compared values: summed over channels, mean over the rest.

    AdaRound's equation 21, BRECQ's block objective; the sum over several compared values, each
    element weighted as the block's data say.
    """

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        return reconstruction(moment.data, moment.index, moment.outputs, moment.targets)


@dataclass(frozen=True)
class GridPenalty:
    """``weight`` times the rounding's pull to the grid; none during the warmup."""

    weight: float = 0.01

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        beta = moment.beta
        if beta is None or not moment.soft.roundings:
            return torch.zeros((), device=moment.outputs[0].device)
        importance = moment.data.importance or {}
        parts = [
            importance.get(path, 1.0) * rounding.penalty(beta)
            for path, rounding in moment.soft.roundings.items()
        ]
        return self.weight * torch.stack(parts).sum()


@dataclass(frozen=True)
class PredictionDifference:
    """KL divergence of the network's prediction, the blocks behind this one float.

    PD-Quant (arXiv 2212.07048, equation 8): ``weight * KL(softmax(f/T) || softmax(q/T))``, the
    logits being the first output of the network.  Needs data walked with ``rest``.
    """

    weight: float = 10.0
    temperature: float = 4.0

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        data = moment.data
        logits = logits_behind(data, moment.outputs, moment.index)
        target = data.logits[0][moment.index]
        return self.weight * divergence(logits, target, self.temperature)
