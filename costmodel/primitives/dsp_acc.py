# SPDX-License-Identifier: Apache-2.0
"""Formula of style ``dsp_acc``: products as in style tree, the accumulator in one DSP slice."""

from __future__ import annotations

import numpy as np

from hw.styles import dsp_acc as style

from .counts import Counts
from .packing import block
from .specs import SpecArrays, register_formula
from .tree import hq_tree_lane, product_width

__all__ = ["hq_dsp_acc_mac"]


@register_formula(style.STYLE.name)
def hq_dsp_acc_mac(specs: SpecArrays) -> Counts:
    """One or two lanes: an enable and an inverter beside the products.

    Where products have signs apart, the second lane's product is complemented where the signs
    differ: one gate for each bit, and one for the difference.
    """
    weight, act, lanes = specs.weight, specs.act, specs.lanes
    flips = weight.flips | act.flips
    second = (lanes == 2) * flips
    bits = np.minimum(product_width(specs), specs.acc)
    codes = lanes * (weight.bits + act.bits)
    kernel = (
        hq_tree_lane(specs) * lanes
        + block(raw=2, one=1, two=1, ff=codes + 4, dsp=1)
        + block(raw=bits + 1, two=bits + 1) * second
    )
    return kernel.packed()
