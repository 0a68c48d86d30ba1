# SPDX-License-Identifier: Apache-2.0
"""Kernels in which each RTL block shows its branches: what ``hwquant mutate --all`` mutates.

Nine of style ``plain``, and a small one of every other style, portable and of device cells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hw.netlist import cell_models
from hw.styles import STYLES, fitting
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .designs import design_of_spec
from .kernels import Design

__all__ = ["CAMPAIGN", "SMALL", "Target", "blocks", "campaign", "kernel", "style_blocks"]

Target = tuple[Design, tuple[str, ...] | None]
"""A design of one kernel, and the blocks to mutate in it (None: all)."""

CAMPAIGN: Final = (
    # minifloats with sign; the accumulator clamps and is wider than a product
    MacSpec("e4m3", "e4m3", 1, 256, 45, "saturate"),
    # integers with sign, no carry anywhere; wraps
    MacSpec("int8", "int8", 1, 256, 22, "wrap"),
    # signed by unsigned integer, lanes that are no power of two, clamps
    MacSpec("int4", "uint4", 5, 64, 12, "saturate"),
    # unsigned by signed: the third multiplier; accumulator narrower than the sum, wraps
    MacSpec("uint3", "e2m1", 4, 64, 8, "wrap"),
    # mixed pair with a shift in one operand only; accumulator narrower than the sum, clamps
    MacSpec("e3m2", "int5", 3, 64, 12, "saturate"),
    # unsigned minifloats: no sign, no carry; an unsigned sum that clamps
    MacSpec("ue2m2", "ue3m1", 2, 64, 16, "saturate"),
    # no mantissa, one exponent bit, sign-magnitude integers
    MacSpec("e3m0", "e1m3", 2, 64, 14, "wrap"),
    MacSpec("e0m4", "uint4", 2, 64, 14, "saturate"),
    # formats with codes that have no value and are never applied
    MacSpec("e4m3fn", "int4n", 1, 64, 24, "saturate"),
)
"""Every branch of every block is elaborated in one of these kernels."""


SMALL: Final = (
    MacSpec("int3", "int3", 1, 40),
    MacSpec("e2m1", "e2m1", 1, 40),
    MacSpec("pow4a0.75f6", "int4", 1, 40),
)
"""A style is mutated in the first of these kernels that it can do."""


def blocks(style: str = "plain") -> tuple[str, ...]:
    """Return the RTL blocks of a kernel style."""
    return tuple(name.removesuffix(".sv") for name in STYLES[style].sources)


def style_blocks() -> dict[str, tuple[str, ...]]:
    """Return style -> its blocks, of every style but ``plain``."""
    return {style: blocks(style) for style in STYLES if style != "plain"}


def kernel(spec: MacSpec, block: str | None = None) -> Target:
    """Return the target for one spec; raises `InputError` for a block no kernel has."""
    if block is not None and block not in blocks():
        raise InputError(f"block {block!r}, allowed: {', '.join(blocks())}")
    return design_of_spec(spec), None if block is None else (block,)


def _small(style: str, block: str | None) -> Target:
    """Return the target for a style's small kernel, with models of the cells its blocks name."""
    spec = next(spec for spec in SMALL if style in {found.name for found in fitting(spec)})
    design = design_of_spec(spec, style)
    top = STYLES[style].top
    cells = {cell for other in STYLES.values() if other.top == top for cell in other.primitives}
    kernels = tuple(replace(kernel, title=style) for kernel in design.kernels)
    design = replace(design, kernels=kernels, sources=cell_models(cells) | dict(design.sources))
    return design, blocks(style) if block is None else (block,)


def campaign(block: str | None = None) -> list[Target]:
    """Return the targets of ``--all``, or of all kernels for one block.

    A block that ``plain`` has is mutated in its kernels alone.
    """
    others = style_blocks()
    if block is None:
        plain = [kernel(spec) for spec in CAMPAIGN]
        return plain + [_small(style, None) for style in others]
    if block in blocks():
        return [kernel(spec, block) for spec in CAMPAIGN]
    having = [style for style, names in others.items() if block in names]
    if not having:
        known = dict.fromkeys([*blocks(), *(name for names in others.values() for name in names)])
        raise InputError(f"block {block!r}, allowed: {', '.join(known)}")
    return [_small(style, block) for style in having]
