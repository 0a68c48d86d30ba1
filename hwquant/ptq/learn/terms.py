# SPDX-License-Identifier: Apache-2.0
"""Loss terms: what a learned method minimises, added up by `fit`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hwquant.ptq.learn.fit import Moment

__all__ = ["GridPenalty", "PredictionDifference", "Reconstruction"]


@dataclass(frozen=True)
class Reconstruction:
    """Squared error of the compared values: summed over channels, mean over the rest.

    AdaRound's equation 21, BRECQ's block objective; the sum over several compared values.
    """

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        pairs = zip(moment.outputs, moment.targets, strict=True)
        return torch.stack([_squared(out, target) for out, target in pairs]).sum()


@dataclass(frozen=True)
class GridPenalty:
    """``weight`` times the rounding's pull to the grid; none during the warmup."""

    weight: float = 0.01

    def __call__(self, moment: Moment) -> Tensor:
        """Return the loss."""
        beta = moment.beta
        if beta is None or not moment.soft.roundings:
            return torch.zeros(())
        parts = [rounding.penalty(beta) for rounding in moment.soft.roundings.values()]
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
        if data.rest is None or data.rest_inputs is None:
            raise ValueError("PredictionDifference needs walk(..., rest=True)")
        own = dict(zip(data.block.compared, moment.outputs, strict=True))
        inputs = [
            own[name] if name in own else data.rest_inputs[name][moment.index]
            for name in data.rest.inputs
        ]
        logits = data.rest.module(*inputs)[0] if data.rest.inputs else moment.outputs[0]
        target = data.logits[0][moment.index]
        log_p = functional.log_softmax(logits / self.temperature, -1)
        log_q = functional.log_softmax(target / self.temperature, -1)
        return self.weight * functional.kl_div(
            log_p.flatten(0, -2), log_q.flatten(0, -2), log_target=True, reduction="batchmean"
        )


def _squared(out: Tensor, target: Tensor) -> Tensor:
    error = (out - target).square()
    # Channels are axis 1 of images, the last axis of rows and tokens.
    return error.sum(1 if error.dim() == 4 else -1).mean()
