# SPDX-License-Identifier: Apache-2.0
"""Style ``tree``: dot products of several lanes, summed by registered ternary adders.

Products with a sign of their own are folded in pairs, two's complement products are taken as they
are; see ``hq_tree_mac`` for the function and ``docs/kernels/tree.md`` for the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.style import Parameter, Style, refuse_codebooks
from hwquant.fixed import signed_bits
from hwquant.formats import Format, Minifloat
from hwquant.mac import MacSpec, Overflow

from .booth import LEAST, row_sites
from .table import PRIMITIVES, magnitudes

__all__ = ["PORTABLE", "SOURCES", "STYLE", "levels", "operands"]

SOURCES: Final = (
    "hq_add.sv",
    "hq_lut.sv",
    "hq_lut_pair.sv",
    "hq_chain.sv",
    "hq_updown.sv",
    "hq_booth_row.sv",
    "hq_booth_first.sv",
    "hq_booth.sv",
    "hq_mul_table.sv",
    "hq_sig_product.sv",
    "hq_mux_shift.sv",
    "hq_delay.sv",
    "hq_fold.sv",
    "hq_ternary.sv",
    "hq_tree_table.sv",
    "hq_tree_shift.sv",
    "hq_tree_lane.sv",
    "hq_tree_sum.sv",
    "hq_tree_acc.sv",
    "hq_tree_mac.sv",
)

PRODUCT_BITS: Final = 480
TABLE_INPUTS: Final = 6


def _flips(fmt: Format) -> bool:
    return fmt.sign_magnitude


def _twos(fmt: Format) -> bool:
    return fmt.signed and not fmt.sign_magnitude


def _exponent_bits(fmt: Format) -> int:
    return 0 if not isinstance(fmt, Minifloat) else fmt.exponent_bits


def _magnitude_bits(fmt: Format) -> int:
    return fmt.bits - _flips(fmt)


def _significand(fmt: Format) -> int:
    """Return the width of the significand, a hidden bit included."""
    if not isinstance(fmt, Minifloat):
        return fmt.bits
    return fmt.mantissa_bits + (fmt.exponent_bits > 0)


def _product_bits(spec: MacSpec) -> int:
    """Return the least width of a product below its sign, at least two bits."""
    both = [(min(values), max(values)) for values in map(magnitudes, (spec.weight, spec.act))]
    ends = [w * a for w in both[0] for a in both[1]]
    if min(ends) < 0:
        return max(signed_bits(min(ends), max(ends)), 2)
    return max(max(ends).bit_length(), 2)


def operands(spec: MacSpec) -> int:
    """Return how many numbers are added in a beat: lanes, or pairs of lanes with signs apart.

    >>> operands(MacSpec("e2m1", "e2m1", lanes=8)), operands(MacSpec("int4", "int4", lanes=8))
    (4, 8)
    """
    pairs = _flips(spec.weight) or _flips(spec.act)
    return (spec.lanes + 1) // 2 if pairs else spec.lanes


def levels(spec: MacSpec) -> int:
    """Return the levels of ternary adders in front of the accumulator.

    >>> [levels(MacSpec("int4", "int4", lanes=n)) for n in (1, 2, 3, 8, 16, 64)]
    [0, 0, 1, 2, 3, 4]
    """
    count = operands(spec)
    count -= count % 2 == 0
    found = 0
    while 3**found < count:
        found += 1
    return found


def _latency(spec: MacSpec) -> int:
    return 3 + levels(spec)


def _refuse(spec: MacSpec) -> str | None:
    if (reason := refuse_codebooks(spec)) is not None:
        return reason
    both = (spec.weight, spec.act)
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    narrow = any(_twos(fmt) and fmt.bits == 2 for fmt in both)
    if narrow and sum(map(_significand, both)) > TABLE_INPUTS:
        return "int2 with a significand of more than 4 bits"
    if _product_bits(spec) > PRODUCT_BITS:
        return f"a product of {_product_bits(spec)} bits, allowed up to {PRODUCT_BITS}"
    return None


def _recode_act(spec: MacSpec) -> bool:
    """Return whether Booth rows recode the activation's significand; the smaller way."""
    weight, act = spec.weight, spec.act
    if min(_significand(weight), _significand(act)) < LEAST:
        return False

    def price(recoded: Format, value: Format) -> float:
        return row_sites(
            _significand(recoded),
            _significand(value),
            signed=_twos(recoded),
            value_signed=_twos(value),
        )

    return price(act, weight) < price(weight, act)


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    found: dict[str, Parameter] = {"Primitive": 1, "Lanes": spec.lanes}
    for prefix, fmt in (("Weight", spec.weight), ("Act", spec.act)):
        found |= {
            f"{prefix}Bits": fmt.bits,
            f"{prefix}ExpBits": _exponent_bits(fmt),
            f"{prefix}Twos": int(_twos(fmt)),
            f"{prefix}Flip": int(_flips(fmt)),
        }
    return found | {
        "RecodeAct": int(_recode_act(spec)),
        "ProductBits": _product_bits(spec),
        "Levels": levels(spec),
        "AccBits": spec.accumulator.width,
    }


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="tree",
    top="hq_tree_mac",
    sources=SOURCES,
    latency_cycles=_latency,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="tree_portable", parameters=_portable_parameters, primitives=()
)
