# SPDX-License-Identifier: Apache-2.0
"""Data sets as tensors: scikit-learn's handwritten digits, and arrays of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hwquant.errors import InputError

__all__ = ["Data", "digits", "from_arrays"]

TEST_IMAGES: Final = 360
CALIB_IMAGES: Final = 256
SEED: Final = 20240601


@dataclass(frozen=True)
class Data:
    """A data set: labelled training and test parts, unlabelled calibration inputs.

    Inputs are float32 (items, ...), labels int64 (items,).  Calibration inputs come from the
    training part, or, where the user gave none, from items that are then not tested.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_calib: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def sample(self) -> Tensor:
        """One item with its batch axis."""
        return self.x_test[:1]


def digits(seed: int = SEED) -> Data:
    """Return scikit-learn's digits: 1,797 real handwritten digits of 8 x 8 pixels, ten classes.

    Pixels are integers 0..16, divided by 16 exactly.  1,437 train (256 of them, without labels,
    calibrate), 360 test; the split is a seeded permutation.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.default_rng(seed).permutation(len(raw.target))
    x = torch.from_numpy((raw.images[order] / 16).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(raw.target[order].astype(np.int64))
    train, test = slice(TEST_IMAGES, None), slice(0, TEST_IMAGES)
    x_train = x[train]
    return Data("digits", x_train, y[train], x_train[:CALIB_IMAGES], x[test], y[test])


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
    calib = min(len(labels) // 4, CALIB_IMAGES)
    return Data(name, x_all[:0], y_all[:0], x_all[:calib], x_all[calib:], y_all[calib:])
