# SPDX-License-Identifier: Apache-2.0
"""RTL library and kernel generator: from a `MacSpec` to SystemVerilog with a manifest."""

from __future__ import annotations

from hw.generate import generate, kernel_name, kernel_text, product_bits, product_text
from hw.manifest import Bundle, spec_from_json, spec_to_json
from hw.styles import STYLES

__all__ = [
    "STYLES",
    "Bundle",
    "generate",
    "kernel_name",
    "kernel_text",
    "product_bits",
    "product_text",
    "spec_from_json",
    "spec_to_json",
]
