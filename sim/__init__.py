# SPDX-License-Identifier: Apache-2.0
"""Proof that generated RTL equals the reference arithmetic, bit for bit.

`verify` runs kernels in Verilator under cocotb; its `Report` counts what was compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import verify
    from .report import Failure, KernelResult, MismatchError, Report

__all__ = ["Failure", "KernelResult", "MismatchError", "Report", "verify"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that ``import sim`` stays light."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".engine" if name == "verify" else ".report", __name__), name)
