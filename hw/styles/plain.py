# SPDX-License-Identifier: Apache-2.0
"""Style ``plain``: portable SystemVerilog without primitives, for every spec."""

from __future__ import annotations

from typing import Final

from hw.style import Style, refuse_codebooks
from hwquant.errors import SpecError
from hwquant.fixed import signed_bits
from hwquant.formats import Format, Integer, Minifloat
from hwquant.mac import MacSpec, Overflow

__all__ = ["PRODUCT_SOURCES", "STYLE", "operand", "product_bits", "product_parameters"]
__all__ += ["significand_bits"]

PRODUCT_SOURCES: Final = (
    "hq_decode.sv",
    "hq_mul.sv",
    "hq_align.sv",
    "hq_term.sv",
    "hq_product.sv",
)
"""The files of the product alone (top ``hq_product``), lower blocks first."""


def significand_bits(fmt: Format) -> int:
    """Return the width of a code's significand in the RTL; of a codebook, that of its values."""
    if isinstance(fmt, Integer):
        return fmt.bits
    if isinstance(fmt, Minifloat):
        return fmt.mantissa_bits + (fmt.exponent_bits > 0)
    if fmt.signed and not fmt.sign_magnitude:
        return signed_bits(fmt.min_int, fmt.max_int)
    return fmt.max_int.bit_length()


def _largest_shift(fmt: Format) -> int:
    if not isinstance(fmt, Minifloat) or fmt.exponent_bits < 2:
        return 0
    return (1 << fmt.exponent_bits) - 2


def product_bits(weight: Format, act: Format) -> int:
    """Return the width of the two's complement product in the RTL.

    It is the sum of both significand widths and both largest shifts, plus a sign bit unless a
    signed integer already brings one.  It holds every product of codes with a value; it is the
    least such width except where a significand is one bit wide.

    >>> from hwquant.formats import parse
    >>> product_bits(parse("e2m1"), parse("e2m1")), product_bits(parse("int8"), parse("e4m3"))
    (9, 26)
    """
    pair = (weight, act)
    twos_complement = any(fmt.signed and not fmt.sign_magnitude for fmt in pair)
    magnitude = sum(significand_bits(fmt) + _largest_shift(fmt) for fmt in pair)
    return magnitude + (not twos_complement)


def operand(prefix: str, fmt: Format) -> dict[str, int]:
    """Return the parameters that describe one operand to ``hq_decode`` and what holds it."""
    minifloat = isinstance(fmt, Minifloat)
    return {
        f"{prefix}Bits": fmt.bits,
        f"{prefix}Float": int(minifloat or fmt.sign_magnitude),
        f"{prefix}Signed": int(fmt.signed),
        f"{prefix}ExpBits": fmt.exponent_bits if isinstance(fmt, Minifloat) else 0,
    }


def product_parameters(spec: MacSpec) -> dict[str, int]:
    """Return the parameters of block ``hq_product``, in declaration order.

    Raises `SpecError` for a codebook, which that block does not decode.
    """
    if (reason := refuse_codebooks(spec)) is not None:
        raise SpecError(f"hq_product: {reason}; allowed: integers and minifloats")
    return {
        **operand("Weight", spec.weight),
        **operand("Act", spec.act),
        "ProductBits": product_bits(spec.weight, spec.act),
    }


def _parameters(spec: MacSpec) -> dict[str, int]:
    """Return the parameters of block ``hq_mac`` for ``spec``, in declaration order."""
    return {
        "Lanes": spec.lanes,
        **product_parameters(spec),
        "AccBits": spec.accumulator.width,
        "Saturate": int(spec.overflow is Overflow.SATURATE),
    }


STYLE: Final = Style(
    name="plain",
    top="hq_mac",
    sources=(
        "hq_decode.sv",
        "hq_mul.sv",
        "hq_align.sv",
        "hq_term.sv",
        "hq_add.sv",
        "hq_sum.sv",
        "hq_dot.sv",
        "hq_acc.sv",
        "hq_mac.sv",
    ),
    latency_cycles=2,
    parameters=_parameters,
)
