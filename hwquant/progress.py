# SPDX-License-Identifier: Apache-2.0
"""Progress with time left: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["note", "track"]

LOG_EVERY_SECONDS = 10.0


def note(message: str) -> None:
    """Say something to the person watching, on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def track(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Yield ``advance(steps=1, detail="")``; show how far ``description`` is and what is left.

    >>> with track("points", total=2) as advance:
    ...     advance(); advance(detail="int4")
    """
    if sys.stderr.isatty():
        yield from _bar(description, total)
    else:
        yield from _log(description, total)


def _bar(description: str, total: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, detail="")
        yield lambda steps=1, detail="": progress.update(task, advance=steps, detail=detail)


def _log(description: str, total: int) -> Iterator[Callable[..., None]]:
    start = last = time.monotonic()
    done = 0

    def advance(steps: int = 1, detail: str = "") -> None:
        nonlocal done, last
        done += steps
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS and done < total:
            last = now
            left = (now - start) / max(done, 1) * (total - done)
            note(f"{description}: {done}/{total}, about {left:.0f} s left {detail}".rstrip())

    yield advance
    note(f"{description}: {done}/{total} in {time.monotonic() - start:.1f} s")
