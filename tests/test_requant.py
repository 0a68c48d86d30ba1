# SPDX-License-Identifier: Apache-2.0
"""Requantizers against the scalar codec on exact fractions, exhaustively over accumulators."""

from __future__ import annotations

import dataclasses
import doctest
import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from hwquant import codec, requant, rounding
from hwquant.codec_np import canonical
from hwquant.errors import FormatError, InputError, SpecError
from hwquant.formats import parse
from hwquant.requant import MultiplyShift, RoundPack, Thresholds, code_values

FORMATS = """
    int2 int3 int4 int5 int8 int4n int8n uint1 uint4 uint8 e2m1 ue2m1 ue2m2 e3m0 e2m0 e1m1 e1m0
    e0m3 ue0m4 e3m2 e2m3 e4m3 ue4m3 e5m2 e4m3fn e5m2ieee e6m1 e4m3b4 e3m0fn
""".split()  # noqa: SIM905


def definition(fmt, real):
    """Round one exact number as the codec says, without -0."""
    return int(canonical(fmt, codec.encode(fmt, real)))


def everything(bits):
    return np.arange(-(1 << bits - 1), 1 << bits - 1)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("shift", "bias"), [(3, 5), (0, -3), (-2, 0), (6, 1)])
def test_round_pack_equals_the_codec(name, shift, bias):
    fmt, acc = parse(name), everything(10)
    wanted = [definition(fmt, (a + bias) * fmt.step / Fraction(2) ** shift) for a in acc.tolist()]
    assert np.array_equal(RoundPack(fmt, 10, [bias], [shift]).apply(acc), wanted)


@pytest.mark.parametrize("name", ["e2m1", "e3m2", "e4m3", "e3m0", "int4", "int8", "uint4"])
def test_round_pack_is_exhaustive_over_sixteen_bits(name):
    """Each code is its value's nearest: found by a search over midpoints, not by rounding."""
    fmt, acc = parse(name), everything(16)
    spec = RoundPack(fmt, 16, bias=[37], shift=[5])
    levels = code_values(fmt)
    steps = [v / fmt.step for v, _ in levels]
    # Twice the distance in units of 2**-6 steps is an integer, so this search is exact.
    points = np.array([int(s * 64) for s in steps])
    x = (acc + 37) * 2
    above = np.clip(np.searchsorted(points, x), 1, len(points) - 1)
    low, high = x - points[above - 1], points[above] - x
    tie = [definition(fmt, (a + b) / 2) for (a, _), (b, _) in itertools.pairwise(levels)]
    codes = np.array([code for _, code in levels])
    wanted = np.where(low < high, codes[above - 1], codes[above])
    wanted = np.where(low == high, np.array(tie)[above - 1], wanted)
    assert np.array_equal(spec.apply(acc), wanted)


def test_per_channel_shift_and_bias():
    fmt = parse("e2m1")
    spec = RoundPack(fmt, 9, bias=[0, 100, -7, 3], shift=[1, 4, -1, 6])
    acc = np.repeat(everything(9)[:, None], 4, axis=1)
    got = spec.apply(acc)
    for channel, (bias, shift) in enumerate(zip(spec.bias, spec.shift, strict=True)):
        alone = RoundPack(fmt, 9, [bias], [shift]).apply(everything(9))
        assert np.array_equal(got[:, channel], alone)


@pytest.mark.parametrize("bits", [45, 61, 62, 80, 200])
@pytest.mark.parametrize("name", ["e4m3", "int8", "e7m0"])
def test_wide_accumulators(name, bits):
    fmt, rng = parse(name), random.Random(bits)
    shift = max(bits - fmt.max_int.bit_length() - 1, 3)
    spec = RoundPack(fmt, bits, [-(1 << bits - 3) + 1], [shift])
    acc = [rng.getrandbits(bits - 1) >> rng.randrange(bits) for _ in range(100)]
    acc += [-a for a in acc] + [(1 << bits - 1) - 1, -(1 << bits - 1), 0]
    wanted = [definition(fmt, (a + spec.bias[0]) * fmt.step / 2**shift) for a in acc]
    assert spec.apply(np.array(acc, object)).tolist() == wanted


