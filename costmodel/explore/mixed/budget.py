# SPDX-License-Identifier: Apache-2.0
"""Budgets of a search: upper bounds on costs, as text, and whether any network can keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from costmodel.explore.mixed.evaluate import Evaluator
from costmodel.explore.mixed.prices import METRICS
from costmodel.explore.mixed.separable import cheapest_possible, solve
from hwquant.errors import InputError, one_of

__all__ = ["check_cost", "parse_budget", "refuse_impossible"]

SHORT: Final = {"bram18": "memory_bram18", "luts": "lut_sites", "cycles": "latency_cycles"}
"""Other words for costs."""


def check_cost(name: str, what: str, besides: Sequence[str] = ()) -> str:
    """Return the cost that ``name`` means; raises `InputError` with the nearest name.

    ``besides`` are other words that are allowed in its place.
    """
    found = SHORT.get(name, name)
    if found in METRICS:
        return found
    raise InputError(f"{what} {name!r} is unknown, {one_of(name, (*besides, *METRICS))}")


def parse_budget(text: str) -> dict[str, int]:
    """Return upper bounds by cost.

    >>> parse_budget("lut_sites=2000, weight_bits=300000")
    {'lut_sites': 2000, 'weight_bits': 300000}

    Raises `InputError` for an unknown cost, one named twice, or an amount that is no whole number
    of 0 or more.
    """
    limits: dict[str, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, amount = map(str.strip, part.partition("="))
        if not equals or not amount.isascii() or not amount.isdigit():
            raise InputError(
                f"budget {part!r}, needed COST=N with a whole number, such as lut_sites=2000"
            )
        name = check_cost(name, "budget")
        if name in limits:
            raise InputError(f"budget names {name} twice; give it once")
        limits[name] = int(amount)
    return limits


def refuse_impossible(evaluator: Evaluator, limits: Mapping[str, int]) -> None:
    """Raise `InputError` for a budget that no choice of formats keeps, with the cheapest possible.

    Costs that add up are decided exactly; of others the cheapest uniform network is taken.
    """
    problem = evaluator.problem
    summed = {name: limit for name, limit in limits.items() if name in problem.costs}
    least = cheapest_possible(problem, summed)
    for name in limits:
        if name not in summed:
            least[name] = min(known.costs[name] for known in evaluator.uniform.values())
    for name, limit in limits.items():
        fixed = name in ("latency_cycles", "interval_cycles")
        if least[name] > limit and (name in summed or fixed):
            tip = "more lanes make it faster" if fixed else "allow narrower formats or raise it"
            raise InputError(
                f"budget {name}={limit} cannot be kept, the cheapest possible is {least[name]}; "
                f"{tip}"
            )
    if summed and solve(problem, summed) is None:
        first = next(iter(summed))
        rest = {name: limit for name, limit in summed.items() if name != first}
        best = solve(problem, rest, first)
        given = ", ".join(f"{name}={limit}" for name, limit in rest.items())
        need = "" if best is None else f"; with {given} {first} is {best.costs[first]} at least"
        raise InputError(
            f"budget {', '.join(f'{n}={limit}' for n, limit in summed.items())} cannot be kept "
            f"together{need}; raise one of them"
        )
