# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``booth``: exact."""

from __future__ import annotations

import numpy as np

from hw.styles import booth as style
from hwquant.formats import Format
from hwquant.mac import MacSpec

from .accumulate import hq_sign, hq_tally
from .counts import Counts
from .packing import block
from .product import hq_booth
from .specs import SpecArrays, register_formula

__all__ = ["hq_booth_mac"]


def _recode_act(weight: Format, act: Format) -> int:
    return int(str(style.STYLE.parameters(MacSpec(weight, act))["RecodeAct"]))


@register_formula(style.STYLE.name)
def hq_booth_mac(specs: SpecArrays) -> Counts:
    """One lane of evenly spaced numbers: Booth rows in front of a counting accumulator; exact.

    The product's lowest bits are absorbed by the accumulator's own LUTs.
    """
    weight, act = specs.weight, specs.act
    swap = specs.per_pair(_recode_act) != 0
    widths = weight.bits - weight.flips, act.bits - act.flips
    a, b = np.where(swap, widths[1], widths[0]), np.where(swap, widths[0], widths[1])
    a_signed = np.where(swap, act.twos, weight.twos)
    b_signed = np.where(swap, weight.twos, act.twos)
    twos = weight.twos | act.twos
    kernel = (
        block(ff=weight.bits + act.bits)
        + hq_booth(a, b, a_signed, b_signed)
        + hq_sign(weight.flips & act.flips, twos & (weight.flips | act.flips))
        + hq_tally(a + b - twos, specs.acc)
    )
    return kernel.packed()
