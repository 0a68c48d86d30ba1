# SPDX-License-Identifier: Apache-2.0
"""A small MobileNetV2 (Sandler et al., 2018; arXiv 1801.04381): inverted residuals, depthwise."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

__all__ = ["MobileNet"]

# expansion, width, blocks, first stride
STAGES: Final = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 40, 2, 2))


def _conv(
    taken: int, given: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        taken, given, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(given)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation; a shortcut where shapes agree."""

    def __init__(self, taken: int, given: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = taken * expansion
        expand = [*_conv(taken, inner), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand, *_conv(inner, inner, 3, stride, inner), nn.ReLU6(), *_conv(inner, given)
        )
        self.adds = stride == 1 and taken == given

    def forward(self, x: Tensor) -> Tensor:
        """Return features (batch, given, height / stride, width / stride)."""
        inner: Tensor = self.layers(x)
        return x + inner if self.adds else inner


class MobileNet(nn.Module):
    """A strided stem, inverted residuals, a wide 1 x 1 convolution, global average, linear."""

    def __init__(self, outputs: int = 47, last: int = 160) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv(1, 16, 3, 2), nn.ReLU6()]
        taken = 16
        for expansion, width, blocks, first in STAGES:
            for j in range(blocks):
                layers.append(InvertedResidual(taken, width, 1 if j else first, expansion))
                taken = width
        layers += [*_conv(taken, last), nn.ReLU6()]
        self.layers = nn.Sequential(*layers)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(last, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of images (batch, 1, 32, 32)."""
        logits: Tensor = self.head(self.average(self.layers(x)).flatten(1))
        return logits
