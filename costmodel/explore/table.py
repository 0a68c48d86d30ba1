# SPDX-License-Identifier: Apache-2.0
"""The rows of a run as one flat table: CSV and JSON always, Parquet and pandas where installed."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from costmodel.explore.row import Row
from hwquant import atomic
from hwquant.errors import InputError

__all__ = ["dataframe", "record_of", "table", "to_csv", "to_json", "to_parquet", "write"]


def record_of(row: Row) -> dict[str, Any]:
    """Return a row as one flat record: the start of its key, coordinates, status, metrics."""
    record = {"key": row.key[:12]} | row.point | {"status": str(row.status)} | row.metrics
    return record | ({"error": row.error} if row.error else {})


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return one flat record per row: point, status, metrics, error."""
    return [record_of(row) for row in rows]


def _columns(records: Iterable[dict[str, Any]]) -> list[str]:
    """Return the names in all records, in order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))


def to_csv(rows: Iterable[Row], path: str | Path) -> None:
    """Write the flat table as CSV, whole or not at all; columns in order of first appearance."""
    records = table(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(records), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    atomic.write_text(path, text.getvalue())


def to_json(rows: Iterable[Row], path: str | Path) -> None:
    """Write a JSON list with one flat record per row, whole or not at all."""
    atomic.write_text(path, json.dumps(table(rows), indent=1) + "\n")


def to_parquet(rows: Iterable[Row], path: str | Path) -> None:
    """Write the flat table as Parquet, whole or not at all.

    Raises `InputError` when pyarrow is not installed.
    """
    arrow, parquet = _extra("pyarrow", "parquet"), _extra("pyarrow.parquet", "parquet")
    records = table(rows)
    columns = {name: [record.get(name) for record in records] for name in _columns(records)}
    with atomic.atomic_file(path) as temporary:
        parquet.write_table(arrow.table(columns), temporary)


def dataframe(rows: Iterable[Row]) -> Any:
    """Return the flat table as a pandas ``DataFrame``; raises `InputError` without pandas."""
    records = table(rows)
    return _extra("pandas", "dataframe").DataFrame(records, columns=_columns(records))


def _extra(module: str, extra: str) -> Any:
    """Import a module that only an extra brings."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module.partition('.')[0]} is not installed; pip install 'hwquant[{extra}]'"
        ) from error


_WRITERS: Final[dict[str, Callable[[Iterable[Row], Path], None]]] = {
    ".csv": to_csv,
    ".json": to_json,
    ".parquet": to_parquet,
}


def write(rows: Iterable[Row], path: str | Path) -> None:
    """Write the flat table in the format that the suffix of ``path`` names.

    Raises `InputError` for another suffix.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise InputError(f"{target}: a table is written as {', '.join(_WRITERS)}; name it so")
    _WRITERS[target.suffix](rows, target)
