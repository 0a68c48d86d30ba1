# SPDX-License-Identifier: Apache-2.0
"""A team's own MAC module: every kind of port map passes, planted bugs and bad files are told."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sim
from hw.generate import generate
from hwquant.errors import FormatError, InputError, SpecError
from hwquant.mac import MacSpec
from sim.own import load_own
from sim.own_design import design_of_own, ports_of
from sim.own_template import TEMPLATE

pytestmark = pytest.mark.sim

STEPS = 2048

# One module that can be everything: `define picks its control.  Two lanes of int4 x uint4.
SOURCE = """
`include "width.svh"
module mac #(parameter int Lanes = 1, parameter Mode = "none") (
  input  logic clk,
  input  logic rst, rst_n, en, valid, first, last, test,
  input  logic [Lanes*4-1:0] w,
  input  logic [Lanes*4-1:0] x,
  output logic signed [`ACC-1:0] acc,
  output logic acc_valid
);
  logic signed [15:0] sum, wide;
  always_comb begin
    sum = '0;
    for (int i = 0; i < Lanes; i++)
      sum += 16'($signed(w[4*i +: 4]) * $signed({1'b0, x[4*`LANE(i) +: 4]}));
  end
"""

MODULES = {
    "everything": (
        """
  always_ff @(posedge clk) begin
    if (en) begin
      acc_valid <= valid;
      if (valid) acc <= (first ? '0 : acc) + `ACC'(sum);
    end
    if (rst) acc_valid <= 1'b0;
  end
""",
        (
            'reset = "rst"\nenable = "en"\nvalid = "valid"\nclear = "first"\n'
            'result_valid = "acc_valid"'
        ),
        "wrap",
    ),
    "a beat every cycle": (
        "  always_ff @(posedge clk) acc <= (first ? '0 : acc) + `ACC'(sum);\n",
        'clear = "first"',
        "wrap",
    ),
    "clock enable only": (
        "  always_ff @(posedge clk) if (en) acc <= (first ? '0 : acc) + `ACC'(sum);\n",
        'enable = "en"\nclear = "first"',
        "wrap",
    ),
    "asynchronous reset, saturating": (
        """
  always_comb wide = (first ? 16'sd0 : 16'(acc)) + sum;
  always_ff @(posedge clk or negedge rst_n)
    if (!rst_n) begin
      acc <= '0;
      acc_valid <= 1'b0;
    end else begin
      acc_valid <= valid;
      if (valid) acc <= wide > 511 ? 10'sd511 : wide < -512 ? -10'sd512 : 10'(wide);
    end
""",
        (
            'reset = "rst_n"\nreset_active = "low"\nreset_kind = "async"\nvalid = "valid"\n'
            'clear = "first"\nresult_valid = "acc_valid"'
        ),
        "saturate",
    ),
    "clear in the cycle before": (
        """
  logic signed [`ACC-1:0] base;
  always_ff @(posedge clk) begin
    acc_valid <= valid;
    if (valid) acc <= base + `ACC'(sum);
    if (valid) base <= base + `ACC'(sum);
    if (first) base <= '0;
    if (rst) acc_valid <= 1'b0;
  end
""",
        (
            'reset = "rst"\nvalid = "valid"\nclear = "first"\nclear_when = "in the cycle before"\n'
            'result_valid = "acc_valid"'
        ),
        "wrap",
    ),
    "clear instead of a beat": (
        """
  always_ff @(posedge clk)
    if (first) acc <= '0;
    else if (valid) acc <= acc + `ACC'(sum);
""",
        'valid = "valid"\nclear = "first"\nclear_when = "instead of a beat"',
        "wrap",
    ),
    "last, without reset": (
        """
  logic fresh;
  always_ff @(posedge clk) if (en && valid) begin
    acc <= (fresh ? '0 : acc) + `ACC'(sum);
    fresh <= last;
  end
""",
        'enable = "en"\nvalid = "valid"\nlast = "last"',
        "wrap",
    ),
    "a result at the last beat": (
        """
  logic signed [`ACC-1:0] part;
  always_ff @(posedge clk) begin
    acc_valid <= valid && last;
    if (valid) part <= last ? '0 : part + `ACC'(sum);
    if (valid && last) acc <= part + `ACC'(sum);
    if (rst) begin
      part <= '0;
      acc_valid <= 1'b0;
    end
  end
""",
        (
            'reset = "rst"\nvalid = "valid"\nlast = "last"\nresult_valid = "acc_valid"\n'
            'result_when = "last beat"'
        ),
        "wrap",
    ),
}
INPUTS = ("rst", "rst_n", "en", "valid", "first", "last", "test")


def write(folder, name="everything", *, body=None, replace=(), lane="I"):
    """Write a module and its TOML; return the TOML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    text, ports, overflow = MODULES[name]
    (folder / "include").mkdir(exist_ok=True)
    (folder / "include" / "width.svh").write_text(f"`define ACC 10\n`define LANE(I) {lane}\n")
    (folder / "mac.sv").write_text(SOURCE + (text if body is None else body) + "endmodule\n")
    used = tomllib.loads(ports).values()
    tie = ", ".join(f"{port} = 1" for port in INPUTS if port not in used)
    toml = f"""
[module]
top = "mac"
sources = ["*.sv"]
include = ["include"]
parameters = {{ Lanes = 2 }}
latency = 1
[spec]
weight = "int4"
act = "uint4"
lanes = 2
length = 32
acc = 10
overflow = "{overflow}"
[ports]
clock = "clk"
weight = "w"
act = "x"
result = "acc"
{ports}
tie = {{ {tie} }}
"""
    for right, wrong in replace:
        assert right in toml
        toml = toml.replace(right, wrong)
    path = folder / "mac.toml"
    path.write_text(toml)
    return path


def verify(*arguments, cwd=None):
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


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


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (('clock = "clk"', 'clok = "clk"'), "unknown key 'clok'; did you mean 'clock'"),
        (("latency = 1", "latency = 0"), r"latency is 0, allowed 1\.\.64"),
        (("latency = 1", ""), r"\[module\] lacks latency; .*--template"),
        (('"*.sv"', '"*.v"'), r"no file matches '\*\.v'"),
        (('"*.sv"', '"other.sv"'), r"source 'other\.sv' does not exist"),
        (('["include"]', '["inc"]'), "include folder 'inc' does not exist"),
        (('clear = "first"', 'clear = "first"\nlast = "last"'), "either clear"),
        (('clear = "first"', ""), "either clear"),
        (('valid = "valid"', 'valid = "en"'), "uses en for two purposes"),
        (('clear = "first"', 'clear = "first"\nclear_when = "first"'), "'in the cycle before'"),
        (('weight = "w"', 'weight = ["w"]'), "lists 1 ports for 2 lanes"),
        (("length = 32", "length = 32\nacc_frac = 2"), "has 0 fraction bits"),
        (('top = "mac"', 'top = "mac top"'), "SystemVerilog identifier"),
        (("[ports]", "[port]"), "unknown key 'port'; did you mean 'ports'"),
        (("[module]", "[module"), "is not valid TOML"),
        (("test = 1", "test = -1"), "test is -1"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_words(tmp_path, replace, message):
    with pytest.raises(InputError, match=message):
        load_own(write(tmp_path, replace=[replace]))


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (('result = "acc"', 'result = "ac"'), "mac has no port ac; did you mean acc"),
        (("acc = 10", "acc = 12"), r"port acc has 10 bits, but \[spec\] acc .* 12 bits wide"),
        (("Lanes = 2", "Lanes = 3"), "port w has 12 bits, but 2 lanes of int4 weights need 8 bits"),
        ((", test = 1", ""), r"mac has an input test .* tie = \{ test = 0 \}"),
        (('result = "acc"', 'result = "rst_n"'), "port rst_n is an input, needed an output"),
        (("Lanes = 2", "Lane = 2"), "Verilator refuses the sources"),
        (('top = "mac"', 'top = "mec"'), "Verilator refuses the sources"),
        (('include = ["include"]', ""), r"width\.svh"),
    ],
)
def test_ports_that_do_not_fit_are_told_in_words(tmp_path, replace, message):
    also = [("rst_n = 1, ", "")] if "rst_n" in replace[1] else []
    with pytest.raises(InputError, match=message):
        design_of_own(write(tmp_path, replace=[replace, *also]))


def test_defines_parameters_and_packed_types_are_understood(tmp_path):
    (tmp_path / "m.sv").write_text(
        "typedef struct packed {logic [2:0] a; logic b;} pair_t;\n"
        'module m #(parameter int N = 1, parameter Name = "x") (input logic clk, input pair_t p,\n'
        "  input logic [N-1:0][`W-1:0] v, input logic [1:0] u [3], output q);\nendmodule\n"
    )  # fmt: skip
    path = write(tmp_path / "t")
    text = path.read_text().replace('"*.sv"', '"../m.sv"').replace('top = "mac"', 'top = "m"')
    path.write_text(text.replace("{ Lanes = 2 }", '{ N = 5, Name = "long" }\ndefines = { W = 3 }'))
    ports = ports_of(load_own(path))
    assert ports == {
        "clk": ("input", 1),
        "p": ("input", 4),
        "v": ("input", 15),
        "u": ("input", None),
        "q": ("output", 1),
    }


def test_bad_specs_and_vhdl_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r"mac\.toml: \[spec\] int44: 44 bits"):
        load_own(write(tmp_path, replace=[('"int4"', '"int44"')]))
    with pytest.raises(SpecError, match="overflow"):
        load_own(write(tmp_path, replace=[('"wrap"', '"modulo"')]))
    (tmp_path / "mac.vhd").write_text("entity mac is end;")
    with pytest.raises(InputError, match="VHDL"):
        load_own(write(tmp_path, replace=[('"*.sv"', '"mac.vhd"')]))
    missing = verify(tmp_path / "no.toml")
    assert missing.returncode == 2
    options = verify(write(tmp_path), "--lanes", 4)
    assert options.returncode == 2
    assert "--lanes cannot go with" in options.stderr


def test_the_template_is_a_valid_file_that_names_every_key(tmp_path):
    from sim.own import KEYS

    done = verify("--template")
    assert (done.returncode, done.stdout) == (0, TEMPLATE)
    (tmp_path / "my_mac.sv").write_text("module my_mac; endmodule\n")
    (tmp_path / "mymac.toml").write_text(TEMPLATE)
    own = load_own(tmp_path / "mymac.toml")
    assert (own.top, own.spec.lanes, own.latency) == ("my_mac", 4, 2)
    for table, keys in KEYS.items():
        assert all(f"\n{key} =" in TEMPLATE or f"\n# {key} =" in TEMPLATE for key in keys if table)


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
