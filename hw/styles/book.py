# SPDX-License-Identifier: Apache-2.0
"""Style ``plain`` where an operand is a codebook: decoded by a table, then as any other format.

See ``hq_book_mac`` for the function and ``docs/kernels/codebook.md`` for the choice of codes.
"""

from __future__ import annotations

from typing import Final

from hw.style import Constant, Parameter, Style
from hwquant.formats import Codebook, Format
from hwquant.mac import MacSpec, Overflow

from .plain import operand, product_bits, significand_bits

__all__ = ["PLAIN", "decoder"]


def decoder(prefix: str, fmt: Format) -> dict[str, Parameter]:
    """Return the parameters that describe one operand to ``hq_book_decode``."""
    width = significand_bits(fmt)
    found: dict[str, Parameter] = {
        **operand(prefix, fmt),
        f"{prefix}Book": int(isinstance(fmt, Codebook)),
        f"{prefix}SigBits": width,
    }
    if isinstance(fmt, Codebook):
        depth = 1 << fmt.bits - fmt.sign_magnitude
        words = (fmt.by_code.get(code, 0) % (1 << width) for code in range(depth))
        total = sum(word << code * width for code, word in enumerate(words))
        found[f"{prefix}Words"] = Constant(total, depth * width)
    return found


def _parameters(spec: MacSpec) -> dict[str, Parameter]:
    """Return the parameters of block ``hq_book_mac`` for ``spec``, in declaration order."""
    return {
        "Lanes": spec.lanes,
        **decoder("Weight", spec.weight),
        **decoder("Act", spec.act),
        "ProductBits": product_bits(spec.weight, spec.act),
        "AccBits": spec.accumulator.width,
        "Saturate": int(spec.overflow is Overflow.SATURATE),
    }


PLAIN: Final = Style(
    name="plain",
    top="hq_book_mac",
    sources=(
        "hq_decode.sv",
        "hq_book_decode.sv",
        "hq_mul.sv",
        "hq_align.sv",
        "hq_book_term.sv",
        "hq_add.sv",
        "hq_sum.sv",
        "hq_acc.sv",
        "hq_book_mac.sv",
    ),
    latency_cycles=2,
    parameters=_parameters,
)
