# SPDX-License-Identifier: Apache-2.0
"""A team's own MAC module: every kind of port map passes, and planted bugs are told."""

from __future__ import annotations

import json

import pytest
from own_module import MODULES, STEPS, verify, write

import sim
from hw.generate import generate
from hwquant.mac import MacSpec
from sim.own import load_own

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Every port map, right and with a bug, verified in one call."""
    folder = tmp_path_factory.mktemp("own")
    bug = ("sum += 16'(", "sum += 16'(w[4*i +: 4] == 5 && x[4*i +: 4] == 3 ? 14 : ")
    files = {}
    for number, name in enumerate(MODULES):
        files[name] = write(folder / f"m{number}", name)
    planted = write(folder / "bug")
    source = planted.with_name("mac.sv")
    source.write_text(source.read_text().replace(*bug))
    files["planted"] = planted
    found = sim.verify(list(files.values()), steps=STEPS, seed=5)
    return dict(zip(files, found.results, strict=True)), found, files


@pytest.mark.parametrize("name", MODULES)
def test_a_right_module_passes_whatever_its_ports(reports, name):
    result = reports[0][name]
    assert result.mismatches == 0
    assert result.mac_steps >= STEPS
    bins = result.coverage
    assert [n for n, part in bins.items() if part.count is not None and not part.hit] == []


def test_a_planted_bug_is_found_and_told_with_its_codes(reports):
    result = reports[0]["planted"]
    assert result.mismatches > 0
    first = result.failures[0]
    assert (5, 3) in zip(first.weight, first.act, strict=True)  # a product of 15 that came as 14
    assert first.got == first.expected - 1
    assert "mac: int4 x uint4, 2 lanes" in first.describe()


def test_the_failing_vector_replays_with_a_waveform_of_the_module(reports, tmp_path):
    from sim.replay import replay, save_failure

    saved = save_failure(reports[0]["planted"].failures[0], tmp_path / "failure.json")
    folder = reports[2]["planted"]
    outcome = replay(saved, folder=folder, waves=tmp_path / "f.vcd")
    assert outcome.mismatches == 1
    assert " acc [9:0] " in (tmp_path / "f.vcd").read_text()
    gtkw = (tmp_path / "f.gtkw").read_text()
    assert "@420\nhq_adapter_mac.u_own.acc[9:0]\n" in gtkw
    sucl = (tmp_path / "f.sucl").read_text().splitlines()
    assert "variable_add hq_adapter_mac.u_own.acc" in sucl
    # The right module plays the same vector without an error.
    assert replay(saved, folder=reports[2]["everything"]).mismatches == 0


BUGS = {
    # module, what is right, what is wrong
    "not cleared": ("everything", "(first ? '0 : acc)", "acc"),
    "not frozen": ("everything", "if (en) begin", "begin"),
    "idle cycles count": ("everything", "if (valid) acc", "acc"),
    "reset keeps beats": ("everything", "if (rst) acc_valid <= 1'b0;", ""),
    "clock enable ignored": ("clock enable only", "if (en) acc", "acc"),
    "rail off by one": ("asynchronous reset, saturating", "10'sd511 :", "10'sd510 :"),
    "reset ignored": ("asynchronous reset, saturating", "acc_valid <= 1'b0;", ""),
    "late clear": ("clear in the cycle before", "if (first) base", "if (valid && first) base"),
    "last forgotten": ("last, without reset", "fresh <= last", "fresh <= 1'b0"),
    "early result": ("a result at the last beat", "valid <= valid && last", "valid <= valid"),
}  # fmt: skip


def test_faults_of_every_port_are_found(tmp_path):
    files = {}
    for number, (bug, (name, right, wrong)) in enumerate(BUGS.items()):
        body = MODULES[name][0]
        assert right in body
        files[bug] = write(tmp_path / f"b{number}", name, body=body.replace(right, wrong))
    report = sim.verify(list(files.values()), steps=STEPS)
    missed = [b for b, r in zip(files, report.results, strict=True) if not r.mismatches]
    assert missed == []


def test_lanes_in_another_order_and_one_port_per_lane(tmp_path):
    swapped = write(tmp_path / "a", lane="(1 - (I))")
    assert sim.verify(swapped, steps=64).mismatches > 0
    turned = write(
        tmp_path / "b", lane="(1 - (I))", replace=[('act = "x"', 'act = "x"\nact_lane_0 = "high"')]
    )
    assert sim.verify(turned, steps=64).mismatches == 0
    each = tmp_path / "c"
    write(each)
    (each / "top.sv").write_text(
        "module top (input logic clk, input logic [3:0] w0, w1, x0, x1, input logic s,\n"
        "  output logic signed [9:0] acc);\n"
        "mac #(2) u (.clk, .rst(1'b0), .rst_n(1'b1), .en(1'b1), .valid(1'b1), .first(s),\n"
        ".last(1'b0), .test(1'b0), .w({w1, w0}), .x({x1, x0}), .acc, .acc_valid());\nendmodule\n"
    )
    toml = each / "top.toml"
    text = (each / "mac.toml").read_text().split("[ports]")[0].replace('"mac"', '"top"')
    toml.write_text(
        text.replace("parameters = { Lanes = 2 }", "") + '[ports]\nclock = "clk"\n'
        'weight = ["w0", "w1"]\nact = ["x0", "x1"]\nresult = "acc"\nclear = "s"\n'
    )
    assert sim.verify(toml, steps=64).mismatches == 0


def test_what_the_ports_leave_untested_is_said(tmp_path):
    path = write(tmp_path, "a beat every cycle")
    done = verify(path, "--steps", 256, "--json", "--junit", tmp_path / "v.xml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    untested = json.loads(done.stdout)["untested"]
    for word in ("no enable port", "no valid port", "no reset port", "no result_valid port"):
        assert any(text.startswith(f"mac: {word}") for text in untested)
        assert f"not tested: mac: {word}" in done.stderr
    assert "no reset port" in (tmp_path / "v.xml").read_text()
    bins = sim.verify(path, steps=256).results[0].coverage
    for name in ("frozen in a dot product", "idle in a dot product", "reset in flight"):
        assert bins[name].count is None
    assert load_own(write(tmp_path / "full")).untested == (
        "mac: first is raised with valid beats only",
    )


def test_our_own_kernel_passes_as_somebody_elses(tmp_path):
    spec = MacSpec("e2m1", "int4", 3, 32, 9, "saturate")
    bundle = generate(spec, tmp_path / "rtl", name="theirs")
    (tmp_path / "t.toml").write_text(
        '[module]\ntop = "theirs"\nlatency = 2\n'
        f"sources = {json.dumps([f'rtl/{name}' for name in bundle.files])}\n"
        '[spec]\nweight = "e2m1"\nact = "int4"\nlanes = 3\nlength = 32\nacc = 9\nacc_frac = 1\n'
        'overflow = "saturate"\n[ports]\nclock = "clk_i"\nreset = "rst_i"\nenable = "en_i"\n'
        'valid = "valid_i"\nclear = "clear_i"\nweight = "weight_i"\nact = "act_i"\n'
        'result = "acc_o"\nresult_valid = "valid_o"\n'
    )
    report = sim.verify(tmp_path / "t.toml", steps=STEPS)
    assert report.mismatches == 0
    assert report.results[0].rails > 0
