# SPDX-License-Identifier: Apache-2.0
"""Style ``booth``: integers of three bits and more by Booth rows, in a counting accumulator.

Integers are two's complement, unsigned, or sign and magnitude: ``e0mM`` and ``e1mM``, whose
values are evenly spaced, are the same hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.style import Parameter, Style, refuse_codebooks
from hwquant.formats import Format, Minifloat
from hwquant.mac import MacSpec, Overflow

from .table import ACCUMULATOR_SOURCES, PRIMITIVES

__all__ = ["PORTABLE", "SOURCES", "STYLE", "row_sites"]

SOURCES: Final = (
    *ACCUMULATOR_SOURCES,
    "hq_booth_row.sv",
    "hq_booth_first.sv",
    "hq_booth.sv",
    "hq_booth_mac.sv",
)

LEAST: Final = 3
"""Least bits of an operand without its sign bit."""


def _flips(fmt: Format) -> bool:
    return fmt.sign_magnitude


def _twos(fmt: Format) -> bool:
    return fmt.signed and not fmt.sign_magnitude


def _width(fmt: Format) -> int:
    return fmt.bits - _flips(fmt)


def row_sites(recoded: int, value: int, *, signed: bool, value_signed: bool) -> float:
    """Return the LUT6 sites of ``hq_booth``: ``recoded`` bits in digits, ``value`` bits in rows.

    >>> row_sites(4, 4, signed=True, value_signed=True)
    9.5
    """
    first = 2 if (recoded % 2 == 0) == signed else 1
    rows = (recoded - first + 1) // 2
    sites = (value - 1) / 2 if first == 1 else value - 0.5 * (value <= 4 and value_signed)
    for row in range(rows - 1):
        sites += value + (2 if value_signed or row == 0 else 3)
    return sites + recoded + value - first - 2 * (rows - 1)


def _recode_act(spec: MacSpec) -> bool:
    weight, act = spec.weight, spec.act

    def price(recoded: Format, value: Format) -> float:
        return row_sites(
            _width(recoded), _width(value), signed=_twos(recoded), value_signed=_twos(value)
        )

    return price(act, weight) < price(weight, act)


def _low_bits(spec: MacSpec) -> int:
    both = (spec.weight, spec.act)
    return sum(map(_width, both)) - any(map(_twos, both))


def _refuse(spec: MacSpec) -> str | None:
    if (reason := refuse_codebooks(spec)) is not None:
        return reason
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    for fmt in (spec.weight, spec.act):
        if isinstance(fmt, Minifloat) and fmt.exponent_bits > 1:
            return f"the values of {fmt} are not evenly spaced"
        if _width(fmt) < LEAST:
            return f"{_width(fmt)} magnitude bits in {fmt}, allowed from {LEAST}"
    if spec.accumulator.width < _low_bits(spec):
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {_low_bits(spec)}"
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    found: dict[str, Parameter] = {"Primitive": 1}
    for prefix, fmt in (("Weight", spec.weight), ("Act", spec.act)):
        found |= {
            f"{prefix}Bits": fmt.bits,
            f"{prefix}Twos": int(_twos(fmt)),
            f"{prefix}Flip": int(_flips(fmt)),
        }
    return found | {"RecodeAct": int(_recode_act(spec)), "AccBits": spec.accumulator.width}


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="booth",
    top="hq_booth_mac",
    sources=SOURCES,
    latency_cycles=2,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="booth_portable", parameters=_portable_parameters, primitives=()
)
