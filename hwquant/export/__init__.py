# SPDX-License-Identifier: Apache-2.0
"""QONNX: write a quantized model, execute the file, compare it with the integer reference."""
