# SPDX-License-Identifier: Apache-2.0
"""Codebook formats: values, names and rounding, restated from their definition.

The generic suites (test_formats, test_codec, test_nn_kernel) also run on codebooks.
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwquant
from hwquant import MacSpec, codec, codec_np
from hwquant.errors import FormatError, SpecError
from hwquant.formats import Codebook, Power, parse
from hwquant.ptq.recipe import Recipe, signed_of, unsigned_of
from hwquant.requant import MultiplyShift, RoundPack, Thresholds

POWERS = [
    *("pow4a0.75f6", "pow4a0.75f0", "upow4a0.75f6", "pow3a0.5f2", "pow8a0.5f0", "upow8a0.37f0"),
    *("pow5a1.25f8", "pow2a2f4", "upow1a3f0", "pow4a1f6", "pow6a0.999f10", "upow3a2f12"),
]
NF4 = "cb4f7_-128_-89_-67_-51_-36_-24_-12_0_10_21_32_43_56_72_93_128"

books = st.builds(
    lambda values, positive, fraction: Codebook(tuple(sorted({*values, 0, positive})), fraction),
    st.sets(st.integers(-(2**24) + 1, 2**24 - 1), max_size=120)
    | st.sets(st.integers(-40, 40), max_size=20).map(lambda s: s | {-v for v in s}),
    st.integers(1, 40),
    st.integers(0, 24),
)


def correctly_rounded(value: int, q: int, exponent: Fraction, fraction_bits: int) -> bool:
    """Whether ``value`` is the nearest integer to ``q**(1/exponent) * 2**fraction_bits``.

    With exponent n/d:  |value - root| < 1/2  <=>  (2 value - 1)^n < q^d 2^(n (f + 1)) <
    (2 value + 1)^n, in integers.
    """
    n, d = exponent.numerator, exponent.denominator
    middle = q**d * 2 ** (n * (fraction_bits + 1))
    lower = (2 * value - 1) ** n if value else 0
    return lower <= middle < (2 * value + 1) ** n and (lower < middle or q == 0)


@pytest.mark.parametrize("name", POWERS)
def test_powers_are_correctly_rounded_roots(name):
    fmt = parse(name)
    assert isinstance(fmt, Power)
    assert str(fmt) == name
    sign = 1 << fmt.bits - 1
    for code in fmt.codes:
        q = code & (sign - 1) if fmt.signed else code
        value = codec.decode(fmt, code)
        assert correctly_rounded(abs(value), q, fmt.exponent, fmt.fraction_bits)
        assert value <= 0 if fmt.signed and code & sign else value >= 0
    assert len(fmt.codes) == 1 << fmt.bits


def test_the_check_of_rounding_notices_one_step():
    """Negative control."""
    fmt = parse("pow4a0.75f6")
    for q in range(1, 8):
        for wrong in (-1, 1):
            value = codec.decode(fmt, q) + wrong
            assert not correctly_rounded(value, q, fmt.exponent, fmt.fraction_bits)


def test_integers_are_the_power_one():
    assert Power(4, "1", 0).integers == tuple(range(-7, 8))
    assert parse("pow4a1f0") != parse("e0m3"), "equal values, another name"
    assert parse("pow4a0.750f6") == parse("pow4a0.75f6")


@settings(deadline=None)
@given(books)
def test_any_codebook_has_one_code_for_each_value_and_a_name(fmt):
    assert parse(str(fmt)) == fmt
    assert hash(parse(str(fmt))) == hash(fmt)
    decoded = {code: codec.decode(fmt, code) for code in fmt.codes}
    values = set(fmt.integers)
    assert set(decoded.values()) == values
    assert decoded[0] == 0
    assert max(fmt.codes) < 1 << fmt.bits
    assert len(fmt.integers) > 1 << fmt.bits - 1, "no bit too many"
    if {-v for v in values} == values:  # a sign bit, and a -0
        sign = 1 << fmt.bits - 1
        assert fmt.sign_magnitude
        assert all(decoded[code | sign] == -decoded[code] for code in decoded if code < sign)
        assert len(decoded) == len(values) + 1
    else:
        # Codes read as two's complement around the zero ascend with the values.
        negative = sum(v < 0 for v in values)
        by_rank = [
            decoded[rank % (1 << fmt.bits)] for rank in range(-negative, len(values) - negative)
        ]
        assert tuple(by_rank) == fmt.integers
        assert len(decoded) == len(values)


@settings(deadline=None)
@given(books, st.data())
def test_encode_is_the_nearest_value_and_a_tie_has_even_rank(fmt, data):
    pairs = list(zip(fmt.integers, fmt.integers[1:], strict=False))
    low, high = data.draw(st.sampled_from(pairs))
    middle = Fraction(low + high, 2) * fmt.step
    rank = fmt.integers.index(high) - fmt.integers.index(0)
    winner = high if rank % 2 == 0 else low
    assert codec.decode(fmt, codec.encode(fmt, middle)) == winner
    assert codec.decode(fmt, int(codec_np.encode(fmt, float(middle)))) == winner
    for end, expected in ((-math.inf, low), (math.inf, high)):
        beside = math.nextafter(float(middle), end)
        assert codec.decode(fmt, codec.encode(fmt, beside)) == expected
        assert codec.decode(fmt, int(codec_np.encode(fmt, beside))) == expected
    x = data.draw(st.floats(-(2.0**26), 2.0**26, width=32))
    exact = Fraction(x) / fmt.step
    found = codec.decode(fmt, codec.encode(fmt, x))
    assert abs(found - exact) == min(abs(v - exact) for v in fmt.integers)
    assert codec_np.encode(fmt, x) == codec.encode(fmt, x)


def test_ties_agree_with_integers_and_minifloats_of_the_same_values():
    for name in ("int4", "e2m1", "uint3", "e0m3", "ue2m2"):
        fmt = parse(name)
        values = {codec.decode(fmt, code) for code in fmt.codes}
        same = Codebook(tuple(sorted(values)), -fmt.lsb_exp)
        x = np.arange(-40, 41) / 8
        np.testing.assert_array_equal(codec_np.encode(same, x), codec_np.encode(fmt, x))
        np.testing.assert_array_equal(same.codes, fmt.codes)


def test_the_list_may_be_floats_in_any_order():
    """The 4-bit normal float of arXiv 2305.14314, from its definition."""
    ends = 0.5 * ((1 - 1 / 32) + (1 - 1 / 30))
    positive = [NormalDist().inv_cdf(p) for p in np.linspace(ends, 0.5, 9)[:-1].tolist()]
    negative = [-NormalDist().inv_cdf(p) for p in np.linspace(ends, 0.5, 8)[:-1].tolist()]
    largest = max(positive)
    fmt = hwquant.codebook([x / largest for x in (*positive, 0.0, *negative)], 7)
    assert str(fmt) == NF4
    assert (fmt.bits, fmt.signed, fmt.sign_magnitude) == (4, True, False)
    assert hwquant.codebook([Fraction(1, 3), 0, 1], 1).integers == (0, 1, 2)


def test_half_steps_of_a_list_go_to_the_even_integer():
    with pytest.raises(FormatError, match=r"0 and 0\.5 are both 0 steps"):
        hwquant.codebook([0, 0.5], 0)
    assert hwquant.codebook([0, 1.5, 2.75], 0).integers == (0, 2, 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: hwquant.codebook([], 2), "0 values, allowed 2..256"),
        (lambda: hwquant.codebook([0], 2), "1 values, allowed 2..256"),
        (lambda: hwquant.codebook([0, math.nan], 2), "value nan, allowed: finite"),
        (lambda: hwquant.codebook([0, math.inf], 2), "value inf, allowed: finite"),
        (lambda: hwquant.codebook([0, 1, 1], 2), "both 4 steps"),
        (lambda: hwquant.codebook(range(257), 0), "257 values, allowed 2..256"),
        (lambda: hwquant.codebook([1, 2], 0), "0 and a positive value"),
        (lambda: hwquant.codebook([-1, 0], 0), "0 and a positive value"),
        (lambda: hwquant.codebook([0, 2**24], 0), "fewer fraction bits"),
        (lambda: hwquant.codebook([0, 1], 25), "allowed 0..24"),
        (lambda: Codebook((0, 2, 1), 0), "2 stands before 1"),
        (lambda: Codebook((0, 1, 1), 0), "1 stands twice"),
        (lambda: parse("cb3f0_0_1"), "allowed: cb1f0_"),
        (lambda: parse("cb1f0_1_0"), "ascending"),
        (lambda: parse("cb1f0_0"), "unknown"),
        (lambda: parse("pow4a0f2"), "exponent 0"),
        (lambda: parse("pow4a17f2"), "allowed above 0 up to 16"),
        (lambda: parse("pow4a0.1234f2"), "at most 3 decimals"),
        (lambda: parse("pow9a1f2"), "9 bits, allowed 2..8"),
        (lambda: parse("pow1a1f2"), "1 bits, allowed 2..8"),
        (lambda: parse("upow0a1f2"), "0 bits, allowed 1..8"),
        (lambda: parse("pow4a1f25"), "allowed 0..24"),
        (lambda: parse("pow8a2f2"), "equal when rounded"),
        (lambda: parse("pow8a0.1f2"), "exceeds"),
        (lambda: parse("pow4"), "unknown"),
    ],
)
def test_bad_codebooks_say_what_is_allowed(make, said):
    with pytest.raises(FormatError, match=said):
        make()


def test_sums_and_the_accumulator_law_are_exact():
    spec = MacSpec("pow4a0.75f6", NF4, lanes=3, length=30)
    assert spec.accumulator.frac == 13
    w, a = (
        codec_np.decode(spec.weight, spec.weight.codes),
        codec_np.decode(spec.act, spec.act.codes),
    )
    most = int(np.abs(np.outer(w, a)).max()) * spec.length
    assert spec.exact_bits == most.bit_length() + 1
    rng = np.random.default_rng(0)
    codes = [rng.choice(fmt.codes, (5, 30)) for fmt in (spec.weight, spec.act)]
    values = [
        [[codec.value(fmt, int(c)) for c in row] for row in block]
        for fmt, block in zip((spec.weight, spec.act), codes, strict=True)
    ]
    exact = [sum(x * y for x, y in zip(*rows, strict=True)) for rows in zip(*values, strict=True)]
    unit = spec.weight.step * spec.act.step
    np.testing.assert_array_equal(spec.dot(*codes), [int(x / unit) for x in exact])


def test_signed_and_unsigned_twins():
    power = parse("pow4a0.75f6")
    assert unsigned_of(power) == parse("upow4a0.75f6")
    assert signed_of(parse("upow4a0.75f6")) == power
    assert unsigned_of(parse(NF4)) == parse(NF4), "a list has no twin"
    assert signed_of(parse("cb1f0_0_5")) == parse("cb2f0_-5_0_5")
    assert unsigned_of(parse("pow8a0.37f0")) == parse("upow8a0.37f0")
    with pytest.raises(FormatError, match="399 values"):
        signed_of(hwquant.codebook(range(200), 0))


def test_recipes_take_codebooks():
    recipe = Recipe("pow4a0.75f6", hwquant.codebook([0, 1, 3, -2], 0))
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert recipe.to_dict()["act"] == "cb2f0_-2_0_1_3"
    with pytest.raises(SpecError, match="unsigned"):
        Recipe("upow4a0.75f6", "int8")


def test_requantizers_reach_a_codebook_by_thresholds_only():
    fmt = parse("pow4a0.75f6")
    unit = Fraction(1, 8)
    thresholds = Thresholds.of(fmt, 12, unit=unit)
    acc = np.arange(-2048, 2048)
    expected = codec_np.canonical(fmt, codec_np.encode(fmt, acc / 8))
    np.testing.assert_array_equal(thresholds.apply(acc), expected)
    for kind in (RoundPack, MultiplyShift):
        with pytest.raises(SpecError, match="use Thresholds"):
            kind.of(fmt, 12, unit=unit)
