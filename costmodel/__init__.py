# SPDX-License-Identifier: Apache-2.0
"""Prices of kernels and networks, exploration, plots and reports."""
