# SPDX-License-Identifier: Apache-2.0
"""Run a sweep into its folder: measure every point, price it, write down what is known at once.

A point goes waiting -> measured -> done.  What an earlier start of the run, or any earlier run
with the same content, already knows is taken up; only the rest needs the cluster, and when there
is no rest none is started.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costmodel.explore import folder as run_folder
from costmodel.explore.engine import Job, Outcome, engine
from costmodel.explore.forecast import remember
from costmodel.explore.measure import measure, measurement_key, outline, outline_key, point_key
from costmodel.explore.pricing import PriceList, price_kernel
from costmodel.explore.pruning import reason_to_prune
from costmodel.explore.space import Point, Space, coordinates, label, weight_side
from costmodel.explore.store import Row, Rows, Status, Store, to_csv
from hwquant import cache
from hwquant.errors import InputError
from hwquant.progress import note, track

__all__ = ["Sweep", "sweep"]

CACHE = "point"
OUTLINES = "outline"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its folder, its space and its rows, failed and pruned ones included."""

    folder: run_folder.RunFolder
    space: Space
    rows: Rows
    seconds: float

    @property
    def failed(self) -> list[Row]:
        """The points that have no result, each with its reason."""
        return list(self.rows.only(Status.FAILED))

    @property
    def pruned(self) -> list[Row]:
        """The points that were not measured, each with the limit it is beyond."""
        return list(self.rows.only(Status.PRUNED))


def sweep(
    space: Space,
    root: str | Path,
    *,
    scheduler: str = "",
    workers: int | None = None,
    watch: Callable[[run_folder.RunFolder], object] | None = None,
) -> Sweep:
    """Run or resume the sweep of ``space`` in folder ``root``.

    A point that fails is recorded with its reason and the others go on; a resumed sweep tries
    failed points again.  A point that is surely beyond a limit of the space is recorded as pruned.
    ``watch`` is called with the folder after every point that is settled.

    Raises `InputError` for a model that is not there, a folder that cannot be used, a scheduler
    that does not answer, or limits that leave no point.
    """
    started = time.perf_counter()
    points = {point_key(space, point): point for point in space.plan()}
    if not run_folder.RunFolder(Path(root)).config.exists():
        _check_source(space)
    folder = run_folder.prepare(root, space)
    with Store(folder.store) as store:
        stale = store.enroll((key, coordinates(point)) for key, point in points.items())
        if stale:
            note(f"{stale} results of another version of the code or the data are dropped")
        progress = _Progress(space, points, store, folder.logs / "failures.log")
        log = folder.logs / "workers.log"
        if space.limits or space.parts:  # before the cache is asked: limits hold for all points
            progress.prune(_outline(space, scheduler, log))
        jobs = list(progress.take_up())
        list(progress.settled())
        known = len(points) - len(progress.rows)
        if known:
            note(f"{known} of {len(points)} points are known already")
        if left := len(points) - known:
            with engine(scheduler, workers, log) as cluster, track("points", left) as advance:
                for _ in cluster.run(jobs, progress.follow):
                    for row in progress.settled():
                        advance(detail=label(row.point))
                        if watch is not None:
                            watch(folder)
        rows = store.rows()
    to_csv(rows, folder.csv)
    pruned = rows.only(Status.PRUNED)
    if len(pruned) == len(rows):
        raise InputError(f"no point is within the limits ({_nearest(space, pruned)}); relax them")
    remember(space, rows.only(Status.DONE))
    return Sweep(folder, space, rows, time.perf_counter() - started)


def _nearest(space: Space, pruned: Sequence[Row]) -> str:
    """Say what the least of all points is, for each limit that none keeps."""
    found = []
    for name, limit in space.limits.items():
        least = min(row.metrics[f"{name}_least"] for row in pruned)
        if least > limit:
            found.append(f"{name} is {least:g} at least, the limit is {limit:g}")
    return "; ".join(found) or pruned[0].error


def _check_source(space: Space) -> None:
    """Refuse a model or a step that is not there before a folder is written.

    Costs the import of torch.
    """
    from hwquant.ptq.job import build_step
    from hwquant.ptq.step import StepSpec
    from hwquant.zoo.resolve import check_source

    check_source(space.model)
    for step in dict.fromkeys(itertools.chain(*space.steps)):
        build_step(StepSpec.parse(step))


def _outline(space: Space, scheduler: str, log: Path) -> list[dict[str, Any]]:
    """Return the layers of the network, from the cache or, once ever, from a worker."""
    key = outline_key(space)
    known: list[dict[str, Any]] | None = cache.load_json(OUTLINES, key)
    if known is None:
        with engine(scheduler, 1, log) as cluster:
            (outcome,) = cluster.run([Job(f"outline-{key}", outline, (space,))])
        if outcome.error:
            raise InputError(f"{space.model}: {outcome.error}")
        known = outcome.value
        cache.store_json(OUTLINES, key, known)
    return known


