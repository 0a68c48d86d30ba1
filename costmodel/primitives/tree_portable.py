# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``tree_portable``: lanes mapped as their RTL says, adders fitted."""

from __future__ import annotations

import numpy as np

from costmodel.mapping.trees import tree_lanes
from hw.styles import tree as style

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .registered import lane_registers
from .specs import SpecArrays
from .tree import hq_tree_mac, shape

__all__: list[str] = []


def _exact(specs: SpecArrays) -> Counts:
    return counts(ff=hq_tree_mac(specs).ff + specs.lanes * specs.per_pair(lane_registers))


@register_inferred(style.PORTABLE.name, exact=_exact)
def _terms(specs: SpecArrays, count: str) -> Terms:
    lanes, acc = specs.lanes, specs.acc
    raw = int(count == "lut_raw")
    flip = (specs.weight.flips | specs.act.flips) != 0
    signed = flip | ((specs.weight.twos | specs.act.twos) != 0)
    tree = shape(specs)
    chain = np.minimum(acc, tree.bits + 1)
    above = acc - chain

    pairs = np.where(flip, lanes // 2, 0)
    singles = lanes - 2 * pairs
    logic = specs.per_pair(tree_lanes).reshape(2, 2, 3, -1)  # prices, lanes, counts
    mapped, cells = (singles * one[raw] + pairs * two[raw] for one, two in logic)
    places = singles * logic[0, 0, 2] + pairs * logic[0, 1, 2]

    found = Terms(len(specs))
    # A position adds three bits with a carry of its own: two LUTs, in one site where one is 0.
    found.fixed(mapped + chain * (1 + raw))
    found.add("control", 1, 2, 0.5)
    found.add("mapped", mapped - (0 if raw else places), 0, 0.5)
    found.add("mapped by cells", cells - mapped, 0.2, 0.3)
    found.add("positions of lanes", places, 0, 0.5)
    found.add("accumulator", chain, 0, 0.5)
    found.add(
        "accumulator of two operands", chain * (tree.operands - tree.count), 0 if raw else 1, 0.3
    )
    found.add("counter", above, 1.3 if raw else 0.8, 0.3)
    found.add("counter, upward only", above * ~signed, 0, 0.5)
    found.add("counter, first bits", np.minimum(above, 3), 0, 1)
    found.add("adders", (tree.count - 1) // 2 * tree.width, 2 if raw else 1.5, 0.3)
    found.add("registers moved", lanes * specs.per_pair(lane_registers), 0.5, 1)
    return found
