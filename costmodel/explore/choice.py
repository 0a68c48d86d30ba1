# SPDX-License-Identifier: Apache-2.0
"""Choose one point of a front: its knee, an end, or the best that keeps within bounds.

Rules::

    knee                                      farthest beyond the chord between the front's ends
    best, cheapest                            the end that is best in y, in x
    >=0.97, <=0.03                            cheapest whose y meets the bound
    max top1 where lut_sites<=2000 and dsp<=0    best in any metric among all points within bounds
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError, one_of

from .pareto import Sense, costs_of, front

__all__ = ["Rule", "choose", "knee", "parse_rule"]

RULES: Final = "knee, best, cheapest, >=VALUE, <=VALUE, or 'max METRIC where METRIC<=VALUE and ...'"

_COMPARE: Final[Mapping[str, Callable[..., NDArray[np.bool_]]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_BOUND: Final = re.compile(r"(\w*)\s*(<=|>=|=|<|>)\s*(\S+)")
_BEST: Final = re.compile(r"(max|min)\s+(\w+)(?:\s+where\s+(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bound:
    """A condition on one metric."""

    metric: str
    sign: str
    value: float

    def __str__(self) -> str:
        """Return the condition as it is written."""
        return f"{self.metric}{self.sign}{self.value:g}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule: ``kind`` is ``knee`` or ``best``, the best being by ``sense`` of ``metric``.

    Metrics called ``x`` and ``y`` are the figure's own.
    """

    kind: str
    metric: str = ""
    sense: Sense | None = None
    bounds: tuple[Bound, ...] = ()


def parse_rule(text: str) -> Rule:
    """Return the rule that ``text`` says; raises `InputError` with the rules there are.

    >>> parse_rule("max top1 where lut_sites<=2000").bounds[0].value
    2000.0
    """
    rule = text.strip()
    if rule == "knee":
        return Rule("knee")
    if rule in ("best", "cheapest"):
        return Rule("best", "y" if rule == "best" else "x")
    if match := _BEST.fullmatch(rule):
        conditions = re.split(r"\s+and\s+|\s*,\s*", match[3].strip()) if match[3] else []
        bounds = tuple(_bound(condition, text) for condition in conditions)
        return Rule("best", match[2], Sense(match[1]), bounds)
    if re.match(r"[<>]=", rule):
        bound = _bound(rule, text)
        return Rule("best", "x", None, (Bound("y", bound.sign, bound.value),))
    raise InputError(f"pick {text!r}, allowed: {RULES}")


def _bound(condition: str, text: str) -> Bound:
    match = _BOUND.fullmatch(condition.strip())
    if match is None:
        raise InputError(
            f"pick {text!r}: {condition.strip()!r} is no condition, needed: METRIC<=VALUE, with "
            f"one of {' '.join(_COMPARE)}"
        )
    try:
        value = float(match[3])
    except ValueError:
        raise InputError(f"pick {text!r}: {match[3]!r} is not a number") from None
    if value != value:  # noqa: PLR0124 (NaN)
        raise InputError(f"pick {text!r}: a bound cannot be NaN")
    return Bound(match[1], match[2], value)


def knee(points: ArrayLike, senses: Sequence[Sense | str] = ("min", "max")) -> int:
    """Return the row index of the front's knee (two objectives).

    The front is scaled to the unit square; the knee is the point that lies farthest on the good
    side of the chord between the front's two ends.  With fewer than three front points, or none
    beyond the chord, it is the end that is best in the second objective.

    Raises `InputError` when no row is complete.
    """
    if len(senses) != 2:
        raise InputError(f"knee of {len(senses)} objectives, allowed 2")
    costs = costs_of(points, senses)
    chosen = np.flatnonzero(front(costs, ("min", "min")) & np.isfinite(costs).all(axis=1))
    if not chosen.size:
        raise InputError(
            "no point has both objectives, so there is no knee; finish the sweep first"
        )
    chosen = chosen[np.argsort(costs[chosen, 0], kind="stable")]
    ends = costs[chosen[[0, -1]]]
    span = np.abs(ends[1] - ends[0])
    best = int(chosen[-1])
    if not np.all(span > 0):
        return best
    unit = (costs[chosen] - [ends[0, 0], ends[1, 1]]) / span
    gain = 1.0 - unit.sum(axis=1)  # the chord is x + y = 1 in the unit square
    return int(chosen[np.argmax(gain)]) if gain.max() > 1e-12 else best


def choose(
    metrics: Mapping[str, Sequence[float]],
    rule: str = "knee",
    x: str = "lut_sites",
    y: str = "top1",
    senses: Sequence[Sense | str] = ("min", "max"),
) -> int:
    """Return the row that ``rule`` chooses; ``metrics`` has a column of floats for each name.

    ``x`` and ``y`` name the objectives of the figure, with ``senses``.  Rows that lack one of them
    are never chosen.  Where several are equally good, the best in the other objectives wins, then
    the first.

    Raises `InputError` for another rule, for an unknown metric (with the nearest name), or when no
    row meets the bounds (with how near the nearest comes).
    """
    wanted = parse_rule(rule)
    points = np.column_stack([metrics[x], metrics[y]]).astype(np.float64)
    if wanted.kind == "knee":
        return knee(points, senses)
    costs = costs_of(points, senses)
    known = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if not known.size:
        raise InputError("no point has both objectives; finish the sweep first")
    names = {"x": x, "y": y}
    signs = {x: Sense(senses[0]), y: Sense(senses[1])}
    allowed = known
    for bound in wanted.bounds:
        name = names.get(bound.metric, bound.metric)
        values = _column(metrics, name, rule)[allowed]
        kept = allowed[_COMPARE[bound.sign](values, bound.value)]
        if not kept.size:
            raise InputError(_too_tight(name, bound, values, rule))
        allowed = kept
    name = names.get(wanted.metric, wanted.metric)
    sense = wanted.sense or signs[name]
    target = _column(metrics, name, rule)[allowed]
    target = -target if sense is Sense.MAX else target
    if not np.isfinite(target).any():
        raise InputError(f"pick {rule!r}: no point within the bounds has a {name}")
    ties = (costs[allowed, 0], costs[allowed, 1])
    order = np.lexsort((allowed, *ties, np.where(np.isnan(target), np.inf, target)))
    return int(allowed[order[0]])


def _column(metrics: Mapping[str, Sequence[float]], name: str, rule: str) -> NDArray[np.float64]:
    if name not in metrics:
        raise InputError(f"pick {rule!r}: metric {name!r} is unknown, {one_of(name, metrics)}")
    return np.asarray(metrics[name], dtype=np.float64)


def _too_tight(name: str, bound: Bound, values: NDArray[np.float64], rule: str) -> str:
    finite = values[np.isfinite(values)]
    reach = ""
    if finite.size and bound.sign != "=":
        nearest = finite.min() if bound.sign.startswith("<") else finite.max()
        reach = f"; the nearest has {name} {nearest:g}"
    return f"pick {rule!r}: no point has {name}{bound.sign}{bound.value:g}{reach}; relax the bound"
