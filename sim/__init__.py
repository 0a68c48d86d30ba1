# SPDX-License-Identifier: Apache-2.0
"""Verification of generated kernels, bit for bit, with cocotb and Verilator."""
