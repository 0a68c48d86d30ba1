# SPDX-License-Identifier: Apache-2.0
"""The farm's reference in limbs: against `MacSpec.accumulate` and against rational arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from hwquant.errors import FormatError
from hwquant.formats import codebook
from hwquant.mac import MacSpec, Overflow
from sim import limbs
from sim.kernels import Kernel
from sim.limbs import accumulate, accumulate_all, to_words
from sim.pairs import all_pairs
from sim.rows import beat_words, word_to_int
from sim.vectors import product_passes, stream_passes

FORMATS = ["e7m0", "e6m1", "e5m2", "e4m3fn", "e5m2ieee", "ue5m3", "e2m5", "int8", "uint8"]
WIDTHS = (2, 31, 33, 62, 63, 64, 65, 66, 126, 127, 128, 129, 190, 192, 193, 255, 256, 257, 1024)


def drawn(spec, rng, dots, beats):
    """Return codes (dots, beats, lanes); in every second dot only the two largest magnitudes."""
    operands = []
    for fmt in (spec.weight, spec.act):
        codes = np.array(fmt.codes, np.uint8)
        found = rng.choice(codes, (dots, beats, spec.lanes))
        ends = codes[np.isin(codes, [max(fmt.codes), max(c for c in fmt.codes if c < 128)])]
        found[1::2] = rng.choice(ends, found[1::2].shape)
        operands.append(found)
    return operands


def by_python_integers(spec, weight, act, words):
    flat = len(weight), weight[0].size
    sums = spec.accumulate(weight.reshape(flat), act.reshape(flat))
    return to_words(sums.ravel(), words).reshape(*sums.shape, words)


def words_of(spec):
    return Kernel(spec, "k", 1).out_words


def check(spec, weight, act):
    found = accumulate(spec, weight, act, words_of(spec))
    assert found.dtype == np.uint64
    assert np.array_equal(found, by_python_integers(spec, weight, act, words_of(spec))), spec


@pytest.mark.parametrize("weight", FORMATS)
def test_every_width_and_overflow_equals_accumulate(weight):
    rng = np.random.default_rng(FORMATS.index(weight))
    for act, acc, mode in itertools.product(FORMATS, ("auto", *WIDTHS), Overflow):
        spec = MacSpec(weight, act, int(rng.choice([1, 1, 2, 5])), 100, acc, mode)
        check(spec, *drawn(spec, rng, 4, 16))


def test_kernels_of_all_pairs_with_their_streams():
    """Every kernel beyond 62 bits, with clears in mid-stream, rails, and partial dot products."""
    wide = [spec for spec in all_pairs() if spec.accumulator.width > limbs.NARROW]
    assert len(wide) == 396
    partial = 0
    for spec in wide:
        kernel = Kernel(spec, "k", 2)
        for block in stream_passes(spec, 1, 1200):
            everything = by_python_integers(spec, block.weight, block.act, kernel.out_words)
            sent = np.arange(block.weight.shape[1]) < block.length[:, None]
            assert np.array_equal(beat_words(kernel, block), everything[sent])
            partial += not sent.all()
    assert partial >= len(wide)


def test_many_kernels_at_once_are_as_each_alone():
    """Of all widths, overflows, lanes, numbers of dot products and of beats."""
    rng = np.random.default_rng(3)
    jobs = []
    for weight, act in itertools.product(FORMATS, FORMATS):
        for acc, mode in itertools.product(("auto", 30, 64, 100), Overflow):
            spec = MacSpec(weight, act, int(rng.integers(1, 4)), 100, acc, mode)
            codes = drawn(spec, rng, int(rng.integers(1, 9)), int(rng.integers(1, 40)))
            jobs.append((spec, *codes, words_of(spec)))
    for job, found in zip(jobs, accumulate_all(jobs), strict=True):
        assert np.array_equal(found, by_python_integers(*job))


@pytest.mark.parametrize("mode", list(Overflow))
@pytest.mark.parametrize("name", ["e7m0", "e6m1", "e5m2", "e2m1"])
def test_every_product_of_a_pair(name, mode):
    spec = next(
        s for s in all_pairs() if {str(s.weight), str(s.act)} == {name} and s.overflow == mode
    )
    (block,) = product_passes(spec)
    check(spec, block.weight, block.act)


def value(name: str, code: int) -> Fraction:
    """Return what the code of a signed format means, from the definition of the format."""
    if name.startswith("int"):
        bits = int(name[3:])
        return Fraction(code - (code >> bits - 1 << bits))
    e, m = int(name[1]), int(name[3])
    sign, exponent, mantissa = code >> e + m, code >> m & 2**e - 1, code & 2**m - 1
    significand = Fraction(mantissa, 2**m) + (exponent > 0)
    magnitude = significand * Fraction(2) ** (max(exponent, 1) - (2 ** (e - 1) - 1))
    return -magnitude if sign else magnitude


@pytest.mark.parametrize("mode", list(Overflow))
@pytest.mark.parametrize(
    ("weight", "act"),
    [("e7m0", "e7m0"), ("e6m1", "e7m0"), ("e6m1", "e6m1"), ("e5m2", "e5m2"), ("int8", "e6m1")],
)
def test_rational_arithmetic_has_the_same_sums(weight, act, mode):
    rng = np.random.default_rng([len(weight), mode is Overflow.WRAP])
    exact = MacSpec(weight, act, 2, 64).exact_bits
    lsb = math.prod(
        min(abs(value(name, code)) for code in range(256) if value(name, code))
        for name in (weight, act)
    )
    beyond = 0
    for acc in (exact, exact - 4, 64, 65, 66):
        spec = MacSpec(weight, act, 2, 64, acc, mode)
        half = lsb * 2 ** (acc - 1)
        codes = drawn(spec, rng, 4, 32)
        found = accumulate(spec, *codes, words_of(spec))
        for dot in range(4):
            total = Fraction(0)
            for beat in range(32):
                pairs = zip(codes[0][dot, beat].tolist(), codes[1][dot, beat].tolist(), strict=True)
                total += sum(value(weight, w) * value(act, a) for w, a in pairs)
                free = total
                if mode is Overflow.SATURATE:
                    total = max(-half, min(total, half - lsb))
                else:
                    total -= 2 * half * math.floor((total + half) / (2 * half))
                beyond += total != free
                assert word_to_int(found[dot, beat]) * lsb == total
    assert beyond > 50


def test_a_borrow_runs_through_all_limbs_and_back():
    """Least and least negative product in turn: 1, 0, -1, 0 in 261 bits, and at both rails."""
    for mode in Overflow:
        spec = MacSpec("e7m0", "e7m0", 1, 64, 261, mode)
        act = np.ones((1, 8, 1), np.uint8)
        weight = np.array([1, 129, 129, 1, 129, 129, 1, 1], np.uint8).reshape(1, 8, 1)
        found = accumulate(spec, weight, act, words_of(spec))[0]
        assert [word_to_int(row) for row in found] == [1, 0, -1, 0, -1, -2, -1, 0]
        largest = np.concatenate([np.full((1, 70, 1), 127, np.uint8), weight], axis=1)
        check(spec, largest, np.concatenate([np.full((1, 70, 1), 127, np.uint8), act], axis=1))
        check(spec, largest, np.concatenate([np.full((1, 70, 1), 255, np.uint8), act], axis=1))


def test_many_lanes_meet_in_one_limb():
    rng = np.random.default_rng(0)
    for names in (("e7m0", "int8"), ("uint8", "e6m1"), ("uint8", "uint8")):
        for mode in Overflow:
            spec = MacSpec(*names, 4096, 1 << 20, 129, mode)
            check(spec, *drawn(spec, rng, 2, 2))


@pytest.mark.parametrize("mode", list(Overflow))
def test_significands_that_no_limb_holds(mode):
    """A codebook's integers have up to 24 bits; with a wide partner Python integers take over."""
    rng = np.random.default_rng(1)
    book = codebook([-16777215, -12345677, 0, 1, 9999999], 0)
    for act, lanes, acc in ((book, 5, 70), ("e6m1", 3, 100), ("e7m0", 1, 150)):
        spec = MacSpec(book, act, lanes, 64, acc, mode)
        check(spec, *drawn(spec, rng, 4, 12))


