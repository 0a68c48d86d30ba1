# SPDX-License-Identifier: Apache-2.0
"""Exact tensors against rational arithmetic, the scalar codec and torch's float64 convolutions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from hwquant import codec, codec_np
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.graph import exact, matmul
from hwquant.graph.exact import Exact, Real

FORMATS = ("int4", "int4n", "uint3", "e2m1", "ue2m2", "e0m3", "e3m0", "e4m3", "e4m3fn", "e2m1b4")


def fractions(x: Exact) -> list[Fraction]:
    axis = 0 if x.axis is None else x.axis
    ints = np.moveaxis(x.ints, axis, 0) if x.axis is not None else x.ints[None]
    scales = x.scale
    parts = [[int(i) * s for i in row.ravel()] for row, s in zip(ints, scales, strict=True)]
    return [f for row in parts for f in row]


def test_constant_is_exact_for_every_kind_of_float32():
    values = np.array([0.0, -0.0, 1.5, -3.25e-20, 7e30, 2.0**-149, 2.0**-126, 1 / 3], np.float32)
    assert fractions(exact.constant(values)) == [Fraction(float(v)) for v in values]


@pytest.mark.parametrize("seed", range(4))
def test_sums_and_scalings_equal_rational_arithmetic(seed):
    rng = np.random.default_rng(seed)
    big = 1 << rng.integers(3, 60).item()
    a = Exact(rng.integers(-big, big, (3, 4)), (Fraction(3, 8), Fraction(1, 7), Fraction(5)), 0)
    b = Exact(rng.integers(-9, 9, (3, 4)), (Fraction(1, 1024),))
    scale_a = np.repeat(np.array(a.scale, dtype=object), 4)
    want = [
        int(x) * s + int(y) * b.scale[0]
        for x, s, y in zip(a.ints.ravel(), scale_a, b.ints.ravel(), strict=True)
    ]
    assert fractions(exact.add(a, b)) == want
    factors = (Fraction(1, 3), Fraction(2), Fraction(1, 9))
    scaled = exact.times(a, factors, 0)
    assert fractions(scaled) == [
        f * g for f, g in zip(fractions(a), np.repeat(np.array(factors, object), 4), strict=True)
    ]
    assert scaled.reals().ravel().tolist() == [
        f.numerator / f.denominator for f in fractions(scaled)
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(7, 3), Fraction(1, 1 << 9), Fraction(40)])
def test_quantize_equals_the_scalar_codec_on_every_integer(name, ratio):
    fmt = parse(name)
    ints = np.arange(-3000, 3000)
    x = Exact(ints, (Fraction(1, 8),))
    scale = ratio / 8
    got = exact.quantize(x, fmt, (scale,), None, "x")
    want = [codec.encode(fmt, Fraction(int(i)) / ratio) for i in ints]
    assert np.array_equal(got, codec_np.canonical(fmt, want))


def test_quantize_per_channel_and_on_python_integers():
    fmt = parse("e3m2")
    ints = np.array([[1 << 70, -5, 3], [9, 1 << 66, 0]], dtype=object)
    x = Exact(ints, (Fraction(1, 1 << 60), Fraction(3, 1 << 66)), 0)
    scale = (Fraction(5, 16), Fraction(1, 3))
    got = exact.quantize(x, fmt, scale, 0, "x")
    want = [
        [codec.encode(fmt, int(i) * s / q) for i in row]
        for row, s, q in zip(ints, x.scale, scale, strict=True)
    ]
    assert np.array_equal(got, codec_np.canonical(fmt, want))


def test_a_shifted_threshold_would_be_seen():
    fmt = parse("e2m1")
    ints = np.arange(-100, 100)
    right = exact.quantize(Exact(ints, (Fraction(1),)), fmt, (Fraction(8),), None, "x")
    wrong = exact.quantize(Exact(ints + 1, (Fraction(1),)), fmt, (Fraction(8),), None, "x")
    assert not np.array_equal(right, wrong)


def test_nan_in_a_float_tensor_names_it():
    with pytest.raises(InputError, match="features"):
        exact.quantize(Real(np.array([np.nan])), parse("int4"), (Fraction(1),), None, "features")


@pytest.mark.parametrize("bits", [8, 26, 30, 45, 100])
def test_matmul_is_exact_at_every_width(bits):
    rng = np.random.default_rng(bits)

    def integers(*shape):
        flat = [int(v) for v in rng.integers(-(1 << 30), 1 << 30, int(np.prod(shape)))]
        wide = [v << bits >> 30 for v in flat]
        dtype = object if bits > 60 else np.int64
        return np.array(wide, dtype=dtype).reshape(shape)

    a, b = integers(2, 5, 300), integers(2, 300, 3)
    want = a.astype(object) @ b.astype(object)
    assert np.array_equal(matmul.matmul(a, b).astype(object), want)
    b[1, 7, 2] += 1
    assert not np.array_equal(matmul.matmul(a, b).astype(object), want)


CONVS = [
    ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}),
    ((2, 4, 7, 6), (4, 1, 3, 3), {"stride": 1, "padding": 1, "dilation": 1, "groups": 4}),
    ((1, 3, 9, 8), (5, 3, 3, 2), {"stride": 2, "padding": 2, "dilation": 2, "groups": 1}),
]


@pytest.mark.parametrize(("x", "w", "options"), CONVS)
def test_convolutions_equal_torch(x, w, options):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-99, 99, x), rng.integers(-99, 99, w)
    rank = len(x) - 2
    names = ("stride", "dilation", "padding")
    stride, dilation, pad = ((options[n],) * rank for n in names)
    window = matmul.Window(stride, dilation, tuple((p, p) for p in pad), options["groups"])
    ta, tb = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    run = torch.nn.functional.conv1d if rank == 1 else torch.nn.functional.conv2d
    want = run(ta, tb, **options).numpy()
    got = matmul.conv(a, b, window)
    assert got.shape == matmul.conv_shape(x, w, window)
    assert np.array_equal(got, want)


@pytest.mark.parametrize(
    ("stride", "pad", "dilation", "groups", "extra"),
    [(2, 1, 1, 1, 1), (1, 0, 2, 2, 0), (3, 2, 1, 2, 2), (2, 2, 1, 1, 0)],
)
def test_transposed_convolutions_equal_torch(stride, pad, dilation, groups, extra):
    rng = np.random.default_rng(1)
    a, b = rng.integers(-9, 9, (2, 4, 5, 6)), rng.integers(-9, 9, (4, 3, 3, 2))
    window = matmul.Window((stride,) * 2, (dilation,) * 2, ((pad, pad),) * 2, groups, (extra,) * 2)
    want = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(a).double(),
        torch.from_numpy(b).double(),
        stride=stride,
        padding=pad,
        dilation=dilation,
        groups=groups,
        output_padding=extra,
    ).numpy()
    got = matmul.conv_transpose(a, b, window)
    assert got.shape == matmul.conv_transpose_shape(a.shape, b.shape, window)
    assert np.array_equal(got, want)
