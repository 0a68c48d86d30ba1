# SPDX-License-Identifier: Apache-2.0
"""Folded networks: totals are sums, search is exact and monotone, bad targets are named.

Prices here are made up, and depend on everything that a real price depends on.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.fold_search import RATES, cheapest, cost_of, fastest
from costmodel.folded import FoldedNetwork, fold_network
from costmodel.folding import CONVERSION, divisors, layer_folds, output_formats
from costmodel.kernel import KernelCost
from costmodel.memory import fifo, weight_memory
from costmodel.parts import find_part, over
from costmodel.prices import Prices
from costmodel.usage import RESOURCES, Usage, total
from hw.sites import Resources
from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from hwquant.workload import Layer, Workload

QUICK = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def kernel(spec, style):
    """A made-up price; a style that spends DSPs saves LUTs."""
    work = spec.lanes * spec.weight.bits * spec.act.bits
    slices = spec.lanes if style == "dsp" else 0
    sites = spec.accumulator.width + (work // 8 if slices else work)
    return KernelCost(Resources(sites, sites, 0, 2 * sites, slices, 0), style, "made up", "made up")


def requant(fmt, acc_bits, channels):
    return Usage(lut_sites=acc_bits + fmt.bits + channels, lut_raw=acc_bits, ff=2 * fmt.bits)


def prices(one=kernel):
    """Return prices that ask ``one`` for each kernel."""
    return Prices(
        lambda specs, style: [one(spec, style) for spec in specs],
        lambda fmt, bits, channels: [requant(fmt, bits, count) for count in channels],
    )


PRICES = prices()

NET = Workload(
    (
        Layer("conv", "conv2d", 27, 16 * 64, 27 * 16, 16, parse("int8"), parse("uint8"), 20),
        Layer("deep", "conv2d", 144, 32 * 16, 144 * 32, 32, parse("e2m1"), parse("e2m1"), 17),
        Layer("head", "linear", 512, 10, 5120, 10, parse("int4"), parse("uint4"), 16),
    )
)

formats = st.sampled_from([parse(name) for name in ("int4", "uint8", "e2m1", "e3m2", "int8")])


@st.composite
def workloads(draw):
    """Networks of one to four layers of any shape."""
    layers = []
    for number in range(draw(st.integers(1, 4))):
        channels, length = draw(st.integers(1, 24)), draw(st.integers(1, 36))
        pixels = draw(st.integers(1, 50))
        stored = draw(st.booleans())
        layers.append(
            Layer(
                f"layer{number}",
                "conv2d" if stored else "matmul",
                length,
                channels * pixels,
                channels * length if stored else 0,
                channels,
                draw(formats),
                draw(formats),
                draw(st.integers(10, 40)),
            )
        )
    return Workload(tuple(layers))


def choices(workload, style="plain"):
    return [
        layer_folds(layer, out, PRICES, style=style)
        for layer, out in zip(workload.layers, output_formats(workload), strict=True)
    ]


def sums(network):
    """Return both totals, added up by hand from the record alone, and the difference."""
    rows = network.to_json()["layers"]
    names = [field.name for field in fields(Usage)]
    every = {n: sum(part[n] for row in rows for part in row["parts"].values()) for n in names}
    back = {n: sum(row["parts"][CONVERSION][n] for row in rows) for n in names}
    return every, {n: every[n] - back[n] for n in names}


# Totals


@QUICK
@given(workloads(), st.integers(1, 2000))
def test_totals_are_the_sums_of_all_parts_of_all_layers(workload, slack):
    interval = slack * max(layer.outputs for layer in workload.layers)
    network = fold_network(workload, PRICES, fps=200e6 / interval)
    record = network.to_json()
    with_conversion, without = sums(network)
    assert record["with_conversion"] == with_conversion
    assert record["without_conversion"] == without
    assert record["interval_cycles"] == max(row["cycles"] for row in record["layers"])
    assert record["latency_cycles"] == sum(row["cycles"] for row in record["layers"])
    assert record["macs"] == workload.macs
    assert record["weight_bits"] == workload.weight_bits
    assert record["bops"] == sum(
        layer.length * layer.outputs * layer.weight.bits * layer.act.bits
        for layer in workload.layers
    )


@pytest.mark.parametrize("missing", range(3))
def test_a_total_with_a_layer_left_out_is_caught(missing):
    """Negative control of the sums."""
    network = fold_network(NET, PRICES, fps=1000)
    left = FoldedNetwork(network.folds[:missing] + network.folds[missing + 1 :])
    assert sums(network)[0] == network.with_conversion.to_json()
    assert sums(network)[0] != left.with_conversion.to_json()
    assert sums(network)[1] != left.without_conversion.to_json()


def test_the_parts_of_a_layer_by_hand():
    (fold,) = layer_folds(NET.layers[1], parse("int4"), PRICES, shapes=[(4, 16)], memories=["auto"])
    assert fold.cycles == 32 * 16 // 4 * (144 // 16)
    one = 17 + 16 * 4 * 4
    assert fold.parts["kernels"] == Usage(4 * one, 4 * one, 0, 8 * one)
    # 32 * 144 weights in words of 4 * 16: 72 words of 256 bits, in LUTs two deep
    assert fold.memory == weight_memory(72, 256, "lut")
    assert fold.memory.luts == 512
    assert fold.parts["input_fifo"] == fifo(9, 16 * 4)
    assert fold.parts["requant"] == 4 * requant(parse("int4"), 17, 8)
    assert fold.with_conversion == fold.without_conversion + fold.parts["requant"]


def test_the_last_layer_hands_out_its_sums():
    assert [str(out) for out in output_formats(NET)] == ["e2m1", "uint4", "None"]
    network = fold_network(NET, PRICES, fps=1000)
    assert network.folds[-1].parts["requant"] == Usage()
    assert network.to_json()["layers"][-1]["out"] is None


# Folds


@QUICK
@given(workloads())
def test_folds_divide_their_layer_and_do_all_its_products(workload):
    for layer, folds in zip(workload.layers, choices(workload), strict=True):
        for fold in folds:
            assert layer.channels % fold.pe == 0
            assert layer.length % fold.simd == 0
            assert fold.cycles * fold.pe * fold.simd == layer.macs
            assert fold.memory.bits >= layer.weight_bits


def test_no_fold_is_beaten_by_another_and_none_that_matters_is_missing():
    layer, out = NET.layers[0], parse("int4")
    kept = layer_folds(layer, out, PRICES)

    def key(fold):
        return (fold.cycles, *(fold.with_conversion.amount(name) for name in RESOURCES))

    for one, other in itertools.permutations(map(key, kept), 2):
        assert not all(a <= b for a, b in zip(one, other, strict=True))
    shapes = itertools.product(divisors(layer.channels), divisors(layer.length))
    for shape in shapes:
        for fold in layer_folds(layer, out, PRICES, shapes=[shape]):
            assert any(
                all(a <= b for a, b in zip(one, key(fold), strict=True)) for one in map(key, kept)
            )


def test_a_pause_between_dot_products_takes_cycles():
    def paused(spec, _):
        return replace(kernel(spec, ""), style="bucket")

    layer = replace(NET.layers[2], weight=parse("e2m1"), act=parse("e2m1"))
    (plain,) = layer_folds(layer, None, PRICES, shapes=[(1, 1)], memories=["block"])
    (slow,) = layer_folds(layer, None, prices(paused), shapes=[(1, 1)], memories=["block"])
    assert plain.cycles == 5120
    assert slow.cycles > plain.cycles
    assert (slow.cycles - plain.cycles) % 10 == 0


@pytest.mark.parametrize("shape", [(3, 9), (1, 2), (0, 1), (1, 0), (16, 54)])
def test_shapes_that_do_not_divide_are_refused(shape):
    with pytest.raises(SpecError, match="allowed: the divisors of its"):
        layer_folds(NET.layers[0], None, PRICES, shapes=[shape])


# Search


def every_choice(workload, interval, limits):
    """Return the cost of the cheapest choice there is, by trying all of them."""
    best = None
    pools = [[f for f in folds if f.cycles <= interval] for folds in choices(workload)]
    for folds in itertools.product(*pools):
        used = total(fold.with_conversion for fold in folds)
        if not over(used, limits):
            cost = cost_of(used, RATES)
            best = cost if best is None else min(best, cost)
    return best


SMALL = Workload(
    (
        Layer("a", "conv2d", 6, 4 * 9, 24, 4, parse("int4"), parse("int4"), 14),
        Layer("b", "conv2d", 4, 6 * 9, 24, 6, parse("int8"), parse("int4"), 18),
        Layer("c", "linear", 6, 3, 18, 3, parse("int4"), parse("int8"), 18),
    )
)


@pytest.mark.parametrize("interval", [9, 18, 54, 216])
@pytest.mark.parametrize(
    "limits", [{}, {"lut": 700}, {"lut": 500, "bram18": 1}, {"lut": 3000, "ff": 2500}, {"ff": 500}]
)
def test_the_search_finds_what_trying_everything_finds(interval, limits):
    found = cheapest(choices(SMALL), interval, limits, RATES)
    best = every_choice(SMALL, interval, limits)
    if best is None:
        assert found is None
    else:
        used = total(fold.with_conversion for fold in found)
        assert not over(used, limits)
        assert cost_of(used, RATES) == best


@QUICK
@given(workloads(), st.sampled_from(["plain", "dsp"]), st.data())
def test_more_budget_is_never_slower(workload, style, data):
    pools = choices(workload, style)
    least = {
        name: sum(min(f.with_conversion.amount(name) for f in folds) for folds in pools)
        for name in RESOURCES
    }
    names = data.draw(st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3, unique=True))
    small = {name: least[name] + data.draw(st.integers(0, 3000)) for name in names}
    large = {name: small[name] + data.draw(st.integers(0, 3000)) for name in names}
    for name in data.draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        large.pop(name)
    found = {}
    for key, limits in (("small", small), ("large", large)):
        try:
            found[key] = fastest(pools, limits, RATES)
        except InputError:
            found[key] = None
    if found["small"] is not None:
        assert found["large"] is not None
        speeds = {key: max(f.cycles for f in folds) for key, folds in found.items()}
        assert speeds["large"] <= speeds["small"]
        assert not over(total(f.with_conversion for f in found["small"]), small)


@QUICK
@given(workloads(), st.floats(1, 5000), st.floats(1, 5000))
def test_less_speed_is_never_dearer(workload, one, other):
    slow, fast = sorted((one, other))
    pixels = max(math.ceil(layer.outputs / layer.channels) for layer in workload.layers)
    clock = 5000 * pixels * 2 / 1e6
    costs = [
        cost_of(fold_network(workload, PRICES, fps=fps, clock_mhz=clock).with_conversion, RATES)
        for fps in (slow, fast)
    ]
    assert costs[0] <= costs[1]


def test_the_fastest_within_a_budget_is_the_fastest():
    limits = {"lut": 6000}
    network = fold_network(NET, PRICES, limits=limits)
    assert network.with_conversion.lut <= 6000
    faster = network.clock_mhz * 1e6 / network.interval_cycles * 1.0001
    with pytest.raises(InputError, match="do not fit in lut=6000"):
        fold_network(NET, PRICES, fps=faster, limits=limits)


def test_the_same_question_has_the_same_answer():
    first, second = (fold_network(NET, PRICES, limits={"lut": 5000, "ff": 9000}) for _ in range(2))
    assert first.to_json() == second.to_json()


# Every option moves the estimate


OPTIONS = {
    "fps": {"fps": 20_000},
    "clock": {"clock_mhz": 50},
    "style": {"style": "dsp"},
    "part": {"part": find_part("A35T"), "fps": None},
    "limits": {"limits": {"bram18": 0, "lut": 2500}, "fps": None},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_moves_the_estimate(option):
    base = {"fps": 2000, "clock_mhz": 200}
    plain = fold_network(NET, PRICES, **base).to_json()
    moved = fold_network(NET, PRICES, **(base | OPTIONS[option])).to_json()
    keys = ("with_conversion", "without_conversion", "interval_cycles")
    assert any(plain[key] != moved[key] for key in keys)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": parse("int8")},
        {"act": parse("int8")},
        {"acc_bits": 24},
        {"length": 72, "weights": 72 * 32},
        {"outputs": 32 * 64},
        {"channels": 16, "outputs": 256, "weights": 144 * 16},
    ],
)
def test_every_fact_of_a_layer_moves_the_estimate(change):
    other = Workload((NET.layers[0], replace(NET.layers[1], **change), NET.layers[2]))
    plain, moved = (fold_network(net, PRICES, fps=10_000).to_json() for net in (NET, other))
    assert plain["with_conversion"] != moved["with_conversion"]


def test_tiles_are_taken_where_luts_are_short_and_slices_are_not():
    def tile(_):
        return 3, KernelCost(Resources(4, 4, 0, 9, 1, 0), "tile", "made up", "made up")

    limits = {"lut": 800, "bram18": 40, "dsp": 40}
    both = replace(PRICES, tile=tile)
    plain, tiled = (fold_network(NET, p, limits=limits, style="auto-dsp") for p in (PRICES, both))
    assert tiled.fps > plain.fps
    used = [fold for fold in tiled.folds if fold.cost.style == "tile"]
    assert used
    for fold in used:
        assert fold.copies == math.ceil(fold.pe / 3)
        assert fold.parts["kernels"] == Usage(4, 4, 0, 9, 1) * fold.copies
    assert tiled.with_conversion.dsp == sum(fold.with_conversion.dsp for fold in tiled.folds)
    assert tiled.to_json()["clock_estimated_layers"] == 0


def test_ultra_ram_is_taken_where_it_can_be_loaded():
    wide = replace(NET.layers[2], length=4096, outputs=64, weights=4096 * 64, channels=64)
    versal, other = (
        fold_network(Workload((wide,)), PRICES, fps=12_000, part=find_part(name)).with_conversion
        for name in ("VC1902", "VU9P")
    )
    # 16 weights of 4 bits a beat: 16384 words of 64 bits
    assert versal.uram == 4
    assert other.uram == 0
    assert other.bram18 >= 57


# Bad targets


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({}, "no target for the folding"),
        ({"fps": 0}, "throughput 0, allowed: a positive number"),
        ({"fps": -5}, "throughput -5"),
        ({"fps": math.nan}, "throughput nan"),
        ({"fps": 10, "clock_mhz": 0}, "clock 0, allowed"),
        ({"fps": 1e9}, "layer conv needs 64 with everything in parallel; allowed: up to 3.125e"),
        ({"limits": {"lut": 5}}, "budget lut=5, needed at least lut="),
        ({"limits": {"dsp": 0}, "fps": 10, "style": "dsp"}, "do not fit|needed at least dsp="),
        ({"fps": 100_000, "limits": {"lut": 1500}}, "do not fit in lut=1500; what fits makes"),
        ({"fps": 10, "part": find_part("LFE5U-85F")}, "has LUT4, the estimates count LUT6"),
    ],
)
def test_bad_targets_are_named(target, says):
    with pytest.raises(InputError, match=says) as caught:
        fold_network(NET, PRICES, **target)
    assert "\n" not in str(caught.value)


def test_a_network_without_layers_is_refused():
    with pytest.raises(InputError, match="no multiply-accumulate layer"):
        fold_network(Workload(()), PRICES, fps=10)
