# SPDX-License-Identifier: Apache-2.0
"""Style ``decode``: codebooks decoded by a table, Booth rows, a counting accumulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.style import Parameter, Style
from hwquant.formats import Codebook, Format
from hwquant.mac import MacSpec, Overflow

from .book import decoder
from .booth import LEAST, row_sites
from .digit import linear
from .plain import significand_bits
from .table import ACCUMULATOR_SOURCES, PRIMITIVES

__all__ = ["PORTABLE", "STYLE", "sites"]

TABLE_INPUTS: Final = 6


def _twos(fmt: Format) -> bool:
    return fmt.signed and not fmt.sign_magnitude


def _low_bits(spec: MacSpec) -> int:
    both = (spec.weight, spec.act)
    return sum(map(significand_bits, both)) - any(map(_twos, both))


def _booth_sites(recoded: Format, value: Format) -> float:
    widths = map(significand_bits, (recoded, value))
    return row_sites(*widths, signed=_twos(recoded), value_signed=_twos(value))


def _recode_act(spec: MacSpec) -> bool:
    return _booth_sites(spec.act, spec.weight) < _booth_sites(spec.weight, spec.act)


def _decoder_sites(fmt: Format) -> float:
    """Return the LUT6 sites of a table: a bit of up to five inputs shares its site."""
    inputs = fmt.bits - fmt.sign_magnitude
    if not isinstance(fmt, Codebook):
        return 0
    return significand_bits(fmt) * (0.5 if inputs < TABLE_INPUTS else 1 << inputs - TABLE_INPUTS)


def sites(spec: MacSpec) -> float:
    """Return about how many LUT6 sites decoders and Booth rows are.

    >>> sites(MacSpec("pow4a0.75f6", "int4"))
    27.0
    """
    weight, act = spec.weight, spec.act
    product = min(_booth_sites(weight, act), _booth_sites(act, weight))
    return _decoder_sites(weight) + _decoder_sites(act) + product


def _refuse(spec: MacSpec) -> str | None:
    both = (spec.weight, spec.act)
    if not any(isinstance(fmt, Codebook) for fmt in both):
        return "neither operand is a codebook"
    for fmt in both:
        if not (isinstance(fmt, Codebook) or linear(fmt)):
            return f"the values of {fmt} are not evenly spaced"
        if significand_bits(fmt) < LEAST:
            return f"{significand_bits(fmt)} bits in {fmt} decoded, allowed from {LEAST}"
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    if spec.accumulator.width < _low_bits(spec):
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {_low_bits(spec)}"
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {
        "Primitive": 1,
        **decoder("Weight", spec.weight),
        **decoder("Act", spec.act),
        "RecodeAct": int(_recode_act(spec)),
        "AccBits": spec.accumulator.width,
    }


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="decode",
    top="hq_decode_mac",
    sources=(
        *ACCUMULATOR_SOURCES,
        "hq_decode.sv",
        "hq_book_decode.sv",
        "hq_booth_row.sv",
        "hq_booth_first.sv",
        "hq_book_first.sv",
        "hq_book_booth.sv",
        "hq_decode_mac.sv",
    ),
    latency_cycles=2,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="decode_portable", parameters=_portable_parameters, primitives=()
)
