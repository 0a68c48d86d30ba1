# SPDX-License-Identifier: Apache-2.0
"""The rows of a stored run as a sequence that reads what is looked at and no more.

Opening reads the keys.  A metric of all rows is one query; a row is read when it is indexed, rows
in blocks when they are iterated, layers when a row's ``layers`` are touched.  No connection stays
open, so a reader never stands in the way of the run that writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from costmodel.explore.database import check, explained, reader
from costmodel.explore.row import Layers, Row, Status
from hwquant.errors import InputError, one_of

__all__ = ["Columns", "Rows", "at", "column", "keys_of", "numeric_columns", "only", "read"]

BLOCK = 256
_NAN = float("nan")


def read(path: str | Path) -> Rows:
    """Return the rows of a store without writing to it, also while a run is at work.

    Raises `InputError` when there is no store or it is damaged.
    """
    path = Path(path)
    with reader(path) as connection:
        check(connection, path)
        found = connection.execute("SELECT key FROM points ORDER BY ordinal, key").fetchall()
    return Rows(path, tuple(key for (key,) in found))


class Rows(Sequence[Row]):
    """Rows of a store in a fixed order, known by their keys and read on demand.

    A look at a damaged store, or at a row that another run has dropped since, raises `InputError`.
    """

    def __init__(self, path: Path, keys: tuple[str, ...]) -> None:
        self.path = path
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self.path, self.keys[index])
        return self._block((self.keys[index],))[0]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self.keys), BLOCK):
            yield from self._block(self.keys[start : start + BLOCK])

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.path}>"

    def _block(self, keys: tuple[str, ...]) -> list[Row]:
        """Return the rows of ``keys``; their layers are read together when first looked at."""
        query = f"SELECT * FROM points WHERE key IN ({_marks(keys)})"  # noqa: S608 (marks only)
        tables = _Tables(self.path, keys)
        with reader(self.path) as connection:
            found = {
                key: Row(
                    key,
                    json.loads(point),
                    Status(status),
                    json.loads(metrics),
                    Layers(lambda key=key: tables.take(key)),  # type: ignore[misc]
                    error,
                    finished,
                )
                for key, _, point, status, metrics, error, finished in connection.execute(
                    query, keys
                )
            }
        if len(found) < len(set(keys)):
            raise InputError(f"{self.path} was changed by another run meanwhile; open it again")
        return [found[key] for key in keys]

    def only(self, *statuses: Status) -> Rows:
        """Return the rows that have one of ``statuses`` now."""
        query = f"SELECT key FROM points WHERE status IN ({_marks(statuses)})"  # noqa: S608
        with reader(self.path) as connection:
            found = {key for (key,) in connection.execute(query, statuses)}
        return Rows(self.path, tuple(key for key in self.keys if key in found))

    def at(self, indices: Iterable[int]) -> Rows:
        """Return the rows at ``indices``, in that order."""
        return Rows(self.path, tuple(self.keys[index] for index in indices))

    def column(self, name: str) -> list[float]:
        """Return a metric of every row, NaN where it is not known, without reading the rows."""
        query = "SELECT key, json_extract(metrics, ?) FROM points"
        with reader(self.path) as connection:
            found = dict(connection.execute(query, (f'$."{name}"',)).fetchall())
        return [_number(found.get(key)) for key in self.keys]

    def numeric_columns(self) -> set[str]:
        """Return the names of all metrics that are numbers in some row."""
        query = (
            "SELECT DISTINCT metric.key FROM points, json_each(points.metrics) AS metric "
            "WHERE metric.type IN ('integer', 'real')"
        )
        with reader(self.path) as connection:
            return {name for (name,) in connection.execute(query)}


class _Tables:
    """The layers of neighbouring rows, read together when one of them is looked at."""

    def __init__(self, path: Path, keys: tuple[str, ...]) -> None:
        self._path = path
        self._keys = keys
        self._texts: dict[str, str] | None = None

    def take(self, key: str) -> list[dict[str, Any]]:
        if self._texts is None:
            query = f"SELECT * FROM layers WHERE key IN ({_marks(self._keys)})"  # noqa: S608
            with reader(self._path) as connection:
                self._texts = dict(connection.execute(query, self._keys).fetchall())
        with explained(self._path):
            return json.loads(self._texts.pop(key, "[]"))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else _NAN


def only(rows: Sequence[Row], *statuses: Status) -> Sequence[Row]:
    """Return the rows that have one of ``statuses``."""
    if isinstance(rows, Rows):
        return rows.only(*statuses)
    return [row for row in rows if row.status in statuses]


def at(rows: Sequence[Row], indices: Iterable[int]) -> Sequence[Row]:
    """Return the rows at ``indices``, in that order."""
    return rows.at(indices) if isinstance(rows, Rows) else [rows[index] for index in indices]


def keys_of(rows: Sequence[Row]) -> Sequence[str]:
    """Return the key of every row."""
    return rows.keys if isinstance(rows, Rows) else [row.key for row in rows]


def numeric_columns(rows: Iterable[Row]) -> set[str]:
    """Return the names of all metrics that are numbers in some row."""
    if isinstance(rows, Rows):
        return rows.numeric_columns()
    return {
        key
        for row in rows
        for key, value in row.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def column(rows: Sequence[Row], name: str) -> list[float]:
    """Return a numeric metric of every row, NaN where it is not known.

    Raises `InputError` for a name that no row has, with the names that exist.
    """
    if isinstance(rows, Rows):
        values = rows.column(name)
    else:
        values = [_number(row.metrics.get(name)) for row in rows]
    if all(map(math.isnan, values)) and name not in (known := numeric_columns(rows)):
        raise InputError(f"column {name!r} is unknown, {one_of(name, sorted(known))}")
    return values


class Columns(Mapping[str, list[float]]):
    """The numeric metrics of rows by name; a column is read when it is asked for."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._names = sorted(numeric_columns(rows))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._names:
            raise KeyError(name)
        return column(self._rows, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
