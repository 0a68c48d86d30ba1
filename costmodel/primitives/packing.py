# SPDX-License-Identifier: Apache-2.0
"""What a block is made of before packing, and how blocks share sites by the rules of `hw.sites`.

A block's LUTs that find a partner inside it, and those that never do, are whole sites.  The rest,
LUTs of one to four inputs, may share a site with a stranger of another block where both together
have at most five inputs; they are carried by number of inputs until a kernel is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.sites import pair_luts

from .counts import Counts, counts

__all__ = ["Block", "block", "matched"]

Array = NDArray[np.float64]

SITE_INPUTS: Final = 5
STRANGERS: Final = ((4, 1), (3, 2), (3, 1), (2, 2), (2, 1), (1, 1))
"""Sizes of two LUTs that share a site without a shared input, in the order of `hw.sites`."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Parts of many kernels, one array each; they broadcast.

    ``sites`` are complete, ``raw`` counts all LUT cells; ``loose[k]`` LUTs of ``k + 1`` inputs
    (among ``raw``) have no site yet.  ``lutram``, ``ff`` and ``dsp`` as in `Counts`.
    """

    sites: Array
    raw: Array
    lutram: Array
    ff: Array
    dsp: Array
    loose: tuple[Array, Array, Array, Array]

    @property
    def parts(self) -> tuple[Array, ...]:
        """All nine arrays, the loose LUTs last."""
        return (self.sites, self.raw, self.lutram, self.ff, self.dsp, *self.loose)

    @classmethod
    def of(cls, parts: Sequence[Array]) -> Block:
        """Return the block of nine `parts`."""
        sites, raw, lutram, ff, dsp, one, two, three, four = parts
        return cls(sites, raw, lutram, ff, dsp, (one, two, three, four))

    def __add__(self, other: Block) -> Block:
        both = zip(self.parts, other.parts, strict=True)
        return Block.of([mine + others for mine, others in both])

    def __mul__(self, factor: ArrayLike) -> Block:
        """Return ``factor`` times as much; 0 or 1 says whether a block is there."""
        times = np.asarray(factor, np.float64)
        return Block.of([part * times for part in self.parts])

    def packed(self) -> Counts:
        """Return the counts of a complete kernel: strangers share sites, a tight fit first."""
        left = [np.array(part, np.float64) for part in np.broadcast_arrays(*self.loose)]
        pairs: Any = 0.0
        for large, small in STRANGERS:
            if large == small:
                made = np.floor(left[large - 1] / 2)
                left[large - 1] = left[large - 1] - 2 * made
            else:
                made = np.minimum(left[large - 1], left[small - 1])
                left[large - 1] = left[large - 1] - made
                left[small - 1] = left[small - 1] - made
            pairs = pairs + made
        sites = self.sites + pairs + sum(left)
        return counts(
            lut_sites=sites, lut_raw=self.raw, lutram=self.lutram, ff=self.ff, dsp=self.dsp
        )


def block(
    *,
    sites: ArrayLike = 0,
    raw: ArrayLike = 0,
    lutram: ArrayLike = 0,
    ff: ArrayLike = 0,
    dsp: ArrayLike = 0,
    one: ArrayLike = 0,
    two: ArrayLike = 0,
    three: ArrayLike = 0,
    four: ArrayLike = 0,
) -> Block:
    """Return a block: ``one`` .. ``four`` are loose LUTs by number of inputs, counted in ``raw``.

    >>> both = block(sites=3, raw=4, three=1) + block(raw=1, two=1)
    >>> both.packed().to_columns()["lut_sites"].tolist()
    4
    """
    values = (sites, raw, lutram, ff, dsp, one, two, three, four)
    return Block.of([np.asarray(value, np.float64) for value in values])


def matched(luts: Sequence[frozenset[Any]]) -> tuple[int, ...]:
    """Return ``(sites, raw, one, two, three, four)`` of LUTs given by their inputs.

    LUTs that share an input are paired as `hw.sites.pair_luts` does; of those left over the ones
    with at most four inputs are loose.
    """
    numbers: dict[Any, int] = {}
    nets: list[frozenset[int | str]] = [
        frozenset(numbers.setdefault(net, len(numbers)) for net in lut) for lut in luts
    ]
    pairs = [(a, b) for a, b in pair_luts(nets) if nets[a] & nets[b]]
    taken = {index for pair in pairs for index in pair}
    loose = [0] * SITE_INPUTS
    wide = 0
    for index, inputs in enumerate(nets):
        if index not in taken:
            if 1 <= len(inputs) < SITE_INPUTS:
                loose[len(inputs)] += 1
            else:
                wide += 1
    return (len(pairs) + wide, len(luts), *loose[1:])
