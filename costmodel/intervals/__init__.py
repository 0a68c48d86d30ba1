# SPDX-License-Identifier: Apache-2.0
"""Prediction intervals of estimated kernels, calibrated on formats that were held out."""

from __future__ import annotations

from .interval import Interval, exact, total

__all__ = ["Interval", "exact", "total"]
