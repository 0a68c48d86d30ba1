# SPDX-License-Identifier: Apache-2.0
"""The page of a run as it is now, and the page that follows a run until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from costmodel.explore import folder as run_folder
from costmodel.explore.folder import RunFolder
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import only, read
from costmodel.explore.space import Space
from costmodel.report import plots
from costmodel.report.front import Front, find_front
from costmodel.report.run import Other, write_page
from hwquant.errors import InputError

__all__ = ["LivePage", "View", "follow", "show"]

SECONDS: Final = 10
SHARE: Final = 20
UNFINISHED: Final = (Status.WAITING, Status.MEASURED)


@dataclass(frozen=True)
class View:
    """What a page shows: the two metrics and their senses, the rule that picks, whose details."""

    x: str = "lut_sites"
    y: str = "top1"
    x_sense: str = ""
    y_sense: str = ""
    pick: str = "knee"
    details: str = "none"

    def front(self, rows: Sequence[Row]) -> Front:
        """Return the front of the finished rows; raises `InputError` as `find_front` does."""
        axes = plots.axis(self.x, self.x_sense), plots.axis(self.y, self.y_sense)
        return find_front(rows, *axes, self.pick)


def show(
    run: str | Path,
    view: View,
    *,
    output: str | Path | None = None,
    other: str | Path | None = None,
    refresh: int = 0,
) -> dict[str, Any]:
    """Write the page of a run; return where it lies, its points and the picked one.

    Raises `InputError` for a folder without a run, an unknown metric or rule, or a run in which
    nothing is finished.
    """
    folder, space = run_folder.load(run)
    rows = read(folder.store)
    front = view.front(rows)
    if view.details != "none" and not refresh:
        from costmodel.report.details import add_details

        chosen = [front.choice]
        if view.details == "front":
            chosen += [front.rows[i] for i in front.order if i != front.chosen]
        add_details(folder, space, chosen)
    path = Path(output) if output is not None else folder.report
    write_page(
        folder, space, rows, front, other=_other(other, folder), refresh=refresh, output=path
    )
    return {
        "page": str(path),
        "points": len(rows),
        "done": len(front.rows),
        "front": sum(front.mask),
        "pick": front.choice.key[:12],
        "bytes": path.stat().st_size,
    }


def _other(run: str | Path | None, mine: RunFolder) -> Other | None:
    """Return the run to compare with, under a name that differs from ours."""
    if run is None:
        return None
    folder, _ = run_folder.load(run)
    name = folder.root.resolve().name
    return Other(name if name != mine.root.resolve().name else str(run), folder, read(folder.store))


def follow(
    run: str | Path,
    view: View,
    seconds: int,
    *,
    output: str | Path | None = None,
    other: str | Path | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Write the page every ``seconds`` while the run has unfinished points; return how often.

    Pages written here reload themselves; the last page is `show`'s, which does not.
    """
    folder, _ = run_folder.load(run)
    written = 0
    while only(read(folder.store), *UNFINISHED):
        if only(read(folder.store), Status.DONE):
            show(run, view, output=output, other=other, refresh=seconds)
            written += 1
        sleep(seconds)
    return written


class LivePage:
    """The page of a run at work, for the process that runs it: call it after every point.

    It is written at most every ``seconds``, more seldom where writing takes long (at most one part
    in `SHARE` of the time), and never stands in the way of the run: what cannot be shown yet is
    not shown.
    """

    def __init__(
        self,
        space: Space,
        view: View | None = None,
        seconds: int = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._space = space
        self._view = View() if view is None else view
        self._seconds, self._clock = seconds, clock
        self._next = clock()

    def __call__(self, folder: RunFolder) -> bool:
        """Write the page when it is time; return whether it was written."""
        started = self._clock()
        if started < self._next:
            return False
        try:
            rows = read(folder.store)
            front = self._view.front(rows)
            write_page(folder, self._space, rows, front, refresh=self._seconds)
        except (InputError, OSError):  # nothing finished yet, or a disk that is full
            return False
        finally:
            ended = self._clock()
            self._next = ended + max(self._seconds, SHARE * (ended - started))
        return True
