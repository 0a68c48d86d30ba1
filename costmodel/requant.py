# SPDX-License-Identifier: Apache-2.0
"""What requantizers cost: LUT6 sites by synthesis, of the reference requantizers or any other.

``python -m costmodel.requant`` prints the table of ``docs/requant.md``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hw.requant import requant_sources, requant_style, requant_text
from hw.yosys import flow, synthesize
from hwquant.requant import Requantizer, RoundPack, Thresholds

__all__ = ["BIAS_BITS", "FORMATS", "WIDE_BIAS_BITS", "price", "reference", "reference_table"]

FORMATS: Final = ("e2m1", "e3m2", "e4m3", "int4", "int8")
ACC_BITS: Final = 24
CHANNELS: Final = 64
SHIFT: Final = 8
BIAS_BITS: Final = 12
WIDE_BIAS_BITS: Final = 20  # the widest with which every known target is met


def reference(
    fmt: str, *, bias_bits: int = BIAS_BITS, shift: int = SHIFT, own_shifts: bool = False
) -> RoundPack:
    """Return the reference requantizer: 24-bit accumulator, 64 random biases, one shift.

    ``own_shifts`` gives every channel a random shift of 2..14 instead.
    """
    rng = random.Random(1)
    bias = [rng.randrange(-(1 << bias_bits - 1), 1 << bias_bits - 1) for _ in range(CHANNELS)]
    shifts = [rng.randrange(2, 15) for _ in range(CHANNELS)] if own_shifts else [shift]
    return RoundPack(fmt, ACC_BITS, bias, shifts)


def price(spec: Requantizer, style: str = "auto") -> dict[str, Any]:
    """Return what a requantizer uses, synthesized; ``table_bits`` are threshold tables.

    Tables of more than 64 words may become block RAM, which ``lut_sites`` does not count.
    Raises `ToolError` when Yosys is missing.
    """
    sources = requant_sources(spec, style) | {"unit.sv": requant_text(spec, "unit", style)}
    used = synthesize(sources, "unit").to_json()
    bits = sum(map(len, spec.thresholds)) * spec.acc_bits if isinstance(spec, Thresholds) else 0
    chosen = requant_style(spec) if style == "auto" else style
    return {"style": chosen, **used, "table_bits": bits}


def reference_table(formats: Iterable[str] = FORMATS, **options: Any) -> list[dict[str, Any]]:
    """Return one priced row per format; ``options`` go to `reference`."""
    return [{"format": fmt, **options, **price(reference(fmt, **options))} for fmt in formats]


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    sys.stdout.write(f"{title}\n")
    for row in rows:
        sys.stdout.write(
            f"  {row['format']:6} {row['lut_sites']:4} sites {row['lut_raw']:4} LUTs "
            f"{row['ff']:4} FF\n"
        )


def _main() -> None:
    what = f"{ACC_BITS}-bit accumulator, {CHANNELS} channels"
    for bits in (BIAS_BITS, WIDE_BIAS_BITS, ACC_BITS):
        _print(f"{what}, {bits}-bit biases, shift {SHIFT}", reference_table(bias_bits=bits))
    for shift in (3, 13):
        _print(f"{what}, {BIAS_BITS}-bit biases, shift {shift}", reference_table(shift=shift))
    _print(f"{what}, a shift per channel (2..14)", reference_table(own_shifts=True))
    sys.stdout.write(f"{flow()}\n")


if __name__ == "__main__":
    _main()
