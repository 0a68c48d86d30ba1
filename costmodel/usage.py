# SPDX-License-Identifier: Apache-2.0
"""What a piece of a network uses: kernels, memories, buffers and requantizers in one unit.

Everything here adds up exactly, so a network's totals are the sums of its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final

from hw.sites import Resources

__all__ = ["RESOURCES", "Usage", "total"]

RESOURCES: Final = ("lut", "ff", "dsp", "bram18", "uram")
"""What parts and budgets count; ``lut`` is LUT sites and LUTs used as memory together."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources by name, in the words of `hw.sites.Resources`; memory blocks beside them."""

    lut_sites: int = 0
    lut_raw: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0

    @classmethod
    def of(cls, resources: Resources) -> Usage:
        """Return the usage of a kernel."""
        return cls(
            resources.lut_sites, resources.lut_raw, resources.lutram, resources.ff, resources.dsp
        )

    @property
    def lut(self) -> int:
        """LUTs of the device: packed sites and those used as memory."""
        return self.lut_sites + self.lutram

    def amount(self, resource: str) -> int:
        """Return the count of one of `RESOURCES`."""
        return int(getattr(self, resource))

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)))

    def __mul__(self, copies: int) -> Usage:
        """Return what ``copies`` of it use."""
        return Usage(*(getattr(self, f.name) * copies for f in fields(Usage)))

    __rmul__ = __mul__

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def total(parts: Iterable[Usage]) -> Usage:
    """Return the sum.

    >>> total([Usage(lut_sites=3), 2 * Usage(ff=5, lutram=1)]).lut
    5
    """
    result = Usage()
    for part in parts:
        result += part
    return result
