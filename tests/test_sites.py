# SPDX-License-Identifier: Apache-2.0
"""The LUT6-site count, against netlists counted by hand and against brute force."""

from __future__ import annotations

import itertools
import random

import pytest

from hw import sites
from hw.sites import Netlist, Resources, count_resources, pair_luts
from hwquant.errors import ToolError

NOTHING = Resources(0, 0, 0, 0, 0, 0)


def lut(out, *inputs):
    """Return a LUT cell that drives net ``out``."""
    ports = {f"I{index}": [bit] for index, bit in enumerate(inputs)}
    return f"LUT{len(inputs)}", {**ports, "O": [out]}


def carry(select, data, out, cout=("x",) * 4, cin="0"):
    """Return a CARRY4 cell."""
    ports = {"S": select, "DI": data, "O": out, "CO": cout, "CI": [cin], "CYINIT": ["0"]}
    return "CARRY4", {port: list(bits) for port, bits in ports.items()}


def count(*cells, outputs):
    return count_resources(Netlist(cells, frozenset(outputs)))


def lut_sites(*cells, outputs):
    return count(*cells, outputs=outputs).lut_sites


def test_one_lut_is_one_site():
    assert count(lut(9, 1, 2), outputs={9}) == Resources(1, 1, 0, 0, 0, 0)


def test_two_luts_of_five_inputs_together_share_a_site():
    assert lut_sites(lut(9, 1, 2, 3), lut(10, 3, 4, 5), outputs={9, 10}) == 1
    assert lut_sites(lut(9, 1, 2), lut(10, 3, 4, 5), outputs={9, 10}) == 1, "share nothing"


def test_six_inputs_together_do_not_fit():
    assert lut_sites(lut(9, 1, 2, 3), lut(10, 4, 5, 6), outputs={9, 10}) == 2
    assert lut_sites(lut(9, 1, 2, 3, 4, 5, 6), lut(10, 1), outputs={9, 10}) == 2


def test_sharing_comes_first_even_where_a_tighter_fit_exists():
    # 9 and 10 share two inputs; pairing by size alone could take 9 with 11 and leave 10 alone.
    cells = (lut(9, 1, 2, 3, 4), lut(10, 1, 2, 5), lut(11, 6), lut(12, 7, 8))
    assert lut_sites(*cells, outputs={9, 10, 11, 12}) == 2


def test_an_inverter_is_a_lut():
    inverter = ("INV", {"I": [1], "O": [9]})
    assert count(inverter, lut(10, 2, 3), outputs={9, 10}) == Resources(1, 2, 0, 0, 0, 0)


def adder(width, *, gates=0):
    """An adder of ``width`` <= 4 bits: S = a ^ b by LUT2, DI = a; ``gates`` of DI are LUT2s."""
    a, b = [10 + i for i in range(width)], [20 + i for i in range(width)]
    select, out, data = [30 + i for i in range(width)], [40 + i for i in range(width)], a[:]
    cells = [lut(select[i], a[i], b[i]) for i in range(width)]
    for i in range(gates):
        data[i] = 50 + i
        cells.append(lut(data[i], a[i], 60))
    pad = 4 - width
    cells.append(
        carry(select + ["0"] * pad, data + ["0"] * pad, out + [90 + i for i in range(pad)])
    )
    return cells, set(out)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_an_adder_costs_one_site_per_bit(width):
    cells, out = adder(width)
    assert count(*cells, outputs=out) == Resources(width, width, 0, 0, 0, 1)


def test_the_gate_of_di_lives_with_the_lut_of_s():
    cells, out = adder(4, gates=4)
    assert count(*cells, outputs=out) == Resources(4, 8, 0, 0, 0, 1)


def test_a_stranger_may_not_live_with_the_lut_of_s():
    cells, out = adder(4)
    assert lut_sites(*cells, lut(99, 1, 2), outputs=out | {99}) == 5


def test_a_lut_of_s_with_six_inputs_has_no_room_for_the_gate_of_di():
    cells = [
        lut(30, 1, 2, 3, 4, 5, 6),
        lut(31, 1, 2),
        carry([30, "0", "0", "0"], [31, "0", "0", "0"], [40, 41, 42, 43]),
    ]
    assert lut_sites(*cells, outputs={40}) == 2


def test_a_lut_that_feeds_two_positions_counts_twice():
    cells = [lut(30, 1, 2), carry([30, 30, "0", "0"], [1, 1, "0", "0"], [40, 41, 42, 43])]
    assert count(*cells, outputs={40, 41}) == Resources(2, 1, 0, 0, 0, 1)


def test_a_constant_or_plain_s_still_takes_the_position():
    plain = carry([1, "1", "0", "0"], ["0", "0", "0", "0"], [40, 41, 42, 43])
    assert count(plain, outputs={41}) == Resources(2, 0, 0, 0, 0, 1)


