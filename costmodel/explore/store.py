# SPDX-License-Identifier: Apache-2.0
"""The result store of a run: one SQLite file, one writer, any number of readers.

Every point is a row keyed by its content hash and committed as soon as it is known, so a kill at
any moment loses only what was being computed.  While a run writes, the file is in WAL mode and
readers do not wait; a finished run leaves one plain file that also opens from a read-only folder.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hwquant import atomic
from hwquant.errors import InputError

__all__ = ["Row", "Status", "Store", "column", "numeric_columns", "read", "table", "to_csv"]

SCHEMA_VERSION = 2
BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS points(
    key TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL,
    point TEXT NOT NULL,
    status TEXT NOT NULL,
    metrics TEXT NOT NULL,
    layers TEXT NOT NULL,
    error TEXT NOT NULL,
    finished REAL NOT NULL
) WITHOUT ROWID
"""
_COLUMNS = "key, point, status, metrics, layers, error, finished"


class Status(StrEnum):
    """How far a point has come."""

    WAITING = "waiting"
    MEASURED = "measured"  # accuracy known, price not yet
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One point: its coordinates, how far it is, its metrics and its layers.

    ``finished`` is when its last result was written, in seconds of the epoch, 0 while it waits.
    """

    key: str
    point: dict[str, Any]
    status: Status = Status.WAITING
    metrics: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    finished: float = field(default=0.0, compare=False)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line with what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise InputError(f"{path} is locked by another process; wait for it to end") from error
        raise InputError(
            f"{path} cannot be used ({error}); check the folder and its disk"
        ) from error
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); delete it and run the same command again: "
            "points and kernels in the cache are not computed twice"
        ) from error


def _check(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError` unless the file is whole and of our schema version."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version}, allowed {SCHEMA_VERSION}")


def _rows(connection: sqlite3.Connection) -> list[Row]:
    found = connection.execute(f"SELECT {_COLUMNS} FROM points ORDER BY ordinal, key")  # noqa: S608
    return [
        Row(key, json.loads(p), Status(s), json.loads(m), json.loads(layers), error, finished)
        for key, p, s, m, layers, error, finished in found
    ]


class Store:
    """The writer's end of a store; use as a context manager.

    Raises `InputError` when the folder cannot be written, the file is damaged, or another
    process writes to the same store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self.path.with_suffix(".lock").open("w")
        except OSError as error:
            reason = error.strerror or error
            raise InputError(
                f"cannot write {self.path}: {reason}; choose a folder you may write to"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise InputError(
                f"{self.path.parent} is in use by another run; wait for it or choose another folder"
            ) from error
        try:
            with _explained(self.path):
                self._connection = self._open()
        except InputError:
            self._lock.close()
            raise

    def _open(self) -> sqlite3.Connection:
        fresh = not self.path.exists() or self.path.stat().st_size == 0
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            if fresh:
                connection.executescript(f"{_SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}")
            _check(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fold the journal into the file and release the store."""
        try:
            self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            pass  # a reader is at work: the WAL stays, and the next run folds it in
        finally:
            self._connection.close()
            self._lock.close()

    def enroll(self, points: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Make the rows those of ``points``, pairs of key and coordinates, in this order.

        Rows already present keep their results; rows of other keys go.  Returns how many went.
        """
        records = [
            (key, ordinal, json.dumps(dict(point)), Status.WAITING, "{}", "[]", "", 0.0)
            for ordinal, (key, point) in enumerate(points)
        ]
        wanted = {record[0] for record in records}
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            present = self._connection.execute("SELECT key FROM points").fetchall()
            stale = [key for key in present if key[0] not in wanted]
            self._connection.executemany("DELETE FROM points WHERE key = ?", stale)
            self._connection.executemany(
                "INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(key) DO UPDATE SET ordinal = excluded.ordinal",
                records,
            )
            self._connection.execute("COMMIT")
        return len(stale)

    def save(
        self,
        key: str,
        status: Status,
        metrics: Mapping[str, Any],
        layers: Iterable[Mapping[str, Any]] = (),
        error: str = "",
    ) -> None:
        """Replace the results of an enrolled point, in one transaction.

        Raises `InputError` for a key that was never enrolled.
        """
        record = (
            status,
            json.dumps(dict(metrics)),
            json.dumps(list(map(dict, layers))),
            error,
            time.time(),
            key,
        )
        with _explained(self.path):
            changed = self._connection.execute(
                "UPDATE points SET status = ?, metrics = ?, layers = ?, error = ?, finished = ? "
                "WHERE key = ?",
                record,
            ).rowcount
        if changed != 1:
            raise InputError(f"{self.path}: no point has the key {key}")

    def rows(self) -> list[Row]:
        """Return every row in the order of the space."""
        with _explained(self.path):
            return _rows(self._connection)


def read(path: str | Path) -> list[Row]:
    """Return the rows of a store without writing to it, also while a run is at work.

    Raises `InputError` when there is no store or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder that a sweep wrote (-o RUN)")
    with _explained(path):
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS
        )
        try:
            _check(connection)
            return _rows(connection)
        finally:
            connection.close()


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return one flat record per row: point, status, metrics, error."""
    return [
        {"key": row.key[:12]} | row.point | {"status": str(row.status)} | row.metrics
        | ({"error": row.error} if row.error else {})
        for row in rows
    ]  # fmt: skip


def numeric_columns(rows: Iterable[Row]) -> set[str]:
    """Return the names of all metrics that are numbers in some row."""
    return {
        key
        for row in rows
        for key, value in row.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def column(rows: Iterable[Row], name: str) -> list[float]:
    """Return a numeric metric of every row, NaN where it is not known.

    Raises `InputError` for a name that no row has, with the names that exist.
    """
    rows = list(rows)
    known = numeric_columns(rows)
    if name not in known:
        raise InputError(
            f"column {name!r} is unknown, allowed: {', '.join(sorted(known)) or 'none'}"
        )
    values = (row.metrics.get(name) for row in rows)
    return [float("nan") if value is None else float(value) for value in values]


def to_csv(rows: Iterable[Row], path: str | Path) -> None:
    """Write the flat table as CSV, whole or not at all; columns in order of first appearance."""
    records = table(rows)
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    atomic.write_text(path, text.getvalue())