class _Progress:
    """What is known of every point, and which jobs that leaves."""

    def __init__(self, space: Space, points: dict[str, Point], store: Store, log: Path) -> None:
        self._space = space
        self._points = points
        self._store = store
        self._log = log
        self._prices = PriceList(space)
        self._pending: dict[str, set[str]] = {}  # point -> kernels without a price
        self._sharing: dict[str, list[str]] = {}  # measurement -> points that wait for it
        again: dict[str, Any] = {"status": Status.WAITING, "error": ""}
        unfinished = store.rows().only(Status.WAITING, Status.MEASURED, Status.FAILED)
        self.rows = {
            row.key: replace(row, **again) if row.status is Status.FAILED else row
            for row in unfinished
        }

    def take_up(self) -> Iterator[Job]:
        """Settle what the store and the cache know; yield the jobs for the rest.

        The first points of every weight side come first: what they have in common with later ones
        is then known, to whichever worker, before those start.
        """
        jobs: dict[str, Job] = {}
        sides: dict[str, str] = {}
        for key, row in list(self.rows.items()):
            known: dict[str, Any] | None = None
            point = self._points[key]
            measurement = measurement_key(self._space, point.recipe, point.seed)
            if row.status is Status.MEASURED:
                known = {"metrics": row.metrics, "layers": list(row.layers)}
            else:
                known = cache.load_json(CACHE, measurement)
            if known is not None:
                yield from self._measured(key, known)
                continue
            self._sharing.setdefault(measurement, []).append(key)
            sides[measurement] = weight_side(point)
            jobs[measurement] = self._job(measurement, point)
        taken: Counter[str] = Counter()
        rank: dict[str, int] = {}
        for measurement, side in sides.items():
            rank[measurement] = taken[side]
            taken[side] += 1
        for measurement in sorted(jobs, key=rank.__getitem__):  # stable: else as in the space
            yield jobs[measurement]

    def _job(self, measurement: str, point: Point) -> Job:
        space = self._space
        args = (space.model, space.data, point.recipe.to_dict(), point.seed)
        items = (space.test_items, space.calib_items)
        return Job(f"point-{measurement}", measure, (*args, items) if any(items) else args)

    def prune(self, network: list[dict[str, Any]]) -> None:
        """Settle the points that are surely beyond a limit; ``network`` is what `outline` says."""
        pruned = 0
        for key, row in list(self.rows.items()):
            if row.status is not Status.WAITING:
                continue
            reason, bounds = reason_to_prune(self._space, network, self._points[key])
            if reason:
                least = {f"{name}_least": value for name, value in bounds.items()}
                self._save(key, Status.PRUNED, least, (), reason)
                del self.rows[key]
                pruned += 1
        if pruned:
            note(f"{pruned} points are surely beyond a limit and not measured")

    def follow(self, outcome: Outcome) -> Iterator[Job]:
        """Write down an outcome; yield the jobs it makes possible."""
        kind, _, key = outcome.key.partition("-")
        if outcome.error:
            with self._log.open("a") as log:
                log.write(f"{outcome.key}: {outcome.error}\n{outcome.trace}\n")
            for point in self._sharing.pop(key, []) if kind == "point" else self._users(key):
                self._fail(point, outcome.error)
        elif kind == "point":
            cache.store_json(CACHE, key, outcome.value)
            for point in self._sharing.pop(key):
                yield from self._measured(point, outcome.value)
        else:
            self._prices.add(key, outcome.value)
            for point in self._users(key):
                self._pending[point].discard(key)
                self._price(point)

    def settled(self) -> Iterator[Row]:
        """Yield, once each, the rows that nothing more will happen to since the last call."""
        final = (Status.DONE, Status.FAILED, Status.PRUNED)
        for key in [key for key, row in self.rows.items() if row.status in final]:
            yield self.rows.pop(key)

    def _users(self, kernel: str) -> list[str]:
        return [point for point, kernels in self._pending.items() if kernel in kernels]

    def _measured(self, key: str, known: dict[str, Any]) -> Iterator[Job]:
        if self.rows[key].status is not Status.MEASURED:
            self._save(key, Status.MEASURED, known["metrics"], known["layers"])
        missing = self._prices.missing(known["layers"], self._points[key].style)
        self._pending[key] = set(missing)
        for kernel, identity in missing.items():
            yield Job(f"kernel-{kernel}", price_kernel, (identity,))
        self._price(key)

    def _price(self, key: str) -> None:
        """Finish a point once its last kernel has a price."""
        if self._pending.get(key):
            return
        row = self.rows[key]
        totals, layers = self._prices.network(row.layers, self._points[key].style)
        del self._pending[key]
        self._save(key, Status.DONE, row.metrics | totals, layers)

    def _fail(self, key: str, reason: str) -> None:
        self._pending.pop(key, None)
        row = self.rows[key]
        self._save(key, Status.FAILED, row.metrics, row.layers, reason)

    def _save(self, key: str, status: Status, metrics: Any, layers: Any, error: str = "") -> None:
        self._store.save(key, status, metrics, layers, error)
        self.rows[key] = Row(key, self.rows[key].point, status, metrics, layers, error)
