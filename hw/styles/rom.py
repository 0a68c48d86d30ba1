# SPDX-License-Identifier: Apache-2.0
"""Style ``rom``: the product as a table of both codes, where `table` has too many inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hw.style import Constant, Parameter, Style
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook
from hwquant.mac import MacSpec, Overflow

from .table import ACCUMULATOR_SOURCES, PRIMITIVES, magnitudes

__all__ = ["PORTABLE", "STYLE", "sites"]

INPUTS: Final = range(2, 9)
TABLE_INPUTS: Final = 6


def _products(spec: MacSpec) -> list[int]:
    """Return the products of the codes below their sign bits, index {weight, act}."""
    return [w * a for w in magnitudes(spec.weight) for a in magnitudes(spec.act)]


def _bits(products: list[int]) -> tuple[int, bool]:
    """Return the width of the products, and whether it holds a sign."""
    low, high = min(products), max(products)
    return max(signed_bits(low, high) if low < 0 else high.bit_length(), 2), low < 0


def sites(spec: MacSpec) -> float:
    """Return the LUT6 sites of a table of six inputs and more for every bit.

    >>> sites(MacSpec("pow4a0.75f6", "int4"))
    28
    """
    inputs = sum(fmt.bits - fmt.sign_magnitude for fmt in (spec.weight, spec.act))
    return _bits(_products(spec))[0] << max(inputs - TABLE_INPUTS, 0)


def _refuse(spec: MacSpec) -> str | None:
    if not any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act)):
        return "neither operand is a codebook"
    inputs = sum(fmt.bits - fmt.sign_magnitude for fmt in (spec.weight, spec.act))
    if inputs not in INPUTS:
        return f"{inputs} bits beside the signs, allowed {INPUTS[0]}..{INPUTS[-1]}"
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    bits, signed = _bits(_products(spec))
    if spec.accumulator.width < bits - signed:
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {bits - signed}"
    return None


def _parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    products = _products(spec)
    bits, signed = _bits(products)
    words = sum(product % (1 << bits) << bits * i for i, product in enumerate(products))
    return {
        "Primitive": 1,
        "WeightBits": spec.weight.bits,
        "WeightFlip": int(spec.weight.sign_magnitude),
        "ActBits": spec.act.bits,
        "ActFlip": int(spec.act.sign_magnitude),
        "Bits": bits,
        "ProductSigned": int(signed),
        "Words": Constant(words, bits * len(products)),
        "AccBits": spec.accumulator.width,
    }


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return {**_parameters(spec), "Primitive": 0}


STYLE: Final = Style(
    name="rom",
    top="hq_rom_mac",
    sources=(*ACCUMULATOR_SOURCES, "hq_rom_mac.sv"),
    latency_cycles=2,
    parameters=_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = replace(
    STYLE, name="rom_portable", parameters=_portable_parameters, primitives=()
)
