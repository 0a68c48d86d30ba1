# SPDX-License-Identifier: Apache-2.0
"""Mixed precision as an integer programme: exact where losses and costs add up over the layers.

One binary variable for each option of each layer, exactly one of a layer's options chosen; tied
layers choose the same activation format; what a pair of layers costs together gets a variable for
each pair of classes whose sums are those of both layers (the local polytope, tight on a chain).
Solved by HiGHS (`scipy.optimize.milp`).  A front comes from the epsilon constraint: least loss
within a budget, then least cost at that loss, then a budget that is one smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hwquant.errors import InputError

from .problem import Assignment, Pair, Problem

__all__ = ["LOSS", "Solution", "cheapest_possible", "front", "solve"]

LOSS: Final = "loss"


@dataclass(frozen=True, slots=True)
class Solution:
    """A choice, its summed loss in units of the problem, and its costs by name."""

    choice: Assignment
    loss: int
    costs: Mapping[str, int]


def solve(problem: Problem, limits: Mapping[str, int], least: str = LOSS) -> Solution | None:
    """Return the choice that is ``least`` in the loss or a cost, all ``limits`` kept; None if none.

    ``limits`` are upper bounds by name, the loss among them.  Raises `InputError` for a name that
    the problem does not have.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    for name in (*limits, least):
        if name != LOSS and name not in problem.costs:
            known = ", ".join((LOSS, *problem.costs))
            raise InputError(f"{name!r} is no cost of this problem, allowed: {known}")
    programme = _Programme(problem)
    matrix, sides = programme.rules()
    rules = [LinearConstraint(matrix, sides, sides)]
    for name, limit in limits.items():
        row = programme.row(name)
        if limit < 0:
            return None
        # Whole numbers: half a unit of room keeps the solver's tolerance from deciding.
        size = max(float(np.abs(row).max(initial=0)), 1.0)
        rules.append(LinearConstraint(row[None] / size, -np.inf, (limit + 0.5) / size))
    target = programme.row(least)
    done = milp(
        target / max(float(np.abs(target).max(initial=0)), 1.0) * 1e3,
        constraints=rules,
        integrality=programme.integrality(),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if done.x is None:
        return None
    choice = programme.choice(done.x)
    costs = {name: problem.cost(name, choice) for name in problem.costs}
    return Solution(choice, problem.loss(choice), costs)


def front(
    problem: Problem, axis: str, limits: Mapping[str, int] | None = None, points: int | None = None
) -> Iterator[Solution]:
    """Yield the Pareto front of loss and the cost ``axis`` within ``limits``, the dearest first.

    Every point of it, or with ``points`` the best for about so many budgets, in equal ratios from
    the dearest point that still loses less to the cheapest.  Raises `InputError` for unknown names.
    """
    bound = dict(limits or {})
    last = _best(problem, axis, bound)
    if last is None:
        return
    yield last
    least = solve(problem, bound, axis)
    if least is None:
        return
    floor, ceiling = least.costs[axis], last.costs[axis]
    if points is None:
        budgets: Iterator[int] = iter(range(ceiling - 1, floor - 1, -1))
    else:
        steps = np.geomspace(max(ceiling, 1), max(floor, 1), max(points, 2))[1:]
        budgets = iter([max(math.floor(step), floor) for step in steps])
    for budget in budgets:
        if budget >= last.costs[axis]:
            continue  # the last point is the best within this budget too
        found = _best(problem, axis, bound | {axis: budget})
        if found is None:
            return
        last = found
        yield found


def _best(problem: Problem, axis: str, limits: Mapping[str, int]) -> Solution | None:
    """Return the least loss within ``limits`` at the least cost that has it."""
    best = solve(problem, limits)
    if best is None:
        return None
    cheaper = solve(problem, {**limits, LOSS: best.loss}, axis)
    return best if cheaper is None else cheaper


def cheapest_possible(problem: Problem, limits: Mapping[str, int]) -> dict[str, int]:
    """Return the least each limited cost can be, the other limits left out."""
    found = {name: solve(problem, {}, name) for name in limits}
    return {name: best.costs[name] for name, best in found.items() if best is not None}


class _Programme:
    """Variables and rows: the options of all layers, then the pairs' classes."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        sizes = [len(options) for options in problem.options]
        self.starts = np.concatenate(([0], np.cumsum(sizes))).tolist()
        self.own = self.starts[-1]
        self.shapes = [_shape(pair) for pair in problem.pairs]
        areas = [rows * columns for rows, columns in self.shapes]
        self.pair_starts = (self.own + np.concatenate(([0], np.cumsum(areas, dtype=int)))).tolist()
        self.size = self.pair_starts[-1]

    def integrality(self) -> Any:
        """Only options are whole: with them, the pairs' variables are."""
        return np.concatenate([np.ones(self.own), np.zeros(self.size - self.own)])

    def row(self, name: str) -> Any:
        """Return the coefficients of the loss or a cost."""
        problem = self.problem
        table = problem.losses if name == LOSS else problem.costs[name]
        row = np.zeros(self.size)
        row[: self.own] = np.concatenate(table)
        for pair, start in zip(problem.pairs, self.pair_starts, strict=False):
            if name != LOSS and name in pair.costs:
                flat = np.asarray(pair.costs[name], dtype=float).reshape(-1)
                row[start : start + flat.size] = flat
        return row

    def rules(self) -> tuple[Any, Any]:
        """Return matrix and right sides of equations: one option a layer, ties, pairs' sums."""
        from scipy.sparse import csr_array

        rows: list[tuple[dict[int, float], float]] = []
        for start, end in zip(self.starts, self.starts[1:], strict=False):
            rows.append((dict.fromkeys(range(start, end), 1.0), 1.0))
        rows += [(row, 0.0) for row in self._ties()]
        rows += [(row, 0.0) for row in self._pairs()]
        places = [(i, column) for i, (row, _) in enumerate(rows) for column in row]
        values = [value for row, _ in rows for value in row.values()]
        matrix = csr_array((values, tuple(zip(*places, strict=True))), (len(rows), self.size))
        return matrix, np.array([side for _, side in rows])

    def _ties(self) -> Iterator[dict[int, float]]:
        for tie in self.problem.ties:
            first = tie[0]
            for other in tie[1:]:
                formats = {o.act for i in (first, other) for o in self.problem.options[i]}
                for act in sorted(formats):
                    row = dict.fromkeys(self._of_act(first, act), 1.0)
                    yield row | dict.fromkeys(self._of_act(other, act), -1.0)

    def _of_act(self, layer: int, act: str) -> list[int]:
        options = enumerate(self.problem.options[layer], self.starts[layer])
        return [place for place, option in options if option.act == act]

    def _pairs(self) -> Iterator[dict[int, float]]:
        """For each class of a side: its pair variables add up to its options."""
        places = zip(self.problem.pairs, self.shapes, self.pair_starts, strict=False)
        for pair, shape, start in places:
            grid = np.arange(start, start + shape[0] * shape[1]).reshape(shape)
            for side, layer in enumerate((pair.left, pair.right)):
                lines = grid if side == 0 else grid.T
                for number, line in enumerate(lines):
                    row = dict.fromkeys(line.tolist(), -1.0)
                    for p, own in enumerate(pair.classes[side]):
                        if own == number:
                            row[self.starts[layer] + p] = 1.0
                    yield row

    def choice(self, x: Any) -> Assignment:
        """Return the option chosen for each layer."""
        bounds = zip(self.starts, self.starts[1:], strict=False)
        return tuple(int(np.argmax(x[start:end])) for start, end in bounds)


def _shape(pair: Pair) -> tuple[int, int]:
    return max(pair.classes[0]) + 1, max(pair.classes[1]) + 1
