# SPDX-License-Identifier: Apache-2.0
"""Formulas: what every RTL block costs, one module per style or family of blocks."""

from __future__ import annotations

from . import (  # noqa: F401 - they register their formulas
    book,
    booth,
    bucket,
    dsp,
    dsp_acc,
    dsp_acc_portable,
    dsp_portable,
    plain,
    portable,
    shift,
    shift_portable,
    table,
    tree,
    tree_portable,
)
from .counts import Counts, counts
from .specs import FORMULAS, SpecArrays

__all__ = ["FORMULAS", "Counts", "SpecArrays", "counts"]
