# SPDX-License-Identifier: Apache-2.0
"""The parts of prediction intervals, each against an independent oracle, on synthetic kernels."""

import subprocess
import sys

import numpy as np
import pytest

from costmodel.intervals import Interval, exact, total
from costmodel.intervals.aggregate import combine, fit_weights
from costmodel.intervals.assess import assess
from costmodel.intervals.boosted import BoostedQuantiles
from costmodel.intervals.conformal import calibrate, margin
from costmodel.intervals.features import FEATURES, from_target, one_lut, to_target
from costmodel.intervals.folds import groups, leave_one_format_out, some_formats_out
from costmodel.intervals.formula import FormulaResiduals
from costmodel.intervals.interval import outward
from costmodel.intervals.isotonic import crossings, isotonic
from costmodel.intervals.linear import LinearQuantiles
from costmodel.intervals.neighbours import NearestQuantiles
from costmodel.intervals.nested import AGGREGATE, fit, held_out
from costmodel.intervals.points import Points
from costmodel.intervals.predictor import Predictor
from costmodel.intervals.scores import (
    CENTRAL,
    TAUS,
    clopper_pearson,
    clustered,
    pinball,
    weighted_interval_score,
)
from hwquant.errors import InputError
from hwquant.formats import integers, minifloats
from hwquant.mac import MacSpec


def synthetic(seed: int = 0) -> Points:
    """Kernels whose error has a part of its format, a part of its style and noise."""
    rng = np.random.default_rng(seed)
    names = [str(fmt) for fmt in (*integers(3, 8), *minifloats(3, 7))]
    specs, styles, counts, estimates = [], [], [], []
    for name in names:
        shared = rng.normal(0, 0.01)
        for lanes in (1, 2, 4, 8):
            for style, error in (("plain", 0.05), ("tree", 0.01)):
                specs.append(MacSpec(name, name, lanes, 256))
                styles.append(style)
                estimate = round(5 * lanes * specs[-1].weight.bits * rng.uniform(0.8, 1.2))
                estimates.append(estimate)
                counts.append(round(estimate * np.exp(shared + rng.normal(0, error))))
    return Points(tuple(specs), tuple(styles), np.array(counts, float), np.array(estimates, float))


CHEAP = {"formula": FormulaResiduals, "linear": LinearQuantiles, "nearest": NearestQuantiles}


@pytest.fixture(scope="module")
def points() -> Points:
    return synthetic()


@pytest.fixture(scope="module")
def found(points):
    return held_out(points, CHEAP)


def test_an_interval_holds_its_value_and_sums_are_comonotone():
    part = Interval(10, 9, 12)
    assert total([(part, 3), (exact(4), 2)]) == Interval(38, 35, 44)
    assert total([]) == exact(0)
    assert not total([(part, 1), (Interval(1, 0, 2, seen=False), 1)]).seen
    assert Interval(1, 0, 2, seen=False).to_json() == {
        "value": 1,
        "low": 0,
        "high": 2,
        "seen": False,
    }
    for bad in ((1, 2, 3), (4, 2, 3)):
        with pytest.raises(InputError, match="low <= value <= high"):
            Interval(*bad)
    with pytest.raises(InputError, match="-1 copies"):
        total([(part, -1)])


def test_outward_never_excludes_a_whole_count_inside():
    rng = np.random.default_rng(1)
    for value in rng.uniform(0, 50, 200):
        low, high = value - rng.uniform(0, 3), value + rng.uniform(0, 3)
        made = outward(value, low, high)
        inside = [k for k in range(60) if low <= k <= high]
        assert all(made.low <= k <= made.high for k in inside)


def test_isotonic_equals_the_library_row_by_row():
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(2)
    rows = np.cumsum(rng.normal(0.1, 1, (300, len(TAUS))), axis=1)
    made = isotonic(rows)
    oracle = [IsotonicRegression().fit_transform(np.arange(len(TAUS)), row) for row in rows]
    np.testing.assert_allclose(made, oracle, rtol=0, atol=1e-12)
    assert crossings(rows) > 100
    assert crossings(made) == 0
    y = rng.normal(0, 1, 300)
    assert weighted_interval_score(y, made) <= weighted_interval_score(y, rows)


