# SPDX-License-Identifier: Apache-2.0
"""Preloaded into every local worker: what it prints goes to a log, not to the user's terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["VARIABLE", "dask_setup"]

VARIABLE = "HWQUANT_WORKER_LOG"


def dask_setup(_worker: Any) -> None:
    """Point stdout and stderr of this process, and of the tools it starts, at the log file."""
    log = Path(os.environ.get(VARIABLE, os.devnull))
    with log.open("ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
