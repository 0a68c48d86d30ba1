# SPDX-License-Identifier: Apache-2.0
"""The price of a bucket kernel in its parts: one MAC, and its share of the sequencer.

Run ``python -m costmodel.bucket e4m3 e5m2`` for the table of docs/kernels/bucket.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hw.sites import Resources
from hw.styles import style_of
from hw.styles.bucket import CORE, UNIT, part_sources
from hw.styles.plain import product_bits
from hwquant.errors import SpecError
from hwquant.mac import MacSpec

__all__ = ["BucketCost", "bucket_cost", "headroom_spec"]

HEADROOM: Final = 8
MACS: Final = 16


@dataclass(frozen=True, slots=True)
class BucketCost:
    """One MAC (``core``: adder, buckets and product) and the sequencer that ``macs`` share.

    ``cycles`` are the cycles of one dot product of the spec's length, drain and clear included,
    ``beats`` those in which it takes data.
    """

    core: Resources
    unit: Resources
    macs: int
    beats: int
    cycles: int
    flow: str

    @property
    def core_luts(self) -> int:
        """Packed LUT6 sites and RAM LUTs of one MAC."""
        return self.core.lut_sites + self.core.lutram

    @property
    def luts(self) -> float:
        """The same with the MAC's share of the sequencer."""
        return self.core_luts + self.unit.lut_sites / self.macs

    @property
    def busy_luts(self) -> float:
        """The same for each product per cycle, the cycles without data counted."""
        return self.luts * self.cycles / self.beats


def headroom_spec(weight: str, act: str, length: int = 256, lanes: int = 1) -> MacSpec:
    """Return the spec that kernels are compared by: an accumulator 8 bits above a beat's sum."""
    bare = MacSpec(weight, act)
    sum_bits = product_bits(bare.weight, bare.act) + (lanes - 1).bit_length()
    return MacSpec(weight, act, lanes, length, sum_bits + HEADROOM)


def bucket_cost(spec: MacSpec, style: str = "bucket", macs: int = MACS) -> BucketCost:
    """Synthesize the parts of the bucket kernel of a one-lane ``spec`` and return their price.

    Raises `SpecError` when the style cannot do the spec, `ToolError` when Yosys fails.
    """
    from hw.yosys import flow, synthesize

    chosen = style_of(style, spec)
    if chosen.timing is None:
        raise SpecError(
            f"kernel style {style} has no drain; allowed: bucket, bucket_fast, bucket_portable"
        )
    core, unit = (synthesize(part_sources(spec, style, part), "part_top") for part in (CORE, UNIT))
    gap = chosen.timing(spec).gap
    return BucketCost(core, unit, macs, spec.beats, spec.beats + gap, flow())


def main(pairs: Sequence[str], style: str = "bucket") -> None:
    """Print one line for each pair ``WEIGHT[:ACT]``."""
    print(
        "pair | sites + RAM = core | with 1/16 sequencer | cycles for 256 | per product and cycle"
    )
    for pair in pairs:
        weight, _, act = pair.partition(":")
        cost = bucket_cost(headroom_spec(weight, act or weight), style)
        print(
            f"{pair} | {cost.core.lut_sites} + {cost.core.lutram} = {cost.core_luts} | "
            f"{cost.luts:.1f} | {cost.cycles} | {cost.busy_luts:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
