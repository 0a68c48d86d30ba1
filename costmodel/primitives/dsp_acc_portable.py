# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``dsp_acc_portable``: products mapped as their RTL says, adders fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.mapping.trees import lane_products
from hw.styles import dsp_acc as style

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .registered import lane_registers, table_registers
from .specs import SpecArrays
from .tree import product_width

__all__ = ["hq_dsp_add"]


def _moved(specs: SpecArrays) -> NDArray[Any]:
    """Return the registers that synthesis adds; a table of the first lane is registered itself."""
    return specs.lanes * specs.per_pair(lane_registers) - specs.per_pair(table_registers)


def hq_dsp_add(specs: SpecArrays) -> Counts:
    """Return the registers of ``dsp_acc`` without a slice: codes, products, accumulator."""
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    flips = weight.flips | act.flips
    held = lanes * np.minimum(product_width(specs), acc)
    codes = lanes * (weight.bits + act.bits)
    return counts(ff=codes + held + acc + 5 + lanes * flips + _moved(specs))


@register_inferred(style.PORTABLE.name, exact=hq_dsp_add)
def _terms(specs: SpecArrays, count: str) -> Terms:
    weight, act, lanes, acc = specs.weight, specs.act, specs.lanes, specs.acc
    raw = int(count == "lut_raw")
    flips = weight.flips | act.flips
    width = np.minimum(product_width(specs), acc)
    second = lanes - 1

    logic = specs.per_pair(lane_products).reshape(2, 2, 3, -1)  # prices, negated or not, counts
    mapped, cells = (
        straight[raw] + second * np.where(flips, negated[raw], straight[raw])
        for straight, negated in logic
    )
    places = logic[0, 0, 2] + second * logic[0, 1, 2]

    found = Terms(len(specs))
    # Where a sign is apart the product is added in one chain and subtracted in another.
    found.fixed(mapped + acc * (1 + flips))
    found.add("control", 1, 3, 0.5)
    found.add("mapped", mapped - (0 if raw else places), 0, 0.5)
    found.add("mapped by cells", cells - mapped, 0.2, 0.3)
    found.add("positions of lanes", places, 0, 0.5)
    found.add("product bits", width, 0, 0.5)
    found.add("product bits, signs apart", width * flips, 0, 0.5)
    found.add("accumulator", acc, 0.5 if raw else 0, 0.3)
    found.add("accumulator, signs apart", acc * flips, 0.5, 0.3)
    found.add("second lane", second * (width + 1), 1, 0.3)
    found.add("second lane, accumulator", second * acc, 0, 0.3)
    found.add("second lane, signs apart", second * acc * flips, 0, 0.5)
    found.add("registers moved", _moved(specs), 0.5, 1)
    return found
