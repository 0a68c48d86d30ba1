# SPDX-License-Identifier: Apache-2.0
"""Packed multiplication: how many products fit, and that every field is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hw.packing import DSP58, Range, multiplicand, pack
from hwquant.errors import SpecError
from hwquant.formats import integers, minifloats, parse

COUNTS = {
    "int2": (9, 4), "int3": (6, 7), "int4": (4, 11), "int5": (4, 10), "int6": (2, 20),
    "int7": (2, 19), "int8": (2, 18), "int4:int8": (2, 22), "e2m1": (9, 4), "e3m2": (6, 7),
    "e4m3": (4, 11), "e3m4": (4, 10), "e2m1:int4": (6, 7),
}  # fmt: skip
"""Products of a DSP48E2 and the widest stride, from the reference study (its section 6)."""


def layout_of(name, **options):
    weight, _, act = name.partition(":")
    return pack(multiplicand(parse(weight)), multiplicand(parse(act or weight)), **options)


@pytest.mark.parametrize("name", COUNTS)
def test_products_and_strides_of_the_study(name):
    layout = layout_of(name)
    assert (layout.count, layout.stride) == COUNTS[name]


@pytest.mark.parametrize(("name", "count"), [("int2", 12), ("int3", 6), ("e2m1", 12)])
def test_the_larger_slice(name, count):
    assert layout_of(name, ports=DSP58).count == count


def operands(rng, values, others, rows):
    """Return rows of operands with every pair in the first place once, ends beside it."""
    ends = np.array([values.min(), values.max(), 0])
    pool = np.where(rng.random((rows, others)) < 0.5, rng.choice(ends, (rows, others)),
                    rng.choice(values, (rows, others)))  # fmt: skip
    return np.array(pool, np.int64)


def fields(layout, word):
    """Return the fields of a vector of words, as `Layout.fields` does."""
    found = []
    for index in range(layout.count):
        low = index * layout.stride
        value = word >> low & (1 << layout.stride) - 1
        if layout.signed:
            value = value - ((value >> layout.stride - 1) << layout.stride)
            value = value + (word >> low - 1 & 1) if index else value
        found.append(value)
    return found


FORMATS = [str(fmt) for fmt in (*integers(2, 8), *minifloats(3, 8))]
UNSIGNED = ["uint2", "uint4", "uint8", "ue2m2"]


@pytest.mark.parametrize(
    "name",
    [
        "int2",
        "int3",
        "int4",
        "int5",
        "int8",
        "int4:int8",
        "e2m1:int4",
        "int4:uint4",
        "int8:uint8",
        "uint4",
        "e4m3",
        "e2m1",
        "e3m2:int3",
    ],
)
def test_every_pair_in_every_field(name):
    """All pairs of multiplicands in every place, the operands beside it at their ends or random."""
    layout, rng = layout_of(name), np.random.default_rng(4)
    left, right = (
        np.arange(r.low, r.high + 1)
        for r in (multiplicand(parse(n)) for n in (*name.split(":"), name)[:2])
    )
    pairs = np.array(list(itertools.product(left, right)))
    for i, j in itertools.product(range(layout.weights), range(layout.acts)):
        for _ in range(3):
            w = operands(rng, left, layout.weights, len(pairs))
            a = operands(rng, right, layout.acts, len(pairs))
            w[:, i], a[:, j] = pairs[:, 0], pairs[:, 1]
            words = (w << np.arange(layout.weights) * layout.weight_step).sum(1) * (
                a << np.arange(layout.acts) * layout.act_step
            ).sum(1)
            assert np.array_equal(words, words << 16 >> 16), "48 bits"
            got = fields(layout, words)
            for k, n in itertools.product(range(layout.weights), range(layout.acts)):
                assert np.array_equal(got[layout.field(k, n)], w[:, k] * a[:, n])
    row = layout.fields(layout.multiply(w[0].tolist(), a[0].tolist()))
    assert list(row) == [int(field[0]) for field in got]


@pytest.mark.parametrize(
    ("weight", "act"), itertools.product(FORMATS[::4], FORMATS[1::5] + UNSIGNED)
)
def test_any_pair_of_formats_has_a_layout(weight, act):
    """Corners of every operand set fit the ports and come out exactly."""
    left, right = multiplicand(parse(weight)), multiplicand(parse(act))
    layout = pack(left, right)
    for w in itertools.product((left.low, left.high), repeat=min(layout.weights, 6)):
        for a in itertools.product((right.low, right.high), repeat=min(layout.acts, 6)):
            w_, a_ = (list(w) + [left.low] * 9)[: layout.weights], list(a)
            a_ = (a_ + [right.low] * 9)[: layout.acts]
            packed = [
                sum(x << k * step for k, x in enumerate(values))
                for values, step in ((w_, layout.weight_step), (a_, layout.act_step))
            ]
            wide, narrow = packed if layout.weights_wide else packed[::-1]
            assert -(1 << 26) <= wide < 1 << 26
            assert -(1 << 17) <= narrow < 1 << 17
            found = layout.fields(layout.multiply(w_, a_))
            for i, j in itertools.product(range(layout.weights), range(layout.acts)):
                assert found[layout.field(i, j)] == w_[i] * a_[j]


def test_sums_in_the_slice():
    """Two int4 dot products of 256, whole, in the fields of one slice."""
    layout, rng = layout_of("int4", terms=256), np.random.default_rng(2)
    assert (layout.weights, layout.acts, layout.stride) == (2, 1, 22)
    for w in ([-8, -8], [-8, 7], None):
        words, sums = 0, [0, 0]
        for _ in range(256):
            pair = rng.integers(-8, 8, 2).tolist() if w is None else w
            words += layout.multiply(pair, [-8])
            sums = [s + x * -8 for s, x in zip(sums, pair, strict=True)]
        assert list(layout.fields(words)) == sums


def test_without_the_borrow_it_is_wrong():
    """Negative control: fields read as they stand are one too small above a negative one."""
    layout = layout_of("int4")
    word = layout.multiply([-1, 3], [1, 0])
    raw = word >> layout.stride * layout.field(1, 0) & (1 << layout.stride) - 1
    assert raw == 3 * 1 - 1
    assert layout.fields(word)[layout.field(1, 0)] == 3


def test_the_most_negative_code_counts():
    """Two int8 19 bits apart have 27 digits, and do not fit."""
    assert Range(-128, 127).packed(2, 18).bits == 27
    assert Range(-128, 127).packed(2, 19).bits == 28


def test_what_does_not_fit_is_refused():
    with pytest.raises(SpecError, match=r"no 3 x any products of -128\.\.127"):
        layout_of("int8", weights=3)
    with pytest.raises(SpecError, match="fit a 27 x 18 multiplier"):
        pack(Range(0, 1 << 30), Range(0, 1))
