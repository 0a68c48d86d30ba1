# SPDX-License-Identifier: Apache-2.0
"""Numbers per channel, and arrays of accumulators whose last axis is the channel."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError, SpecError
from hwquant.fixed import Fixed
from hwquant.mac import MAX_ACC_BITS

__all__ = [
    "MAX_CHANNELS",
    "Number",
    "PerChannel",
    "accumulators",
    "check_bits",
    "check_channels",
    "spread",
]

MAX_CHANNELS = 65_536

Number = int | float | Fraction
PerChannel = Number | Sequence[Number]


def check_bits(acc_bits: int) -> None:
    """Raise `SpecError` for an accumulator width that is not allowed."""
    if not 2 <= acc_bits <= MAX_ACC_BITS:
        raise SpecError(f"accumulator of {acc_bits} bits, allowed 2..{MAX_ACC_BITS}")


def check_channels(name: str, count: int) -> None:
    """Raise `SpecError` for a number of channels that is not allowed."""
    if not 1 <= count <= MAX_CHANNELS:
        raise SpecError(f"{name} for {count} channels, allowed 1..{MAX_CHANNELS}")


def _list(x: PerChannel) -> list[Fraction]:
    return [Fraction(v) for v in (x if isinstance(x, Sequence) else [x])]


def spread(**columns: PerChannel) -> list[list[Fraction]]:
    """Return every column with one entry per channel; a single number serves all channels."""
    lists = {name: _list(column) for name, column in columns.items()}
    count = max(map(len, lists.values()))
    for name, column in lists.items():
        if len(column) not in (1, count):
            raise SpecError(f"{name} has {len(column)} entries, allowed 1 or {count} (channels)")
    return [column * (count // len(column)) for column in lists.values()]


def accumulators(acc: ArrayLike, channels: int, bits: int) -> NDArray[Any]:
    """Return ``acc`` checked: integers within ``bits`` bits, channels last."""
    array = np.asarray(acc)
    if array.dtype.kind not in "iuO":
        raise InputError(f"accumulators are {array.dtype}, allowed: integers")
    if channels > 1 and (array.ndim == 0 or array.shape[-1] != channels):
        raise InputError(
            f"accumulators of shape {array.shape}, needed {channels} channels on the last axis"
        )
    rails = Fixed(bits, 0)
    if array.size and not (rails.min_int <= array.min() and array.max() <= rails.max_int):
        raise InputError(
            f"accumulators {array.min()}..{array.max()} do not fit {bits} bits "
            f"({rails.min_int}..{rails.max_int})"
        )
    return array
