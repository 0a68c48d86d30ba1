# SPDX-License-Identifier: Apache-2.0
"""Exact fixed-point numbers: the type of products and accumulators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import SpecError

__all__ = ["Fixed", "signed_bits"]


def signed_bits(lowest: int, highest: int) -> int:
    """Return the smallest two's complement width that holds ``lowest..highest``.

    >>> signed_bits(-8, 7), signed_bits(-8, 8), signed_bits(0, 0)
    (4, 5, 1)
    """
    return (
        max(
            (lowest if lowest >= 0 else ~lowest).bit_length(),
            (highest if highest >= 0 else ~highest).bit_length(),
        )
        + 1
    )


@dataclass(frozen=True, slots=True)
class Fixed:
    """Two's complement, ``width`` bits, of which ``frac`` (possibly negative) are fractional."""

    width: int
    frac: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise SpecError(f"fixed-point width {self.width}, allowed 1 or more")

    @property
    def min_int(self) -> int:
        """The lower rail."""
        return -(1 << self.width - 1)

    @property
    def max_int(self) -> int:
        """The upper rail."""
        return (1 << self.width - 1) - 1

    def wrap(self, x: NDArray[Any] | int) -> Any:
        """Return ``x`` modulo 2**width, as a signed number."""
        return (x - self.min_int & (1 << self.width) - 1) + self.min_int

    def saturate(self, x: NDArray[Any] | int) -> Any:
        """Return ``x`` clamped to the rails."""
        if isinstance(x, int):  # numpy refuses to compare a small integer with rails beyond 64 bits
            return min(max(x, self.min_int), self.max_int)
        return np.minimum(np.maximum(x, self.min_int), self.max_int)