def test_powers_of_two_are_taken_from_values():
    spec = RoundPack.of("e2m1", 12, unit=[Fraction(1, 64), 0.5], scale=0.25, bias=[0.5, -3])
    assert spec.bias == (32, -6)
    for channel, (unit, bias) in enumerate(((Fraction(1, 64), 0.5), (Fraction(1, 2), -3))):
        acc = everything(12)
        fmt = spec.fmt
        wanted = [definition(fmt, (a * unit + Fraction(bias)) * 4) for a in acc.tolist()]
        got = spec.apply(np.stack([acc, acc], 1))[:, channel]
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("relu", [False, True])
def test_thresholds_equal_the_codec(name, relu):
    fmt, acc = parse(name), everything(9)
    units = [Fraction(1, 8), Fraction(-3, 7), 0.1, 0, -1]
    biases = [0, Fraction(1, 2), -0.3, 1.25, Fraction(1, 4)]
    spec = Thresholds.of(fmt, 9, unit=units, scale=Fraction(3, 2), bias=biases, relu=relu)
    got = spec.apply(np.repeat(acc[:, None], 5, axis=1))
    for channel, (unit, bias) in enumerate(zip(units, biases, strict=True)):
        real = [(a * Fraction(unit) + Fraction(bias)) / Fraction(3, 2) for a in acc.tolist()]
        wanted = [definition(fmt, max(x, Fraction(0)) if relu else x) for x in real]
        assert np.array_equal(got[:, channel], wanted)


@pytest.mark.parametrize("name", ["e2m1", "e4m3", "int8"])
def test_thresholds_equal_round_pack_over_sixteen_bits(name):
    acc = everything(16)
    unit = Fraction(1, 64)
    thresholds = Thresholds.of(name, 16, unit=unit, bias=unit * 11)
    assert np.array_equal(
        thresholds.apply(acc), RoundPack.of(name, 16, unit=unit, bias=unit * 11).apply(acc)
    )


def test_any_monotone_function_becomes_thresholds():
    fmt = parse("e3m2")
    levels = code_values(fmt)
    index = {code: n for n, (_, code) in enumerate(levels)}
    codes = [code for _, code in levels]

    def cube(acc, channel):
        return index[definition(fmt, Fraction(acc**3 * (1 - 2 * channel), 1 << 16))]

    spec = Thresholds.of_function(codes, cube, 9, channels=2)
    got = spec.apply(np.repeat(everything(9)[:, None], 2, axis=1))
    for acc, row in zip(everything(9).tolist(), got.tolist(), strict=True):
        assert row == [codes[cube(acc, 0)], codes[cube(acc, 1)]]
    wide = Thresholds.of_function((0, 1), lambda acc, _: int(acc >= 12345678901234567890), 100)
    assert wide.thresholds == ((12345678901234567890,),)


@pytest.mark.parametrize("name", ["int8", "int4n", "uint8", "e4m3", "e2m1"])
def test_multiply_shift_equals_the_codec(name):
    fmt, acc = parse(name), everything(10)
    spec = MultiplyShift(fmt, 10, mult=[77, -300, 0], bias=[5, -1000, 64], shift=7)
    got = spec.apply(np.repeat(acc[:, None], 3, axis=1))
    for channel, (mult, bias) in enumerate(zip(spec.mult, spec.bias, strict=True)):
        wanted = [definition(fmt, (a * mult + bias) * fmt.step / 128) for a in acc.tolist()]
        assert np.array_equal(got[:, channel], wanted)


