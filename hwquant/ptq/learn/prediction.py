# SPDX-License-Identifier: Apache-2.0
"""What a block does to the network's prediction, the network behind it float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from hwquant.ptq.job import Job
from hwquant.ptq.learn.walk import CHUNK, BlockData

__all__ = ["divergence", "fisher_weights", "logits_behind"]


def logits_behind(data: BlockData, outputs: Sequence[Tensor], index: Tensor) -> Tensor:
    """Return the network's first output when the block gives ``outputs`` for the items ``index``.

    ``data`` must come from a walk with ``rest``.
    """
    if data.rest is None:
        raise ValueError("the network behind the block is needed: walk(..., rest='float')")
    own = dict(zip(data.block.compared, outputs, strict=True))
    inputs = [
        own[name] if name in own else data.rest_inputs[name][index] for name in data.rest.inputs
    ]
    result: tuple[Tensor, ...] = data.rest.module(*inputs)
    return result[0]


def divergence(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``KL(softmax(target / T) || softmax(logits / T))``, mean over items.

    Classes are the last axis.  A network without classes (an image out) is compared by its mean
    squared error instead, which is the divergence of Gaussians of equal width.
    """
    if logits.dim() > 3 or logits.shape[-1] == 1:
        return (logits - target).square().flatten(1).mean(1).mean()
    log_p = functional.log_softmax(logits / temperature, -1).flatten(0, -2)
    log_q = functional.log_softmax(target / temperature, -1).flatten(0, -2)
    return functional.kl_div(log_p, log_q, log_target=True, reduction="batchmean")


def fisher_weights(job: Job, data: BlockData) -> BlockData:
    """Return ``data`` whose errors are weighted by the diagonal Fisher information (BRECQ).

    The squared gradient of the prediction's divergence at the block's output, quantized as it
    now is; half of each weight is the mean, so that no error counts for nothing.
    """
    del job
    found: list[list[Tensor]] = [[] for _ in data.block.compared]
    for start in range(0, data.items, CHUNK):
        index = torch.arange(start, min(start + CHUNK, data.items))
        with torch.no_grad():
            outputs = data.piece.module(*(value[index] for value in data.inputs))
        outputs = [out.detach().requires_grad_(True) for out in outputs]
        loss = divergence(logits_behind(data, outputs, index), data.logits[0][index]) * len(index)
        gradients = torch.autograd.grad(loss, outputs, allow_unused=True)
        for parts, out, gradient in zip(found, outputs, gradients, strict=True):
            parts.append(torch.zeros_like(out) if gradient is None else gradient.square())
    weights = []
    for parts in found:
        fisher = torch.cat(parts)
        mean = fisher.mean()
        share = fisher / mean if float(mean) > 0 else torch.ones_like(fisher)
        weights.append((1 + share) / 2)
    return replace(data, weights=tuple(weights))