def test_weighted_interval_score_is_its_definition():
    rng = np.random.default_rng(3)
    y, rows = rng.normal(0, 1, 50), np.sort(rng.normal(0, 1, (50, len(TAUS))), axis=1)
    score = 0.5 * np.abs(y - rows[:, len(TAUS) // 2])
    for level, share in enumerate(CENTRAL):
        alpha, low, high = 1 - share, rows[:, level], rows[:, -1 - level]
        below, above = np.maximum(low - y, 0), np.maximum(y - high, 0)
        score += alpha / 2 * (high - low + 2 / alpha * (below + above))
    expected = float((score / (len(CENTRAL) + 0.5)).mean())
    assert weighted_interval_score(y, rows) == pytest.approx(expected, rel=1e-12)


def test_bounds_on_coverage():
    assert clopper_pearson(0, 10) == 0
    assert clopper_pearson(10, 10) == pytest.approx(0.05**0.1)
    hit = np.random.default_rng(4).random(400) < 0.9
    one_each = clustered(hit, [str(i) for i in range(400)])
    together = clustered(np.repeat(hit[:40], 10), [str(i // 10) for i in range(400)])
    assert together < one_each < 0.9
    assert abs(one_each - clopper_pearson(int(hit.sum()), 400)) < 0.01


def test_folds_hold_out_whole_formats_and_test_every_row_once():
    names = ["int3", "int4", "e2m1", "e3m2", "int8"]
    specs = [MacSpec(a, b, lanes) for a in names for b in names for lanes in (1, 2)]
    for folds in (
        leave_one_format_out(specs),
        leave_one_format_out(specs, pairs=2),
        some_formats_out(specs, 3),
    ):
        made = list(folds)
        tested = np.concatenate([fold.test for fold in made])
        assert sorted(tested.tolist()) == list(range(len(specs)))
        for fold in made:
            assert len(fold.train)
            assert {str(specs[i].weight) for i in fold.test}.isdisjoint(
                fmt for i in fold.train for fmt in (str(specs[i].weight), str(specs[i].act))
            )
    for fold in leave_one_format_out(specs):
        assert not set(fold.train.tolist()) & set(fold.test.tolist())
        assert len({groups(specs)[i] for i in fold.test}) == 1
    # the negative control: rows held out at random share their formats with the rest
    rng = np.random.default_rng(5)
    test, train = np.split(rng.permutation(len(specs)), [10])
    assert {groups(specs)[i] for i in test} & {groups(specs)[i] for i in train}
    with pytest.raises(InputError, match="leaves no rows"):
        list(leave_one_format_out([MacSpec("int4", "int4")]))
    with pytest.raises(InputError, match="1 folds of 5 formats"):
        list(some_formats_out(specs, 1))


def test_target_is_undone_and_one_lut_is_its_unit():
    counts, estimates = np.array([0.0, 1, 30]), np.array([0.0, 2, 28])
    np.testing.assert_allclose(from_target(to_target(counts, estimates), estimates), counts)
    x = np.zeros((3, len(FEATURES)))
    x[:, FEATURES.index("log_estimate")] = np.log1p(estimates)
    np.testing.assert_allclose(one_lut(x), [1, 1 / 3, 1 / 29])


def test_linear_quantiles_lose_nothing_to_the_linear_programme(points):
    from sklearn.linear_model import QuantileRegressor

    model = LinearQuantiles(ridge=1e-6)
    model.fit(points.x, points.y)
    mine = pinball(points.y, model.predict(points.x))
    spread = points.x.std(axis=0)
    z = (points.x - points.x.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    for level in (1, 4, 7):
        oracle = QuantileRegressor(quantile=TAUS[level], alpha=0, solver="highs")
        best = pinball(points.y, oracle.fit(z, points.y).predict(z)[:, None], [TAUS[level]])[0]
        assert mine[level] <= best * 1.02 + 1e-9


def test_boosted_trees_lose_nothing_to_the_library(points):
    from sklearn.ensemble import GradientBoostingRegressor

    half = np.random.default_rng(10).permutation(len(points))
    seen, new = half[:140], half[140:]
    model = BoostedQuantiles()
    model.fit(points.x[seen], points.y[seen])
    mine = pinball(points.y[new], model.predict(points.x[new]))
    for level in (1, 4, 7):
        oracle = GradientBoostingRegressor(
            loss="quantile", alpha=TAUS[level], n_estimators=40, max_depth=2, learning_rate=0.15,
            min_samples_leaf=10, random_state=0,
        )  # fmt: skip
        oracle.fit(points.x[seen], points.y[seen])
        theirs = pinball(points.y[new], oracle.predict(points.x[new])[:, None], [TAUS[level]])[0]
        assert mine[level] <= theirs * 1.15
    flat = np.quantile(points.y[seen], TAUS)
    unlearnt = pinball(points.y[seen], np.tile(flat, (len(seen), 1)))
    assert (pinball(points.y[seen], model.predict(points.x[seen])) < unlearnt).all()


def test_boosted_trees_find_a_step():
    x = np.zeros((400, len(FEATURES)))
    x[:, 3] = np.arange(400) % 7
    x[:, 5] = np.arange(400) % 3
    y = 10.0 * (x[:, 3] > 2) + 5.0 * (x[:, 5] > 1) * (x[:, 3] > 2)
    noisy = y + np.random.default_rng(11).normal(0, 0.1, 400)
    model = BoostedQuantiles(trees=60)
    model.fit(x, noisy)
    assert np.abs(model.predict(x)[:, len(TAUS) // 2] - y).max() < 0.2
    constant = BoostedQuantiles(trees=3)
    constant.fit(np.zeros_like(x), y)
    np.testing.assert_allclose(constant.predict(x), np.tile(np.quantile(y, TAUS), (400, 1)))


def test_aggregate_takes_each_model_where_it_is_good():
    rng = np.random.default_rng(6)
    y = rng.normal(0, 1, 2000)
    right = np.tile(np.quantile(y, TAUS), (2000, 1))
    low, high = right.copy(), right.copy()
    low[:, len(TAUS) // 2 :] += 2.0  # right below the median only
    high[:, : len(TAUS) // 2 + 1] -= 2.0  # right above the median only
    base = np.stack([low, high])
    weights = fit_weights(y, base)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert weights[0, 0] > 0.9
    assert weights[1, -1] > 0.9
    made = weighted_interval_score(y, combine(weights, base))
    assert made < min(weighted_interval_score(y, model) for model in base)


def test_margin_is_the_finite_sample_rank():
    scores = np.random.default_rng(7).permutation(99).astype(float)
    assert margin(scores, 0.9) == 89  # rank ceil(100 * 0.9) of 0..98
    assert margin(scores[:5], 0.9) == scores[:5].max()


def test_calibration_repairs_intervals_that_are_too_narrow():
    rng = np.random.default_rng(8)
    family = rng.integers(0, 2, 4000)
    y = rng.normal(0, 1 + 2 * family)
    narrow = np.tile(np.linspace(-0.3, 0.3, len(TAUS)), (4000, 1))
    unit = np.full(4000, 1e-3)
    fitted = calibrate(y[:2000], narrow[:2000], family[:2000], unit[:2000])
    made = fitted.apply(narrow[2000:], family[2000:], unit[2000:])
    assert crossings(made) == 0
    for level, share in enumerate(CENTRAL):
        inside = (made[:, level] <= y[2000:]) & (y[2000:] <= made[:, -1 - level])
        for index in (0, 1):
            assert abs(inside[family[2000:] == index].mean() - share) < 0.07
    before = (narrow[:, 1] <= y) & (y <= narrow[:, -2])
    assert before.mean() < 0.3


def test_held_out_intervals_cover_and_shrunken_ones_do_not(points, found):
    for name, quantiles in found.items():
        scores = assess(points, quantiles)
        assert scores.lower_clustered >= 0.85, name
        assert scores.crossings == 0, name
        middle = quantiles[:, [len(TAUS) // 2]]
        shrunken = assess(points, middle + 0.4 * (quantiles - middle))
        assert shrunken.lower < 0.8, name
        assert shrunken.width < scores.width


def test_rows_held_out_instead_of_formats_flatter_coverage():
    # one format's kernels share a large error: neighbours that saw the format know it
    rng = np.random.default_rng(9)
    base = synthetic()
    names = sorted(set(base.groups))
    shift = dict(zip(names, rng.normal(0, 0.3, len(names)), strict=True))
    counts = np.rint(base.estimates * np.exp([shift[name] for name in base.groups]))
    shifted = Points(base.specs, base.styles, counts, base.estimates)
    test, train = np.split(rng.permutation(len(base)), [60])
    seen = NearestQuantiles(4)
    seen.fit(shifted.take(train).x, shifted.take(train).y)
    flattered = pinball(shifted.y[test], seen.predict(shifted.take(test).x)).mean()
    honest = []
    for fold in leave_one_format_out(base.specs):
        model = NearestQuantiles(4)
        model.fit(shifted.take(fold.train).x, shifted.take(fold.train).y)
        honest.append(pinball(shifted.y[fold.test], model.predict(shifted.x[fold.test])).mean())
    assert flattered < 0.8 * np.mean(honest)


def test_predictors_survive_json(points):
    import json

    for name, predictor in fit(points, CHEAP).items():
        again = Predictor.from_json(json.loads(json.dumps(predictor.to_json())))
        assert np.array_equal(again.quantiles(points.x), predictor.quantiles(points.x)), name
    assert AGGREGATE == "aggregate"


def test_points_refuse_what_they_cannot_use(points):
    with pytest.raises(InputError, match="no family"):
        Points(points.specs[:1], ("origami",), points.counts[:1], points.estimates[:1])
    with pytest.raises(InputError, match="one length"):
        Points(points.specs[:2], ("plain",), points.counts[:1], points.estimates[:1])


def test_importing_intervals_loads_no_heavy_library():
    code = (
        "import sys, costmodel.intervals; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
