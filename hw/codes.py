# SPDX-License-Identifier: Apache-2.0
"""Found codes: few computed nets through which every bit of a small product has few inputs.

The magnitude of an ``e2m1`` x ``e2m1`` product has eight bits, six inputs and only 19 values.
A code of it in k nets is worth k LUTs if every product bit is a function of at most four nets
(codes or raw input bits), because such a function is absorbed by the accumulator; of five nets
where no sign is folded in, the product's own sign among them.  The codes below were found by a SAT
solver from the clauses of `hw.code_search`; `hw.styles.table` checks each against the product
whenever it uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["FOUND", "found_code"]

_E2M1: Final = (0, 1, 2, 3, 4, 6, 8, 12)
_THREE_BITS: Final = (0, 1, 2, 3, 4, 5, 6, 7)
_INT3: Final = (0, 1, 2, 3, -4, -3, -2, -1)

FOUND: Final[dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]]] = {
    (_INT3, _INT3): (0xC199FAAA4B33FA04,),  # beside the product's sign
    (_THREE_BITS, _THREE_BITS): (0x88AA22AA44000000, 0xEECC880000CC0000, 0x98785FFFC70F0000),
    (_E2M1, _E2M1): (
        0xF63CDA7665DF43F0,
        0x6A90A0C68915C7FA,
        0x03C00F003F0FFFF0,
        0x3330C3C00C0FF0F0,
    ),
}
"""Values of the two operands without their sign bits (by code) -> truth tables of the code."""


def found_code(weight: Sequence[int], act: Sequence[int]) -> tuple[int, ...] | None:
    """Return the truth tables of the stored code for two lists of values, None without one.

    The index of a truth table is ``weight code * len(act) + activation code``.
    """
    return FOUND.get((tuple(weight), tuple(act)))
