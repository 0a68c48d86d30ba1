# SPDX-License-Identifier: Apache-2.0
"""Style ``dsp``: one lane in one DSP48E2, multiplier and accumulator.

Integers use no LUT but for control; minifloats are decoded to integers first, so their values must
fit the ports: exponents of up to three bits, and four with two mantissa bits or fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.packing import DSP48E2
from hw.style import Parameter, Style
from hwquant.formats import Format, Integer, Minifloat
from hwquant.mac import MacSpec, Overflow

from .plain import operand

__all__ = ["PORTABLE", "PRIMITIVES", "SOURCES", "STYLE", "value_bits"]

SOURCES: Final = ("hq_decode.sv", "hq_dsp_operand.sv", "hq_dsp_mul.sv", "hq_dsp_mac.sv")
PRIMITIVES: Final = ("DSP48E2",)


def value_bits(fmt: Format) -> int:
    """Return the two's complement width of a code as a multiplier's operand, its sign apart.

    >>> from hwquant.formats import parse
    >>> [value_bits(parse(name)) for name in ("int8", "uint8", "e2m1", "e4m2")]
    [8, 9, 5, 18]
    """
    if not isinstance(fmt, Minifloat):
        return fmt.bits + (not fmt.signed)
    largest = (1 << fmt.exponent_bits) - 2 if fmt.exponent_bits > 1 else 0
    return fmt.mantissa_bits + (fmt.exponent_bits > 0) + largest + 1


def _decodes(spec: MacSpec) -> bool:
    both = (spec.weight, spec.act)
    return any(isinstance(fmt, Minifloat) and fmt.exponent_bits > 1 for fmt in both)


def _act_wide(spec: MacSpec) -> bool:
    return value_bits(spec.act) > value_bits(spec.weight)


def _refuse(spec: MacSpec) -> str | None:
    for fmt in (spec.weight, spec.act):
        if not isinstance(fmt, Integer | Minifloat):
            return f"{fmt} is neither an integer nor a minifloat"
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "a DSP's accumulator wraps and has no clamp"
    width = spec.accumulator.width
    if width > DSP48E2.result:
        return f"an accumulator of {width} bits, a DSP has {DSP48E2.result}"
    bits = sorted(map(value_bits, (spec.weight, spec.act)))
    if bits[0] > DSP48E2.narrow or bits[1] > DSP48E2.wide:
        return (
            f"values of {bits[1]} and {bits[0]} bits, a DSP multiplies up to "
            f"{DSP48E2.wide} x {DSP48E2.narrow}"
        )
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {
        "Primitive": 1,
        **operand("Weight", spec.weight),
        "WeightWidth": value_bits(spec.weight),
        **operand("Act", spec.act),
        "ActWidth": value_bits(spec.act),
        "ActWide": int(_act_wide(spec)),
        "Decode": int(_decodes(spec)),
        "AccBits": spec.accumulator.width,
    }


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


def _latency(spec: MacSpec) -> int:
    return 3 + _decodes(spec)


STYLE: Final = Style(
    name="dsp",
    top="hq_dsp_mac",
    sources=SOURCES,
    latency_cycles=_latency,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
    dsps=1,
)

PORTABLE: Final = replace(
    STYLE, name="dsp_portable", parameters=_portable_parameters, primitives=()
)
