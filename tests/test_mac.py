"""The exact MAC against rational arithmetic written from the format definitions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwquant import codec
from hwquant.errors import FormatError, SpecError
from hwquant.fixed import Fixed, signed_bits
from hwquant.formats import Integer, integers, minifloats, parse
from hwquant.mac import (
    MacSpec,
    Overflow,
    accumulator_range,
    certificate,
    paper_bits,
    product_range,
)

NAMES = (
    "int2 int4 int4n int8 uint1 uint4 uint8 e1m0 e2m1 e3m2 e4m3 e5m2 e7m0 e0m3 "
    "ue2m2 ue4m4 e4m3fn e2m1b-3"
)


def rational(fmt, code: int) -> Fraction:
    """The value of a code, from the textbook definition rather than from our tables."""
    if isinstance(fmt, Integer):
        return Fraction(code - (1 << fmt.bits) if fmt.signed and code >> fmt.bits - 1 else code)
    e, m, bias = fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias
    sign = -1 if fmt.signed and code >> e + m else 1
    exponent, mantissa = code >> m & (1 << e) - 1, code & (1 << m) - 1
    significand = Fraction(mantissa, 1 << m) + (exponent != 0)
    return sign * significand * Fraction(2) ** (max(exponent, 1) - bias)


def draw(spec: MacSpec, shape, rng):
    return rng.choice(spec.weight.codes, shape), rng.choice(spec.act.codes, shape)


@pytest.mark.parametrize("weight", NAMES.split())
@pytest.mark.parametrize("act", NAMES.split())
def test_dot_equals_rational_arithmetic(weight, act):
    rng = np.random.default_rng(1)
    spec = MacSpec(weight, act, lanes=3, length=17)
    w, a = draw(spec, (4, 17), rng)
    unit = Fraction(2) ** -spec.accumulator.frac
    for row, result in enumerate(spec.dot(w, a)):
        pairs = zip(w[row].tolist(), a[row].tolist(), strict=True)
        exact = sum(rational(spec.weight, x) * rational(spec.act, y) for x, y in pairs)
        assert int(result) * unit == exact


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize(
    ("weight", "act"), [("int4", "int4"), ("e2m1", "int8"), ("e7m0", "e7m0"), ("uint4", "ue2m2")]
)
def test_narrow_accumulators_step_by_step(weight, act, overflow):
    rng = np.random.default_rng(2)
    wide = MacSpec(weight, act, lanes=2, length=64)
    spec = MacSpec(weight, act, lanes=2, length=64, acc=wide.exact_bits - 4, overflow=overflow)
    w, a = draw(spec, (3, 64), rng)
    w[0], a[0] = codec.encode(spec.weight, 1e30), codec.encode(spec.act, 1e30)  # hits a rail
    low, high = -(1 << spec.accumulator.width - 1), (1 << spec.accumulator.width - 1) - 1
    running = spec.accumulate(w, a)
    rails = 0
    for row in range(3):
        state = 0
        for beat in range(32):
            for lane in (2 * beat, 2 * beat + 1):
                state += codec.decode(spec.weight, int(w[row, lane])) * codec.decode(
                    spec.act, int(a[row, lane])
                )
            if overflow is Overflow.SATURATE:
                rails += not low <= state <= high
                state = min(max(state, low), high)
            else:
                state = (state - low) % (1 << spec.accumulator.width) + low
            assert int(running[row, beat]) == state
    assert rails > 0 or overflow is Overflow.WRAP


def test_saturation_differs_from_wrap():
    """Negative control: the two overflow rules give different answers where it matters."""
    codes = np.full(64, 7)
    wrap = MacSpec("int4", "int4", length=64, acc=8).dot(codes, codes)
    saturate = MacSpec("int4", "int4", length=64, acc=8, overflow="saturate").dot(codes, codes)
    assert (int(wrap), int(saturate)) == (64, 127)


@pytest.mark.parametrize(
    ("weight", "act", "width", "frac"),
    [
        ("e2m1", "int8", 16, 1),
        ("int4", "int4", 12, 0),
        ("int8", "int8", 20, 0),
        ("e2m1", "e2m1", 13, 2),
        ("e3m2", "e3m2", 23, 8),
        ("e4m3", "e4m3", 41, 18),
        ("e5m2", "e5m2", 71, 32),
    ],
)
def test_accumulator_table_for_16_lanes(weight, act, width, frac):
    assert MacSpec(weight, act, lanes=16).accumulator == Fixed(width, frac)


PAPER = {  # arXiv 2311.12359's two formulas at n = 4608, the largest dot product of ResNet-18
    20: "int3 e2m0 e1m2",
    22: "int4 e2m1",
    24: "int5 e2m2",
    26: "int6 e2m3",
    28: "int7 e3m0",
    30: "int8 e3m1 e2m5",
    32: "e3m2",
    34: "e3m3",
    36: "e3m4",
    46: "e4m1",
    50: "e4m3",
    80: "e5m2",
}


@pytest.mark.parametrize(("bits", "names"), PAPER.items())
def test_paper_formula_table(bits, names):
    for name in names.split():
        assert paper_bits(parse(name), parse(name), 4608) == bits


@given(
    weight=st.sampled_from([*integers(2, 8), *minifloats(2, 6)]),
    act=st.sampled_from([*integers(1, 8, signed=False), *integers(2, 8), *minifloats(2, 6)]),
    length=st.integers(1, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_exact_width_is_enough_and_not_one_bit_more(weight, act, length):
    spec = MacSpec(weight, act, length=length)
    low, high = (end * length for end in product_range(weight, act))
    rails = spec.accumulator
    assert rails.min_int <= min(low, 0) <= max(high, 0) <= rails.max_int
    smaller = Fixed(rails.width - 1, 0)
    assert min(low, 0) < smaller.min_int or max(high, 0) > smaller.max_int


@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_signed_bits(a, b):
    low, high = min(a, b), max(a, b)
    width = signed_bits(low, high)
    assert -(1 << width - 1) <= low <= high < 1 << width - 1
    assert width == 1 or low < -(1 << width - 2) or high >= 1 << width - 2


def test_certificate_is_reached_by_the_worst_input():
    rng = np.random.default_rng(3)
    act = parse("ue2m2")
    weights = rng.integers(-7, 8, (5, 40))
    bias = rng.integers(-100, 100, 5)
    low, high = certificate(weights, act, bias)
    worst = [
        (
            weights[c].clip(max=0).sum() * act.max_int + bias[c],
            weights[c].clip(min=0).sum() * act.max_int + bias[c],
        )
        for c in range(5)
    ]
    unbiased = certificate(weights, act)
    assert low == min(unbiased[0], *(w[0] for w in worst))
    assert high == max(unbiased[1], *(w[1] for w in worst))
    spec_bits = MacSpec("int4n", act, length=40).exact_bits
    assert signed_bits(low, high) <= spec_bits + 1  # bias may add one


def test_certificate_holds_the_sums_before_the_bias_is_added():
    weights, act, bias = np.array([[-8] * 25 + [10] + [0] * 6]), parse("uint1"), 80
    assert certificate(weights, act) == (-200, 10)
    assert certificate(weights, act, bias) == (-200, 90)
    width = signed_bits(*certificate(weights, act, bias))
    assert width == 9
    worst = np.ones(25, int)  # eight bits, the width of the biased sums alone, are too few
    spec = {"weight": "int4", "act": act, "length": 25}
    assert signed_bits(-200 + bias, 10 + bias) == 8
    for bits, holds in ((8, False), (width, True)):
        found = MacSpec(**spec, acc=bits).accumulate(np.full(25, 8), worst)
        assert bool(found.min() == -200) is holds


def test_accumulator_range_is_the_hull_of_zero_and_both_sums():
    assert accumulator_range([(-200, 10)], [80]) == (-200, 90)
    assert accumulator_range([(-200, 10)], [-80]) == (-280, 10)
    assert accumulator_range([(3, 5)], [1]) == (0, 6)
    assert accumulator_range([(-1, 1), (0, 7)], [100, -100]) == (-100, 101)
    with pytest.raises(ValueError, match="shorter"):
        accumulator_range([(0, 1), (0, 1)], [0])


def test_spec_is_hashable_and_accepts_names():
    assert MacSpec("int4", "e2m1", 4) == MacSpec(parse("int4"), parse("e2m1"), 4)
    assert len({MacSpec("int4", "int4", 4), MacSpec("int4", "int4", 4)}) == 1
    assert MacSpec("int4", "int4", 4, 10).beats == 3


@pytest.mark.parametrize(
    "kwargs",
    [
        {"lanes": 0},
        {"lanes": 5000},
        {"lanes": 8, "length": 4},
        {"acc": 1},
        {"acc": 5000},
        {"acc": "wide"},
        {"overflow": "clip"},
    ],
)
def test_impossible_specs(kwargs):
    with pytest.raises(SpecError, match="allowed"):
        MacSpec("int4", "int4", **kwargs)


def test_unknown_format_in_a_spec():
    with pytest.raises(FormatError, match="int44"):
        MacSpec("int44", "int4")


def test_wide_products_stay_exact():
    spec = MacSpec("e7m0", "e7m0", length=2)
    top = parse("e7m0").max_magnitude_code
    assert int(spec.dot([top, top], [top, top])) == 2 * (1 << 126) ** 2
    assert spec.exact_bits == math.ceil(math.log2(2 * 2**252)) + 2
