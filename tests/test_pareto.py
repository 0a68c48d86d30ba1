# SPDX-License-Identifier: Apache-2.0
"""Fronts, hypervolume and knee against the definition, by brute force."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.explore import pareto
from hwquant.errors import InputError

SENSES = st.sampled_from(["min", "max"])
# A small grid forces ties; NaN and infinities are legal inputs.
COORDINATE = st.one_of(st.integers(-4, 4).map(float), st.sampled_from([math.nan, math.inf]))


def brute_front(points, senses):
    known = [not any(map(math.isnan, row)) for row in points]
    return [
        ok
        and not any(
            other_ok and pareto.dominates(other, row, senses)
            for other, other_ok in zip(points, known, strict=True)
        )
        for row, ok in zip(points, known, strict=True)
    ]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(0, 25))
def test_front_equals_the_definition(data, objectives, count):
    senses = data.draw(st.lists(SENSES, min_size=objectives, max_size=objectives))
    row = st.lists(COORDINATE, min_size=objectives, max_size=objectives)
    points = data.draw(st.lists(row, min_size=count, max_size=count))
    mask = pareto.front(np.array(points).reshape(count, objectives), senses)
    assert mask.tolist() == brute_front(points, senses)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20), SENSES, SENSES)
def test_hypervolume_equals_counted_cells(points, sense_x, sense_y):
    reference = [12 if sense_x == "min" else 0, 12 if sense_y == "min" else 0]
    cells = set()
    for x, y in points:
        columns = range(x, reference[0]) if sense_x == "min" else range(reference[0], x)
        rows = range(y, reference[1]) if sense_y == "min" else range(reference[1], y)
        cells |= {(i, j) for i in columns for j in rows}
    rows = np.array(points, dtype=float).reshape(-1, 2)
    assert pareto.hypervolume(rows, reference, [sense_x, sense_y]) == len(cells)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=15), SENSES)
def test_knee_is_the_exact_farthest_front_point(points, sense_y):
    senses = ["min", sense_y]
    chosen = pareto.knee(points, senses)
    mask = pareto.front(points, senses)
    assert mask[chosen]
    sign = -1 if sense_y == "max" else 1
    on_front = sorted({(x, sign * y) for (x, y), ok in zip(points, mask, strict=True) if ok})
    (x0, y0), (x1, y1) = on_front[0], on_front[-1]
    if x1 == x0:
        return

    def gain(x, y):
        return 1 - Fraction(x - x0, x1 - x0) - Fraction(y - y1, y0 - y1)

    x, y = points[chosen]
    best = max(gain(*row) for row in on_front)
    assert gain(x, sign * y) == best if best > 0 else (x, sign * y) == (x1, y1)


def test_a_wrong_front_is_noticed():
    """Negative control: the brute-force oracle rejects a front with one flipped entry."""
    points = [[1.0, 1.0], [2.0, 2.0], [1.0, 0.0]]
    mask = pareto.front(points, ["min", "max"])
    assert mask.tolist() == brute_front(points, ["min", "max"]) == [True, True, False]
    mask[2] = True
    assert mask.tolist() != brute_front(points, ["min", "max"])


def test_pick_rules():
    points = [[10, 0.5], [20, 0.9], [40, 0.95], [80, 0.96], [90, 0.2], [5, math.nan]]
    assert pareto.pick(points, "knee") == 1
    assert pareto.pick(points, "best") == 3
    assert pareto.pick(points, "cheapest") == 0
    assert pareto.pick(points, ">=0.93") == 2
    assert pareto.pick(points, "<=0.6", ["min", "min"]) == 0


@pytest.mark.parametrize("rule", ["corner", ">=0.99", ">=1e", ""])
def test_pick_says_what_is_allowed(rule):
    with pytest.raises(InputError):
        pareto.pick([[10, 0.5], [20, 0.9]], rule)


def test_nothing_to_choose_from():
    for rule in ("knee", "best"):
        with pytest.raises(InputError, match="finish the sweep"):
            pareto.pick([[1.0, math.nan]], rule)
    with pytest.raises(InputError, match=r"allowed \(n, 2\)"):
        pareto.front([[1.0, 2.0, 3.0]], ["min", "max"])


def test_hundred_thousand_points_agree_with_the_general_front():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 2000, (100_000, 2))
    fast = pareto.front(points, ["min", "max"])
    on_front = np.flatnonzero(fast)
    assert np.all(np.diff(np.unique(points[on_front], axis=0)[:, 1]) > 0)
    sample = rng.choice(len(points), 300, replace=False)
    for index in sample:
        better = (points[:, 0] <= points[index, 0]) & (points[:, 1] >= points[index, 1])
        strict = better & np.any(points != points[index], axis=1)
        assert fast[index] == (not strict.any())
