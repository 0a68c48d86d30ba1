# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the whole path on real handwritten digits, from one command."""

from __future__ import annotations

from typing import Final

from costmodel.explore.space import Space

__all__ = ["DEMO"]

DEMO: Final = Space(
    model="zoo:digits_cnn",
    weights=(
        *("int3", "int4", "int5", "int6", "int8"),
        *("e1m2", "e2m0", "e2m1", "e2m2", "e2m3"),
        *("e3m0", "e3m1", "e3m2"),
    ),
    acts=("same",),
    lanes=2,
)
"""Thirteen formats of 3..8 bits, the same for weights and activations: integers, the E2 family
(whose accumulators are as narrow as an integer's) and E3 (wider ones)."""
