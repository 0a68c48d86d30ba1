# SPDX-License-Identifier: Apache-2.0
"""Mapped netlists compute what the reference does; one flipped bit of one LUT is found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from hw import yosys
from hw.generate import generate
from hw.netlist import cells_in, kernel_sources, renamed
from hw.yosys import netlist, synthesize
from hwquant.errors import InputError, ToolError
from hwquant.mac import MacSpec
from sim import gates
from sim.engine import verify_designs
from sim.gates import netlist_design, netlist_designs, sample, verify_netlists
from sim.kernels import Design
from sim.pairs import all_pairs
from sim.replay import replay, save_failure

pytestmark = [pytest.mark.sim, pytest.mark.synth]

STEPS = 4096
SPECS = [
    MacSpec("e4m3", "e4m3", 1, 256, 45, "saturate"),
    MacSpec("int8", "int8", 1, 256, 22, "wrap"),
    MacSpec("e2m1", "int4", 5, 64, 12, "saturate"),
    MacSpec("uint4", "ue2m2", 3, 64, 20, "wrap"),
]
SMALL = MacSpec("e2m1", "int4", 2, 32, 9, "saturate")


@pytest.fixture(scope="module")
def report():
    return verify_netlists(SPECS, seed=5, steps=STEPS)


def test_netlists_are_bit_exact_over_products_and_streams(report):
    report.raise_for_mismatch()
    assert report.kernels == len(SPECS)
    assert {result.kernel.spec for result in report.results} == set(SPECS)
    assert report.products == sum(len(s.weight.codes) * len(s.act.codes) for s in SPECS)
    assert all(result.mac_steps >= STEPS for result in report.results)
    assert sum(result.rails for result in report.results) > 100


def test_the_report_and_junit_name_the_netlist_and_its_flow(report, tmp_path):
    assert yosys.yosys_version() in report.flow
    assert "synth_xilinx -family xcup" in report.flow
    assert report.to_json()["level"] == "netlist"
    report.write_junit(tmp_path / "v.xml")
    text = (tmp_path / "v.xml").read_text()
    cases = [case.get("name") for case in ET.fromstring(text).iter("testcase")]  # noqa: S314
    assert all(name.startswith("netlist of hq_mac_") for name in cases)
    assert report.flow in text


@pytest.mark.parametrize("dsp", [False, True])
def test_the_netlist_is_the_one_that_is_priced(dsp):
    spec = SPECS[1]
    cells = cells_in(netlist(kernel_sources(spec, "kernel"), "kernel", dsp=dsp))
    counted = synthesize(kernel_sources(spec, "kernel"), "kernel", dsp=dsp)
    luts = sum(n for cell, n in cells.items() if cell.startswith("LUT") or cell == "INV")
    flops = sum(n for cell, n in cells.items() if cell.startswith("FD"))
    assert (luts, flops) == (counted.lut_raw, counted.ff)
    assert cells.get("CARRY4", 0) == counted.carry
    assert cells.get("DSP48E2", 0) == counted.dsp == int(dsp)


def test_the_mapping_with_dsp_blocks_is_bit_exact():
    spec = MacSpec("int8", "uint4", 2, 64, "auto", "saturate")
    report = verify_netlists(spec, dsp=True, steps=STEPS)
    report.raise_for_mismatch()
    (design,) = netlist_designs([spec], dsp=True)
    assert "DSP48E2" in cells_in(design.sources["netlists.v"])
    assert "DSPs allowed" in report.flow


def test_shift_registers_are_mapped_and_verified():
    """A delay line (SRL) ahead of the kernel: latency grows by its length, results stay."""
    spec, delay = SMALL, 5
    inner = kernel_sources(spec, "inner")
    bits = spec.lanes * (spec.weight.bits + spec.act.bits)
    inner["kernel.sv"] = f"""
module kernel (
  input logic clk_i, rst_i, en_i, valid_i, clear_i,
  input logic [{spec.lanes * spec.weight.bits - 1}:0] weight_i,
  input logic [{spec.lanes * spec.act.bits - 1}:0] act_i,
  output logic valid_o, output logic [{spec.accumulator.width - 1}:0] acc_o
);
  logic [{bits - 1}:0] data [{delay}];
  logic [{delay - 1}:0] valid, clear;
  always_ff @(posedge clk_i) begin
    if (rst_i) valid <= '0;
    else if (en_i) valid <= {{valid[{delay - 2}:0], valid_i}};
    if (en_i) begin
      clear <= {{clear[{delay - 2}:0], clear_i}};
      data[0] <= {{weight_i, act_i}};
      for (int i = 1; i < {delay}; i++) data[i] <= data[i-1];
    end
  end
  inner u_inner (
    .clk_i, .rst_i, .en_i, .valid_i(valid[{delay - 1}]), .clear_i(clear[{delay - 1}]),
    .weight_i(data[{delay - 1}][{bits - 1}-:{spec.lanes * spec.weight.bits}]),
    .act_i(data[{delay - 1}][{spec.lanes * spec.act.bits - 1}:0]), .valid_o, .acc_o
  );
