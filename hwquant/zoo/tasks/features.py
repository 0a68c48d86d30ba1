# SPDX-License-Identifier: Apache-2.0
"""Features of glyphs from the zoo's own classifier, for Frechet distances of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from hwquant.zoo.training import load

__all__ = ["glyph_features"]


def glyph_features() -> Callable[[Tensor], Tensor]:
    """Return a function from samples (n, 1, 16, 16) in -1..1 to what ResNet-8's head reads (n, 64).

    Samples are doubled in size and brought to 0..1 first.  Trains ``glyphs_resnet8`` on first use.
    """
    network: Any = load("glyphs_resnet8").model

    def features(x: Tensor) -> Tensor:
        larger = functional.interpolate((x + 1) / 2, scale_factor=2, mode="bilinear")
        values: Tensor = network.features(larger)
        return values

    return features
