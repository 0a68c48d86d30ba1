# SPDX-License-Identifier: Apache-2.0
"""The plain classifiers of 32 x 32 glyphs: a perceptron and a LeNet-like CNN."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LeNet", "Mlp"]


class Mlp(nn.Module):
    """Linear layers with batch norm and ReLU between them."""

    def __init__(
        self, inputs: int = 1024, hidden: tuple[int, ...] = (256, 128), outputs: int = 47
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for taken, given in zip((inputs, *hidden), hidden, strict=False):
            layers += [nn.Linear(taken, given), nn.BatchNorm1d(given), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of images (batch, ...)."""
        logits: Tensor = self.layers(x)
        return logits


class LeNet(nn.Module):
    """Two 5 x 5 convolutions with max pooling, then two linear layers (LeCun et al., 1998).

    With batch norm and ReLU, as nobody trains it otherwise now.
    """

    def __init__(self, outputs: int = 47) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 12, 5, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 32, 5, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.head = nn.Sequential(
            *(nn.Flatten(), nn.Linear(32 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, outputs) of images (batch, 1, 32, 32)."""
        logits: Tensor = self.head(self.features(x))
        return logits
