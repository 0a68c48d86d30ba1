# SPDX-License-Identifier: Apache-2.0
"""The networks of the zoo by name: how to build them, their data, their training recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from hwquant.zoo.fit import TrainingRecipe
from hwquant.zoo.models.classifiers import LeNet, Mlp
from hwquant.zoo.models.detector import Detector
from hwquant.zoo.models.digits import DigitsCnn, DigitsMlp, DigitsVit
from hwquant.zoo.models.gpt import CharGpt
from hwquant.zoo.models.mobilenet import MobileNet
from hwquant.zoo.models.resnet import resnet8, resnet14
from hwquant.zoo.models.unet import denoiser, segmenter
from hwquant.zoo.models.vit import Vit

__all__ = ["CATALOGUE", "Entry"]


@dataclass(frozen=True)
class Entry:
    """One network: ``build()`` gives it untrained, ``data`` names its data set."""

    build: Callable[[], nn.Module]
    data: str
    recipe: TrainingRecipe


def _glyphs(epochs: int, rate: float, *, weight_decay: float = 0.01) -> TrainingRecipe:
    """Return a recipe for glyphs: batches of 128 shifted by two pixels."""
    return TrainingRecipe(
        epochs, rate, batch=128, weight_decay=weight_decay, shift=2, channels_last=True
    )


CATALOGUE: Final[dict[str, Entry]] = {
    "digits_cnn": Entry(DigitsCnn, "digits", TrainingRecipe(epochs=30, rate=1e-2)),
    "digits_mlp": Entry(DigitsMlp, "digits", TrainingRecipe(epochs=60, rate=1e-2)),
    "digits_vit": Entry(
        DigitsVit, "digits", TrainingRecipe(epochs=40, rate=4e-3, weight_decay=0.05)
    ),
    "glyphs_mlp": Entry(Mlp, "glyphs", _glyphs(12, 5e-3)),
    "glyphs_lenet": Entry(LeNet, "glyphs", _glyphs(8, 5e-3)),
    "glyphs_resnet8": Entry(resnet8, "glyphs", _glyphs(8, 1e-2)),
    "glyphs_resnet14": Entry(resnet14, "glyphs", _glyphs(8, 1e-2)),
    "glyphs_mobilenet": Entry(MobileNet, "glyphs", _glyphs(8, 1e-2)),
    "glyphs_vit": Entry(Vit, "glyphs", _glyphs(14, 2e-3, weight_decay=0.05)),
    "glyphs_ddpm": Entry(
        denoiser, "clean-glyphs", TrainingRecipe(20, 2e-3, batch=128, channels_last=True)
    ),
    "scenes_unet": Entry(
        segmenter,
        "scene-masks",
        TrainingRecipe(7, 5e-3, label_smoothing=0, channels_last=True),
    ),
    "scenes_detector": Entry(
        Detector, "scene-boxes", TrainingRecipe(30, 4e-3, weight_decay=0.01, channels_last=True)
    ),
    "text_gpt": Entry(
        CharGpt, "stdlib-text", TrainingRecipe(3, 3e-3, weight_decay=0.05, label_smoothing=0)
    ),
}
