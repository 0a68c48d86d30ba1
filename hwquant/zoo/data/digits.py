# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's handwritten digits: real, tiny, and for unit tests only."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from hwquant.zoo.data.dataset import SEED, Data

__all__ = ["digits"]

TEST_IMAGES: Final = 360
CALIB_IMAGES: Final = 256


def digits(seed: int = SEED) -> Data:
    """Return scikit-learn's digits: 1,797 real handwritten digits of 8 x 8 pixels, ten classes.

    Pixels are integers 0..16, divided by 16 exactly.  1,437 train (256 of them, without labels,
    calibrate), 360 test; the split is a seeded permutation.  Quantization methods do not differ
    measurably here: use `glyphs` to compare them.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.default_rng(seed).permutation(len(raw.target))
    x = torch.from_numpy((raw.images[order] / 16).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(raw.target[order].astype(np.int64))
    train, test = slice(TEST_IMAGES, None), slice(0, TEST_IMAGES)
    x_train = x[train]
    classes = tuple(map(str, range(10)))
    return Data(
        "digits", x_train, y[train], x_train[:CALIB_IMAGES], x[test], y[test], classes=classes
    )
