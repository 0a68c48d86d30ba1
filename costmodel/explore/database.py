# SPDX-License-Identifier: Apache-2.0
"""The SQLite file of a run: its schema, how it is opened, and what its errors mean to a user.

Metrics and coordinates are small and read often; layers are most of the bytes and read for one
point at a time, so they lie in a table of their own and a query of metrics passes them by.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hwquant.errors import InputError

__all__ = ["BUSY_SECONDS", "SCHEMA", "check", "explained", "reader"]

SCHEMA_VERSION: Final = 3
BUSY_SECONDS = 10.0
SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE points(
    key TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL,
    point TEXT NOT NULL,
    status TEXT NOT NULL,
    metrics TEXT NOT NULL,
    error TEXT NOT NULL,
    finished REAL NOT NULL
);
CREATE TABLE layers(key TEXT PRIMARY KEY, layers TEXT NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line with what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise InputError(f"{path} is locked by another process; wait for it to end") from error
        if "malformed" in text:
            raise _damaged(path, error) from error
        if "unable to open" in text and Path(f"{path}-wal").exists():
            raise InputError(
                f"{path} was left by a run that was killed, in a folder that cannot be written; "
                "copy the whole folder and read the copy"
            ) from error
        raise InputError(
            f"{path} cannot be used ({error}); check the folder and its disk, then run the same "
            "command again: what is finished is kept"
        ) from error
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged ({error}); delete it and run the same command again: "
        "points and kernels in the cache are not computed twice"
    )


def check(connection: sqlite3.Connection, path: Path, *, whole: bool = False) -> None:
    """Raise `sqlite3.DatabaseError` unless the file is complete and of our schema version.

    With ``whole`` SQLite also walks the trees of every table, which reads the file once.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {version}, allowed {SCHEMA_VERSION}")
    if not Path(f"{path}-wal").exists():  # else the newest pages may still lie in the journal
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        if path.stat().st_size < count * size:
            raise sqlite3.DatabaseError(f"{path.stat().st_size} of {count * size} bytes")
    if whole:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)


@contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that cannot write, for one short look; nothing stays open behind it.

    Raises `InputError` when there is no file, or it is closed to us, damaged or locked.
    """
    try:
        there = path.is_file()
    except OSError as error:  # a folder above it may not be entered
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if not there:
        raise InputError(f"{path} does not exist; give the folder that a sweep wrote (-o RUN)")
    with explained(path):
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS
        )
        try:
            yield connection
        finally:
            connection.close()
