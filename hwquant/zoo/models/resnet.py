# SPDX-License-Identifier: Apache-2.0
"""Residual networks for small images (He et al., 2015; arXiv 1512.03385): ResNet-8, ResNet-14."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResNet", "resnet8", "resnet14"]


def _conv(taken: int, given: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(taken, given, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(given))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: 1 x 1 convolution where shapes differ."""

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(taken, given, 3, stride), _conv(given, given, 3, 1)
        same = taken == given and stride == 1
        self.shortcut = nn.Identity() if same else _conv(taken, given, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return features (batch, given, height / stride, width / stride)."""
        inner = self.conv2(self.relu(self.conv1(x)))
        added: Tensor = self.relu(inner + self.shortcut(x))
        return added


class ResNet(nn.Module):
    """A strided stem, three stages of basic blocks, global average, linear."""

    def __init__(
        self, blocks: int, widths: tuple[int, ...] = (16, 32, 64), outputs: int = 47
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(1, widths[0], 3, 2), nn.ReLU())
        taken, stages = widths[0], []
        for i, width in enumerate(widths):
            for j in range(blocks):
                stages.append(BasicBlock(taken, width, 2 if i and not j else 1))
                taken = width
        self.stages = nn.Sequential(*stages)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(taken, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return what the head reads (batch, widths[-1])."""
        return self.average(self.stages(self.stem(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of images (batch, 1, 32, 32)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def resnet8() -> ResNet:
    """Return ResNet-8: 80 thousand parameters, seven convolutions deep and a linear layer."""
    return ResNet(1)


def resnet14() -> ResNet:
    """Return ResNet-14: two blocks a stage, 177 thousand parameters."""
    return ResNet(2)
