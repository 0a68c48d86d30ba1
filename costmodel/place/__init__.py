# SPDX-License-Identifier: Apache-2.0
"""Kernels placed and routed: Lattice ECP5 with open tools, AMD parts through Vivado's reports."""
