# SPDX-License-Identifier: Apache-2.0
"""Style ``dsp_acc``: products in LUTs as in style ``tree``, the accumulator in one DSP48E2.

One lane, or two: the slice's adder takes two products a beat and the accumulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.packing import DSP48E2
from hw.style import Parameter, Style
from hwquant.mac import MacSpec

from . import tree

__all__ = ["PORTABLE", "SOURCES", "STYLE"]

PRODUCTS: Final = ("hq_delay.sv", "hq_fold.sv", "hq_ternary.sv", "hq_updown.sv", "hq_tree_sum.sv")
"""What of style ``tree`` only adds."""

SOURCES: Final = (
    *(name for name in tree.SOURCES if name not in (*PRODUCTS, "hq_tree_acc.sv", "hq_tree_mac.sv")),
    "hq_dsp_add.sv",
    "hq_dsp_acc_mac.sv",
)
LANES: Final = 2


def _refuse(spec: MacSpec) -> str | None:
    if spec.lanes > LANES:
        return f"{spec.lanes} lanes, a DSP adds up to {LANES} products a beat"
    reason = tree.STYLE.refuse(spec)
    if reason is not None:
        return reason
    width = max(spec.accumulator.width, int(str(tree.STYLE.parameters(spec)["ProductBits"])) + 1)
    if width > DSP48E2.result:
        return f"products or an accumulator of {width} bits, a DSP has {DSP48E2.result}"
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {name: value for name, value in tree.STYLE.parameters(spec).items() if name != "Levels"}


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="dsp_acc",
    top="hq_dsp_acc_mac",
    sources=SOURCES,
    latency_cycles=3,
    parameters=_parameters,
    refuse=_refuse,
    primitives=(*tree.STYLE.primitives, "DSP48E2"),
    dsps=1,
)

PORTABLE: Final = replace(
    STYLE, name="dsp_acc_portable", parameters=_portable_parameters, primitives=()
)