endmodule
"""
    kernel = replace(netlist_design(spec).kernels[0], name="kernel", latency=2 + delay, title="")
    design = gates.mapped(Design((kernel,), inner))
    used = cells_in(design.sources["netlists.v"])
    assert used.get("SRL16E", 0) >= bits, used
    report = verify_designs([design], steps=STEPS)
    report.raise_for_mismatch()


def flipped(design, rng_bit=5, lut=None):
    """Return ``design`` with one INIT bit of one LUT flipped."""
    text = design.sources["netlists.v"]
    found = list(re.finditer(r"LUT([3-6]) #\(\n +\.INIT\(\d+'h([0-9a-f]+)\)", text))
    one = found[len(found) // 2 if lut is None else lut]
    value = int(one[2], 16) ^ 1 << rng_bit
    changed = f"{value:0{len(one[2])}x}"
    text = text[: one.start(2)] + changed + text[one.end(2) :]
    return Design(design.kernels, dict(design.sources) | {"netlists.v": text}, design.origin)


def test_one_flipped_bit_of_a_lut_is_found():
    """Negative control; the netlist beside it, untouched, passes."""
    design = netlist_design(SMALL)
    clean, dirty = verify_designs([design, flipped(design)], steps=STEPS).results
    assert clean.mismatches == 0
    assert dirty.mismatches > 0
    first = dirty.failures[0]
    assert first.expected != first.got
    assert "netlist of hq_mac_e2m1_int4" in first.describe()


def run(*arguments, cwd=None):
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


SMALL_OPTIONS = (
    "--weight", "e2m1", "--act", "int4", "--lanes", 2, "--length", 32, "--acc", 9,
    "--overflow", "saturate",
)  # fmt: skip


def test_the_command_takes_a_kernel_or_a_folder_and_replays_its_netlist(tmp_path):
    done = run(*SMALL_OPTIONS, "--netlist", "--steps", 1000, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["level"] == "netlist"
    bundle = generate(SMALL, tmp_path / "rtl")
    acc = bundle.folder / "hq_acc.sv"
    text = acc.read_text()
    assert text.count("fits ? wide") == 1
    acc.write_text(text.replace("fits ? wide", "!fits ? wide"))
    done = run("rtl", "--netlist", "--steps", 1000, "--save", "f.json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "--netlist --replay f.json" in done.stderr
    again = run("rtl", "--netlist", "--replay", "f.json", "--json", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    outcome = json.loads(again.stdout)
    assert outcome["mismatches"] > 0
    assert outcome["kernel"].startswith("netlist of ")


def test_a_good_netlist_passes_the_replay_of_a_failure(tmp_path):
    design = netlist_design(SMALL)
    report = verify_designs([flipped(design)], steps=1000)
    path = save_failure(report.failures[0], tmp_path / "f.json")
    assert replay(path, netlist=True).mismatches == 0


def test_bad_options_are_refused():
    for arguments, said in (
        (("--weight", "int4", "--act", "int4", "--sample", 3), "--sample goes with --all-pairs"),
        (("--weight", "int4", "--act", "int4", "--dsp"), "--dsp goes with --netlist"),
        (("--all-pairs", "--sample", 0), "sample of 0 kernels, allowed 1..2178"),
        (("--all-pairs", "--sample", 9999, "--netlist"), "allowed 1..2178"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
    with pytest.raises(InputError, match="nothing to verify"):
        verify_netlists([])


def test_a_sample_is_the_same_for_the_same_seed():
    pairs = all_pairs()
    chosen = sample(pairs, 20, seed=3)
    assert chosen == sample(pairs, 20, seed=3)
    assert chosen != sample(pairs, 20, seed=4)
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(pairs)


def test_renaming_wants_exactly_one_module():
    assert renamed("module a (b);\nendmodule", "a", "c") == "module c (b);\nendmodule"
    for text in ("module ab (b);", "module a;\nmodule a;"):
        with pytest.raises(ToolError, match="needed one"):
            renamed(text, "a", "c")


def test_a_netlist_with_something_unmapped_is_refused(private_cache):
    files = {"k.sv": "module k (input a, output y); assign y = $anyseq; endmodule"}
    with pytest.raises(ToolError):
        netlist(files, "k")
    assert not (private_cache / "netlists").exists()


def test_netlists_come_from_the_cache(private_cache, monkeypatch):
    files = {"k.sv": "module k (input a, input b, output y); assign y = a & b; endmodule"}
    first = netlist(files, "k")
    assert cells_in(first) == {"LUT2": 1}
    monkeypatch.setattr(yosys, "run", lambda *_: pytest.fail("Yosys runs"))
    assert netlist(files, "k") == first
    with pytest.raises(pytest.fail.Exception, match="Yosys runs"):
        netlist(files, "k", dsp=True)
    assert len(list((private_cache / "netlists").iterdir())) == 1
