# SPDX-License-Identifier: Apache-2.0
"""The result store of a run: one SQLite file, one writer, any number of readers.

Every point is a row keyed by its content hash and committed as soon as it is known, so a kill at
any moment loses only what was being computed.  While a run writes, the file is in WAL mode and
readers do not wait; a finished run leaves one plain file that also opens from a read-only folder.
"""

from __future__ import annotations

import fcntl
import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from costmodel.explore import database
from costmodel.explore.database import explained
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import Rows, column, numeric_columns, read
from costmodel.explore.table import table, to_csv
from hwquant.errors import InputError

__all__ = ["Row", "Rows", "Status", "Store", "column", "numeric_columns", "read", "table", "to_csv"]

# The journal is folded into the file in one go once it is this long, not bit by bit: whatever part
# of the journal a crash leaves then continues the state that the file holds.
JOURNAL_BYTES = 16 << 20


class Store:
    """The writer's end of a store; use as a context manager.

    Raises `InputError` when the folder cannot be written, the file is damaged, or another
    process writes to the same store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._journal = Path(f"{path}-wal")
        self._fold_at = JOURNAL_BYTES
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
            with explained(self.path):
                self._connection = self._open()
        except InputError:
            self._lock.close()
            raise

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=database.BUSY_SECONDS, isolation_level=None)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (things,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == things == 0:  # new, or a first start that was killed before this
                connection.executescript(database.SCHEMA)
            database.check(connection, self.path, whole=True)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
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

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or nothing of it."""
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def enroll(self, points: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Make the rows those of ``points``, pairs of key and coordinates, in this order.

        Rows already present keep their results; rows of other keys go.  Returns how many went.
        """
        given = dict(points)
        with explained(self.path):
            found = self._connection.execute("SELECT key FROM points ORDER BY ordinal").fetchall()
        present = [key for (key,) in found]
        if present == list(given):
            return 0
        stale = [(key,) for key in present if key not in given]
        records = [
            (key, ordinal, json.dumps(dict(point)), Status.WAITING, "{}", "", 0.0)
            for ordinal, (key, point) in enumerate(given.items())
        ]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM points WHERE key = ?", stale)
            connection.executemany("DELETE FROM layers WHERE key = ?", stale)
            connection.executemany(
                "INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(key) DO UPDATE SET ordinal = excluded.ordinal",
                records,
            )
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

        A metric that is not a finite number is stored as not known.
        Raises `InputError` for a key that was never enrolled.
        """
        known = {name: _finite(value) for name, value in metrics.items()}
        record = (status, json.dumps(known), error, time.time(), key)
        text = json.dumps(list(map(dict, layers)))
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE points SET status = ?, metrics = ?, error = ?, finished = ? WHERE key = ?",
                record,
            ).rowcount
            if changed == 1:
                connection.execute("INSERT OR REPLACE INTO layers VALUES (?, ?)", (key, text))
        if changed != 1:
            raise InputError(f"{self.path}: no point has the key {key}")
        self._fold()

    def _fold(self) -> None:
        """Fold a long journal into the file, unless a reader is at work; then somewhat later."""
        if self._journal.stat().st_size < self._fold_at:
            return
        with explained(self.path):
            self._connection.execute("PRAGMA busy_timeout = 100")
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._connection.execute(f"PRAGMA busy_timeout = {database.BUSY_SECONDS * 1000:.0f}")
        self._fold_at = self._fold_at + JOURNAL_BYTES if busy else JOURNAL_BYTES

    def rows(self) -> Rows:
        """Return every row in the order of the space."""
        return read(self.path)


def _finite(value: Any) -> Any:
    """Return ``value``, None in place of NaN and infinities: JSON has none of them."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
