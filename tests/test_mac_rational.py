# SPDX-License-Identifier: Apache-2.0
"""The MAC against rational arithmetic that shares nothing with it but the names of the formats.

Here a name is read, a code is given its value and a dot product is added up anew, in
`fractions.Fraction`, from the definitions: sign, exponent field, bias and significand of IEEE 754
and of the OCP 8-bit formats (https://www.opencompute.org/documents/
ocp-8-bit-floating-point-specification-ofp8-revision-1-0-2023-12-01-pdf-1), two's complement for
integers.  No table, width, step or bias of `hwquant` is used to build the expectation.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest

from hwquant import codec_np
from hwquant.formats import integers, minifloats, parse
from hwquant.mac import MacSpec
from sim.pairs import all_pairs

INTEGER = re.compile(r"(u?)int(\d)(n?)")
FLOAT = re.compile(r"(u?)e(\d)m(\d)(?:b(-?\d+))?(fn|ieee)?")


@cache
def definition(name: str, *, bias_error: int = 0, flush: bool = False) -> dict[int, Fraction]:
    """Return the value of every code that has one; the faults are for the negative controls."""
    if match := INTEGER.fullmatch(name):
        unsigned, bits, narrow = match[1], int(match[2]), match[3]
        if unsigned:
            return {code: Fraction(code) for code in range(2**bits)}
        low = -(2 ** (bits - 1)) + bool(narrow)
        return {value % 2**bits: Fraction(value) for value in range(low, 2 ** (bits - 1))}
    match = FLOAT.fullmatch(name)
    assert match is not None, name
    unsigned, e, m, given, special = match[1], int(match[2]), int(match[3]), match[4], match[5]
    default = 2 ** (e - 1) - 1 if e else 1 - m  # without an exponent the step is 1
    bias = (default if given is None else int(given)) + bias_error
    found = {}
    for sign, exponent, mantissa in product((0,) if unsigned else (0, 1), range(2**e), range(2**m)):
        last = exponent == 2**e - 1
        if special == "ieee" and last:
            continue  # infinities and NaN
        if special == "fn" and last and mantissa == 2**m - 1:
            continue  # NaN
        if exponent == 0:  # zero and subnormals
            value = Fraction(0) if flush else Fraction(mantissa, 2**m) * Fraction(2) ** (1 - bias)
        else:
            value = (1 + Fraction(mantissa, 2**m)) * Fraction(2) ** (exponent - bias)
        found[(sign << e | exponent) << m | mantissa] = -value if sign else value
    return found


def step(name: str) -> Fraction:
    """Return the weight of the least bit: the smallest positive value of the definition."""
    return min(value for value in definition(name).values() if value > 0)


def overflow(total: Fraction, lsb: Fraction, width: int, mode: str) -> Fraction:
    """Bring a sum into the range of ``width`` bits whose least weighs ``lsb``."""
    half = lsb * 2 ** (width - 1)
    if mode == "saturate":
        return max(-half, min(total, half - lsb))
    return total - 2 * half * math.floor((total + half) / (2 * half))  # once around is no change


def running(spec: MacSpec, width: int, weight, act) -> tuple[list[Fraction], int]:
    """Return the accumulator after each beat, and how many beats wrapped or were clamped."""
    w, a = definition(str(spec.weight)), definition(str(spec.act))
    lsb = step(str(spec.weight)) * step(str(spec.act))
    total, seen, beyond = Fraction(0), [], 0
    for start in range(0, len(weight), spec.lanes):
        beat = slice(start, start + spec.lanes)
        total += sum(w[x] * a[y] for x, y in zip(weight[beat], act[beat], strict=True))
        seen.append(overflow(total, lsb, width, str(spec.overflow)))
        beyond += seen[-1] != total
        total = seen[-1]
    return seen, beyond


def drawn(name: str, count: int, rng: np.random.Generator) -> list[int]:
    """Return codes of the definition: random ones, then a run of the largest of one sign."""
    table = definition(name)
    codes = rng.choice(sorted(table), count).tolist()
    extreme = (max if rng.random() < 0.5 else min)(table, key=lambda code: table[code])
    codes[count // 2 :] = [extreme] * (count - count // 2)
    return codes


def check(spec: MacSpec, rng: np.random.Generator, count: int) -> int:
    """Compare one dot product beat by beat; return how many beats wrapped or were clamped."""
    weight, act = drawn(str(spec.weight), count, rng), drawn(str(spec.act), count, rng)
    width = spec.accumulator.width
    lsb = step(str(spec.weight)) * step(str(spec.act))
    assert Fraction(2) ** -spec.accumulator.frac == lsb
    ours = [int(x) * lsb for x in spec.accumulate(weight, act)]
    exact, beyond = running(spec, width, weight, act)
    assert ours == exact, f"{spec}: {weight} x {act}"
    return beyond


def test_every_code_of_every_format_has_the_defined_value(fmt):
    table = definition(str(fmt))
    assert list(fmt.codes) == sorted(table)
    assert Fraction(2) ** fmt.lsb_exp == step(str(fmt))
    decoded = codec_np.decode(fmt, fmt.codes).tolist()
    assert [x * step(str(fmt)) for x in decoded] == [table[code] for code in fmt.codes]
    assert (max(table.values()), min(table.values())) == (fmt.max, fmt.min_int * fmt.step)


PAIRED = [*map(str, integers()), *map(str, minifloats())]


@pytest.mark.parametrize("weight", PAIRED)
def test_kernels_of_all_pairs_with_their_narrow_accumulators(weight):
    """Both overflow modes of every kernel of --all-pairs with this weight: 66 kernels."""
    rng = np.random.default_rng(PAIRED.index(weight))
    specs = [spec for spec in all_pairs() if str(spec.weight) == weight]
    assert len(specs) == 2 * len(PAIRED)
    beyond = sum(check(spec, rng, 200) for spec in specs)
    # Rails of one-bit significands are a bit further off than the largest products reach here.
    assert beyond > len(specs) or weight.endswith("m0")


NAMES = (
    "e4m3fn e5m2ieee e4m3ieee e3m4ieee e2m3fn e3m0fn ue4m3fn e4m3b4 e4m3b0 e2m1b-3 e5m2b20 "
    "e7m0b0 ue3m2b9 e0m3b1 int2n int5n uint1 uint8 ue1m1 ue5m3 e0m5 ue0m4"
)
OTHER = NAMES.split()


@pytest.mark.parametrize("weight", OTHER)
@pytest.mark.parametrize("mode", ["wrap", "saturate"])
def test_exotic_formats_lanes_and_alignment(weight, mode):
    """OCP specials, odd biases, narrow, unsigned and sign-magnitude operands, several lanes."""
    rng = np.random.default_rng([OTHER.index(weight), mode == "wrap"])
    beyond = 0
    for act in (*OTHER, "int4", "e2m1", "e4m3"):
        lanes = int(rng.integers(1, 6))
        exact = MacSpec(weight, act, lanes, 40).exact_bits
        for acc in ("auto", max(exact - 3, 2), 2):
            differ = check(MacSpec(weight, act, lanes, 40, acc, mode), rng, 40)
            assert differ == 0 or acc != "auto"
            beyond += differ
    assert beyond > 100


@pytest.mark.parametrize(
    ("weight", "act"),
    [("e2m1", "int4"), ("e4m3fn", "e5m2ieee"), ("int4n", "ue2m2"), ("e2m1b-3", "e5m2b20")],
)
def test_every_product_of_codes(weight, act):
    w, a = definition(weight), definition(act)
    spec, unit = MacSpec(weight, act), step(weight) * step(act)
    rows, columns = np.array(sorted(w)), np.array(sorted(a))
    ours = spec.products(rows[:, None], columns[None, :])
    for i, x in enumerate(rows.tolist()):
        assert [int(p) * unit for p in ours[i]] == [w[x] * a[y] for y in columns.tolist()]


@pytest.mark.parametrize(("weight", "act"), [("int8", "e7m0"), ("e7m0", "e7m0"), ("int4", "int4")])
def test_products_of_single_codes_equal_those_of_arrays(weight, act):
    """Also where a product needs more than 64 bits."""
    w, a = definition(weight), definition(act)
    spec, unit = MacSpec(weight, act), step(weight) * step(act)
    for x, y in [(max(w), max(a)), (min(w), max(a)), (sorted(w)[24 % len(w)], sorted(a)[-1])]:
        single = spec.products(x, y)
        assert int(single) * unit == w[x] * a[y]
        assert int(single) == int(spec.products([x], [y])[0]) == int(spec.dot([x], [y]))


def test_the_exact_width_is_the_least_that_holds_the_extremes():
    for weight, act, length in product(OTHER, ("int8", "ue2m2", "e4m3fn"), (1, 7, 256)):
        w, a = definition(weight).values(), definition(act).values()
        lsb = step(weight) * step(act)
        ends = [x * y for x in (min(w), max(w)) for y in (min(a), max(a))]
        low, high = min(*ends, 0) * length / lsb, max(*ends, 0) * length / lsb
        width = 1
        while not -(2 ** (width - 1)) <= low <= high <= 2 ** (width - 1) - 1:
            width += 1
        assert MacSpec(weight, act, length=length).exact_bits == width


@pytest.mark.parametrize(
    "fault",
    [{"bias_error": 1}, {"flush": True}],
    ids=["exponent bias off by one", "subnormals flushed"],
)
def test_a_wrong_definition_is_noticed(fault):
    """Negative control: the comparison of values fails for a faulty definition."""
    fmt = parse("e3m2")
    wrong = definition("e3m2", **fault)
    decoded = [x * fmt.step for x in codec_np.decode(fmt, fmt.codes).tolist()]
    assert decoded != [wrong[code] for code in fmt.codes]
    assert decoded == [definition("e3m2")[code] for code in fmt.codes]


@pytest.mark.parametrize("mode", ["wrap", "saturate"])
def test_a_wrong_overflow_rule_is_noticed(mode):
    """Negative control: the running sums of the other rule, and of one bit less, differ."""
    spec = MacSpec("e2m1", "int4", 2, 64, 9, mode)
    other = MacSpec("e2m1", "int4", 2, 64, 9, "wrap" if mode == "saturate" else "saturate")
    rng = np.random.default_rng(5)
    weight, act = drawn("e2m1", 64, rng), drawn("int4", 64, rng)
    lsb = step("e2m1") * step("int4")
    ours = [int(x) * lsb for x in spec.accumulate(weight, act)]
    assert ours == running(spec, 9, weight, act)[0]
    assert ours != running(other, 9, weight, act)[0]
    assert ours != running(spec, 8, weight, act)[0]
