# SPDX-License-Identifier: Apache-2.0
"""A character-level GPT (Radford et al., 2019): pre-norm causal blocks, learned positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwquant.zoo.models.transformer import Block

__all__ = ["CharGpt"]


class CharGpt(nn.Module):
    """Predicts every next character of a window.

    Characters come as their codes in float32, which is exact, because a calibration batch is
    float32; logits have the vocabulary on axis 1, where `torch.nn.CrossEntropyLoss` wants it.
    """

    def __init__(
        self,
        vocabulary: int = 97,
        context: int = 64,
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(1, context, width))
        nn.init.normal_(self.embed.weight, std=0.05)
        nn.init.normal_(self.position, std=0.02)
        self.blocks = nn.Sequential(
            *(Block(width, heads, ratio=4, causal=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, vocabulary, context) of codes (batch, context)."""
        tokens = self.embed(x.long()) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens))).transpose(1, 2)
        return logits
