# SPDX-License-Identifier: Apache-2.0
"""Two models' outputs side by side: agreement, divergence, error.  Classes are on axis 1.

They need no labels and vary less than accuracy, because both models see the same items.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hwquant.errors import InputError

__all__ = ["accuracy", "agreement", "kl_divergence", "logit_error"]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of labels (n, ...) that logits (n, classes, ...) are largest at."""
    if not labels.numel() or logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise InputError(
            f"accuracy: logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, allowed "
            "(n, classes, ...) and (n, ...), n >= 1"
        )
    return float((logits.argmax(1) == labels).double().mean())


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Return the share of decisions that two models make alike."""
    _check(logits, reference)
    return float((logits.argmax(1) == reference.argmax(1)).double().mean())


def kl_divergence(logits: Tensor, reference: Tensor) -> float:
    """Return the mean of sum p log(p / q) in nats, p from ``reference`` and q from ``logits``."""
    _check(logits, reference)
    p = functional.log_softmax(reference.double(), 1)
    q = functional.log_softmax(logits.double(), 1)
    return float((p.exp() * (p - q)).sum(1).mean())


def logit_error(logits: Tensor, reference: Tensor) -> float:
    """Return the mean square error over the variance of the reference, item by item.

    0 is equality; 1 is as far as answering the reference's mean over the items always.
    """
    _check(logits, reference)
    wrong = (logits.double() - reference.double()).square().mean()
    return float(wrong / reference.double().var(0, correction=0).mean().clamp(min=1e-30))


def _check(logits: Tensor, reference: Tensor) -> None:
    if logits.shape != reference.shape or logits.dim() < 2 or not logits.numel():
        raise InputError(
            f"outputs of shape {tuple(logits.shape)} beside {tuple(reference.shape)}, allowed one "
            "shape (n, classes, ...)"
        )
