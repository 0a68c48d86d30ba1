# SPDX-License-Identifier: Apache-2.0
"""Prices of kernels and networks, exploration, plots and reports."""

from __future__ import annotations

from costmodel.kernel import KernelCost, estimate
from costmodel.network import Folding, NetworkCost, network_cost

__all__ = ["Folding", "KernelCost", "NetworkCost", "estimate", "network_cost"]
