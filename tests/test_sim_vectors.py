# SPDX-License-Identifier: Apache-2.0
"""Stimulus and expectation, without a simulator: checked against a cycle model in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from hwquant import codec
from hwquant.formats import parse
from hwquant.mac import MacSpec, Overflow
from sim.agents import Beat, InOrderChecker, Model
from sim.compare import failures, rails
from sim.kernels import Control, Design, Kernel
from sim.pairs import all_pairs
from sim.rows import Rows, expected, sentinel, to_words, word_to_int
from sim.vectors import (
    CLEAR,
    ENABLE,
    KINDS,
    RESET,
    VALID,
    corner_codes,
    dot_codes,
    generator,
    product_passes,
    stream_passes,
)

SPECS = [
    MacSpec("e2m1", "int4", 1, 64, 10, "saturate"),
    MacSpec("int3", "e4m3", 3, 64, "auto", "wrap"),
    MacSpec("e7m0", "e7m0", 1, 16, 261, "saturate"),
    MacSpec("e6m1", "uint4", 2, 16, 65, "wrap"),
    MacSpec("int4n", "ue3m2", 5, 40, 5, "saturate"),
    MacSpec("e4m3fn", "e5m2ieee", 1, 8, 63, "wrap"),
]


def cycle_model(kernel: Kernel, data: np.ndarray) -> list[int | None]:
    """Return, for each enabled row, the accumulator visible in it: a pipeline written naively."""
    spec, model = kernel.spec, Model(kernel.spec)
    pipeline: list[int | None] = [None] * kernel.latency
    visible: list[int | None] = []
    for control, *codes in data.tolist():
        if not control & ENABLE:
            continue
        visible.append(pipeline[-1])
        accepted = None
        if control & VALID and not control & RESET:
            w, a = codes[: spec.lanes], codes[spec.lanes : 2 * spec.lanes]
            accepted = model.step(Beat(bool(control & CLEAR), tuple(w), tuple(a)))
        pipeline = [accepted, *pipeline[:-1]]
        if control & RESET:
            pipeline = [None] * kernel.latency
            model.reset()
    return visible + pipeline[::-1]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("latency", [1, 2, 3])
def test_expected_rows_equal_a_naive_cycle_model(spec, latency):
    kernel = Kernel(spec, "k", latency)
    for block in (*stream_passes(spec, 3, 600), next(product_passes(spec))):
        rows = Rows.of(kernel, block, generator(3, spec, "rows"))
        wanted = [word_to_int(row) for row in expected(kernel, block, rows)]
        # A result stands in the row of its beat, `latency` before the row where it is visible.
        assert wanted == cycle_model(kernel, rows.data)[latency:][: len(wanted)]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_code_pair_is_applied_once_per_lane(spec):
    blocks = list(product_passes(spec))
    for lane in range(spec.lanes):
        seen = [
            (w, a)
            for block in blocks
            for w, a in zip(
                block.weight[:, 0, lane].tolist(), block.act[:, 0, lane].tolist(), strict=True
            )
        ]
        assert len(seen) == len(set(seen)) == len(spec.weight.codes) * len(spec.act.codes)
        assert {w for w, _ in seen} == set(spec.weight.codes)
        assert {a for _, a in seen} == set(spec.act.codes)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_only_codes_with_a_value_are_applied_even_in_gaps(spec):
    kernel, lanes = Kernel(spec, "k", 2), spec.lanes
    for block in stream_passes(spec, 0, 2000):
        rows = Rows.of(kernel, block, generator(0, spec, "rows"))
        assert set(rows.data[:, 1 : 1 + lanes].ravel().tolist()) <= set(spec.weight.codes)
        acts = rows.data[:, 1 + lanes : 1 + 2 * lanes]
        assert set(acts.ravel().tolist()) <= set(spec.act.codes)


def test_streams_are_long_enough_and_clear_pause_and_reset():
    spec = SPECS[0]
    blocks = list(stream_passes(spec, 0, 65_536))
    assert sum(block.beats for block in blocks) >= 65_536
    gapped = [block for block in blocks if block.gaps]
    assert len({int(n) for block in gapped for n in block.length}) > 10
    rows = Rows.of(Kernel(spec, "k", 2), gapped[0], generator(0, spec, "rows"))
    control = rows.data[:, 0]
    for bits in (0, VALID, CLEAR, VALID | CLEAR, ENABLE, ENABLE | CLEAR):  # every kind of gap
        assert (control == bits).any()
    assert (control & RESET).any()
    assert not control[rows.beat_row[0]] & CLEAR  # a reset clears the accumulator as well
    own = Control(zeroed=False)
    rows = Rows.of(Kernel(spec, "k", 2, own), gapped[0], generator(0, spec, "rows"))
    assert rows.data[rows.beat_row[0], 0] & CLEAR


@pytest.mark.parametrize("overflow", list(Overflow))
def test_streams_of_all_pairs_kernels_reach_both_ends(overflow):
    spec = next(s for s in all_pairs() if s.overflow is overflow and str(s.weight) == "e3m2")
    block = next(stream_passes(spec, 0, 65_536))
    dots, beats, lanes = block.weight.shape
    shape = (dots, beats * lanes)
    sums = spec.accumulate(block.weight.reshape(shape), block.act.reshape(shape))
    fixed = spec.accumulator
    if overflow is Overflow.SATURATE:
        assert (sums == fixed.max_int).any()
        assert (sums == fixed.min_int).any()
        kernel = Kernel(spec, "k", 2)
        rows = Rows.of(kernel, block, generator(0, spec, "rows"))
        at_rail = int(((sums == fixed.max_int) | (sums == fixed.min_int)).sum())
        assert rails(kernel, expected(kernel, block, rows), rows) == at_rail
    else:
        exact = np.cumsum(spec.products(block.weight.reshape(shape), block.act.reshape(shape)), 1)
        assert (exact > fixed.max_int).any()
        assert (exact < fixed.min_int).any()


def test_dot_kinds_hold_what_they_promise():
    spec = MacSpec("e3m2", "int8", 1, 1, 22, "saturate")
    weight, act = dot_codes(spec, generator(0, spec, "x"), 4 * len(KINDS), 300)
    products = spec.products(weight, act)[..., 0]
    largest, least = products.max(), products.min()
    assert (products[1 :: len(KINDS), :200] == largest).all()
    assert (products[2 :: len(KINDS), :200] == least).all()
    assert set(np.unique(products[3])) == {largest, least}
    assert set(np.unique(products[4])) == {largest, least}
    assert (products[7] == 0).mean() > 0.5
    negative_zero = 1 << spec.weight.bits - 1
    assert (weight == negative_zero).any()


def test_boundary_codes_hold_zero_of_both_signs_and_the_subnormal_edge():
    fmt = parse("e3m2")
    decoded = {codec.decode(fmt, int(code)) for code in corner_codes(fmt)}
    assert {0x00, 0x20} <= set(corner_codes(fmt).tolist())
    assert {1, 3, 4, 5, fmt.max_int, -1, -3, -4, -5, fmt.min_int} <= decoded
    assert set(corner_codes(parse("int4n")).tolist()) <= set(parse("int4n").codes)


def test_the_seed_decides_every_bit():
    spec = SPECS[1]

    def stimulus(seed):
        return b"".join(
            Rows.of(Kernel(spec, "k", 2), block, generator(seed, spec, "rows")).data.tobytes()
            for block in stream_passes(spec, seed, 1000)
        )

    assert stimulus(5) == stimulus(5)
    assert stimulus(5) != stimulus(6)


@pytest.mark.parametrize("width", [2, 62, 63, 64, 126, 127, 1024])
def test_words_hold_every_accumulator_and_never_equal_the_sentinel(width):
    spec = MacSpec("int2", "int2", acc=width)
    words, fixed = Kernel(spec, "k", 2).out_words, spec.accumulator
    numbers = [fixed.min_int, -1, 0, 1, fixed.max_int]
    rows = to_words(np.array(numbers, object), words)
    assert [word_to_int(row) for row in rows] == numbers
    if width < 64:
        assert np.array_equal(rows, to_words(np.array(numbers, np.int64), words))
    assert word_to_int(sentinel(1, words)[0]) is None
    assert not (rows == sentinel(len(rows), words)).all(axis=1).any()


def test_a_difference_is_told_with_the_codes_of_its_beat():
    spec = SPECS[4]
    kernel = Kernel(spec, "k", 2)
    block = list(stream_passes(spec, 1, 3000))[-1]
    rows = Rows.of(kernel, block, generator(1, spec, "rows"))
    wanted = expected(kernel, block, rows)
    beat = 700
    got = wanted.copy()
    got[rows.out_row[beat], 0] ^= np.uint64(1)
    count, found = failures(kernel, block, rows, wanted, got)
    dot, position = int(block.dot_of_beat()[beat]), int(block.beat_in_dot()[beat])
    assert count == len(found) == 1
    assert (found[0].dot, found[0].beat) == (dot, position)
    assert found[0].weight == tuple(block.weight[dot, position].tolist())
    assert found[0].act == tuple(block.act[dot, position].tolist())
    # The story replays: the recorded rows alone lead the model to the expected value.
    model = Model(spec)
    values = [
        model.step(Beat(bool(control & CLEAR), w, a))
        for control, w, a in found[0].rows
        if control & ENABLE and control & VALID
    ]
    assert values[-1] == found[0].expected
    assert found[0].before


def test_checker_finds_wrong_missing_and_surplus_results():
    beat = Beat(True, (1,), (1,))
    checker = InOrderChecker()
    for value in (1, 2, 3):
        checker.expect(beat, value)
    for value in (1, 7):
        checker.actual(value)
    checker.finish()
    checker2 = InOrderChecker()
    checker2.actual(5)
    assert [(e["expected"], e["got"]) for e in checker.errors] == [(2, 7), (3, None)]
    assert [(e["expected"], e["got"]) for e in checker2.errors] == [(None, 5)]


@pytest.mark.parametrize(("unsigned", "products"), [(False, 12_787_776), (True, None)])
def test_all_pairs_are_1089_and_every_product_shows(unsigned, products):
    specs = all_pairs(unsigned=unsigned)
    pairs = {(s.weight, s.act) for s in specs}
    count = sum(len(w.codes) * len(a.codes) for w, a in pairs)
    acts = {str(a) for _, a in pairs}
    assert len({w for w, _ in pairs}) == 33
    assert len(pairs) == 33 * len(acts)
    assert len(specs) == 2 * len(pairs)
    if products is not None:
        assert (len(pairs), count) == (1089, products)
    else:
        assert all(name.startswith("u") for name in acts)
        assert {"uint3", "uint8", "ue1m2", "ue7m1"} <= acts
    for spec in specs:
        corners = [
            codec.decode(spec.weight, w) * codec.decode(spec.act, a)
            for w in (0, *corner_codes(spec.weight).tolist())
            for a in (0, *corner_codes(spec.act).tolist())
        ]
        fixed = spec.accumulator
        assert fixed.min_int <= min(corners) <= max(corners) <= fixed.max_int


def test_a_design_does_not_print_its_sources():
    assert "module" not in repr(Design((), {"a.sv": "module a; endmodule"}))
