# SPDX-License-Identifier: Apache-2.0
"""Sweeps in Python, equal to ``hwquant sweep`` and ``hwquant pareto``.

from costmodel.explore.results import load, sweep

results = sweep("zoo:digits_mlp", "runs/a", weights=["int4", "e2m1"], acts=["same"])
results.front("lut_sites", "top1").to_dataframe()
results.pick("max top1 where lut_sites<=400").point
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.explore import table
from costmodel.explore.folder import RunFolder
from costmodel.explore.folder import load as open_folder
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import at, only, read
from costmodel.explore.space import Space, from_toml
from hwquant.errors import InputError, one_of

if TYPE_CHECKING:
    from costmodel.report.front import Front

__all__ = ["Results", "load", "sweep"]


@dataclass(frozen=True)
class Results:
    """The points of a run, or some of them; rows are read from the store as they are used."""

    folder: RunFolder
    space: Space
    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __repr__(self) -> str:
        return f"<{len(self)} points of {self.folder.root}>"

    @property
    def done(self) -> Results:
        """The finished points."""
        return replace(self, rows=only(self.rows, Status.DONE))

    @property
    def failed(self) -> Results:
        """The points that have no result, each row with its reason."""
        return replace(self, rows=only(self.rows, Status.FAILED))

    def front(self, x: str = "lut_sites", y: str = "top1") -> Results:
        """Return the points that none beats in both metrics, from the best ``x`` on.

        Raises `InputError` for an unknown metric, or when no point is finished.
        """
        found = self._front(x, y)
        return replace(self, rows=at(found.rows, found.order))

    def pick(self, rule: str = "knee", x: str = "lut_sites", y: str = "top1") -> Row:
        """Return the point that a rule of `costmodel.explore.choice` chooses.

        Raises `InputError` for an unknown rule or metric, or bounds that no point meets.
        """
        return self._front(x, y, rule).choice

    def hypervolume(self, x: str = "lut_sites", y: str = "top1") -> float:
        """Return what the front dominates of the unit square spanned by the finished points."""
        return self._front(x, y).hypervolume

    def _front(self, x: str, y: str, rule: str = "best") -> Front:
        from costmodel.report.live import View

        return View(x, y, pick=rule).front(self.rows)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat record per point: key, coordinates, status, metrics."""
        return table.table(self.rows)

    def to_dataframe(self) -> Any:
        """Return a pandas ``DataFrame``; raises `InputError` without the ``dataframe`` extra."""
        return table.dataframe(self.rows)

    def to_csv(self, path: str | Path) -> None:
        """Write the flat table as CSV."""
        table.to_csv(self.rows, path)

    def to_json(self, path: str | Path) -> None:
        """Write the flat table as a JSON list."""
        table.to_json(self.rows, path)

    def to_parquet(self, path: str | Path) -> None:
        """Write the flat table as Parquet; raises `InputError` without the ``parquet`` extra."""
        table.to_parquet(self.rows, path)

    def _repr_html_(self) -> str:
        """Show the front in a notebook: a drawing and a table, no script, nothing loaded."""
        from costmodel.explore.notebook import X, Y, html_of

        done = self.done
        counts = ((len(only(self.rows, s)), s) for s in Status if s is not Status.DONE)
        others = "".join(f", {count} {status}" for count, status in counts if count)
        front = self.front(X, Y).rows if len(done) else ()
        return html_of(str(self.folder.root), done.rows, front, others)


def load(root: str | Path) -> Results:
    """Open the folder of a run, also while the run goes on.

    Raises `InputError` when ``root`` holds no run or its store is damaged.
    """
    folder, space = open_folder(root)
    return Results(folder, space, read(folder.store))


def sweep(
    space: Space | str | Path,
    output: str | Path,
    *,
    scheduler: str = "",
    workers: int | None = None,
    **choices: Any,
) -> Results:
    """Run or resume a sweep in folder ``output``, with the page and figures of the command.

    ``space`` is a `Space`, a TOML file, or a model such as ``zoo:digits_mlp``; ``choices`` are
    fields of `Space` and win over a file.  Lists stand for tuples.

    Raises `InputError` as ``hwquant sweep`` does: space, folder, scheduler or workers unusable.
    """
    from costmodel.explore.sweep import sweep as run
    from costmodel.report.live import View
    from costmodel.report.run import write_page

    whole = _space(space, choices)
    done = run(whole, output, scheduler=scheduler, workers=workers)
    if len(done.rows.only(Status.DONE)):
        front = View().front(done.rows)
        write_page(done.folder, whole, done.rows, front)
    return Results(done.folder, whole, done.rows)


def _space(space: Space | str | Path, choices: dict[str, Any]) -> Space:
    if not isinstance(space, Space | str | Path):
        raise InputError(f"space {space!r}, allowed: a Space, a TOML file, or the name of a model")
    known = [field.name for field in fields(Space)]
    for name in choices:
        if name not in known:
            raise InputError(f"{name!r} is unknown, {one_of(name, known)}")
    given = {name: _frozen(value) for name, value in choices.items()}
    if isinstance(space, Space):
        return replace(space, **given)
    if Path(space).suffix == ".toml":
        return Space(**(from_toml(space) | given))
    return Space(**({"model": str(space)} | given))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
