# SPDX-License-Identifier: Apache-2.0
"""Formulas: what every RTL block costs, one module per style or family of blocks."""

from __future__ import annotations

from . import book, booth, bucket, dsp, dsp_acc, plain, shift, table, tree  # noqa: F401 - they register
from .counts import Counts, counts
from .specs import FORMULAS, SpecArrays

__all__ = ["FORMULAS", "Counts", "SpecArrays", "counts"]
