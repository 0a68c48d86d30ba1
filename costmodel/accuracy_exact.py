# SPDX-License-Identifier: Apache-2.0
"""Which counts the formulas hit exactly: flip-flops, DSPs and LUTs used as memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .fit import rows_of
from .measurements import Measurement, measurements
from .primitives import FORMULAS, SpecArrays

__all__ = ["EXACT", "exactness", "misses"]

EXACT: Final = {"ff": "flip-flops", "dsp": "DSPs", "lutram": "LUTs used as memory"}
"""Counts that formulas are meant to hit, and what they are called."""


def misses(rows: Sequence[Measurement] | None = None) -> dict[str, dict[str, tuple[int, int]]]:
    """Return, for each of `EXACT`, the styles with (kernels missed, kernels); hits left out."""
    given = measurements() if rows is None else rows
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in EXACT}
    for style, formula in FORMULAS.items():
        own = rows_of(style, given)
        if not own:
            continue
        columns = formula(SpecArrays.from_specs(row.spec for row in own)).to_columns()
        for name, styles in found.items():
            pairs = zip(columns[name].tolist(), own, strict=True)
            missed = sum(count != getattr(row.resources, name) for count, row in pairs)
            if missed:
                styles[style] = (missed, len(own))
    return found


def exactness(rows: Sequence[Measurement] | None = None) -> str:
    """Return one line of Markdown for each of `EXACT`."""
    lines = []
    for name, styles in misses(rows).items():
        parts = ", ".join(f"`{style}` ({bad} of {all_})" for style, (bad, all_) in styles.items())
        lines.append(
            f"- {EXACT[name]}: exact for every kernel" + (f" but {parts}" if parts else "")
        )
    return "\n".join(lines) + "\n"
