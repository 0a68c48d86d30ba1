# SPDX-License-Identifier: Apache-2.0
"""hwquant: from a trained PyTorch model to number formats, prices and proven RTL.

Names that need torch (`quantize`, `Recipe`, `export_qonnx`, ...) are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hwquant.block import BlockFormat, parse
from hwquant.errors import HwquantError
from hwquant.fixed import Fixed
from hwquant.formats import (
    Codebook,
    Format,
    Integer,
    Minifloat,
    Power,
    codebook,
    integers,
    minifloats,
)
from hwquant.mac import MacSpec, Overflow

__all__ = [
    "BlockFormat",
    "Codebook",
    "Fixed",
    "Format",
    "HwquantError",
    "Integer",
    "MacSpec",
    "Minifloat",
    "Overflow",
    "Power",
    "Recipe",
    "check_qonnx",
    "codebook",
    "export_qonnx",
    "integers",
    "load_quantized",
    "minifloats",
    "parse",
    "quantize",
    "save_quantized",
]

_LAZY = {
    "Recipe": "hwquant.ptq.recipe",
    "quantize": "hwquant.ptq.quantize",
    "save_quantized": "hwquant.nn.checkpoint",
    "load_quantized": "hwquant.nn.checkpoint",
    "export_qonnx": "hwquant.export.qonnx",
    "check_qonnx": "hwquant.export.check",
}


def __getattr__(name: str) -> Any:
    """Import the torch-side names on first use (torch costs seconds to import)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hwquant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