def test_positions_that_nothing_reads_are_free_but_those_below_are_not():
    chain = carry([1, 2, 3, 4], ["0"] * 4, [40, 41, 42, 43], [50, 51, 52, 53])
    assert lut_sites(chain, outputs={40}) == 1
    assert lut_sites(chain, outputs={42}) == 3, "the carry passes through positions 0 and 1"
    assert lut_sites(chain, outputs=set()) == 0
    following = carry([5, "0", "0", "0"], ["0"] * 4, [60, 61, 62, 63], cin=53)
    assert lut_sites(chain, following, outputs={60}) == 5


def test_two_drivers_of_one_wide_mux_need_a_site_each():
    mux = ("MUXF7", {"I0": [9], "I1": [10], "S": [3], "O": [11]})
    cells = [lut(9, 1, 2), lut(10, 1, 2)]
    assert lut_sites(*cells, outputs={9, 10}) == 1
    assert lut_sites(*cells, mux, outputs={11}) == 2


def test_other_cells_are_counted_apart():
    cells = [
        ("FDRE", {"D": [1], "Q": [2]}),
        ("FDSE", {"D": [1], "Q": [3]}),
        ("DSP48E2", {}),
        ("RAM32M16", {}),
        ("SRL16E", {}),
        ("BUFG", {}),
    ]
    assert count(*cells, outputs=set()) == Resources(0, 0, 9, 2, 1, 0)


def test_an_unmapped_cell_is_refused():
    with pytest.raises(ToolError, match=r"\$mul"):
        count(("$mul", {}), outputs=set())


def test_scope_markers_of_yosys_are_not_cells():
    design = {
        "modules": {
            "k": {
                "cells": {"s": {"type": "$scopeinfo", "connections": {}}},
                "ports": {"o": {"direction": "output", "bits": [2, "0"]}},
            }
        }
    }
    netlist = Netlist.from_yosys(design, "k")
    assert (netlist.cells, netlist.outputs) == ((), {2, "0"})
    assert count_resources(netlist) == NOTHING


def random_luts(rng, number, nets):
    sizes = [rng.randint(1, 6) for _ in range(number)]
    return [frozenset(rng.sample(range(nets), min(size, nets))) for size in sizes]


def check_packing(luts, pairs, apart=frozenset()):
    """Raise AssertionError unless ``pairs`` is a legal packing."""
    members = [index for pair in pairs for index in pair]
    assert len(members) == len(set(members)), "a LUT is in two sites"
    for one, other in pairs:
        assert len(luts[one] | luts[other]) <= 5, "a site with more than five inputs"
        assert not {one, other} <= apart, "two main outputs in one site"


def best(number, legal):
    """Return the size of a maximum matching, by trying everything."""
    if not number:
        return 0
    first, rest = number[0], number[1:]
    without = best(rest, legal)
    options = [
        1 + best(tuple(n for n in rest if n != other), legal)
        for other in rest
        if legal(first, other)
    ]
    return max([without, *options])


@pytest.mark.parametrize("seed", range(40))
def test_pairs_that_share_an_input_are_as_many_as_brute_force_finds(seed):
    rng = random.Random(seed)
    luts = random_luts(rng, rng.randint(2, 9), rng.randint(4, 12))
    apart = frozenset(rng.sample(range(len(luts)), rng.randint(0, 2)))
    pairs = pair_luts(luts, apart)
    check_packing(luts, pairs, apart)

    def legal(one, other):
        both = {one, other} <= apart
        return bool(luts[one] & luts[other]) and len(luts[one] | luts[other]) <= 5 and not both

    sharing = [pair for pair in pairs if luts[pair[0]] & luts[pair[1]]]
    assert len(sharing) == best(tuple(range(len(luts))), legal)


@pytest.mark.parametrize("seed", range(20))
def test_pairs_of_strangers_are_as_many_as_brute_force_finds(seed):
    rng = random.Random(seed)
    nets = itertools.count()
    luts = [frozenset(next(nets) for _ in range(rng.randint(1, 6))) for _ in range(9)]
    pairs = pair_luts(luts)
    check_packing(luts, pairs)
    order = tuple(range(len(luts)))
    assert len(pairs) == best(order, lambda a, b: len(luts[a]) + len(luts[b]) <= 5)


def test_the_greedy_pairing_of_large_netlists_is_legal_and_close(monkeypatch):
    luts = random_luts(random.Random(7), 400, 120)
    optimal = pair_luts(luts)
    monkeypatch.setattr(sites, "MATCH_NODES", 0)
    greedy = pair_luts(luts)
    assert greedy != optimal
    for pairs in (optimal, greedy):
        check_packing(luts, pairs)
    assert 0.9 * len(optimal) <= len(greedy) <= len(optimal)