def test_multiply_shift_from_scales_is_nearest_or_exact():
    exact = MultiplyShift.of("int8", 16, unit=[Fraction(3, 64), Fraction(-5, 16)], bias=0.25)
    assert exact.factors == (Fraction(3, 64), Fraction(-5, 16))
    assert exact.mult == (3, -20)
    rounded = MultiplyShift.of("e2m1", 16, unit=[0.1, 0.003], mult_bits=12, bias=1 / 3)
    assert rounded.mult_bits == 12
    for factor, unit in zip(rounded.factors, (0.1, 0.003), strict=True):
        assert abs(factor - Fraction(unit) * 2) <= Fraction(1, 1 << rounded.shift + 1)
    assert MultiplyShift.of("int8", 16, unit=0, bias=2).apply([5]).tolist() == [2]
    huge = MultiplyShift.of("int8", 16, unit=2**40, mult_bits=8)
    assert huge.apply([1, -1, 0]).tolist() == [127, 128, 0]


def test_minus_zero_is_never_emitted():
    for spec in (RoundPack("e2m1", 8, [0], [6]), Thresholds.of("e2m1", 8, unit=Fraction(1, 256))):
        codes = spec.apply(everything(8))
        assert 8 not in codes
        assert 0 in codes


@pytest.mark.parametrize(
    ("acc", "said"),
    [
        ([1.0], "float64, allowed: integers"),
        ([128], "do not fit 8 bits"),
        ([[1, 2, 3]], "needed 2 channels"),
        (5, "needed 2 channels"),
    ],
)
def test_bad_accumulators_are_refused(acc, said):
    with pytest.raises(InputError, match=said):
        RoundPack("int4", 8, bias=[0, 0] if said.startswith("needed") else [0]).apply(acc)


BAD = {
    "accumulator of 1 bits": lambda: RoundPack("int4", 1),
    "shift has 2 entries": lambda: RoundPack("int4", 8, [0, 0, 0], [1, 2]),
    "shift 0..2000": lambda: RoundPack("int4", 8, [0, 0], [0, 2000]),
    "no power of two": lambda: RoundPack.of("int4", 8, unit=3),
    "no multiple": lambda: RoundPack.of("int4", 8, bias=0.5),
    "bias has 2 entries": lambda: RoundPack.of("int4", 8, unit=[1, 1, 1], bias=[0, 0]),
    "multiplier of 34 bits": lambda: MultiplyShift("int4", 8, [1 << 32]),
    "mult has 2 entries": lambda: MultiplyShift("int4", 8, [1, 2], [1, 2, 3]),
    "mult_bits 1": lambda: MultiplyShift.of("int4", 8, unit=1, mult_bits=1),
    "ascending": lambda: Thresholds((0, 1, 2), ((5, 4),), 8),
    "has 1 thresholds": lambda: Thresholds((0, 1, 2), ((5,),), 8),
    "thresholds 0..129": lambda: Thresholds((0, 1, 2), ((0, 129),), 8),
    "1 codes": lambda: Thresholds((0,), ((),), 8),
    "falling": lambda: Thresholds((0, 1), ((0,),), 8, frozenset([1])),
    "positive": lambda: Thresholds.of("int4", 8, scale=0),
    "0 channels": lambda: Thresholds((0, 1), (), 8),
}


@pytest.mark.parametrize("said", BAD)
def test_impossible_requantizers_are_refused(said):
    with pytest.raises(SpecError, match=said):
        BAD[said]()
    with pytest.raises(FormatError):
        RoundPack("int99", 8)


def test_a_wrong_tie_is_noticed():
    """Negative control: one threshold of a tie moved by one must differ from the codec."""
    spec = Thresholds.of("e2m1", 8, unit=Fraction(1, 8))
    row = list(spec.thresholds[0])
    row[-1] += 1
    moved = dataclasses.replace(spec, thresholds=(tuple(row),))
    wanted = [definition(parse("e2m1"), Fraction(a, 8)) for a in everything(8).tolist()]
    assert np.array_equal(spec.apply(everything(8)), wanted)
    assert (moved.apply(everything(8)) != wanted).sum() == 1


@pytest.mark.parametrize("module", [requant, rounding])
def test_docstrings(module):
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
