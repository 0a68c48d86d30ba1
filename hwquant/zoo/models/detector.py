# SPDX-License-Identifier: Apache-2.0
"""A one-stage detector without anchors (in the manner of FCOS, Tian et al., 2019; 1904.01355)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Detector"]


def _conv(taken: int, given: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(taken, given, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(given), nn.ReLU()]


class Detector(nn.Module):
    """Every cell of 4 x 4 pixels says: is a centre here, of which class, how far the edges are."""

    def __init__(self, classes: int = 10, width: int = 24) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *_conv(1, width, 2),
            *_conv(width, width),
            *_conv(width, 2 * width, 2),
            *(part for _ in range(4) for part in _conv(2 * width, 2 * width)),
        )
        self.head = nn.Conv2d(2 * width, 1 + 4 + classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return raw maps (batch, 1 + 4 + classes, h / 4, w / 4) of scenes (batch, 1, h, w).

        Channels: object logit; distances left, top, right, bottom from the cell's centre in units
        of 8 pixels; class logits.  `hwquant.zoo.tasks.detection.decode` makes boxes of them.
        """
        maps: Tensor = self.head(self.backbone(x))
        return maps