@pytest.mark.parametrize(
    "pairs", [{(0, 1), (1, 2)}, {(0, 3)}, {(0, 1), (2, 3)}], ids=["twice", "wide", "wide too"]
)
def test_a_wrong_packing_is_caught(pairs):
    """Negative control for `check_packing`."""
    luts = [frozenset({1, 2}), frozenset({1, 2}), frozenset({1, 3}), frozenset({4, 5, 6, 7})]
    check_packing(luts, {(0, 1)})
    with pytest.raises(AssertionError):
        check_packing(luts, pairs)


def double(o5, o6, *inputs):
    """Return a LUT6_2."""
    ports = {f"I{index}": [bit] for index, bit in enumerate(inputs)}
    return "LUT6_2", {**ports, "O5": [o5], "O6": [o6]}


def test_a_lut6_2_is_one_site_and_takes_no_other_lut():
    both = double(9, 10, 1, 2, 3, 4, 5, "1")
    assert count(both, outputs={9, 10}) == Resources(1, 1, 0, 0, 0, 0)
    assert lut_sites(both, lut(11, 1, 2), outputs={9, 10, 11}) == 2
    assert lut_sites(double(9, 10, 1, 2, 3, 4, 5, 6), outputs={10}) == 1


def test_a_lut6_2_on_a_carry_position_may_drive_its_data_pin_only():
    sixes = [double(50 + i, 30 + i, 10 + i, 20 + i, 1, 2, 3, 4) for i in range(4)]
    chain = carry([30, 31, 32, 33], [50, 51, 52, 53], [40, 41, 42, 43])
    assert lut_sites(*sixes, chain, outputs={40, 41, 42, 43}) == 4
    plain = carry([30, 31, 32, 33], [60, 61, 62, 63], [40, 41, 42, 43])
    assert lut_sites(*sixes, plain, outputs={40, 41, 42, 43}) == 4, "O5 is not used"
    assert lut_sites(*sixes, plain, outputs={40, 41, 42, 43, 50}) == 5
    crossed = carry([30, 31, 32, 33], [51, 50, 52, 53], [40, 41, 42, 43])
    assert lut_sites(*sixes, crossed, outputs={40, 41, 42, 43}) == 6


def test_a_carry8_counts_as_two_carry4():
    select, data, out = (list(range(base, base + 8)) for base in (10, 20, 30))
    ports = {"S": select, "DI": data, "O": out, "CO": ["x"] * 8, "CI": ["0"], "CI_TOP": ["0"]}
    found = count(("CARRY8", ports), outputs=set(out))
    assert (found.lut_sites, found.carry) == (8, 2)


def ternary(*readers, sums=(40, 41, 42, 43)):
    """Return a ternary adder of three bits: O5 of each LUT feeds the next one and its DI pin.

    ``readers`` are more cells; the sums go to a flip-flop each.
    """
    below = [7, 50, 51]
    sixes = [double(50 + i, 30 + i, 10 + i, 20 + i, 60 + i, below[i], 5, "1") for i in range(3)]
    chain = carry([30, 31, 32, 52], [*below, "0"], list(sums), [70, 71, 72, 73])
    return [*sixes, chain, *(flop(bit, 80 + i) for i, bit in enumerate(sums)), *readers]


def flop(data, out):
    return "FDRE", {"D": [data], "Q": [out], "C": [1], "CE": [2], "R": [3]}


def test_a_registered_ternary_adder_costs_one_site_per_bit():
    assert lut_sites(*ternary(), outputs={80}) == 4, "three bits and the position on top"
    both = [flop(bit, 90 + i) for i, bit in enumerate((40, 41, 42))]
    assert lut_sites(*ternary(*both), outputs={80}) == 4, "a slice has two flip-flops for a sum"


@pytest.mark.parametrize(
    "reader",
    [
        lut(99, 41, 1),  # the sum itself is needed elsewhere
        lut(99, 71, 1),  # the carry is
        ("FDRE", {"D": [1], "Q": [99], "C": [1], "CE": [41], "R": [3]}),
    ],
    ids=["sum", "carry", "enable"],
)
def test_a_ternary_position_with_another_output_pays_for_its_majority(reader):
    alone = lut_sites(*ternary(), outputs={80}) + reader[0].startswith("LUT")
    assert lut_sites(*ternary(reader), outputs={80, 99}) == alone + 1


def test_an_unregistered_ternary_adder_pays_for_its_majorities():
    sixes, chain = ternary()[:3], ternary()[3]
    assert lut_sites(*sixes, chain, outputs={40, 41, 42, 43}) == 4 + 2, "the third drives S"
    assert lut_sites(*ternary(flop(41, 98), flop(41, 99)), outputs={80}) == 5, "a third flip-flop"
