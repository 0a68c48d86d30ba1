# SPDX-License-Identifier: Apache-2.0
"""Quantized layers on Brevitas: quantizers, layers, code words, checkpoints (imports torch)."""
