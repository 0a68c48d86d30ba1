# SPDX-License-Identifier: Apache-2.0
"""Synthesize a planned set of kernels into the table that formulas are fitted to.

Every kernel is synthesized by a Yosys process of its own.  The file is written as rows arrive, so
a run that is stopped goes on where it was: rows of the present RTL and flow are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from time import monotonic
from typing import Final

from hw.library import sources_sha256
from hw.netlist import kernel_sources
from hw.styles import style_of
from hwquant import atomic
from hwquant.errors import HwquantError, InputError
from hwquant.mac import MacSpec
from hwquant.progress import track

from .measurements import COLUMNS, Measurement, as_text, identity, read

__all__ = ["characterize", "measure"]

MOST_JOBS: Final = 64
STORE_SECONDS: Final = 5.0


def measure(spec: MacSpec, style: str) -> Measurement:
    """Synthesize one kernel now, or read the synthesis cache.

    Raises `SpecError` when the style cannot do the spec, `ToolError` when Yosys is missing or
    fails.
    """
    from hw.yosys import flow, synthesize, timing

    sources = kernel_sources(spec, "kernel", style)
    resources, clock = synthesize(sources, "kernel"), timing(sources, "kernel")
    sha256 = sources_sha256(style_of(style, spec).sources)
    return Measurement(spec, style, resources, clock, sha256, flow())


def characterize(
    kernels: Iterable[tuple[MacSpec, str]], path: str | Path, *, jobs: int = 1
) -> list[str]:
    """Synthesize ``kernels`` and write their measurements to the CSV file ``path``.

    Rows of ``path`` that are still current, and made by the same flow, are kept and not made
    again; all others are dropped.  ``jobs`` Yosys processes run at once.  Returns what failed, one
    line each; the file holds the rest.

    Raises `InputError` for no kernels, impossible ``jobs`` or a file that is no such table,
    `ToolError` when Yosys is missing.
    """
    from hw.yosys import flow

    wanted = {identity(spec, style): (spec, style) for spec, style in kernels}
    if not wanted:
        raise InputError("no kernels to characterize; give at least one")
    if not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"jobs {jobs}, allowed 1..{MOST_JOBS}")
    target, tool = Path(path), flow()
    rows = {
        identity(row.spec, row.style): row
        for row in _stored(target)
        if row.current and row.flow == tool
    }
    rows = {key: rows[key] for key in wanted if key in rows}
    failed: list[str] = []
    left = [key for key in wanted if key not in rows]
    stored = monotonic()
    with track("kernels", len(left)) as advance, ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[Measurement], str] = {}
        try:
            while left or running:
                while left and len(running) < jobs:
                    key = left.pop(0)
                    running[pool.submit(measure, *wanted[key])] = key
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key = running.pop(future)
                    spec, style = wanted[key]
                    name = f"{spec.weight} x {spec.act} {style}"
                    try:
                        rows[key] = future.result()
                    except HwquantError as error:
                        failed.append(f"{name}: {error}")
                    advance(detail=name)
                if monotonic() - stored > STORE_SECONDS:
                    _store(rows, wanted, target)
                    stored = monotonic()
        finally:
            _store(rows, wanted, target)
    return failed


def _stored(path: Path) -> tuple[Measurement, ...]:
    if not path.is_file():
        return ()
    advice = "name another file, or remove it first"
    try:
        text = path.read_text(encoding="utf-8")
        rows = read(text)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no characterization ({error}); {advice}") from error
    if not rows and text.strip() not in ("", ",".join(COLUMNS)):
        raise InputError(f"{path} is no characterization; {advice}")
    return rows


def _store(rows: dict[str, Measurement], wanted: Iterable[str], path: Path) -> None:
    """Write ``rows`` in the order of ``wanted``."""
    atomic.write_text(path, as_text(rows[key] for key in wanted if key in rows))
