# SPDX-License-Identifier: Apache-2.0
"""The kernel styles, one module each."""

from __future__ import annotations

from typing import Final

from hw.style import Style
from hwquant.errors import SpecError
from hwquant.mac import MacSpec

from . import booth, bucket, plain, shift, table, tree

__all__ = ["STYLES", "fitting", "style_of"]

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
    )
}
"""Every style by name."""


def style_of(name: str, spec: MacSpec) -> Style:
    """Return the style called ``name``, which must be able to do ``spec``.

    Raises `SpecError` for an unknown name, or when the style cannot do the spec, with the reason.
    """
    if name not in STYLES:
        raise SpecError(f"kernel style {name!r}, allowed: {', '.join(STYLES)}")
    style = STYLES[name]
    reason = style.refuse(spec)
    if reason is not None:
        raise SpecError(
            f"kernel style {name} cannot do {spec.weight} x {spec.act}: {reason}; "
            f"allowed here: {', '.join(s.name for s in fitting(spec))}"
        )
    return style


def fitting(spec: MacSpec) -> list[Style]:
    """Return the styles that can do ``spec``."""
    return [style for style in STYLES.values() if style.refuse(spec) is None]
