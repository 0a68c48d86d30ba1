"""Format names, widths and ranges, against enumeration by hand."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest

from hwquant import codec
from hwquant.errors import FormatError
from hwquant.formats import Integer, Minifloat, integers, minifloats, parse

CODEBOOKS_TOO = True


def test_name_round_trips(fmt):
    assert parse(str(fmt)) == fmt
    assert hash(parse(str(fmt))) == hash(fmt)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fmt.bits = 3  # type: ignore[misc]


def test_derived_facts_equal_enumeration(fmt):
    decoded = [codec.decode(fmt, code) for code in fmt.codes]
    assert fmt.max_int == max(decoded)
    assert fmt.min_int == min(decoded)
    assert fmt.max == max(codec.value(fmt, code) for code in fmt.codes)
    assert fmt.min_positive == min(
        codec.value(fmt, c) for c in fmt.codes if codec.decode(fmt, c) > 0
    )
    assert len(set(fmt.codes)) == len(fmt.codes) <= 1 << fmt.bits
    assert fmt.step == Fraction(2) ** fmt.lsb_exp


@pytest.mark.parametrize(
    ("name", "magnitudes"),
    [  # the generic grids, with subnormals and no special codes
        ("e2m1", [0, 0.5, 1, 1.5, 2, 3, 4, 6]),
        ("e3m0", [0, 0.25, 0.5, 1, 2, 4, 8, 16]),
        ("e2m0", [0, 1, 2, 4]),
        ("e1m1", [0, 1, 2, 3]),
        ("e1m2", [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]),
        ("e0m2", [0, 1, 2, 3]),
        ("ue2m1", [0, 0.5, 1, 1.5, 2, 3, 4, 6]),
    ],
)
def test_grid(name, magnitudes):
    fmt = parse(name)
    positive = [code for code in fmt.codes if code < len(magnitudes)]
    assert [codec.value(fmt, code) for code in positive] == magnitudes


@pytest.mark.parametrize(
    ("name", "largest"),
    [("e4m3", 480), ("e4m3fn", 448), ("e5m2ieee", 57344), ("e5m2", 114688), ("e4m3b0", 61440)],
)
def test_largest_value_says_which_e4m3(name, largest):
    assert parse(name).max == largest


def test_bias_is_compared_to_none_never_by_truth():
    assert parse("e4m3b0").exponent_bias == 0
    assert parse("e4m3b7") == parse("e4m3")
    assert str(Minifloat(4, 3, bias=0)) == "e4m3b0"


def test_the_33_formats():
    formats = [*integers(), *minifloats()]
    assert len(formats) == len(set(formats)) == 33
    products = sum(len(w.codes) * len(a.codes) for w in formats for a in formats)
    assert products == 12_787_776


def test_narrow_range_excludes_the_minimum():
    assert 8 not in Integer(4, narrow=True).codes
    assert (parse("int4n").min_int, parse("int4").min_int) == (-7, -8)


@pytest.mark.parametrize(
    "name",
    [
        *("", " e2m1", "int", "e2", "m3", "e2m1x", "E2M1", "int4.5", "-int4"),
        *("int1", "int9", "uint0", "uint9", "uint4n", "e4m4", "e8m0", "ue8m0", "e0m0", "e1m7"),
        *("e4m3b999", "e4m3b-999", "e0m3fn", "e1m1ieee", "e3m0ieee"),
    ],
)
def test_bad_names_say_what_is_allowed(name):
    with pytest.raises(FormatError, match="allowed"):
        parse(name)
