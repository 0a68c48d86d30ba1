# SPDX-License-Identifier: Apache-2.0
"""The gain of one front over another, and its interval: against plain formulas and known truths."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.explore.mixed.gain import Points, Reference, by_budget, dominated, gain
from hwquant.errors import InputError

REFERENCE = Reference(10.0, 0.5, 1.0)


def answers(rng, shares, items=600):
    """Return answers of points on common items: an item is as hard for all."""
    hard = rng.random(items)
    return np.stack([hard < share for share in shares])


def test_areas_equal_a_count_of_small_squares():
    costs, tops = [2.0, 4.0, 7.0], [0.6, 0.55, 0.9]
    grid = (np.arange(1000) + 0.5) / 100
    levels = 0.5 + (np.arange(500) + 0.5) / 1000
    points = list(zip(costs, tops, strict=True))
    best = np.array([max([t for c, t in points if c <= x], default=0) for x in grid])
    last = np.array([[0.5, *[t for c, t in points if c <= x]][-1] for x in grid])
    wanted = np.mean(levels[None] < best[:, None])
    assert dominated(costs, tops, REFERENCE) == pytest.approx(wanted, abs=2e-3)
    assert by_budget(costs, tops, REFERENCE) == pytest.approx(np.mean(last - 0.5) / 0.5, abs=2e-3)
    assert dominated([11.0], [0.9], REFERENCE) == 0
    assert by_budget([11.0], [0.9], REFERENCE) == 0


@pytest.mark.parametrize("measure", [dominated, by_budget])
def test_a_better_front_is_found_and_an_equal_one_is_not(measure):
    rng = np.random.default_rng(0)
    costs = np.array([2.0, 5.0])
    right = answers(rng, [0.7, 0.8, 0.76, 0.85])
    better = gain(Points(costs, right[:2]), Points(costs, right[2:]), REFERENCE, measure, draws=300)
    assert better.sure
    assert 0 < better.low < better.value < better.high
    same = gain(Points(costs, right[:2]), Points(costs, right[:2]), REFERENCE, measure, draws=300)
    assert (same.value, same.low, same.high, same.sure) == (0, 0, 0, False)


def test_noise_alone_is_not_sure_and_the_interval_covers_the_truth():
    """Negative control: independent answers of equal quality; 40 repetitions, level 90 %."""
    costs, covered = np.array([2.0, 5.0]), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        first, second = (rng.random((2, 400)) < np.array([[0.7], [0.8]]) for _ in range(2))
        found = gain(
            Points(costs, first), Points(costs, second), REFERENCE, by_budget,
            draws=200, level=0.9, seed=seed,
        )  # fmt: skip
        covered += found.low <= 0 <= found.high
    assert 30 <= covered <= 40


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(1)
    costs = np.array([2.0])
    paired = answers(rng, [0.7, 0.75])
    shuffled = paired[1][rng.permutation(paired.shape[1])]
    near = gain(Points(costs, paired[:1]), Points(costs, paired[1:]), REFERENCE, draws=300)
    far = gain(Points(costs, paired[:1]), Points(costs, shuffled[None]), REFERENCE, draws=300)
    assert near.value == far.value
    assert near.high - near.low < (far.high - far.low) / 2


def test_bad_input():
    costs = np.array([2.0])
    right = np.ones((1, 5), dtype=bool)
    with pytest.raises(InputError, match="5 and 4 items"):
        gain(Points(costs, right), Points(costs, right[:, :4]), REFERENCE)
    with pytest.raises(InputError, match="0 draws"):
        gain(Points(costs, right), Points(costs, right), REFERENCE, draws=0)
    with pytest.raises(InputError, match="a row of answers for each cost"):
        Points(costs, right[0])