@pytest.mark.parametrize(
    ("weight", "act", "code"),
    [
        ("e4m3fn", "int8", 0x7F),
        ("e5m2ieee", "e7m0", 0xFC),
        ("int4n", "e2m1", 8),
        ("int4", "e2m1", 16),
    ],
)
def test_a_code_without_a_value_is_refused(weight, act, code):
    spec = MacSpec(weight, act, 1, 4, 80)
    codes = np.zeros((1, 4, 1), np.uint8)
    bad = codes.copy()
    bad[0, 2] = code
    for acc in (80, 40):
        spec = MacSpec(weight, act, 1, 4, acc)
        with pytest.raises(FormatError, match=f"code {code} has no value"):
            accumulate(spec, bad, codes, words_of(spec))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_carry", lambda _: None),
        (
            "_add",
            lambda sums, other: [np.add(s, o, out=s) for s, o in zip(sums, other, strict=True)],
        ),
    ],
    ids=["carries stay in their limb", "a sum loses its carries"],
)
def test_a_lost_carry_is_noticed(name, fault, monkeypatch):
    """Negative control: the comparison of this file fails."""
    spec = MacSpec("e6m1", "e6m1", 1, 64, 134, "saturate")
    codes = drawn(spec, np.random.default_rng(2), 8, 32)
    check(spec, *codes)
    monkeypatch.setattr(limbs, name, fault)
    with pytest.raises(AssertionError):
        check(spec, *codes)
