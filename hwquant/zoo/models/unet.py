# SPDX-License-Identifier: Apache-2.0
"""U-Nets (Ronneberger et al., 2015; arXiv 1505.04597): one shape for masks and for noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["UNet", "denoiser", "segmenter"]


def _double(taken: int, given: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (taken, given):
        conv = nn.Conv2d(channels, given, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(given), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two strides down, two transposed convolutions up, features handed across."""

    def __init__(self, taken: int, given: int, width: int) -> None:
        super().__init__()
        self.down1, self.down2 = _double(taken, width), _double(width, 2 * width)
        self.middle = _double(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.lift2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.lift1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up2, self.up1 = _double(4 * width, 2 * width), _double(2 * width, width)
        self.head = nn.Conv2d(width, given, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, given, h, w) of (batch, taken, h, w); h and w are multiples of 4."""
        fine = self.down1(x)
        half = self.down2(self.pool(fine))
        coarse = self.middle(self.pool(half))
        half = self.up2(torch.cat([self.lift2(coarse), half], 1))
        fine = self.up1(torch.cat([self.lift1(half), fine], 1))
        maps: Tensor = self.head(fine)
        return maps


def segmenter() -> UNet:
    """Return the segmentation network: gray scene in, a logit per class and pixel out."""
    return UNet(1, 11, 12)


def denoiser() -> UNet:
    """Return the diffusion network: noisy image and noise level in, the noise out.

    The level is an input channel, so the network has one input (Ho et al., 2020; 2006.11239
    embed it instead).
    """
    return UNet(2, 1, 24)
