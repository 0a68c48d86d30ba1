# SPDX-License-Identifier: Apache-2.0
"""The price of a network under each folding, against sums done by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from costmodel.kernel import KernelCost
from costmodel.network import Folding, Memory, kernel_groups, network_cost, weight_memory
from hw.generate import kernel_name
from hw.layers import LAYERS, generate_layers
from hw.manifest import Bundle
from hw.sites import Resources
from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from hwquant.mac import MacSpec
from hwquant.workload import Layer, Workload

CONV = Layer("conv", "conv2d", 9, 400, 36, 4, parse("e2m1"), parse("e2m1"), 16)
DEEP = Layer("deep", "conv2d", 36, 100, 144, 4, parse("e2m1"), parse("e2m1"), 17)
HEAD = Layer("head", "linear", 100, 10, 1000, 10, parse("int4"), parse("int4"), 16)
SCORES = Layer("scores", "matmul", 8, 64, 0, 8, parse("int4"), parse("int4"), 14)
NET = Workload((CONV, DEEP, HEAD))


def price(spec):
    """A made-up price that depends on everything a kernel depends on."""
    sites = spec.accumulator.width + 10 * spec.lanes + 100 * spec.weight.bits
    return KernelCost(Resources(sites, 2 * sites, 0, 7, 1, 3), "plain", "measured", "made up")


def cost(workload=NET, **options):
    return network_cost(workload, price=price, **options)


def test_per_layer_is_one_kernel_each_and_a_pipeline():
    total = cost(folding="per-layer", lanes=4)
    assert [use.spec.accumulator.width for use in total.kernels] == [16, 17, 16]
    assert total.resources.lut_sites == (16 + 40 + 400) + (17 + 40 + 400) + (16 + 40 + 400)
    assert total.resources.dsp == 3
    # ceil(9 / 4) = 3 beats, ceil(36 / 4) = 9, ceil(100 / 4) = 25
    assert [use.cycles for use in total.layers] == [400 * 3, 100 * 9, 10 * 25]
    assert total.latency_cycles == 1200 + 900 + 250
    assert total.interval_cycles == 1200


def test_per_channel_multiplies_kernels_and_divides_cycles():
    total = cost(folding=Folding.PER_CHANNEL)
    assert [use.copies for use in total.kernels] == [4, 4, 10]
    assert [use.cycles for use in total.layers] == [100 * 9, 25 * 36, 1 * 100]
    single = cost(folding=Folding.PER_LAYER)
    by_layer = [use.cost.resources.lut_sites for use in single.kernels]
    copies = (4, 4, 10)
    wanted = sum(c * s for c, s in zip(copies, by_layer, strict=True))
    assert total.resources.lut_sites == wanted


def test_shared_is_one_kernel_for_each_pair_of_formats_wide_enough_for_all():
    total = cost(folding="shared")
    assert [(str(u.spec.weight), u.spec.accumulator.width) for u in total.kernels] == [
        ("e2m1", 17),
        ("int4", 16),
    ]
    assert [use.kernel for use in total.layers] == [0, 0, 1]
    assert total.interval_cycles == total.latency_cycles == 3600 + 3600 + 1000


def test_weights_are_stored_beat_by_beat():
    total = cost(lanes=4)
    # conv: 4 dot products of 3 beats of 4 weights of 4 bits; the partial beat is padded.
    assert total.kernels[0].memory == weight_memory(4 * 3, 16)
    assert total.kernels[2].memory == weight_memory(10 * 25, 16)
    assert total.to_json()["weight_bits"] == (36 + 144 + 1000) * 4


@pytest.mark.parametrize("folding", list(Folding))
@pytest.mark.parametrize("lanes", [1, 3, 4, 64])
def test_memory_holds_all_weights_and_cycles_do_all_products(folding, lanes):
    total = cost(folding=folding, lanes=lanes)
    assert total.memory.bits >= NET.weight_bits
    for use in total.layers:
        kernel = total.kernels[use.kernel]
        assert use.cycles * kernel.spec.lanes * kernel.copies >= use.layer.macs
    if lanes == 1:
        assert total.memory.bits == NET.weight_bits


def test_activation_products_need_no_weight_memory():
    total = cost(Workload((SCORES,)))
    assert total.memory == Memory()


def test_a_short_layer_gets_no_more_lanes_than_products():
    (spec, members), *_ = kernel_groups(NET, lanes=64)
    assert (spec.lanes, members) == (9, [0])


@pytest.mark.parametrize(
    ("words", "width", "memory"),
    [
        (0, 8, Memory()),
        (1, 4, Memory(4)),
        (2, 5, Memory(10, luts=3)),
        (65, 4, Memory(260, luts=8)),
        (128, 3, Memory(384, luts=6)),
        (129, 36, Memory(129 * 36, bram18=1)),
        (513, 36, Memory(513 * 36, bram18=2)),
        (16384, 1, Memory(16384, bram18=1)),
        (16385, 1, Memory(16385, bram18=2)),
        (1024, 72, Memory(1024 * 72, bram18=4)),
    ],
)
def test_weight_memory(words, width, memory):
    assert weight_memory(words, width) == memory


def test_the_record_is_json_and_its_totals_are_those_of_its_tables():
    record = json.loads(json.dumps(cost(folding="per-channel", lanes=2).to_json()))
    assert set(record) >= {
        "lut_sites", "lut_raw", "lutram", "ff", "dsp", "carry", "style", "source", "flow"
    }  # fmt: skip
    for key in ("lut_sites", "ff", "dsp", "carry"):
        assert record[key] == sum(row["copies"] * row[key] for row in record["kernels"])
    for key in ("luts", "bits", "bram18"):
        rows = sum(row["copies"] * row[f"memory_{key}"] for row in record["kernels"])
        assert rows == (
            record[f"memory_{key}"]
            if key != "bits"
            else cost(folding="per-channel", lanes=2).memory.bits
        )
    assert record["macs"] == sum(row["macs"] for row in record["layers"]) == NET.macs
    assert record["flow"] == "made up"


def test_a_dearer_kernel_makes_a_dearer_network():
    """Negative control: the total must notice a change of one layer."""
    wider = Workload((CONV, replace(DEEP, acc_bits=18), HEAD))
    assert cost(wider).resources.lut_sites == cost().resources.lut_sites + 1


def test_prices_come_from_the_kernels_and_equal_kernels_are_paid_alike():
    twin = replace(CONV, name="twin")
    total = network_cost(Workload((CONV, twin)))
    first, second = total.kernels
    assert first.cost == second.cost
    assert first.cost.source in ("measured", "formula")
    assert total.resources.lut_sites == 2 * first.cost.resources.lut_sites


def test_bad_requests_are_named():
    with pytest.raises(SpecError, match="allowed: per-layer, per-channel, shared"):
        cost(folding="origami")
    with pytest.raises(InputError, match="no multiply-accumulate layer"):
        cost(Workload(()))
    for lanes in (0, 4097):  # also where every layer is shorter
        with pytest.raises(SpecError, match=f"lanes {lanes}, allowed 1..4096"):
            cost(lanes=lanes)


def test_the_kernels_of_a_network_are_written_and_load(tmp_path):
    users = generate_layers(NET.layers, tmp_path / "k", lanes=4)
    assert json.loads((tmp_path / "k" / LAYERS).read_text()) == {"layers": users}
    for layer in NET.layers:
        bundle = Bundle.load(tmp_path / "k" / users[layer.name])
        assert bundle.spec.accumulator.width == layer.acc_bits
        assert (bundle.spec.weight, bundle.spec.act) == (layer.weight, layer.act)
        assert bundle.spec.length >= layer.length
    generate_layers((HEAD,), tmp_path / "k")
    left = {path.name for path in (tmp_path / "k").iterdir()}
    assert left == {kernel_name(MacSpec("int4", "int4", length=100, acc=16)), LAYERS}


def test_no_kernels_and_foreign_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="needs no kernel"):
        generate_layers((), tmp_path / "k")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no generated kernel"):
        generate_layers(NET.layers, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
