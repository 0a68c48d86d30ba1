# SPDX-License-Identifier: Apache-2.0
"""Fronts, hypervolume and knee against the definition, by brute force."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.explore import pareto
from costmodel.explore.certainty import accuracy_interval, paired_p_value, surely_dominated
from costmodel.explore.choice import choose, knee, parse_rule
from costmodel.explore.hypervolume import hypervolume
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
    assert hypervolume(rows, reference, [sense_x, sense_y]) == len(cells)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=15), SENSES)
def test_knee_is_the_exact_farthest_front_point(points, sense_y):
    senses = ["min", sense_y]
    chosen = knee(points, senses)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=12), st.tuples(*[SENSES] * 3))
def test_hypervolume_of_three_equals_counted_cells(points, senses):
    reference = [6 if sense == "min" else 0 for sense in senses]
    cells = set()
    for point in points:
        spans = [
            range(v, r) if sense == "min" else range(r, v)
            for v, r, sense in zip(point, reference, senses, strict=True)
        ]
        cells |= set(itertools.product(*spans))
    rows = np.array(points, dtype=float).reshape(-1, 3)
    assert hypervolume(rows, reference, senses) == len(cells)


METRICS = {
    "lut_sites": [10, 20, 40, 80, 90, 5],
    "top1": [0.5, 0.9, 0.95, 0.96, 0.2, math.nan],
    "dsp": [0, 0, 2, 1, 0, 0],
    "bits": [7, 9, math.nan, 9, 1, 1],
}


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ("knee", 1),
        ("best", 3),
        ("cheapest", 0),
        (">=0.93", 2),
        ("<=0.4", 4),
        ("max top1", 3),
        ("max top1 where lut_sites<=79", 2),
        ("max top1 where lut_sites < 40", 1),
        ("max top1 where lut_sites<=100 and dsp<=1", 3),
        ("max top1 where dsp<=0, lut_sites>=20", 1),
        ("min dsp where top1>=0.95", 3),
        ("max bits", 3),
        ("min lut_sites where y > 0.5", 1),
    ],
)
def test_rules(rule, row):
    assert choose(METRICS, rule) == row


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_rule_chooses_what_a_search_of_all_rows_does(data):
    count = data.draw(st.integers(1, 12))
    column = st.lists(st.integers(0, 5), min_size=count, max_size=count)
    metrics = {name: data.draw(column) for name in ("lut_sites", "top1", "dsp")}
    limit = data.draw(st.integers(0, 5))
    rows = [i for i in range(count) if metrics["dsp"][i] <= limit]
    if not rows:
        with pytest.raises(InputError, match="the nearest has dsp"):
            choose(metrics, f"max top1 where dsp<={limit}")
        return
    best = min(rows, key=lambda i: (-metrics["top1"][i], metrics["lut_sites"][i], i))
    assert choose(metrics, f"max top1 where dsp<={limit}") == best


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("corner", "allowed: knee, best"),
        ("", "allowed: knee, best"),
        (">=0.99", "the nearest has top1 0.96; relax"),
        (">=1e", "'1e' is not a number"),
        (">=nan", "cannot be NaN"),
        ("max topl", "did you mean top1"),
        ("max top1 where luts<=4", "metric 'luts' is unknown"),
        ("max top1 where lut_sites", "'lut_sites' is no condition"),
        ("max top1 where lut_sites<=4", "the nearest has lut_sites 10"),
        ("max top1 where dsp<=0 and", "'' is no condition|is no condition|is not a number"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_why(rule, message):
    with pytest.raises(InputError, match=message):
        choose(METRICS, rule)


def test_nothing_to_choose_from():
    empty = {"lut_sites": [1.0], "top1": [math.nan]}
    for rule in ("knee", "best"):
        with pytest.raises(InputError, match="finish the sweep"):
            choose(empty, rule)
    with pytest.raises(InputError, match=r"allowed \(n, 2\)"):
        pareto.front([[1.0, 2.0, 3.0]], ["min", "max"])
    assert parse_rule(" best ").metric == "y"


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 15))
def test_surely_dominated_holds_for_every_truth_within_the_intervals(data, count):
    """The definition over the corners: some other row dominates at its worst our best."""
    cell = st.tuples(st.integers(0, 4), st.integers(0, 2))
    rows = [[data.draw(cell) for _ in range(2)] for _ in range(count)]
    low = np.array([[a for a, _ in row] for row in rows], dtype=float)
    high = np.array([[a + w for a, w in row] for row in rows], dtype=float)
    senses = [data.draw(SENSES), data.draw(SENSES)]
    best = np.where([s == "min" for s in senses], low, high)
    worst = np.where([s == "min" for s in senses], high, low)
    expected = [
        any(pareto.dominates(worst[j], best[i], senses) for j in range(count) if j != i)
        for i in range(count)
    ]
    found = surely_dominated(low, high, senses)
    assert found.tolist() == expected
    plain = ~pareto.front((low + high) / 2, senses)
    assert not (found & ~plain).any()


def test_without_width_sure_is_plain():
    rng = np.random.default_rng(1)
    points = rng.integers(0, 50, (3000, 3)).astype(float)
    senses = ["min", "max", "min"]
    assert np.array_equal(surely_dominated(points, points, senses), ~pareto.front(points, senses))
    with pytest.raises(InputError, match="ends before it begins"):
        surely_dominated(points + 1, points, senses)


def test_accuracy_intervals_cover_and_paired_tests_see_a_difference():
    rng = np.random.default_rng(2)
    low, high = accuracy_interval(rng.binomial(360, 0.97, 20_000) / 360, 360, 0.9)
    assert 0.87 < np.mean((low <= 0.97) & (high >= 0.97)) < 0.94
    right = rng.random(2000) < 0.9
    worse = right & (rng.random(2000) < 0.98)
    assert paired_p_value(right, worse) < 1e-6
    assert paired_p_value(right, right) == 1.0
    noise = right ^ (rng.random(2000) < 0.01)
    swapped = paired_p_value(noise, right)
    assert swapped == paired_p_value(right, noise)
    with pytest.raises(InputError, match="needed: the same"):
        paired_p_value(right, right[1:])


@pytest.mark.parametrize("objectives", [2, 3])
def test_hundred_thousand_points_agree_with_the_definition_on_subsets(objectives):
    rng = np.random.default_rng(0)
    points = rng.integers(0, 2000, (100_000, objectives)).astype(float)
    senses = ["min", "max", "min"][:objectives]
    fast = pareto.front(points, senses)
    costs = pareto.costs_of(points, senses)
    for index in (
        rng.choice(len(points), 300, replace=False).tolist() + np.flatnonzero(fast).tolist()
    ):
        weakly = (costs <= costs[index]).all(axis=1)
        assert fast[index] == (not (costs[weakly] < costs[index]).any())
    for _ in range(20):
        subset = points[rng.choice(len(points), 200, replace=False)]
        assert pareto.front(subset, senses).tolist() == brute_front(subset, senses)


def test_points_of_a_front_are_told_apart():
    """Seed and style have columns where they differ, a mixed network's long list of layers none."""
    from types import SimpleNamespace

    from costmodel.explore.listing import line_of, varied

    common = {"weight": "int4", "act": "int4", "scale": "po2", "steps": "calibrate"}
    others = [{}, {"seed": 1, "style": "tree"}, {"layers": "x: weight int8; " * 9}]
    rows = [
        SimpleNamespace(point=common | other, metrics={"lut_sites": 9, "top1": 0.9}, key="0")
        for other in others
    ]
    axes = {"x_axis": SimpleNamespace(name="lut_sites"), "y_axis": SimpleNamespace(name="top1")}
    front = SimpleNamespace(rows=rows, order=[0, 1, 2], **axes)
    assert varied(front) == ["seed", "style"]
    lines = [line_of(front, index, varied(front)) for index in front.order]
    assert [(line["seed"], line["style"]) for line in lines] == [
        (0, "plain"), (1, "tree"), (0, "plain"),
    ]  # fmt: skip
    assert "seed" not in line_of(front, 0)
