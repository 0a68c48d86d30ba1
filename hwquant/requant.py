# SPDX-License-Identifier: Apache-2.0
"""Requantizers: from an integer accumulator to the next layer's code, exactly.

`Thresholds` does any monotone function, `RoundPack` a power-of-two scale, `MultiplyShift` a
fixed-point scale.  Each is the Python twin of an RTL block (``hw/rtl/hq_thr.sv``, ``hq_round.sv``,
``hq_mulshift.sv``).  Channels lie on the last axis of an accumulator array; a requantizer of one
channel takes any shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from hwquant import codec
from hwquant.channels import Number, PerChannel, accumulators, check_bits, check_channels, spread
from hwquant.codec_np import integer_dtype
from hwquant.errors import SpecError
from hwquant.fixed import Fixed
from hwquant.formats import Format, parse
from hwquant.rounding import Codes, MultiplyShift, RoundPack

__all__ = ["MultiplyShift", "Requantizer", "RoundPack", "Thresholds", "code_values"]


def code_values(fmt: Format) -> list[tuple[Fraction, int]]:
    """Return (value, code) of every distinct value of ``fmt``, ascending; -0 is left out.

    >>> [code for _, code in code_values(parse("e1m1"))]
    [7, 6, 5, 0, 1, 2, 3]
    """
    unique: dict[Fraction, int] = {}
    for code in fmt.codes:
        unique.setdefault(codec.value(fmt, code), code)
    return sorted(unique.items())


@dataclass(frozen=True)
class Thresholds:
    """Any monotone function: ``code = codes[#{i : thresholds[c][i] <= acc}]``.

    ``thresholds`` holds one ascending tuple per channel.  A channel in ``falling`` reads the code
    table from its end, so that a function that falls needs no negation.  ``bits`` is the width of
    a code.

    >>> Thresholds((0, 1, 2, 3), ((0, 5, 5),), acc_bits=8).apply([-1, 0, 4, 5]).tolist()
    [0, 1, 1, 3]

    Raises `SpecError` for impossible numbers.
    """

    codes: tuple[int, ...]
    thresholds: tuple[tuple[int, ...], ...]
    acc_bits: int
    falling: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        check_bits(self.acc_bits)
        check_channels("thresholds", self.channels)
        if not 2 <= len(self.codes) <= 256 or not all(0 <= c < 256 for c in self.codes):
            raise SpecError(f"{len(self.codes)} codes, allowed: 2..256 codes of at most 8 bits")
        rails = Fixed(self.acc_bits, 0)
        for channel, row in enumerate(self.thresholds):
            if len(row) != len(self.codes) - 1 or list(row) != sorted(row):
                raise SpecError(
                    f"channel {channel} has {len(row)} thresholds, needed "
                    f"{len(self.codes) - 1} in ascending order"
                )
            if not rails.min_int <= row[0] <= row[-1] <= rails.max_int + 1:
                raise SpecError(
                    f"channel {channel} has thresholds {row[0]}..{row[-1]}, allowed "
                    f"{rails.min_int}..{rails.max_int + 1}"
                )
        if not all(0 <= channel < self.channels for channel in self.falling):
            raise SpecError(f"falling {sorted(self.falling)}, allowed: 0..{self.channels - 1}")

    @classmethod
    def of(
        cls,
        fmt: Format | str,
        acc_bits: int,
        *,
        unit: PerChannel = 1,
        scale: Number = 1,
        bias: PerChannel = 0,
        relu: bool = False,
    ) -> Thresholds:
        """Return the thresholds of ``acc * unit + bias`` (then ReLU), to ``fmt`` with ``scale``.

        ``unit`` includes any gain, negative or zero too.  Everything is taken exactly.  With
        ``relu`` the codes below zero are left out.
        Raises `SpecError` for a scale that is not positive.
        """
        fmt = parse(fmt) if isinstance(fmt, str) else fmt
        size = Fraction(scale)
        if size <= 0:
            raise SpecError(f"scale {scale}, allowed: a positive number")
        levels = [(v, c) for v, c in code_values(fmt) if v >= 0 or not relu]
        cuts = []  # (midpoint, whether the midpoint itself belongs to the upper code)
        for (low, _), (high, _) in itertools.pairwise(levels):
            middle = (low + high) / 2
            cuts.append((middle * size, codec.value(fmt, codec.encode(fmt, middle)) == high))
        rows, falling = [], set()
        units, biases = spread(unit=unit, bias=bias)
        for channel, (gain, offset) in enumerate(zip(units, biases, strict=True)):
            if gain < 0:
                falling.add(channel)
                # The code leaves the upper side at the first accumulator beyond the cut.
                row = [
                    math.floor(q) + 1 if up else math.ceil(q)
                    for q, up in (((m - offset) / gain, up) for m, up in reversed(cuts))
                ]
            elif gain > 0:
                row = [
                    math.ceil(q) if up else math.floor(q) + 1
                    for q, up in (((m - offset) / gain, up) for m, up in cuts)
                ]
            else:
                row = [
                    -(1 << acc_bits) if offset > m or (up and offset == m) else 1 << acc_bits
                    for m, up in cuts
                ]
            rows.append(_clipped(row, acc_bits))
        return cls(tuple(c for _, c in levels), tuple(rows), acc_bits, frozenset(falling))

    @classmethod
    def of_function(
        cls,
        codes: Sequence[int],
        function: Callable[[int, int], int],
        acc_bits: int,
        channels: int = 1,
    ) -> Thresholds:
        """Return the thresholds of ``function(acc, channel) -> index into codes``, by bisection.

        The function must be monotone in ``acc`` over all ``acc_bits`` bits, in either direction.
        """
        check_bits(acc_bits)
        rails, last = Fixed(acc_bits, 0), len(codes) - 1
        rows, falling = [], set()
        for channel in range(channels):
            falls = function(rails.min_int, channel) > function(rails.max_int, channel)
            if falls:
                falling.add(channel)
            row = []
            for level in range(1, last + 1):
                low, high = rails.min_int, rails.max_int + 1  # the first that reaches the level
                while low < high:
                    middle = (low + high) // 2
                    found = function(middle, channel)
                    if (last - found if falls else found) >= level:
                        high = middle
                    else:
                        low = middle + 1
                row.append(low)
            rows.append(tuple(row))
        return cls(tuple(codes), tuple(rows), acc_bits, frozenset(falling))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.thresholds)

    @property
    def bits(self) -> int:
        """Width of a code."""
        return max(1, max(self.codes).bit_length())

    def apply(self, acc: ArrayLike) -> Codes:
        """Return the codes of accumulators (channels last); same shape.

        Raises `InputError` for numbers beyond ``acc_bits`` or a wrong last axis.
        """
        array = accumulators(acc, self.channels, self.acc_bits)
        dtype = integer_dtype(1 << self.acc_bits)
        lanes = array.astype(dtype).reshape(-1, self.channels)
        table = np.array(self.codes, np.uint8)
        out = np.empty(lanes.shape, np.uint8)
        for channel, row in enumerate(self.thresholds):
            count = np.searchsorted(np.array(row, dtype), lanes[:, channel], side="right")
            out[:, channel] = table[::-1][count] if channel in self.falling else table[count]
        return out.reshape(array.shape)


def _clipped(row: Sequence[int], acc_bits: int) -> tuple[int, ...]:
    """Return thresholds within the accumulator: always reached, or one beyond its largest."""
    rails = Fixed(acc_bits, 0)
    return tuple(min(max(t, rails.min_int), rails.max_int + 1) for t in row)


Requantizer = RoundPack | MultiplyShift | Thresholds
