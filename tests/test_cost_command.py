# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost`` on a network: searched folding, parts, intervals, files, bad requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from costmodel.commands import cost
from costmodel.finn_files import FILES, finn_schema
from costmodel.network_page import MARKS, PARTS, workloads
from hwquant.errors import InputError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A quantized net of two linear layers: 12 inputs, 6 hidden, 3 outputs."""
    import torch

    from hwquant import Recipe, export_qonnx, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    calib = torch.randn(32, 12)
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    export_qonnx(quantize(net, Recipe("int4", "int4"), calib), path, calib[:1])
    return str(path)


def run(*arguments, code=0):
    """Return the output of the command, run in this process."""
    done = CliRunner().invoke(cost, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def record(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code))


def refused(*arguments):
    """Return the one line that the command refuses its arguments with."""
    done = CliRunner().invoke(cost, [str(argument) for argument in arguments])
    assert isinstance(done.exception, InputError), (done.output, done.exception)
    assert done.stdout == ""
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_a_throughput_folds_every_layer(model):
    found = record(model, "--fps", 5e6, "--style", "auto")
    assert found["interval_cycles"] <= 200e6 / 5e6
    assert [row["pe"] * row["simd"] * row["cycles"] for row in found["layers"]] == [72, 18]
    for name in ("without_conversion", "with_conversion"):
        assert found[name] == {
            key: sum(row[name][key] for row in found["layers"]) for key in found[name]
        }
    assert found["with_conversion"]["lut_sites"] > found["without_conversion"]["lut_sites"]
    assert found["source"] == "formula"
    assert record("--network", model, "--fps", 5e6, "--style", "auto") == found


def test_more_speed_costs_more_and_a_budget_bounds_it(model):
    slow, fast = (record(model, "--fps", fps, "--style", "auto") for fps in (2.5e6, 3e7))
    assert slow["with_conversion"]["lut_sites"] < fast["with_conversion"]["lut_sites"]
    bounded = record(model, "--budget", "lut=600", "--style", "auto")
    used = bounded["with_conversion"]
    assert used["lut_sites"] + used["lutram"] <= 600
    assert record(model, "--fps", 2.5e6, "--clock", 100, "--style", "auto") != slow


def test_a_part_says_how_much_of_it_is_used(model):
    found = record(model, "--folding", "auto", "--part", "zu3eg", "--style", "auto")
    assert (found["part"]["name"], found["fits"]) == ("ZU3EG", True)
    used = found["with_conversion"]
    share = 100 * (used["lut_sites"] + used["lutram"]) / 70560
    assert found["utilisation_percent_with_conversion"]["lut"] == round(share, 2)
    kernel = record("--weight", "int4", "--act", "int4", "--length", 256, "--part", "A35T")
    assert kernel["utilisation_percent"]["lut"] == round(100 * kernel["lut_sites"] / 20800, 2)


def test_a_network_that_does_not_fit_is_exit_code_1(model, monkeypatch):
    from dataclasses import replace

    from costmodel import network_command
    from costmodel.parts import find_part

    tiny = replace(find_part("S50"), lut=100)
    monkeypatch.setattr(network_command, "find_part", lambda _: tiny)
    done = CliRunner().invoke(cost, [model, "--lanes", "12", "--part", "S50", "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["fits"] is False
    assert found["over_budget"]["lut"][1] == 100
    assert done.stderr.startswith("hwquant: does not fit S50: lut ")


def test_an_interval_holds_its_value(model):
    found = record(model, "--fps", 5e6, "--style", "auto", "--interval", 0.9)
    assert found["interval_level"] == 0.9
    for name in ("with_conversion", "without_conversion"):
        ends = found[f"lut_sites_{name}"]
        assert ends["low"] <= ends["value"] <= ends["high"]
        assert ends["value"] == found[name]["lut_sites"]
    kernel = record("--weight", "e3m2", "--act", "int8", "--lanes", 8, "--interval", 0.9)
    ends = kernel["lut_sites"]
    assert set(ends) >= {"value", "low", "high"}
    plain = record("--weight", "e3m2", "--act", "int8", "--lanes", 8)
    assert plain["lut_sites"] == ends["value"]


def test_finn_files_are_written_and_validate(model, tmp_path):
    out = tmp_path / "report"
    found = record(model, "--fps", 5e6, "--style", "auto", "-o", out)
    assert found["files"] == list(FILES)
    for name in FILES:
        jsonschema.validate(json.loads((out / name).read_text()), finn_schema()[name])
    resources = json.loads((out / "estimate_layer_resources.json").read_text())
    used = found["with_conversion"]
    assert resources["total"]["LUT"] == used["lut_sites"] + used["lutram"]


def test_the_text_has_totals_shares_and_layers(model):
    text = run(model, "--fps", 5e6, "--style", "auto", "--part", "ZU3EG", "--interval", 0.9)
    assert "ZU3EG (Zynq UltraScale+, DS891)" in text
    for start in ("without_conversion", "  of the part", "with_conversion", "name "):
        assert any(line.startswith(start) for line in text.splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fps", 0], "--fps 0, allowed: a positive number"),
        (["--fps", -3], "--fps -3, allowed"),
        (["--fps", 5, "--clock", 0], "--clock 0, allowed"),
        (["--clock", 100], "--clock goes with a folding that is searched"),
        (["-o", "report"], "-o goes with a folding that is searched"),
        (["--fps", 5, "--folding", "shared"], "--folding shared fixes what --fps"),
        (["--fps", 5, "--lanes", 4], "--lanes fixes what --fps"),
        (["--folding", "auto"], "--folding auto needs a target"),
        (["--fps", 1e10], "leave 0 cycles, layer"),
        (["--budget", "luts=5"], "did you mean lut?"),
        (["--budget", "lut=-5"], "allowed: lut=NUMBER"),
        (["--budget", "lut=0"], "allows no LUT"),
        (["--budget", "lut=5,lut=6"], "names lut twice"),
        (["--budget", "lut"], "allowed: lut=NUMBER"),
        (["--budget", "lut=1"], "needed at least lut="),
        (["--fps", 2e7, "--budget", "lut=300"], "do not fit in lut=300; what fits makes"),
        (["--part", "ZU3"], "did you mean ZU3EG"),
        (["--part", "ecp5-85f"], "has LUT4"),
        (["--interval", 0], "--interval 0, allowed: between 0 and 1"),
        (["--interval", 0.77], "intervals of share 0.77; allowed: 0.5"),
        (["--weight", "int4"], "--weight cannot go with"),
        (["--network", "other.onnx"], "two networks"),
    ],
)
def test_bad_requests_are_one_line(model, arguments, says):
    assert says in refused(model, *arguments)


def test_options_of_a_network_need_one():
    kernel = ["--weight", "int4", "--act", "int4"]
    for option in (["--fps", 5], ["--budget", "lut=5"], ["-o", "x"], ["--folding", "auto"]):
        assert "goes with a network" in refused(*kernel, *option)
    assert "write one with: hwquant quantize zoo:glyphs_resnet8" in refused(
        "--network", "zoo:glyphs_resnet8"
    )


def test_a_price_without_synthesis_loads_no_torch(model):
    code = (
        "import sys; from costmodel.commands import cost; "
        "cost(sys.argv[1:], standalone_mode=False); "
        "heavy = {'torch', 'brevitas', 'qonnx', 'onnxruntime', 'sklearn'} & set(sys.modules); "
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)"
    )
    kernel = ["--weight", "e2m1", "--act", "int8", "--lanes", "8", "--interval", "0.9"]
    for arguments in (kernel, [model, "--fps", "5e6", "--style", "auto", "--interval", "0.9"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_tables_of_the_page_add_up():
    """Every per-layer table of docs/network_cost.md ends in the sum of its rows."""
    text = (Path(__file__).parents[1] / "docs" / "network_cost.md").read_text()
    begin, end = MARKS
    body = text.partition(begin)[2].partition(end)[0]
    sections = body.split("### ")[1:]
    names = [name for name in workloads() if "int4" in name]
    assert [s.splitlines()[0] for s in sections] == [f"{n} on {p}" for n in names for p in PARTS]
    for section in sections:
        name = section.partition(" on ")[0]
        lines = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
        _, *layers, total = [[cell.strip() for cell in line] for line in lines]
        assert [row[0].strip("`") for row in layers] == [x.name for x in workloads()[name].layers]
        for column in range(5, 11):
            assert sum(int(row[column]) for row in layers) == int(total[column])
        for row, layer in zip(layers, workloads()[name].layers, strict=True):
            assert int(row[1]) * int(row[2]) * int(row[4]) == layer.macs
        assert max(int(row[4]) for row in layers) == int(total[4])
