# SPDX-License-Identifier: Apache-2.0
"""The kernel styles, one module each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hw.style import Style
from hwquant.errors import SpecError
from hwquant.formats import Codebook
from hwquant.mac import MacSpec

from . import book, booth, bucket, decode, digit, dsp, dsp_acc, plain, rom, shift, table, tree

__all__ = ["CODEBOOK_STYLES", "STYLES", "fitting", "style_of", "usual_for_codebooks"]
__all__ += ["variant"]

STYLES: Final = {
    style.name: style
    for style in (
        plain.STYLE,
        table.STYLE,
        table.PORTABLE,
        booth.STYLE,
        booth.PORTABLE,
        shift.STYLE,
        shift.PORTABLE,
        tree.STYLE,
        tree.PORTABLE,
        bucket.STYLE,
        bucket.FAST,
        bucket.PORTABLE,
        digit.STYLE,
        digit.PORTABLE,
        decode.STYLE,
        decode.PORTABLE,
        rom.STYLE,
        rom.PORTABLE,
        dsp.STYLE,
        dsp.PORTABLE,
        dsp_acc.STYLE,
        dsp_acc.PORTABLE,
    )
}
"""Every style by name."""

CODEBOOK_STYLES: Final = {style.name: style for style in (book.PLAIN,)}
"""What a style is where an operand is a codebook, if that is other hardware."""


def variant(name: str, spec: MacSpec) -> Style | None:
    """Return the style called ``name`` as it is for ``spec``, fitting or not; None if unknown."""
    books = any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act))
    return (CODEBOOK_STYLES.get(name) if books else None) or STYLES.get(name)


def style_of(name: str, spec: MacSpec) -> Style:
    """Return the style called ``name``, which must be able to do ``spec``.

    Raises `SpecError` for an unknown name, or when the style cannot do the spec, with the reason.
    """
    style = variant(name, spec)
    if style is None:
        raise SpecError(f"kernel style {name!r}, allowed: {', '.join(STYLES)}")
    reason = style.refuse(spec)
    if reason is not None:
        raise SpecError(
            f"kernel style {name} cannot do {spec.weight} x {spec.act}: {reason}; "
            f"allowed here: {', '.join(s.name for s in fitting(spec))}"
        )
    return style


def fitting(spec: MacSpec) -> list[Style]:
    """Return the styles that can do ``spec``."""
    styles = [variant(name, spec) for name in STYLES]
    return [style for style in styles if style is not None and style.refuse(spec) is None]


def usual_for_codebooks(spec: MacSpec, able: Sequence[str]) -> str | None:
    """Return the style in ``able`` that should be smallest for a codebook, by formula.

    None where no operand is a codebook, or no style for codebooks is among them.
    """
    if not any(isinstance(fmt, Codebook) for fmt in (spec.weight, spec.act)):
        return None
    if table.STYLE.name in able:
        return table.STYLE.name
    prices = {style.STYLE.name: style.sites for style in (digit, decode, rom)}
    known = [name for name in prices if name in able]
    return min(known, key=lambda name: prices[name](spec), default=None)
