"""Block-dot kernels on the command line: generated, verified, priced, refused."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from costmodel.block_kernel import block_price
from hw.commands import rtl
from hwquant.block_mac import BlockMacSpec
from hwquant.errors import HwquantError
from sim.commands import verify


def call(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


@pytest.mark.sim
def test_commands(tmp_path):
    pair = ("--weight", "mxfp4k4", "--act", "mxint8k4", "--lanes", "4")
    done = call(rtl, *pair, "--window", "12:-9", "-o", tmp_path / "k", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["window"], record["acc_bits"], record["lossless"]) == ("12:-9", 22, False)
    found = call(verify, tmp_path / "k", "--steps", 512, "--json", "--junit", tmp_path / "x.xml")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["mismatches"] == 0
    assert 'tests="1"' in (tmp_path / "x.xml").read_text()
    block = tmp_path / "k" / "hq_block_acc.sv"
    block.write_text(block.read_text().replace("| wide[Guard])", "| 1'b1)"))
    wrong = call(verify, tmp_path / "k", "--steps", 512, "--json")
    assert wrong.exit_code == 1
    assert "does not match its hash" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weight", "int4", "--act", "int4", "--window", "3:1"), "--window goes with"),
        (("--weight", "mxfp4", "--act", "int4"), "act int4 is not block-scaled"),
        (("--weight", "mxfp4", "--act", "mxfp4", "--acc", "20"), "--acc goes with"),
        (("--weight", "mxfp4", "--act", "mxfp4", "--window", "wide"), "allowed: auto, or MSB:LSB"),
    ],
)
def test_bad_options(arguments, message, tmp_path):
    done = call(rtl, *arguments, "-o", tmp_path / "k")
    assert isinstance(done.exception, HwquantError)
    assert message in str(done.exception)


@pytest.mark.synth
def test_cost_tells_the_sum_from_the_window():
    price = block_price(BlockMacSpec("mxfp4", "mxfp4", 8, 256, (15, -16)), "tree", synth=True)
    assert price["block_lut_sites"] < price["lut_sites"] < 3 * price["block_lut_sites"]
    assert price["flow"].startswith("Yosys")
    wide = block_price(BlockMacSpec("mxfp4", "mxfp4", 8, 256, (31, -32)), "tree", synth=True)
    assert wide["lut_sites"] > price["lut_sites"]
    # What was never measured has a formula: here within 5 % of the synthesis, flip-flops exact.
    formula = block_price(BlockMacSpec("mxfp4", "mxfp4", 8, 256, (31, -32)), "tree")
    assert formula["source"] == "formula"
    assert formula["ff"] == wide["ff"]
    assert abs(formula["lut_sites"] - wide["lut_sites"]) <= 0.05 * wide["lut_sites"]
