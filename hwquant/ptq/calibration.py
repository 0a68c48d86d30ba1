# SPDX-License-Identifier: Apache-2.0
"""Calibration data: from a tensor, a loader or the name of a set to checked batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from hwquant.errors import InputError

__all__ = ["Calibration", "calibration_batches"]

Calibration = Tensor | Iterable[Any] | str


def calibration_batches(calib: Calibration) -> tuple[Tensor, ...]:
    """Return the calibration batches, checked; labels are left behind unread.

    ``calib`` is a tensor, any iterable of batches such as a ``DataLoader`` (a batch is a tensor, or
    a tuple or list whose first part is one), or what ``--data`` takes, such as ``"digits"``.

    Raises `InputError` for empty or unfitting data, NaN and infinity.
    """
    batches = [_tensor(batch) for batch in _given(calib)]
    # Whole numbers are token ids for an embedding; images come as float32.
    kept = tuple(
        batch.detach().float() if batch.is_floating_point() else batch.detach()
        for batch in batches
        if len(batch)
    )
    if not kept:
        raise InputError("calibration data is empty; give at least one batch of inputs")
    if len({batch.shape[1:] for batch in kept}) > 1:
        shapes = sorted({tuple(batch.shape[1:]) for batch in kept})
        raise InputError(f"calibration batches have unequal shapes {shapes}, allowed one shape")
    return kept


def _given(calib: Calibration) -> list[Any]:
    if isinstance(calib, Tensor):
        return [calib]
    if isinstance(calib, str):
        from hwquant.zoo.resolve import resolve_data

        return [resolve_data(calib).x_calib]
    return list(calib)


def _tensor(batch: Any) -> Tensor:
    """Return the inputs of one batch, checked."""
    if isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    if not isinstance(batch, Tensor):
        raise InputError(
            f"calibration data holds a {type(batch).__name__}, allowed tensors, or tuples that "
            "begin with one, as a loader of (input, label) pairs gives"
        )
    if batch.is_complex() or batch.dtype is torch.bool:
        raise InputError(f"calibration data is {batch.dtype}, allowed numbers (or token ids)")
    if batch.dim() < 2 or 0 in batch.shape[1:]:
        raise InputError(
            f"a calibration batch has shape {tuple(batch.shape)}, allowed (batch, ...)"
        )
    if not bool(torch.isfinite(batch).all()):
        raise InputError("calibration data holds NaN or infinity, allowed finite numbers")
    return batch
