# SPDX-License-Identifier: Apache-2.0
"""What memories cost: weight memories as LUTs, block RAM or UltraRAM, and FIFOs.

Each is a staircase, because memory comes in pieces:

``lut``    constant tables (`hw/rtl/hq_rom.sv`).  A LUT6 holds 64 words of one bit, or 32 words of
           two (UG574: two functions of the same five inputs); deeper tables take the slice's wide
           multiplexers, which cost no LUT up to 256 words, four LUTs a bit.  Above 64 words the
           figure is that of the table padded to a power of two: Yosys spends more on an odd depth.
           Checked against synthesis by ``tests/test_cost_memory.py``.
``block``  18 kbit block RAM in the shapes of UG573: 16384 x 1, 8192 x 2, 4096 x 4, 2048 x 9,
           1024 x 18, 512 x 36 (one port reads, none writes); the shape that needs fewest.  A
           36 kbit block is two of them.
``ultra``  UltraRAM, 4096 x 72 (UG573).  The bitstream of UltraScale+ cannot fill it, that of Versal
           can (AM007), so ``auto`` takes it only where a part says so.

The same staircases with FINN's shapes stand in its estimator (bram_estimation, uram_estimation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from hwquant.errors import SpecError

from .usage import Usage

__all__ = ["KINDS", "ROM_DEPTH", "Memory", "fifo", "weight_memory"]

ROM_DEPTH: Final = 128
"""The deepest weight memory that ``auto`` builds from LUTs; a deeper one is block RAM."""

KINDS: Final = ("auto", "lut", "block", "ultra")

_LUT_WORDS: Final = 64
_FREE_MUX: Final = 256  # words that F7 and F8 multiplexers reach (UG574)
_BRAM18: Final = ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512))
"""Width and depth of one 18 kbit block RAM in each of its shapes."""
_URAM: Final = (72, 4096)
_SRL: Final = 32  # words of one bit in a LUT used as shift register
_SHIFT_DEPTH: Final = 256  # a deeper FIFO is block RAM
_SHIFT_MUX: Final = 128  # words that F7 and F8 multiplexers reach; beyond, a LUT5 for each bit
_REGISTER_DEPTH: Final = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """A weight memory: its bits, and the LUTs or memory blocks that hold them."""

    bits: int = 0
    luts: int = 0
    bram18: int = 0
    uram: int = 0

    @property
    def usage(self) -> Usage:
        """What it uses; block memories have their output register inside."""
        return Usage(lut_sites=self.luts, lut_raw=self.luts, bram18=self.bram18, uram=self.uram)


def _lut_rom(words: int, width: int) -> int:
    """Return the LUT sites of a table of random words."""
    if words == 1:
        return 0  # a constant
    if words <= _LUT_WORDS // 2:
        return math.ceil(width / 2)
    blocks = 1 << (math.ceil(words / _LUT_WORDS) - 1).bit_length()
    # Beyond the wide multiplexers: a LUT6 chooses among four of their outputs.
    joins = math.ceil(blocks * _LUT_WORDS / _FREE_MUX)
    extra = math.ceil((joins - 1) / 3)
    return width * (blocks + extra)


def _blocks(words: int, width: int) -> int:
    return min(math.ceil(words / depth) * math.ceil(width / wide) for wide, depth in _BRAM18)


def _ultra(words: int, width: int) -> int:
    return math.ceil(width / _URAM[0]) * math.ceil(words / _URAM[1])


def weight_memory(
    words: int, width: int, kind: str = "auto", *, uram_loads: bool = False
) -> Memory:
    """Return a read-only memory of ``words`` words of ``width`` bits.

    ``auto`` is LUTs up to `ROM_DEPTH` words, beyond that block RAM; where the part's bitstream can
    fill UltraRAM (``uram_loads``) one that replaces eight block RAMs or more is taken instead.

    >>> weight_memory(64, 4), weight_memory(1024, 18)
    (Memory(bits=256, luts=4, bram18=0, uram=0), Memory(bits=18432, luts=0, bram18=1, uram=0))
    >>> weight_memory(4096, 72, "ultra").uram, weight_memory(4096, 72).bram18
    (1, 16)

    Raises `SpecError` for an unknown kind or negative sizes.
    """
    if kind not in KINDS:
        raise SpecError(f"memory kind {kind!r}, allowed: {', '.join(KINDS)}")
    if words < 0 or width < 0:
        raise SpecError(f"memory of {words} words of {width} bits, allowed: 0 and more")
    bits = words * width
    if bits == 0:
        return Memory()
    if kind == "auto":
        kind = "lut" if words <= ROM_DEPTH else "block"
        if kind == "block" and uram_loads and _blocks(words, width) >= 8 * _ultra(words, width):
            kind = "ultra"
    if kind == "lut":
        return Memory(bits, luts=_lut_rom(words, width))
    if kind == "block":
        return Memory(bits, bram18=_blocks(words, width))
    return Memory(bits, uram=_ultra(words, width))


def fifo(depth: int, width: int) -> Usage:
    """Return what a FIFO of ``depth`` words of ``width`` bits costs.

    Two words are registers, up to 256 shift registers of 32 bits a LUT (SRL32, UG574; two share a
    LUT up to 16 words, which Yosys does not do and is not counted), beyond that block RAM.  Control
    is a position that counts up and down (two positions where block RAM has two addresses) and two
    flags: four sites a bit less one, which is what Yosys makes of a plainly written one.

    >>> fifo(32, 8).lutram, fifo(33, 8).lutram, fifo(512, 36).bram18
    (8, 16, 1)

    Raises `SpecError` for negative sizes.
    """
    if depth < 0 or width < 0:
        raise SpecError(f"FIFO of {depth} words of {width} bits, allowed: 0 and more")
    if depth == 0 or width == 0:
        return Usage()
    if depth <= _REGISTER_DEPTH:
        # A word that leaves and one behind it, which its multiplexer chooses from.
        sites = math.ceil(width / 2) * (depth - 1) + 2
        return Usage(lut_sites=sites, lut_raw=sites, ff=depth * width + 2)
    position = (depth - 1).bit_length()
    sites = 4 * position - 1
    control = Usage(lut_sites=sites, lut_raw=sites, ff=position + 2)
    if depth <= _SHIFT_DEPTH:
        joins = math.ceil(width / 2) if depth > _SHIFT_MUX else 0
        join = Usage(lut_sites=joins, lut_raw=width if joins else 0)
        return control + join + Usage(lutram=width * math.ceil(depth / _SRL))
    return control + control + Usage(bram18=_blocks(depth, width))
