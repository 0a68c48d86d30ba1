# SPDX-License-Identifier: Apache-2.0
"""The ordinal model: its gradient, its convexity, its oracle, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from costmodel.overflow.baselines import BASELINES
from costmodel.overflow.features import standard
from costmodel.overflow.likelihood import Coefficients, Rows, minimum, null, penalty_max, smooth
from costmodel.overflow.model import LEAST_ROWS, Ordinal, Sample, boundaries, fit
from costmodel.overflow.score import curve, scores
from hwquant.errors import InputError


def drawn(seed, n=300, p=4, categories=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    y = np.clip(np.floor(x[:, 0] + rng.logistic(size=n)) + 2, 0, categories - 1).astype(np.int64)
    return rng, Rows(standard(x)(x), y, categories, rng.exponential(size=n))


def anywhere(rng, rows):
    """Coefficients whose boundaries cross on many rows."""
    k, p = rows.categories - 1, rows.x.shape[1]
    return Coefficients(np.sort(rng.normal(size=k)), rng.normal(size=(k, p)))


def flat(c):
    return np.concatenate([c.a, c.psi.ravel()])


def unflat(z, like):
    k = len(like.a)
    return Coefficients(z[:k], z[k:].reshape(like.psi.shape))


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_equals_differences(seed):
    rng, rows = drawn(seed)
    for at in (null(rows), minimum(rows, 0.01), unflat(flat(null(rows)) * 1.1, null(rows))):
        gradient = flat(smooth(at, rows)[1])
        for i in range(len(gradient)):
            step = np.zeros(len(gradient))
            step[i] = 1e-6
            ends = [smooth(unflat(flat(at) + s * step, at), rows)[0] for s in (1, -1)]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient[i], rel=1e-4, abs=1e-6)
    wrong = smooth(Coefficients(at.a, at.psi + 0.1), rows)[1]
    assert not np.allclose(flat(wrong), gradient, rtol=1e-4)
    assert rng is not None


@pytest.mark.parametrize("seed", range(5))
def test_the_objective_is_convex_where_boundaries_cross_too(seed):
    rng, rows = drawn(seed)
    for _ in range(20):
        ends = [anywhere(rng, rows) for _ in range(2)]
        left, right = (smooth(e, rows)[0] for e in ends)
        part = rng.random()
        between = unflat(part * flat(ends[0]) + (1 - part) * flat(ends[1]), ends[0])
        bound = part * left + (1 - part) * right
        assert np.isfinite(bound)
        assert smooth(between, rows)[0] <= bound * (1 + 1e-9)


def test_at_the_minimum_no_direction_descends():
    """The optimality conditions of the L1 penalty, at every penalty."""
    _, rows = drawn(1)
    top = penalty_max(rows, rows.categories - 1)
    silent = minimum(rows, top * 1.001)
    assert np.abs(silent.psi).max() < 1e-6
    assert np.allclose(silent.a, null(rows).a, atol=1e-4)
    for penalty in (0.3 * top, 0.05 * top):
        found = minimum(rows, penalty)
        gradient = smooth(found, rows)[1]
        assert np.abs(gradient.a).max() < 1e-4
        live = np.abs(found.psi) > 1e-5
        assert live.any()
        assert np.allclose(gradient.psi[live], -penalty * np.sign(found.psi[live]), atol=1e-4)
        assert (np.abs(gradient.psi[~live]) <= penalty + 1e-4).all()


@pytest.mark.parametrize("penalty", [0.002, 0.02])
def test_two_categories_equal_scikit_learns_logistic_regression(penalty):
    _, rows = drawn(2, categories=2)
    ours = minimum(rows, penalty)
    oracle = LogisticRegression(
        l1_ratio=1.0, solver="saga", C=1 / (penalty * rows.weight.sum()), tol=1e-9, max_iter=20000
    ).fit(rows.x, rows.y, sample_weight=rows.weight)
    assert np.allclose(-ours.psi, oracle.coef_, atol=1e-4)
    assert np.allclose(-ours.a, oracle.intercept_, atol=1e-4)


def synthetic(seed, n=1500, p=10, held_out=20000):
    """Rows whose rarest boundary differs from the others in two of ten weights.

    Returns the sample, new rows, and the true probability of the rarest category of those.
    """
    rng = np.random.default_rng(seed)
    b = np.tile(rng.choice([-0.5, 0.5], p), (3, 1))
    b[2, :2] += (1.0, -1.0)
    a = np.array([0.0, 2.5, 6.0])

    def chances(x):
        return np.maximum.accumulate(1 / (1 + np.exp(-(a + x @ b.T))), axis=1)

    x, new = rng.normal(size=(n, p)), rng.normal(size=(held_out, p))
    y = (rng.random(n)[:, None] > chances(x)).sum(axis=1)
    return Sample(x, y + 8, np.arange(n)), new, 1 - chances(new)[:, -1]


def test_presto_beats_its_baselines_where_boundaries_differ_sparsely():
    """Paired over repeats: the error of the rare probability, new rows, the truth being known."""
    errors = []
    for seed in range(6):
        sample, new, truth = synthetic(seed)
        rare = int((sample.bits == 11).sum())
        assert LEAST_ROWS <= rare < 0.05 * len(sample.bits)
        found = [
            fit(sample, kind).exceed(new, 10)
            for kind in ("presto", "proportional_odds", "logistic")
        ]
        errors.append([np.sqrt(np.mean((p - truth) ** 2)) for p in found])
    ours, shared, alone = np.array(errors).T
    for other in (shared, alone):
        gain = other - ours
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain))  # t of 5 degrees: p < 0.02
        assert (gain > -1e-3).all()
    assert ours.mean() < 0.6 * shared.mean()


def test_a_model_that_is_wrong_does_not_win():
    """Negative control: the comparison above notices a damaged model."""
    sample, new, truth = synthetic(0)
    good = fit(sample)
    damaged = Ordinal(
        **{
            **{name: getattr(good, name) for name in good.__dataclass_fields__},
            "coefficients": Coefficients(good.coefficients.a, -good.coefficients.psi),
        }
    )
    errors = [np.mean((m.exceed(new, 10) - truth) ** 2) for m in (good, damaged)]
    assert errors[0] < 0.2 * errors[1]


def crossing():
    """Two boundaries that cross where the feature is above 1."""
    c = Coefficients(np.array([0.0, 1.0]), np.array([[1.0], [-1.0]]))
    one = standard(np.array([[-1.0], [1.0]]))
    return Ordinal("presto", (8, 9), one, c, 0.1, 0.0, 10)


def test_crossings_are_clipped_renormalised_and_counted():
    x = np.array([[-2.0], [0.0], [0.5], [3.0]])
    p, crossed = crossing().categories(x)
    assert crossed == 0.25
    assert (p >= 0).all()
    assert np.allclose(p.sum(axis=1), 1)
    assert p[3, 1] == 0
    assert np.array_equal(crossing().exceed(x, 9), p[:, 2])
    assert crossing().categories(x[:3])[1] == 0


def test_risk_falls_with_width_beyond_and_between_boundaries():
    sample, new, _ = synthetic(3)
    model = fit(sample, cuts=(8, 10))
    risks = np.array([model.exceed(new, width) for width in range(5, 20)])
    assert (np.diff(risks, axis=0) <= 1e-12).all()
    assert np.isfinite(risks).all()
    odds = np.log(risks[-2:]) - np.log1p(-risks[-2:])
    assert np.allclose(np.diff(odds, axis=0), -model.slope())


def test_boundaries_keep_five_rows_and_the_rarest_event():
    rng = np.random.default_rng(0)
    for _ in range(200):
        bits = rng.integers(1, 12, rng.integers(1, 60))
        cuts = boundaries(bits)
        counts = np.bincount(np.searchsorted(np.array(cuts), bits), minlength=len(cuts) + 1)
        if cuts:
            assert counts.min() >= LEAST_ROWS
            assert (bits > cuts[-1] + 1).sum() < LEAST_ROWS
    assert boundaries(np.repeat([8, 12], 5)) == (11,)
    assert boundaries(np.full(50, 9)) == ()
    assert boundaries(np.array([8] * 50 + [12])) == ()


def test_rows_that_all_need_the_same_give_one_falling_rate():
    x = np.random.default_rng(0).normal(size=(99, 3))
    for kind in ("presto", "proportional_odds", "logistic"):
        model = fit(Sample(x, np.full(99, 9), np.arange(99)), kind)
        assert model.cuts == ()
        assert np.allclose(model.exceed(x, 9), 0.005)
        assert (np.diff([model.exceed(x, w)[0] for w in range(8, 20)]) < 0).all()


@pytest.mark.parametrize(
    ("x", "bits", "image", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int), "no rows"),
        (np.full((5, 2), np.nan), np.arange(5), np.arange(5), "NaN"),
        (np.zeros((5, 2)), np.arange(4), np.arange(4), "allowed"),
        (np.zeros(5), np.arange(5), np.arange(5), "allowed"),
        (np.zeros((5, 2)), np.arange(5), np.arange(3), "allowed"),
    ],
)
def test_unfit_rows_are_refused(x, bits, image, message):
    with pytest.raises(InputError, match=message):
        Sample(x, bits, image)


def test_an_unknown_model_is_refused():
    with pytest.raises(InputError, match="presto"):
        fit(Sample(np.zeros((9, 1)), np.arange(9), np.arange(9)), "probit")


def test_features_that_never_vary_and_a_single_image_do_no_harm():
    rng = np.random.default_rng(4)
    bits = rng.integers(8, 11, 60)
    constant = fit(Sample(np.ones((60, 2)), bits, np.arange(60)))
    share = (bits > constant.cuts[-1]).mean()
    assert np.allclose(constant.exceed(np.full((3, 2), 7.0), constant.cuts[-1]), share, atol=1e-4)
    alone = fit(Sample(rng.normal(size=(60, 2)), bits, np.zeros(60, int)))
    assert alone.cuts == constant.cuts


def test_tails_know_a_distribution_of_their_own_kind():
    """Gumbel extremes: the extreme-value fit finds the tail, the empirical share the middle."""
    rng = np.random.default_rng(5)
    high = np.round(rng.gumbel(300, 40, (4000, 3)))
    low = np.zeros_like(high)
    for width, beyond in ((10, 511.5), (9, 255.5)):
        true = 1 - np.exp(-np.exp(-(beyond - 300) / 40))
        assert np.allclose(BASELINES["gev"](low, high, width), true, rtol=0.35)
    assert np.allclose(BASELINES["empirical"](low, high, 9), true, atol=0.03)
    assert (BASELINES["gaussian"](low, high, 10) < 1e-3).all()
    for name, tail in BASELINES.items():
        assert np.isfinite(tail(low[:2], np.full((2, 3), 7.0), 4)).all(), name
        assert np.isfinite(tail(low[:2], np.full((2, 3), 0.0), 2)).all(), name


def test_scores_and_the_calibration_curve_know_the_truth():
    rng = np.random.default_rng(6)
    p = rng.random((2000, 3)) ** 4
    event = rng.random(p.shape) < p
    right = scores(p, p.mean(axis=0), event)
    wrong = scores(np.sqrt(p), p.mean(axis=0), event)
    assert right.brier < wrong.brier
    assert right.log_loss < wrong.log_loss
    assert right.channel_rmse < 0.02
    assert np.isfinite(scores(np.zeros((2, 1)), np.zeros(1), np.ones((2, 1), bool)).log_loss)
    for row in curve([(p, event)]):
        deviation = np.sqrt(row["estimated"] / row["rows"]) + 1e-3
        assert abs(row["estimated"] - row["observed"]) < 5 * deviation
