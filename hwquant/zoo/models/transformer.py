# SPDX-License-Identifier: Apache-2.0
"""The transformer block that the vision and the text networks share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block"]


class Block(nn.Module):
    """A pre-norm transformer block with hand-written attention, causal on request."""

    def __init__(self, width: int, heads: int, *, ratio: int = 2, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (batch, tokens, width)."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            qkv[0], qkv[1], qkv[2], is_causal=self.causal
        )
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        mixed: Tensor = x + self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return mixed
