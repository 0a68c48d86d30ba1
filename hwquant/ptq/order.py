# SPDX-License-Identifier: Apache-2.0
"""Which step may follow which: every step belongs to a phase, and phases come in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from hwquant.errors import SpecError

__all__ = ["PHASES", "check_order"]

PHASES: Final = {
    "transform": "changes the float network without changing its function, or its weights' range",
    "formats": "chooses formats",
    "scales": "finds the scales",
    "rounding": "decides how weights and activations are rounded",
    "correction": "repairs what quantization shifted",
}


def check_order(steps: Sequence[tuple[str, Any]]) -> None:
    """Check (name, step) pairs in the order in which they would run.

    Raises `SpecError` when a step of an earlier phase follows one of a later phase (scales found
    before SmoothQuant moves them would be wrong), or when two steps round the weights (the second
    would start from what the first has rounded).
    """
    order = list(PHASES)
    for (before, first), (after, second) in pairwise(steps):
        if order.index(first.phase) > order.index(second.phase):
            raise SpecError(
                f"recipe: step {after} {PHASES[second.phase]}, so it must come before {before}, "
                f"which {PHASES[first.phase]}; the order is {', '.join(PHASES)}"
            )
    rounding = [name for name, step in steps if getattr(step, "rounds_weights", False)]
    if len(rounding) > 1:
        raise SpecError(
            f"recipe: steps {' and '.join(rounding)} each round the weights from their float "
            "values, allowed one of them"
        )
