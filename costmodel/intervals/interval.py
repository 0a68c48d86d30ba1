# SPDX-License-Identifier: Apache-2.0
"""An estimate with the range it is expected in, and sums of such estimates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hwquant.errors import InputError

__all__ = ["Interval", "exact", "total"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A count: its estimate and the ends of its prediction interval, all whole numbers.

    ``seen`` is False where no kernel of the style was synthesized, so that the interval is that of
    the widest family and carries no guarantee.

    Raises `InputError` unless ``low <= value <= high``.
    """

    value: int
    low: int
    high: int
    seen: bool = True

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise InputError(
                f"interval {self.low}..{self.high} does not hold its value {self.value}; "
                "allowed: low <= value <= high"
            )

    @property
    def width(self) -> int:
        """The distance of the ends; 0 for a count that is exact."""
        return self.high - self.low

    def to_json(self) -> dict[str, int | bool]:
        """Return value, low and high; ``seen`` too where it is False."""
        record: dict[str, int | bool] = {"value": self.value, "low": self.low, "high": self.high}
        return record if self.seen else record | {"seen": False}


def exact(value: int) -> Interval:
    """Return the interval of zero width of a count that was measured or is exact.

    >>> exact(18)
    Interval(value=18, low=18, high=18, seen=True)
    """
    return Interval(value, value, value)


def total(parts: Iterable[tuple[Interval, int]]) -> Interval:
    """Return the interval of a sum of ``copies`` of each part: low ends and high ends added.

    That is the sum of comonotone errors, the widest there is: all parts are off in the same
    direction at once.  It is conservative, as errors of kernels of one style really go together,
    and copies of one kernel are off by exactly the same; independent errors would partly cancel.

    >>> total([(Interval(10, 9, 12), 2), (exact(5), 1)])
    Interval(value=25, low=23, high=29, seen=True)

    Raises `InputError` for a negative number of copies.
    """
    value = low = high = 0
    seen = True
    for part, copies in parts:
        if copies < 0:
            raise InputError(f"{copies} copies of an interval; allowed: 0 and more")
        value, low, high = (
            old + copies * new
            for old, new in zip((value, low, high), (part.value, part.low, part.high), strict=True)
        )
        seen = seen and part.seen
    return Interval(value, low, high, seen)


def outward(value: float, low: float, high: float, *, seen: bool = True) -> Interval:
    """Return an interval of whole numbers around real ends: a count never lies between two.

    >>> outward(21.4, 19.7, 23.2)
    Interval(value=21, low=19, high=24, seen=True)
    """
    middle = max(round(value), 0)
    return Interval(
        middle, max(min(math.floor(low), middle), 0), max(math.ceil(high), middle), seen
    )
