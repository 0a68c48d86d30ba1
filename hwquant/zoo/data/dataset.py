# SPDX-License-Identifier: Apache-2.0
"""What a data set is: three parts as tensors, and the task their labels belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hwquant.errors import InputError

__all__ = ["TASKS", "Data", "Task", "from_arrays"]

Task = Literal["classify", "language", "segment", "detect", "denoise"]
TASKS: Final[tuple[str, ...]] = get_args(Task)
CALIB_ITEMS: Final = 256
SEED: Final = 20240601


@dataclass(frozen=True)
class Data:
    """A data set: labelled training and test parts, unlabelled calibration inputs.

    Inputs are float32 (items, ...).  Labels are int64: (items,) for classes, (items, height,
    width) for masks, (items, time) for the next character; for boxes float32 (items, objects, 5)
    as (class, left, top, right, bottom) with class -1 where there is none; for denoising the
    noise, float32, shape of an image.  Calibration inputs come from the training part, or, where
    the user gave none, from items that are then not tested.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_calib: Tensor
    x_test: Tensor
    y_test: Tensor
    task: Task = "classify"
    classes: tuple[str, ...] = ()

    @property
    def sample(self) -> Tensor:
        """One item with its batch axis."""
        return self.x_test[:1]


def from_arrays(name: str, x: ArrayLike, y: ArrayLike, seed: int = SEED) -> Data:
    """Return arrays as a data set: a quarter of the items (at most 256) calibrate, the rest test.

    Raises `InputError` for unequal lengths, fewer than 8 items, or values that are not finite.
    """
    inputs, labels = np.asarray(x, dtype=np.float32), np.asarray(y)
    if inputs.ndim < 2 or labels.ndim != 1 or len(inputs) != len(labels) or len(inputs) < 8:
        raise InputError(
            f"data {name}: x has shape {inputs.shape} and y {labels.shape}, allowed x (items, ...) "
            "and y (items,) with at least 8 items"
        )
    if labels.dtype.kind not in "iu" or not np.isfinite(inputs).all():
        raise InputError(f"data {name}: x must be finite numbers and y integer class labels")
    order = np.random.default_rng(seed).permutation(len(labels))
    x_all = torch.from_numpy(np.ascontiguousarray(inputs[order]))
    y_all = torch.from_numpy(labels[order].astype(np.int64))
    calib = min(len(labels) // 4, CALIB_ITEMS)
    return Data(name, x_all[:0], y_all[:0], x_all[:calib], x_all[calib:], y_all[calib:])
