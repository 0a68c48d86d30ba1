# SPDX-License-Identifier: Apache-2.0
"""The integer programme of mixed precision against brute force: every choice of small problems."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from costmodel.explore import pareto
from costmodel.explore.mixed.budget import refuse_impossible
from costmodel.explore.mixed.problem import Option, Pair, Problem
from costmodel.explore.mixed.refit import refit
from costmodel.explore.mixed.separable import LOSS, cheapest_possible, front, solve
from hwquant.errors import InputError

FORMATS = [Option(w, a) for w in ("int3", "int4", "int8") for a in ("int4", "int8")]


def problem(seed, layers=4, *, ties=((1, 2),), pairs=True):
    """Return random tables; losses and costs are whole numbers with many ties."""
    rng = np.random.default_rng(seed)
    count = len(FORMATS)
    names = ("lut_sites", "weight_bits")
    costs = {name: [rng.integers(1, 30, count) for _ in range(layers)] for name in names}
    edges = []
    for left in range(layers - 1) if pairs else ():
        classes = (tuple(rng.integers(0, 3, count)), tuple(i % 2 for i in range(count)))
        classes = ((0, 1, 2, *classes[0][3:]), classes[1])
        edges.append(Pair(left, left + 1, classes, {"lut_sites": rng.integers(0, 15, (3, 2))}))
    return Problem(
        tuple(f"layer{i}" for i in range(layers)),
        (tuple(FORMATS),) * layers,
        tuple(rng.integers(0, 40, count) for _ in range(layers)),
        {name: tuple(table) for name, table in costs.items()},
        ties,
        tuple(edges),
    )


def table(given):
    """Return every choice with its loss and costs, computed one by one."""
    return [
        (
            choice,
            given.loss(choice),
            given.cost("lut_sites", choice),
            given.cost("weight_bits", choice),
        )
        for choice in given.every()
    ]


@pytest.mark.parametrize("seed", range(4))
def test_least_loss_within_budgets_equals_brute_force(seed):
    given = problem(seed)
    rows = table(given)
    rng = np.random.default_rng(seed)
    for _ in range(4):
        limits = {"lut_sites": int(rng.integers(40, 110)), "weight_bits": int(rng.integers(20, 90))}
        fitting = [r for r in rows if r[2] <= limits["lut_sites"] and r[3] <= limits["weight_bits"]]
        found = solve(given, limits)
        if not fitting:
            assert found is None
            continue
        assert found is not None
        assert found.loss == min(row[1] for row in fitting)
        assert given.keeps_ties(found.choice)
        assert found.costs["lut_sites"] == given.cost("lut_sites", found.choice)
        assert all(found.costs[name] <= limit for name, limit in limits.items())


@pytest.mark.parametrize("seed", range(2))
def test_the_whole_front_equals_brute_force(seed):
    given = problem(seed, layers=3, ties=((0, 2),))
    rows = np.array([row[1:3] for row in table(given)])
    wanted = {tuple(row) for row in rows[pareto.front(rows, ["min", "min"])].tolist()}
    found = [(point.loss, point.costs["lut_sites"]) for point in front(given, "lut_sites")]
    assert len(found) == len(wanted)
    assert set(found) == wanted
    some = [(point.loss, point.costs["lut_sites"]) for point in front(given, "lut_sites", points=4)]
    assert 2 <= len(some) <= len(wanted)
    assert set(some) <= wanted
    assert {min(found), max(found)} <= set(some)


def test_a_budget_on_the_front_is_kept():
    given = problem(1)
    rows = [row for row in table(given) if row[3] <= 60]
    bounded = {
        (p.loss, p.costs["lut_sites"]) for p in front(given, "lut_sites", {"weight_bits": 60})
    }
    points = np.array([row[1:3] for row in rows])
    mask = pareto.front(points, ["min", "min"])
    assert bounded == {tuple(row) for row in points[mask].tolist()}


def test_ties_and_pairs_matter():
    """Negative control: a programme that forgets them finds something else, and cheaper."""
    limits = {"lut_sites": 60}
    broken = beyond = 0
    for seed in range(6):
        given = problem(seed)
        best = solve(given, limits)
        free, alone = (
            solve(problem(seed, ties=()), limits),
            solve(problem(seed, pairs=False), limits),
        )
        if not given.keeps_ties(free.choice):
            broken += 1
            assert best is None or free.loss < best.loss
        beyond += given.cost("lut_sites", alone.choice) > limits["lut_sites"]
    assert broken
    assert beyond


def test_the_cheapest_possible_is_told():
    given = problem(3)
    least = min(row[2] for row in table(given))
    assert cheapest_possible(given, {"lut_sites": 1}) == {"lut_sites": least}
    assert solve(given, {"lut_sites": least - 1}) is None
    assert solve(given, {"lut_sites": least}) is not None
    assert solve(given, {LOSS: -1}) is None


def test_bad_names_and_tables_are_refused():
    given = problem(0)
    with pytest.raises(InputError, match="'luts' is no cost of this problem, allowed: loss, lut_"):
        solve(given, {"luts": 3})
    with pytest.raises(InputError, match="each needs some"):
        Problem(("a",), ((),), (np.array([], dtype=int),), {})
    with pytest.raises(InputError, match="loss of"):
        Problem(("a",), ((FORMATS[0],),), (np.array([1, 2]),), {})
    with pytest.raises(InputError, match="layer layer0: formats int5/int4"):
        given.nearest([Option("int5", "int4")] * 4)


def test_contradictory_budgets_say_what_would_do():
    given = problem(2)
    evaluator = SimpleNamespace(problem=given, uniform={})
    least = cheapest_possible(given, {"lut_sites": 0, "weight_bits": 0})
    refuse_impossible(evaluator, {"lut_sites": least["lut_sites"]})
    with pytest.raises(InputError, match=f"cheapest possible is {least['weight_bits']};"):
        refuse_impossible(evaluator, {"weight_bits": least["weight_bits"] - 1})
    fewest = min(row[2] for row in table(given) if row[3] <= least["weight_bits"])
    assert fewest > least["lut_sites"]
    with pytest.raises(InputError, match=f"together; with .* lut_sites is {fewest} at least"):
        refuse_impossible(evaluator, least)


def names_of(paths):
    formats = {"weight": ("int3", "int4", "int8"), "act": ("int4", "int8")}
    return [(path, part, fmt) for path in paths for part in formats for fmt in formats[part]]


def test_refitted_losses_explain_networks_that_sensitivities_do_not():
    """The truth scales int3 and one layer; what is found foretells networks it has not seen."""
    paths = ["a", "b", "c"]
    rng = np.random.default_rng(0)
    alone = {name: float(rng.uniform(0.1, 1)) for name in names_of(paths)}
    truth = {
        name: loss * (0.3 if name[2] == "int3" else 1) * (2.5 if name[0] == "b" else 1)
        for name, loss in alone.items()
    }

    def loss(formats, table):
        parts = zip(paths, formats, strict=True)
        return sum(table[p, "weight", o.weight] + table[p, "act", o.act] for p, o in parts)

    every = [tuple(FORMATS[i] for i in rng.integers(0, 6, 3)) for _ in range(60)]
    seen, unseen = every[:40], every[40:]
    found = refit(alone, paths, [(formats, loss(formats, truth)) for formats in seen])

    def error(table):
        return np.mean([abs(loss(f, table) / loss(f, truth) - 1) for f in unseen])

    assert error(found) < error(alone) / 4
    assert all(value >= 0 for value in found.values())
    same = refit(alone, paths, [(formats, loss(formats, alone)) for formats in seen])
    assert same == pytest.approx(alone)  # negative control: what fits already stays
    assert refit(alone, paths, []) == pytest.approx(alone)
