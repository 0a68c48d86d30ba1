# SPDX-License-Identifier: Apache-2.0
"""Small trained networks on real data.  Names import torch on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Data", "TrainedModel", "load"]

_LAZY = {
    "Data": "hwquant.zoo.data",
    "TrainedModel": "hwquant.zoo.training",
    "load": "hwquant.zoo.training",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use (torch costs seconds to import)."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hwquant.zoo' has no attribute {name!r}")
