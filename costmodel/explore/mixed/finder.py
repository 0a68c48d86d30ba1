# SPDX-License-Identifier: Apache-2.0
"""Find mixed-precision networks: the integer programme first, then real losses from there on.

Nothing here looks at a label or a test item.  The exact front of the separable problem and the
uniform networks are measured; where a search is wanted, NSGA-II or TPE goes on from them with
losses and prices of whole networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from costmodel.explore import pareto
from costmodel.explore.mixed.evaluate import Evaluator, Known
from costmodel.explore.mixed.problem import Option
from costmodel.explore.mixed.search import search
from costmodel.explore.mixed.separable import front
from hwquant.progress import track

__all__ = ["ENDS", "calibrated_front", "exact", "searched", "uniform_family", "within"]

ROUNDS: Final = 4
ENDS: Final = Option("int8", "int8")
"""What first and last layers have in the other half of the uniform networks."""


def uniform_family(evaluator: Evaluator) -> list[Known]:
    """Return the networks of one pair of formats, and the same with ends of 8-bit integers."""
    found = list(evaluator.uniform.values())
    if ENDS.weight not in evaluator.weights or ENDS.act not in evaluator.acts:
        return found
    pairs = [pair for pair in evaluator.uniform if pair != ENDS]
    with track("uniform formats, ends int8", len(pairs)) as advance:
        for pair in pairs:
            found.append(evaluator.known(evaluator.everywhere(pair, ENDS)))
            advance(detail=str(pair))
    return found


def within(points: Iterable[Known], limits: Mapping[str, int]) -> list[Known]:
    """Return the points that keep every limit."""
    return [p for p in points if all(p.costs[name] <= most for name, most in limits.items())]


def calibrated_front(points: Sequence[Known], axis: str) -> list[Known]:
    """Return the points that none beats in loss and cost, the cheapest first, one of equals."""
    rows = [[point.loss, point.costs[axis]] for point in points]
    if not rows:
        return []
    mask = pareto.front(rows, ["min", "min"])
    kept = {tuple(row): p for p, row, on in zip(points, rows, mask, strict=True) if on}
    return sorted(kept.values(), key=lambda point: (point.costs[axis], point.loss))


def exact(
    evaluator: Evaluator,
    axis: str,
    limits: Mapping[str, int],
    points: int | None,
    rounds: int = ROUNDS,
) -> list[Known]:
    """Return fronts of the separable problem, each point measured as a whole network.

    After the first front the losses are fitted to everything measured so far
    (`costmodel.explore.mixed.refit`) and the problem is solved again, ``rounds`` times in all.
    Limits on what does not add up are left to `within`.
    """
    problem = evaluator.problem
    summed = {name: limit for name, limit in limits.items() if name in problem.costs}
    found: dict[tuple[Option, ...], Known] = {}
    for number in range(rounds):
        choices = [solution.choice for solution in front(problem, axis, summed, points)]
        with track(f"exact front {number + 1} of {rounds}", len(choices)) as advance:
            for choice in choices:
                known = evaluator.known(problem.formats(choice))
                found[known.formats] = known
                advance()
        problem = evaluator.refitted([*evaluator.uniform.values(), *found.values()])
    return list(found.values())


@dataclass(frozen=True)
class _Answers:
    """What the sampler is told: loss, cost, and by how much limits are exceeded."""

    evaluator: Evaluator
    axis: str
    limits: Mapping[str, int]

    def __call__(self, formats: tuple[Option, ...]) -> tuple[float, float, float]:
        known = self.evaluator.known(formats)
        excess = [known.costs[name] / max(most, 1) - 1 for name, most in self.limits.items()]
        return known.loss, float(known.costs[self.axis]), max(excess, default=0.0)


def searched(
    evaluator: Evaluator,
    axis: str,
    limits: Mapping[str, int],
    starts: Sequence[Known],
    *,
    trials: int,
    journal: str | Path,
    method: str,
) -> list[Known]:
    """Return everything that the search has measured: ``starts`` and ``trials`` more.

    Raises what `costmodel.explore.mixed.search.search` raises.
    """
    _, options, ties = evaluator.plan
    found = search(
        options,
        ties,
        _Answers(evaluator, axis, limits),
        trials=len(starts) + trials,
        journal=journal,
        starts=[start.formats for start in starts],
        method=method,
        seed=evaluator.space.seed,
    )
    every = dict.fromkeys([*(start.formats for start in starts), *found])
    return [evaluator.known(formats) for formats in every]
