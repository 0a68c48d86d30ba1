# SPDX-License-Identifier: Apache-2.0
"""Language modelling: perplexity."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from hwquant.errors import InputError

__all__ = ["perplexity"]


def perplexity(logits: Tensor, following: Tensor) -> float:
    """Return exp of the mean of -log p(next character), logits (n, vocabulary, time).

    1 is certainty, the vocabulary's size is guessing evenly.
    """
    if not following.numel() or logits.shape[:1] + logits.shape[2:] != following.shape:
        raise InputError(
            f"perplexity: logits {tuple(logits.shape)} and characters {tuple(following.shape)}, "
            "allowed (n, vocabulary, time) and (n, time), n >= 1"
        )
    return math.exp(float(functional.cross_entropy(logits.double(), following)))
