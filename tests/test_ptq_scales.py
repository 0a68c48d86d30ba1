# SPDX-License-Identifier: Apache-2.0
"""The scale solver: nothing clips under absmax, powers of two are least, mse beats its rivals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.formats import parse
from hwquant.ptq.scales import EXPONENTS_BELOW, no_clip_exponents, solve

FORMATS = [
    "int4",
    "int8",
    "int2",
    "uint3",
    "e2m1",
    "e4m3",
    "e3m0",
    "e5m2",
    "e0m3",
    "ue2m2",
    "e4m3fn",
]


def rows(seed=0, shape=(6, 500)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.logspace(-2, 2, shape[0]).reshape(-1, 1)


def error(x, fmt, scale):
    s = scale.double().numpy().reshape(-1, 1)
    q = codec_np.quantize(fmt, (x / scale.reshape(-1, 1)).numpy()).astype(np.float64)
    return ((q * s - x.double().numpy()) ** 2).sum(1)


@pytest.mark.parametrize("name", FORMATS)
def test_absmax_powers_of_two_never_clip_and_are_the_least(name):
    fmt, x = parse(name), rows()
    scale = solve(x, fmt, "po2", "absmax")
    for row, s in zip(x, scale.tolist(), strict=True):
        reach = Fraction(float(row.abs().max()))
        assert Fraction(s) * fmt.max >= reach > Fraction(s) / 2 * fmt.max
        assert np.frexp(s)[0] == 0.5


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("neighbour", [-1, 0, 1])
def test_exponents_are_decided_exactly_at_the_edge(name, neighbour):
    """At max * 2**k and its float32 neighbours, where a rounded logarithm goes wrong."""
    fmt = parse(name)
    for k in (-20, -1, 0, 3, 11):
        edge = np.float32(float(fmt.max) * 2.0**k)
        if neighbour:
            edge = np.nextafter(edge, np.float32(np.inf if neighbour > 0 else 0))
        found = int(no_clip_exponents(torch.tensor([edge]), fmt))
        assert found == k + (neighbour > 0)


def test_negative_control_rounding_the_logarithm_would_clip():
    """What Brevitas does (round log2): 2.5 into e2m1 is stored as 1.5."""
    fmt, x = parse("e2m1"), torch.tensor([[2.5]])
    rounded = 2.0 ** float(torch.round(torch.log2(x) - torch.log2(torch.tensor(8.0))))
    assert rounded * float(fmt.max) < 2.5
    assert float(solve(x, fmt, "po2", "absmax")) * float(fmt.max) >= 2.5


@pytest.mark.parametrize("name", FORMATS)
def test_mse_powers_of_two_are_the_best_of_those_tried(name):
    fmt, x = parse(name), rows(1)
    top, best = solve(x, fmt, "po2", "absmax"), solve(x, fmt, "po2", "mse")
    tried = [error(x, fmt, top * 2.0**-below) for below in range(EXPONENTS_BELOW + 1)]
    assert np.allclose(error(x, fmt, best), np.min(tried, axis=0), rtol=1e-9)
    assert (torch.frexp(best)[0] == 0.5).all()


@pytest.mark.parametrize("name", FORMATS)
def test_mse_float_scales_beat_absmax_and_powers_of_two(name):
    fmt, x = parse(name), rows(2)
    best = error(x, fmt, solve(x, fmt, "float", "mse"))
    assert (best <= error(x, fmt, solve(x, fmt, "float", "absmax")) * 1.02).all()
    if name.startswith("int") or name == "e0m3":  # a grid search may miss a minifloat's optimum
        assert (best <= error(x, fmt, solve(x, fmt, "po2", "mse")) * 1.02).all()


def test_percentile_ignores_the_outlier():
    x = torch.cat([torch.linspace(-1, 1, 9999), torch.tensor([100.0])]).reshape(1, -1)
    fmt = parse("int8")
    assert float(solve(x, fmt, "float", "percentile", 99.9)) == pytest.approx(1 / 127, rel=2e-3)
    assert float(solve(x, fmt, "float", "percentile", 100)) == pytest.approx(100 / 127)
    assert float(solve(x, fmt, "po2", "percentile", 99.9)) == 2.0**-6


def test_zeros_sparse_rows_and_extremes_still_give_usable_scales():
    fmt = parse("e2m1")
    zeros = torch.zeros(2, 10)
    sparse = torch.zeros(1, 1000)
    sparse[0, 3] = 4.0
    huge = torch.tensor([[3.0e38, -1e-38]])
    tiny = torch.tensor([[1e-44, 0.0]])
    for kind in ("po2", "float"):
        for rule in ("absmax", "percentile", "mse"):
            assert solve(zeros, fmt, kind, rule, 99.0).tolist() == [1, 1]
            assert float(solve(sparse, fmt, kind, rule, 99.0)) <= 1
            for x in (huge, tiny):
                scale = solve(x, fmt, kind, rule, 99.0)
                assert bool((scale >= 2.0**-126).all() and torch.isfinite(scale).all())


def test_unknown_rule():
    with pytest.raises(SpecError, match="'median', allowed: absmax, percentile, mse"):
        solve(torch.ones(1, 1), parse("int4"), "po2", "median")
