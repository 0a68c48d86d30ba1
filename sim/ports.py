# SPDX-License-Identifier: Apache-2.0
"""The farm's memory ports (``farm.cpp``), as seen from Python in the simulator's process."""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ["FarmPorts"]


class FarmPorts:
    """Stimulus and result buffers, one pair per design under test."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.hq_strays.restype = ctypes.c_uint64
        self._library.hq_left.restype = ctypes.c_int64
        self._held: dict[int, tuple[Any, Any]] = {}

    def bind(self, index: int, data: Any, out: Any, latency: int) -> None:
        """Let design ``index`` read ``data`` and write ``out``, from the next clock edge on."""
        self._held[index] = (data, out)  # C holds their addresses
        self._library.hq_bind(
            ctypes.c_int(index),
            data.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(data.nbytes),
            out.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(out)),
            ctypes.c_int64(latency),
        )

    def strays(self, index: int) -> int:
        """Return how many results belong to no row."""
        return int(self._library.hq_strays(ctypes.c_int(index)))

    def left(self, index: int) -> int:
        """Return the bytes of stimulus not fetched."""
        return int(self._library.hq_left(ctypes.c_int(index)))
