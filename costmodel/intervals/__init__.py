# SPDX-License-Identifier: Apache-2.0
"""Prediction intervals of estimated kernels, calibrated on formats that were held out."""

from __future__ import annotations

from .interval import Interval, exact, total
from .shipped import TARGETS, interval, interval_many, intervals

__all__ = ["TARGETS", "Interval", "exact", "interval", "interval_many", "intervals", "total"]
