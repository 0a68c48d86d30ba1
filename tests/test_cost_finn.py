# SPDX-License-Identifier: Apache-2.0
"""FINN-named files: against their JSON schema, and against the estimate they were written from."""

from __future__ import annotations

import json

import jsonschema
import pytest

from costmodel.finn_files import (
    FILES,
    finn_records,
    finn_schema,
    refuse_foreign,
    write_finn_files,
)
from costmodel.folded import fold_network
from costmodel.kernel import KernelCost
from costmodel.parts import find_part
from costmodel.prices import Prices
from costmodel.usage import Usage
from hw.sites import Resources
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.workload import Layer, Workload

NET = Workload(
    (
        Layer("conv", "conv2d", 27, 16 * 64, 27 * 16, 16, parse("int8"), parse("uint8"), 20),
        Layer("deep", "conv2d", 144, 32 * 16, 144 * 32, 32, parse("e2m1"), parse("int8"), 17),
        Layer("total", "linear", 512, 10, 5120, 10, parse("int4"), parse("uint4"), 16),
    )
)


def one(spec, style):
    sites = spec.accumulator.width + spec.lanes * spec.weight.bits * spec.act.bits
    dsp = int(style == "dsp")
    return KernelCost(Resources(sites, sites, 0, 2 * sites, dsp, 0), style, "made up", "made up")


PRICES = Prices(
    lambda specs, style: [one(spec, style) for spec in specs],
    lambda fmt, bits, channels: [Usage(lut_sites=bits + fmt.bits, ff=9) for _ in channels],
)


def network(**options):
    return fold_network(NET, PRICES, **({"fps": 5000} | options))


def check(name, record):
    jsonschema.validate(record, finn_schema()[name], jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "options", [{}, {"style": "dsp"}, {"part": find_part("VC1902"), "fps": None}]
)
def test_every_file_validates(name, options):
    check(name, json.loads(json.dumps(finn_records(network(**options))[name])))


def test_every_schema_is_one():
    assert set(finn_schema()) == set(FILES)
    for schema in finn_schema().values():
        jsonschema.Draft202012Validator.check_schema(schema)


def damaged():
    """Yield (file, record) with one thing wrong."""
    name = "estimate_layer_resources.json"
    for key in ("LUT", "BRAM_18K", "URAM", "DSP"):
        record = finn_records(network())[name]
        del record["conv"][key]
        yield name, record
    record = finn_records(network())[name]
    record["conv"]["LUTs"] = record["conv"].pop("LUT")
    yield name, record
    record = finn_records(network())[name]
    del record["total"]
    yield name, record
    name = "estimate_network_performance.json"
    for key, value in (
        ("max_cycles", 0),
        ("max_cycles_node_name", 3),
        ("critical_path_cycles", 1.5),
    ):
        yield name, finn_records(network())[name] | {key: value}
    yield "estimate_layer_cycles.json", {"conv": -1}
    yield "op_and_param_counts.json", {"conv": {"macs": 1, "params": 2}, "total": {}}
    yield "auto_folding_config.json", {"Defaults": {}, "conv": {"pe": 1, "SIMD": 1}}


def test_the_schema_finds_what_is_wrong():
    """Negative control: missing, misspelt and impossible entries do not validate."""
    for name, record in damaged():
        with pytest.raises(jsonschema.ValidationError):
            check(name, record)


def test_the_files_say_what_the_estimate_says(tmp_path):
    found = network()
    assert write_finn_files(found, tmp_path / "report") == list(FILES)
    records = {name: json.loads((tmp_path / "report" / name).read_text()) for name in FILES}
    assert records == finn_records(found)
    # A layer called total, as in this network, must not hide the total.
    names = ["conv", "deep", "total_2"]
    resources = records["estimate_layer_resources.json"]
    assert list(resources) == [*names, "total"]
    used = found.with_conversion
    assert resources["total"]["LUT"] == used.lut_sites + used.lutram
    for key, value in (("DSP", used.dsp), ("BRAM_18K", used.bram18), ("FF", used.ff)):
        assert resources["total"][key] == value == sum(resources[name][key] for name in names)
    without = found.without_conversion
    back = resources["total"]["LUT_conversion"]
    assert back == used.lut - without.lut > 0
    cycles = records["estimate_layer_cycles.json"]
    assert list(cycles.values()) == [fold.cycles for fold in found.folds]
    speed = records["estimate_network_performance.json"]
    assert speed["max_cycles"] == max(cycles.values()) == cycles[speed["max_cycles_node_name"]]
    assert speed["estimated_throughput_fps"] == 200e6 / speed["max_cycles"]
    assert speed["estimated_latency_ns"] == sum(cycles.values()) * 5
    counts = records["op_and_param_counts.json"]
    assert counts["deep"] == {"op_mac_4bx8b": 144 * 32 * 16, "param_weight_4b": 144 * 32}
    assert counts["total"]["param_weight_4b"] == 144 * 32 + 5120
    folding = records["auto_folding_config.json"]
    for name, fold in zip(names, found.folds, strict=True):
        macs = fold.layer.macs
        assert folding[name]["PE"] * folding[name]["SIMD"] * cycles[name] == macs


def test_other_files_of_the_folder_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    write_finn_files(network(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "mine.txt"])


def test_a_foreign_folder_is_refused_and_an_earlier_report_is_not(tmp_path):
    refuse_foreign(tmp_path / "new")
    write_finn_files(network(), tmp_path / "report")
    refuse_foreign(tmp_path / "report")
    with pytest.raises(InputError, match="holds other files; choose"):
        refuse_foreign(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        refuse_foreign(tmp_path / "file")
