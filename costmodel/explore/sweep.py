# SPDX-License-Identifier: Apache-2.0
"""Run a sweep into its folder: measure every point, price it, write down what is known at once.

A point goes waiting -> measured -> done.  What an earlier start of the run, or any earlier run
with the same content, already knows is taken up; only the rest needs the cluster, and when there
is no rest none is started.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costmodel.explore import folder as run_folder
from costmodel.explore.engine import Job, Outcome, engine
from costmodel.explore.measure import measure, point_key
from costmodel.explore.pricing import PriceList, price_kernel
from costmodel.explore.space import Space, coordinates, label
from costmodel.explore.store import Row, Rows, Status, Store, to_csv
from hwquant import cache
from hwquant.progress import note, track
from hwquant.ptq.recipe import Recipe

__all__ = ["Sweep", "sweep"]

CACHE = "point"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its folder, its space and its rows, failed ones included."""

    folder: run_folder.RunFolder
    space: Space
    rows: Rows
    seconds: float

    @property
    def failed(self) -> list[Row]:
        """The points that have no result, each with its reason."""
        return list(self.rows.only(Status.FAILED))


def sweep(
    space: Space,
    root: str | Path,
    *,
    scheduler: str = "",
    workers: int | None = None,
    watch: Callable[[run_folder.RunFolder], object] | None = None,
) -> Sweep:
    """Run or resume the sweep of ``space`` in folder ``root``.

    ``watch`` is called with the folder after every point that is settled.

    A point that fails is recorded with its reason and the others go on; a resumed sweep tries
    failed points again.

    Raises `InputError` for a folder that cannot be used, or a scheduler that does not answer.
    """
    started = time.perf_counter()
    points = {point_key(space, recipe): recipe for recipe in space.points()}
    folder = run_folder.prepare(root, space)
    with Store(folder.store) as store:
        stale = store.enroll((key, coordinates(recipe)) for key, recipe in points.items())
        if stale:
            note(f"{stale} results of another version of the code or the data are dropped")
        progress = _Progress(space, points, store, folder.logs / "failures.log")
        jobs = list(progress.take_up())
        list(progress.settled())
        known = len(points) - len(progress.rows)
        if known:
            note(f"{known} of {len(points)} points are known already")
        if left := len(points) - known:
            log = folder.logs / "workers.log"
            with engine(scheduler, workers, log) as cluster, track("points", left) as advance:
                for _ in cluster.run(jobs, progress.follow):
                    for row in progress.settled():
                        advance(detail=label(row.point))
                        if watch is not None:
                            watch(folder)
        rows = store.rows()
    to_csv(rows, folder.csv)
    return Sweep(folder, space, rows, time.perf_counter() - started)


class _Progress:
    """What is known of every point, and which jobs that leaves."""

    def __init__(self, space: Space, points: dict[str, Recipe], store: Store, log: Path) -> None:
        self._space = space
        self._points = points
        self._store = store
        self._log = log
        self._prices = PriceList(space)
        self._pending: dict[str, set[str]] = {}  # point -> kernels without a price
        again: dict[str, Any] = {"status": Status.WAITING, "error": ""}
        unfinished = store.rows().only(Status.WAITING, Status.MEASURED, Status.FAILED)
        self.rows = {
            row.key: replace(row, **again) if row.status is Status.FAILED else row
            for row in unfinished
        }

    def take_up(self) -> Iterator[Job]:
        """Settle what the store and the cache know; yield the jobs for the rest."""
        for key, row in list(self.rows.items()):
            known: dict[str, Any] | None = None
            if row.status is Status.MEASURED:
                known = {"metrics": row.metrics, "layers": list(row.layers)}
            else:
                known = cache.load_json(CACHE, key)
            if known is None:
                recipe = self._points[key].to_dict()
                args = (self._space.model, self._space.data, recipe, self._space.seed)
                yield Job(f"point-{key}", measure, args)
            else:
                yield from self._measured(key, known)

    def follow(self, outcome: Outcome) -> Iterator[Job]:
        """Write down an outcome; yield the jobs it makes possible."""
        kind, _, key = outcome.key.partition("-")
        if outcome.error:
            with self._log.open("a") as log:
                log.write(f"{outcome.key}: {outcome.error}\n{outcome.trace}\n")
            for point in [key] if kind == "point" else self._users(key):
                self._fail(point, outcome.error)
        elif kind == "point":
            cache.store_json(CACHE, key, outcome.value)
            yield from self._measured(key, outcome.value)
        else:
            self._prices.add(key, outcome.value)
            for point in self._users(key):
                self._pending[point].discard(key)
                self._price(point)

    def settled(self) -> Iterator[Row]:
        """Yield, once each, the rows that are done or failed since the last call."""
        final = (Status.DONE, Status.FAILED)
        for key in [key for key, row in self.rows.items() if row.status in final]:
            yield self.rows.pop(key)

    def _users(self, kernel: str) -> list[str]:
        return [point for point, kernels in self._pending.items() if kernel in kernels]

    def _measured(self, key: str, known: dict[str, Any]) -> Iterator[Job]:
        self._save(key, Status.MEASURED, known["metrics"], known["layers"])
        missing = self._prices.missing(known["layers"])
        self._pending[key] = set(missing)
        for kernel, identity in missing.items():
            yield Job(f"kernel-{kernel}", price_kernel, (identity,))
        self._price(key)

    def _price(self, key: str) -> None:
        """Finish a point once its last kernel has a price."""
        if self._pending.get(key):
            return
        row = self.rows[key]
        totals, layers = self._prices.network(row.layers)
        del self._pending[key]
        self._save(key, Status.DONE, row.metrics | totals, layers)

    def _fail(self, key: str, reason: str) -> None:
        self._pending.pop(key, None)
        row = self.rows[key]
        self._save(key, Status.FAILED, row.metrics, row.layers, reason)

    def _save(self, key: str, status: Status, metrics: Any, layers: Any, error: str = "") -> None:
        self._store.save(key, status, metrics, layers, error)
        self.rows[key] = Row(key, self.rows[key].point, status, metrics, layers, error)
