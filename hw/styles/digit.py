# SPDX-License-Identifier: Apache-2.0
"""Style ``digit``: a codebook of three bits beside its sign, by an integer in digits of two bits.

Each row of the product is a function of five bits (`hq_digit_rows`), so nothing is decoded; the
rows and the widths of their sums are worked out here from all values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from hw.style import Constant, Parameter, Style
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format, Integer
from hwquant.mac import MacSpec, Overflow

from .table import ACCUMULATOR_SOURCES, PRIMITIVES, magnitudes

__all__ = ["PORTABLE", "STYLE", "Rows", "linear", "rows", "sites"]

INDEX_BITS: Final = 3
INPUTS: Final = 1 << INDEX_BITS + 2


def linear(fmt: Format) -> bool:
    """Return whether a code without its sign bit is the number it means."""
    if isinstance(fmt, Codebook):
        return False
    return isinstance(fmt, Integer) or fmt.exponent_bits < 2


def _indexes(fmt: Format) -> bool:
    return isinstance(fmt, Codebook) and fmt.bits - fmt.sign_magnitude <= INDEX_BITS


@dataclass(frozen=True)
class Rows:
    """``widths`` and ``signs`` of the sum up to each row; ``truths`` of the bits of each row."""

    widths: tuple[int, ...]
    signs: tuple[bool, ...]
    truths: tuple[tuple[int, ...], ...]

    @property
    def low_bits(self) -> int:
        """Bits of the product below its sign."""
        return 2 * (len(self.widths) - 1) + self.widths[-1] - self.signs[-1]


@lru_cache(maxsize=256)
def rows(book: Format, other: Format) -> Rows:
    """Return the rows of the product of the two codes without their sign bits."""
    values = magnitudes(book)
    bits = other.bits - other.sign_magnitude
    twos = other.signed and not other.sign_magnitude
    sums = {(value, 0): 0 for value in values}  # by (value, code bits so far)
    widths, signs, truths = [], [], []
    for start in range(0, bits, 2):
        size = min(2, bits - start)
        top = twos and start + size == bits
        digits = [d - (1 << size) * (top and d >> size - 1) for d in range(1 << size)]
        sums = {
            (value, code | d << start): (part >> 2 if start else 0) + value * digit
            for (value, code), part in sums.items()
            for d, digit in enumerate(digits)
        }
        low, high = min(sums.values()), max(sums.values())
        signed = low < 0
        width = max(signed_bits(low, high) if signed else high.bit_length(), 2)
        row = [
            values[i % 8] * digits[i >> INDEX_BITS]
            if i % 8 < len(values) and i >> INDEX_BITS < len(digits)
            else 0
            for i in range(INPUTS)
        ]
        truths.append(
            tuple(sum((x >> bit & 1) << i for i, x in enumerate(row)) for bit in range(width))
        )
        widths.append(width)
        signs.append(signed)
    return Rows(tuple(widths), tuple(signs), tuple(truths))


def _index_act(spec: MacSpec) -> bool:
    return not (_indexes(spec.weight) and linear(spec.act))


def _rows(spec: MacSpec) -> Rows:
    return rows(spec.act, spec.weight) if _index_act(spec) else rows(spec.weight, spec.act)


def sites(spec: MacSpec) -> float:
    """Return the LUT6 sites of the product: two bits to a site in the first row, then one.

    >>> sites(MacSpec("pow4a0.75f6", "int4"))
    18.0
    """
    first, *others = _rows(spec).widths
    return first / 2 + sum(others)


def _refuse(spec: MacSpec) -> str | None:
    both = (spec.weight, spec.act)
    if not any(_indexes(a) and linear(b) for a, b in (both, both[::-1])):
        return (
            f"needs a codebook of up to {INDEX_BITS} bits beside its sign, and an integer or a "
            "sign-magnitude integer"
        )
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    low = _rows(spec).low_bits
    if spec.accumulator.width < low:
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {low}"
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    found = _rows(spec)
    count, widest = len(found.widths), max(found.widths)
    init = sum(
        truth << 32 * (widest * row + bit)
        for row, truths in enumerate(found.truths)
        for bit, truth in enumerate(truths)
    )
    return {
        "Primitive": 1,
        "WeightBits": spec.weight.bits,
        "WeightFlip": int(spec.weight.sign_magnitude),
        "ActBits": spec.act.bits,
        "ActFlip": int(spec.act.sign_magnitude),
        "IndexAct": int(_index_act(spec)),
        "Rows": count,
        "MaxBits": widest,
        "Widths": Constant(sum(w << 8 * k for k, w in enumerate(found.widths)), 8 * count),
        "Signs": Constant(sum(s << k for k, s in enumerate(found.signs)), count),
        "Init": Constant(init, 32 * widest * count),
        "AccBits": spec.accumulator.width,
    }


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="digit",
    top="hq_digit_mac",
    sources=(*ACCUMULATOR_SOURCES, "hq_digit_rows.sv", "hq_digit_mac.sv"),
    latency_cycles=2,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="digit_portable", parameters=_portable_parameters, primitives=()
)
