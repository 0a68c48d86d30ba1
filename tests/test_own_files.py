# SPDX-License-Identifier: Apache-2.0
"""The TOML of a team's own MAC module: what does not fit is told in words."""

from __future__ import annotations

import pytest
from own_module import verify, write

from hwquant.errors import FormatError, InputError, SpecError
from sim.own import load_own
from sim.own_design import design_of_own, ports_of
from sim.own_template import TEMPLATE

pytestmark = pytest.mark.sim


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (('clock = "clk"', 'clok = "clk"'), "unknown key 'clok', allowed: .*did you mean clock"),
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
        (("[ports]", "[port]"), "unknown key 'port', allowed: .*did you mean ports"),
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
