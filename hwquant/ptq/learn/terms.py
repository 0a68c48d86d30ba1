# SPDX-License-Identifier: Apache-2.0
"""Loss terms: what a learned method minimises, added up by `fit`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwquant.ptq.learn.fit import Moment
from hwquant.ptq.learn.prediction import divergence, logits_behind

__all__ = ["GridPenalty", "PredictionDifference", "Reconstruction"]


@dataclass(frozen=True)
class Reconstruction:
    """Squared error of the compared values: summed over channels, mean over the rest.

    AdaRound's equation 21, BRECQ's block objective; the sum over several compared values, each
    element weighted as the block's data say.
    """

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        weights = moment.data.weights or [None] * len(moment.outputs)
        parts = []
        for out, target, weight in zip(moment.outputs, moment.targets, weights, strict=True):
            error = (out - target).square()
            if weight is not None:
                error = error * weight[moment.index]
            # Channels are axis 1 of images, the last axis of rows and tokens.
            parts.append(error.sum(1 if error.dim() == 4 else -1).mean())
        return torch.stack(parts).sum()


@dataclass(frozen=True)
class GridPenalty:
    """``weight`` times the rounding's pull to the grid; none during the warmup."""

    weight: float = 0.01

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        beta = moment.beta
        if beta is None or not moment.soft.roundings:
            return torch.zeros(())
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
