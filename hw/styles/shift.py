# SPDX-License-Identifier: Apache-2.0
"""Style ``shift``: minifloats by significand product and shifter, in a counting accumulator.

One operand has two exponent bits or more; the other may be anything, integers included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.style import Parameter, Style, refuse_codebooks
from hwquant.formats import Format, Minifloat
from hwquant.mac import MacSpec, Overflow

from .booth import SOURCES as BOOTH_SOURCES
from .booth import row_sites
from .table import PRIMITIVES

__all__ = ["PORTABLE", "SOURCES", "STYLE"]

SOURCES: Final = (
    *(name for name in BOOTH_SOURCES if name != "hq_booth_mac.sv"),
    "hq_mul_table.sv",
    "hq_sig_product.sv",
    "hq_mux_shift.sv",
    "hq_shift_mac.sv",
)

LARGEST_ACC: Final = 1024


def _shifts(fmt: Format) -> bool:
    return isinstance(fmt, Minifloat) and fmt.exponent_bits > 1


def _twos(fmt: Format) -> bool:
    return fmt.signed and not fmt.sign_magnitude


def _significand(fmt: Format) -> int:
    """Return the width of the significand, a hidden bit included."""
    if not isinstance(fmt, Minifloat):
        return fmt.bits
    return fmt.mantissa_bits + (fmt.exponent_bits > 0)


def _largest_shift(fmt: Format) -> int:
    if not isinstance(fmt, Minifloat) or fmt.exponent_bits < 2:
        return 0
    return (1 << fmt.exponent_bits) - 2


def _low_bits(spec: MacSpec) -> int:
    both = (spec.weight, spec.act)
    widths = [_significand(fmt) for fmt in both]
    return sum(widths) - (1 in widths) + sum(map(_largest_shift, both)) - any(map(_twos, both))


def _refuse(spec: MacSpec) -> str | None:
    if (reason := refuse_codebooks(spec)) is not None:
        return reason
    both = (spec.weight, spec.act)
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    if not any(map(_shifts, both)):
        return "no operand has two exponent bits, there is nothing to shift"
    if any(_twos(fmt) and fmt.bits == 2 for fmt in both) and sum(map(_significand, both)) > 6:
        return "int2 with a significand of more than 4 bits"
    if spec.accumulator.width < _low_bits(spec):
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {_low_bits(spec)}"
    return None


def _recode_act(spec: MacSpec) -> bool:
    weight, act = spec.weight, spec.act
    if min(_significand(weight), _significand(act)) < 3:
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
    found: dict[str, Parameter] = {"Primitive": 1}
    for prefix, fmt in (("Weight", spec.weight), ("Act", spec.act)):
        minifloat = isinstance(fmt, Minifloat)
        found |= {
            f"{prefix}Bits": fmt.bits,
            f"{prefix}ExpBits": fmt.exponent_bits if isinstance(fmt, Minifloat) else 0,
            f"{prefix}Twos": int(_twos(fmt)),
            f"{prefix}Flip": int(fmt.signed and minifloat),
        }
    return found | {"RecodeAct": int(_recode_act(spec)), "AccBits": spec.accumulator.width}


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="shift",
    top="hq_shift_mac",
    sources=SOURCES,
    latency_cycles=2,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="shift_portable", parameters=_portable_parameters, primitives=()
)
