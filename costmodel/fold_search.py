# SPDX-License-Identifier: Apache-2.0
"""Choose one fold for every layer: the cheapest that is fast enough, or the fastest that fits.

A pipeline of layers is as slow as its slowest layer, so for a given initiation interval every layer
takes a fold of at most so many cycles; which ones is a multiple-choice knapsack, separate for each
layer as long as no limit binds, else an integer programme (scipy's HiGHS, exact).  The fastest
that fits is found by bisection over the cycle counts that folds have: what is possible in ``n``
cycles is possible in more, and within a budget within a larger one, so neither more time nor more
budget ever gives a slower result.  FINN unfolds the slowest layer first, greedily; the result here
is never slower for the same budget, nor dearer for the same interval.

Cost is counted in LUTs, other resources at an exchange rate: as many LUTs as the part has for each
of them, or `RATES` where no part is named.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hwquant.errors import InputError

from .folding import Fold
from .parts import Part, over
from .usage import RESOURCES, Usage, total

__all__ = ["RATES", "cheapest", "cost_of", "fastest", "rates_of"]

RATES: Final = {"lut": 1, "ff": 0, "dsp": 150, "bram18": 300, "uram": 2000}
"""LUTs that one of each is worth without a part: about what UltraScale+ parts have."""

Choices = Sequence[Sequence[Fold]]


def rates_of(part: Part | None) -> dict[str, int]:
    """Return LUTs per piece of each resource; flip-flops are free (two stand beside each LUT)."""
    if part is None:
        return dict(RATES)
    have = part.resources
    rates = {name: -(-have["lut"] // have[name]) for name in have if have[name]}
    return RATES | rates | {"ff": 0}


def cost_of(used: Usage, rates: Mapping[str, int]) -> int:
    """Return what ``used`` is worth in LUTs."""
    return sum(rates[name] * used.amount(name) for name in RESOURCES)


def cheapest(
    choices: Choices, interval: int, limits: Mapping[str, int], rates: Mapping[str, int]
) -> tuple[Fold, ...] | None:
    """Return the cheapest folds of at most ``interval`` cycles within ``limits``, None if none are.

    ``choices`` are the folds of every layer.  All parts count, requantizers included.
    """
    pools = [_pool(folds, interval, limits, rates) for folds in choices]
    if not all(pools):
        return None
    found = tuple(pool[0] for pool in pools)
    if _fits(found, limits):
        return found
    for name, limit in limits.items():
        if sum(min(f.with_conversion.amount(name) for f in pool) for pool in pools) > limit:
            return None
    return _programme(pools, limits, rates)


def fastest(
    choices: Choices, limits: Mapping[str, int], rates: Mapping[str, int]
) -> tuple[Fold, ...]:
    """Return the folds of the least interval within ``limits``, the cheapest of these.

    Raises `InputError` when not even the slowest folds fit.
    """
    intervals = sorted({fold.cycles for folds in choices for fold in folds})
    intervals = intervals[bisect.bisect_left(intervals, _least(choices)) :]
    best = cheapest(choices, intervals[-1], limits, rates)
    if best is None:
        raise InputError(_too_small(choices, limits))
    low, high = 0, len(intervals) - 1
    while low < high:
        middle = (low + high) // 2
        found = cheapest(choices, intervals[middle], limits, rates)
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle
    return best


def _least(choices: Choices) -> int:
    """Return the interval when every layer is as fast as it can be."""
    return max(min(fold.cycles for fold in folds) for folds in choices)


def _too_small(choices: Choices, limits: Mapping[str, int]) -> str:
    """Return a line that says which limit cannot hold the network, folded as far as it goes."""
    for name, limit in limits.items():
        need = sum(min(f.with_conversion.amount(name) for f in folds) for folds in choices)
        if need > limit:
            return f"budget {name}={limit}, needed at least {name}={need} at any speed"
    given = ", ".join(f"{name}={limit}" for name, limit in limits.items())
    return f"budget {given} holds the network at no speed; raise one of them"


def _fits(folds: Sequence[Fold], limits: Mapping[str, int]) -> bool:
    return not over(total(fold.with_conversion for fold in folds), limits)


def _pool(
    folds: Sequence[Fold], interval: int, limits: Mapping[str, int], rates: Mapping[str, int]
) -> list[Fold]:
    """Return the folds worth choosing from, cheapest first."""

    def order(fold: Fold) -> tuple[Any, ...]:
        used = fold.with_conversion
        return (cost_of(used, rates), used.ff, fold.cycles, fold.pe, fold.simd, fold.cost.style)

    able = [f for f in folds if f.cycles <= interval and not over(f.with_conversion, limits)]
    kept: list[Fold] = []
    seen: list[tuple[int, ...]] = []
    for fold in sorted(able, key=order):
        amounts = tuple(fold.with_conversion.amount(name) for name in limits)
        # A dearer fold is worth its price only where it saves something that is limited.
        if not any(all(a <= b for a, b in zip(one, amounts, strict=True)) for one in seen):
            kept.append(fold)
            seen.append(amounts)
    return kept


def _programme(
    pools: Sequence[Sequence[Fold]], limits: Mapping[str, int], rates: Mapping[str, int]
) -> tuple[Fold, ...] | None:
    """Return the cheapest choice within ``limits``, exactly; None where there is none."""
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    flat = [(row, fold) for row, pool in enumerate(pools) for fold in pool]
    cost = np.array([cost_of(fold.with_conversion, rates) for _, fold in flat], float)
    one_each = csr_array(
        (np.ones(len(flat)), ([row for row, _ in flat], range(len(flat)))),
        shape=(len(pools), len(flat)),
    )
    bound = {name: limit for name, limit in limits.items() if limit}
    used = np.array(
        [[f.with_conversion.amount(name) / bound[name] for _, f in flat] for name in bound]
    )
    # Whole numbers: half a unit of room keeps the solver's tolerance from deciding.
    room = np.array([1 + 0.5 / limit for limit in bound.values()])
    rules = [LinearConstraint(one_each, 1, 1), LinearConstraint(used, -np.inf, room)]
    done = milp(
        cost / cost.max(),
        constraints=rules,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-6},
    )
    if done.x is None:
        return None
    chosen: list[Fold] = []
    start = 0
    for pool in pools:
        chosen.append(pool[int(np.argmax(done.x[start : start + len(pool)]))])
        start += len(pool)
    return tuple(chosen) if _fits(chosen, limits) else None
