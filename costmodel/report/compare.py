# SPDX-License-Identifier: Apache-2.0
"""Two runs side by side: fronts in one square, who holds the joint front, points in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from costmodel.explore import pareto
from costmodel.explore.folder import RunFolder
from costmodel.explore.hypervolume import hypervolume
from costmodel.explore.row import Row
from costmodel.explore.space import label
from costmodel.report.front import Front, find_front
from hwquant.errors import InputError

__all__ = ["Other", "Table", "compared"]

SHOWN: Final = 40
"""The most points in common that are listed: those that differ most."""


@dataclass(frozen=True)
class Other:
    """A run to compare with: the name it is shown under, its folder and its rows."""

    name: str
    folder: RunFolder
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """A table of the page: title, a sentence, column names, lines."""

    title: str
    lead: str
    head: Sequence[str]
    lines: Sequence[Sequence[Any]]


def compared(mine: Front, folder: RunFolder, other: Other) -> list[Table]:
    """Return the tables of a comparison: the fronts, the points in common, what was different.

    Raises `InputError` where the other run has no finished point with both metrics.
    """
    try:
        theirs = find_front(other.rows, mine.x_axis, mine.y_axis)
    except InputError as error:
        raise InputError(f"run {other.name}: {error}") from error
    name = folder.root.resolve().name
    tables = [_fronts(mine, theirs, name, other.name)]
    tables += _common(mine, theirs, name, other.name)
    lines = _environments(folder, other.folder)
    if lines:
        lead = "Versions and settings that differ."
        tables.append(Table("Different environments", lead, ("", name, other.name), lines))
    return tables


def _fronts(mine: Front, theirs: Front, name: str, other: str) -> Table:
    senses = (mine.x_axis.sense, mine.y_axis.sense)
    parts = [np.column_stack([front.x, front.y]) for front in (mine, theirs)]
    both = np.concatenate(parts)
    joint = pareto.front(both, senses)
    low, span = both.min(axis=0), np.ptp(both, axis=0)
    worst = [1.0 if sense is pareto.Sense.MIN else 0.0 for sense in senses]
    square = [(part - low) / np.where(span > 0, span, 1) for part in parts]
    volumes = [hypervolume(part, worst, senses) for part in square]
    held = [int(joint[: len(parts[0])].sum()), int(joint[len(parts[0]) :].sum())]
    ends = [(_best(f.x, f.x_axis.sense), _best(f.y, f.y_axis.sense)) for f in (mine, theirs)]
    x_name, y_name = mine.x_axis.name, mine.y_axis.name
    lines = [
        ("finished points", len(mine.rows), len(theirs.rows)),
        ("points on its own front", sum(mine.mask), sum(theirs.mask)),
        ("points on the joint front", *held),
        ("hypervolume in the square of both", *(round(v, 4) for v in volumes)),
        (f"best {x_name}", *(_plain(x) for x, _ in ends)),
        (f"best {y_name}", *(_plain(y) for _, y in ends)),
    ]
    lead = f"{y_name} against {x_name}; the hypervolume is of the unit square around all points."
    return Table("Two runs", lead, ("", name, other), lines)


def _best(values: Sequence[float], sense: pareto.Sense) -> float:
    return min(values) if sense is pareto.Sense.MIN else max(values)


def _plain(value: float) -> Any:
    return int(value) if float(value).is_integer() else round(value, 6)


def _common(mine: Front, theirs: Front, name: str, other: str) -> list[Table]:
    places = {_identity(row): i for i, row in enumerate(theirs.rows)}
    pairs = [
        (row, i, places[_identity(row)])
        for i, row in enumerate(mine.rows)
        if _identity(row) in places
    ]
    if not pairs:
        return []
    spans = [float(np.ptp([*a, *b])) or 1.0 for a, b in ((mine.x, theirs.x), (mine.y, theirs.y))]

    def far(pair: tuple[Row, int, int]) -> float:
        _, i, k = pair
        return abs(mine.x[i] - theirs.x[k]) / spans[0] + abs(mine.y[i] - theirs.y[k]) / spans[1]

    differing = sorted((pair for pair in pairs if far(pair) > 0), key=far, reverse=True)
    lines = [
        (
            label(row.point),
            row.point.get("steps", ""),
            _plain(mine.x[i]),
            _plain(theirs.x[k]),
            _plain(mine.y[i]),
            _plain(theirs.y[k]),
        )
        for row, i, k in differing[:SHOWN]
    ]
    x_name, y_name = mine.x_axis.name, mine.y_axis.name
    head = ("point", "steps", *(f"{m} {n}" for m in (x_name, y_name) for n in (name, other)))
    lead = (
        f"{len(pairs)} points have the same coordinates in both runs, {len(differing)} of them "
        f"other values{f'; the {SHOWN} farthest apart' if len(differing) > SHOWN else ''}."
    )
    return [Table("Points in both runs", lead, head, lines)]


def _identity(row: Row) -> str:
    return json.dumps(row.point, sort_keys=True, default=str)


def _environments(first: RunFolder, second: RunFolder) -> list[tuple[str, Any, Any]]:
    """Return what differs between the environments and the configurations of two runs."""
    records = []
    for folder in (first, second):
        try:
            found = json.loads(folder.environment.read_text())
            settings = folder.config.read_text().splitlines()
        except (OSError, ValueError):
            found, settings = {}, []
        flat = {k: v for k, v in found.items() if k != "packages"} | found.get("packages", {})
        for line in settings:
            key, sign, value = line.partition(" = ")
            if sign:
                flat[key] = value
        records.append(flat)
    one, two = records
    names = list(dict.fromkeys([*one, *two]))
    return [(n, one.get(n, ""), two.get(n, "")) for n in names if one.get(n) != two.get(n)]
