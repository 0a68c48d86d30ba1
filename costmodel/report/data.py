# SPDX-License-Identifier: Apache-2.0
"""The rows of a run as columns, small enough for one page.

Texts are written once and referred to by number; a layer's facts that are the same in every point
are written once; all of it is compressed, so that 10,000 points with their layers stay within a
page of a few megabytes.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["columns", "layers", "packed"]

DIGITS: Final = 6


def _plain(value: Any) -> Any:
    """Return what JSON can hold: it has no NaN, and an absent value is null."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def _coded(values: Sequence[Any]) -> dict[str, Any]:
    """Return a column: the numbers, or the distinct texts and a number for each row."""
    plain = [_plain(value) for value in values]
    if not any(isinstance(value, str) for value in plain):
        return {"values": plain}
    words = list(dict.fromkeys("" if value is None else str(value) for value in plain))
    number = {word: index for index, word in enumerate(words)}
    codes = [number["" if value is None else str(value)] for value in plain]
    return {"words": words, "codes": codes}


def columns(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return flat ``records`` as columns in order of first appearance, absent values null.

    >>> columns([{"f": "int4", "n": 3}, {"f": "int4", "n": float("nan")}])[1]
    {'name': 'n', 'values': [3, None]}
    """
    names = dict.fromkeys(key for record in records for key in record)
    return [{"name": name} | _coded([record.get(name) for record in records]) for name in names]


def layers(points: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the layer tables of all points.

    Points whose layers have the same names share a *shape*; ``of`` gives each point its shape,
    -1 for a point without layers.  A field of a shape is ``fixed`` (one value per layer) or
    ``varying`` (a column of the shape's points, layer by layer).
    """
    shapes: dict[tuple[str, ...], list[int]] = {}
    for index, table in enumerate(points):
        if table:
            shapes.setdefault(tuple(str(layer["name"]) for layer in table), []).append(index)
    of = [-1] * len(points)
    found = []
    for number, (names, members) in enumerate(shapes.items()):
        for index in members:
            of[index] = number
        found.append({"names": list(names)} | _fields([points[index] for index in members]))
    return {"of": of, "shapes": found}


def _fields(tables: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    names = dict.fromkeys(key for table in tables for layer in table for key in layer)
    fixed, varying = [], []
    for name in names:
        if name == "name":
            continue
        first = [layer.get(name) for layer in tables[0]]
        if all([layer.get(name) for layer in table] == first for table in tables):
            fixed.append({"name": name} | _coded(first))
        else:
            every = [layer.get(name) for table in tables for layer in table]
            varying.append({"name": name} | _coded(every))
    return {"fixed": fixed, "varying": varying}


def packed(record: Mapping[str, Any]) -> str:
    """Return ``record`` as base64 of compressed JSON; the same record gives the same text."""
    raw = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode("ascii")
