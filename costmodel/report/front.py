# SPDX-License-Identifier: Apache-2.0
"""The front of a run's finished rows, and the row that a rule picks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.explore import pareto
from costmodel.explore.choice import choose
from costmodel.explore.hypervolume import hypervolume
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import Columns, at, column, keys_of, only
from costmodel.report import plots
from hwquant.errors import InputError

__all__ = ["Front", "find_front", "growth"]

KEY = "key:"


@dataclass(frozen=True)
class Front:
    """The finished rows of a run, which of them are on the front, and the one that was picked.

    ``rows`` have both metrics; ``mask`` marks the front; ``chosen`` is an index into ``rows``.
    """

    rows: Sequence[Row]
    x_axis: plots.Axis
    y_axis: plots.Axis
    x: tuple[float, ...]
    y: tuple[float, ...]
    mask: tuple[bool, ...]
    chosen: int

    @property
    def choice(self) -> Row:
        """The picked row."""
        return self.rows[self.chosen]

    @property
    def order(self) -> list[int]:
        """The front's indices, from the best x on."""
        sign = -1 if self.x_axis.sense is pareto.Sense.MAX else 1
        return sorted((i for i, on in enumerate(self.mask) if on), key=lambda i: sign * self.x[i])

    @property
    def hypervolume(self) -> float:
        """The area the front dominates, in the unit square spanned by all finished points."""
        return self.volume_of(range(len(self.rows)))

    def volume_of(self, indices: Sequence[int]) -> float:
        """The same area for some of the points, in the square of all."""
        values = np.column_stack([self.x, self.y])
        low, span = values.min(axis=0), np.ptp(values, axis=0)
        unit = (values - low) / np.where(span > 0, span, 1)
        senses = (self.x_axis.sense, self.y_axis.sense)
        worst = [1.0 if sense is pareto.Sense.MIN else 0.0 for sense in senses]
        return hypervolume(unit[list(indices)], worst, senses)


def find_front(given: Sequence[Row], x: plots.Axis, y: plots.Axis, rule: str = "knee") -> Front:
    """Return the front of the finished rows in metrics ``x`` and ``y``, and the row ``rule`` picks.

    Raises `InputError` for an unknown metric or rule, or when no point is finished.
    """
    finished = only(given, Status.DONE)
    if not finished:
        raise InputError("no point of this run is finished; run the same sweep again to resume it")
    xs, ys = column(finished, x.name), column(finished, y.name)
    known = [i for i in range(len(finished)) if math.isfinite(xs[i]) and math.isfinite(ys[i])]
    if not known:
        raise InputError(f"no point has both {x.name} and {y.name}; run the same sweep again")
    values = np.array([[xs[i], ys[i]] for i in known])
    rows = at(finished, known)
    return Front(
        rows,
        x,
        y,
        tuple(values[:, 0].tolist()),
        tuple(values[:, 1].tolist()),
        tuple(pareto.front(values, (x.sense, y.sense)).tolist()),
        _chosen(rows, rule, (x, y)),
    )


def _chosen(rows: Sequence[Row], rule: str, axes: tuple[plots.Axis, plots.Axis]) -> int:
    """Return the row of a rule; ``key:abc`` names a row by the start of its key."""
    if not rule.strip().startswith(KEY):
        x, y = axes
        return choose(Columns(rows), rule, x.name, y.name, (x.sense, y.sense))
    start = rule.strip()[len(KEY) :]
    found = [index for index, key in enumerate(keys_of(rows)) if start and key.startswith(start)]
    if len(found) != 1:
        what = "no finished point has" if not found else f"{len(found)} points have"
        raise InputError(f"pick {rule!r}: {what} a key that starts so; give more of the key")
    return found[0]


def growth(front: Front, steps: int = 200) -> list[tuple[float, float]]:
    """Return (seconds since the first result, hypervolume) while the run went on.

    The volume is the share of the unit square spanned by all finished points; at most ``steps``
    pairs, the last one complete.  Empty for rows without times.
    """
    times = np.array([row.finished for row in front.rows])
    if not times.all() or len(times) < 2:
        return []
    order = np.argsort(times, kind="stable")
    counts = np.unique(np.linspace(1, len(order), min(steps, len(order))).astype(int))
    return [
        (
            round(float(times[order[count - 1]] - times[order[0]]), 2),
            round(front.volume_of(order[:count].tolist()), 5),
        )
        for count in counts
    ]
