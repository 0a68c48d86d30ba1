# SPDX-License-Identifier: Apache-2.0
"""Every block stops elaboration at illegal parameters and says which, and what is allowed.

The tools run with little memory and little time: what gets past a check can eat both.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from importlib.resources import files as files_of

import pytest

from hw.library import source_text
from hw.netlist import cell_models
from hw.yosys import run
from hwquant.errors import ToolError
from sim.toolchain import find

MEMORY = 4_000_000 * 1024
SECONDS = 120
NAMES = sorted(path.name for path in files_of("hw").joinpath("rtl").iterdir())
SOURCES = {name: source_text(name) for name in NAMES}
CELLS = ("LUT6_2", "CARRY8", "DSP48E2", "RAM32X1S", "RAM64X1S", "RAM32M16", "RAM64M8")

INSTANCE = re.compile(r"^ +(hq_\w+) #\(", re.MULTILINE)

# Block -> parameters, and what must be said after "block: ".
BAD = {
    "hq_acc": [({"AccBits": 1}, "AccBits must be 2..1024")],
    "hq_add": [({"Width": 0}, "Width must be 1..4096")],
    "hq_align": [
        ({"InBits": 0}, "InBits must be 1..64"),
        ({"ExpBits": 9}, "ExpBits must be 1..8"),
        ({"OutBits": 513}, "OutBits must be 1..512"),
    ],
    "hq_bias": [
        ({"BiasBits": 30}, "SumBits must be BiasBits or more"),
        ({"Drop": 25}, "Drop must be 0..SumBits-1"),
        ({"Split": 1}, "Split must be 0 unless AccBits is SumBits+1 or more"),
        ({"AccBits": 26}, "SumBits must be AccBits or more without Split"),
    ],
    "hq_block_acc": [({"AccBits": 1}, "AccBits must be 2..1024")],
    "hq_block_scale": [({"ExpBits": 7}, "ExpBits must be 9, or 5 for E4M3")],
    "hq_block_seq": [({"Latency": 0}, "Latency must be 1..64")],
    "hq_book_booth": [
        ({"ABits": 26}, "ABits must be 3..25"),
        ({"BBits": 2}, "BBits must be 3..25"),
    ],
    "hq_book_decode": [
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"SigBits": 26}, "SigBits must be 1..25"),
    ],
    "hq_book_first": [({"Width": 2}, "Width must be 3..25")],
    "hq_book_mac": [({"Lanes": 0}, "Lanes must be 1 or more")],
    "hq_book_term": [({"ProductBits": 3}, "ProductBits does not match the two formats")],
    "hq_booth": [({"ABits": 9}, "ABits must be 3..8"), ({"BBits": 2}, "BBits must be 3..8")],
    "hq_booth_first": [({"Width": 9}, "Width must be 3..8")],
    "hq_booth_mac": [({"WeightTwos": 1, "WeightFlip": 1}, "an operand has Twos or Flip, not both")],
    "hq_booth_row": [({"Width": 65}, "Width must be 1..64")],
    "hq_bucket": [
        ({"WeightExpBits": 0, "ActExpBits": 0}, "WeightExpBits or ActExpBits must be 2 or more"),
        ({"Window": 3}, "Window must be 0..2"),
        ({"BucketBits": 2}, "BucketBits must exceed the product of the significands"),
    ],
    "hq_bucket_decode": [
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"ExpBits": 8}, "ExpBits must be 0..7, and 0 for an integer"),
    ],
    "hq_bucket_mac": [({"Lanes": 0}, "Lanes must be 1..4096")],
    "hq_bucket_mul": [({"ABits": 9}, "ABits must be 1..8"), ({"BBits": 0}, "BBits must be 1..8")],
    "hq_bucket_ram": [({"AddrBits": 7}, "AddrBits must be 1..6")],
    "hq_chain": [({"Width": 0}, "Width must be 1 or more")],
    "hq_clamp": [
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"Narrow": 1, "Signed": 0}, "Narrow must be 0 for an unsigned format"),
    ],
    "hq_const_add": [({"Width": 0}, "Width must be 1 or more")],
    "hq_const_decode": [
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"Width": 513}, "Width must be 1..512"),
    ],
    "hq_const_row": [({"Extras": 3}, "Extras must be 0..2")],
    "hq_const_table": [
        ({"Inputs": 9}, "Inputs must be 1..8"),
        ({"Width": 0}, "Width must be 1 or more"),
    ],
    "hq_decode": [
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"Float": 0}, "ExpBits must be 0"),
        ({"ExpBits": 4}, "sign and exponent fields exceed Bits"),
    ],
    "hq_decode_mac": [({"WeightExpBits": 2}, "WeightExpBits and ActExpBits must be 0 or 1")],
    "hq_delay": [({"Stages": 17}, "Stages must be 0..16")],
    "hq_digit_mac": [({"WeightBits": 6}, "must have 1..3 bits")],
    "hq_digit_rows": [({"MaxBits": 1}, "MaxBits must be 2..52")],
    "hq_dot": [({"Lanes": 0}, "Lanes must be 1..4096")],
    "hq_drain": [
        ({"First": 9, "Last": 8}, "Last must be First..2**AddrBits-1"),
        ({"Steps": 0}, "Steps must be Last-First+1 or more"),
    ],
    "hq_dsp_acc_mac": [
        ({"Lanes": 3}, "Lanes must be 1..2"),
        ({"AccBits": 49}, "AccBits must be 2..48"),
        ({"ProductBits": 48}, "ProductBits must be 2..47"),
    ],
    "hq_dsp_add": [({"Bits": 49}, "Bits must be 1..48")],
    "hq_dsp_mac": [({"AccBits": 49}, "AccBits must be 2..48")],
    "hq_dsp_mul": [
        ({"Stages": 3}, "Stages must be 1..2"),
        ({"ABits": 28}, "ABits must be 1..27"),
        ({"PBits": 49}, "PBits must be 1..48"),
    ],
    "hq_dsp_operand": [({"OutBits": 1}, "OutBits must be the width of the format's values")],
    "hq_dsp_tile": [({"Weights": 9}, "Weights * Acts * Stride must be 1..49")],
    "hq_fold": [({"Width": 1}, "Width must be 2 or more")],
    "hq_mac": [({"Lanes": 0}, "Lanes must be 1 or more")],
    "hq_mul": [({"ABits": 0}, "operand widths must be 1 or more")],
    "hq_mul_table": [({"ABits": 6}, "ABits and BBits must be 1 or more and 6 or less together")],
    "hq_mulshift": [
        ({"AccBits": 1025}, "AccBits must be 2..1024"),
        ({"MultBits": 33}, "MultBits must be 2..32"),
    ],
    "hq_mux_shift": [({"ByBits": 3}, "ByBits must be 1..2")],
    "hq_norm": [({"Steps": 8}, "Steps must be 0..7")],
    "hq_pack": [
        ({"ManBits": 6}, "sign, ExpBits and ManBits must make 2..8 bits"),
        ({"MaxCode": 8}, "MaxCode must be below 2**(ExpBits + ManBits)"),
    ],
    "hq_product": [({"ProductBits": 513}, "ProductBits must be 1..512")],
    "hq_rom": [
        ({"Depth": 0}, "Depth must be 1 or more"),
        ({"Width": 0}, "Width must be 1 or more"),
    ],
    "hq_rom_mac": [({"Bits": 51}, "Bits must be 2..50")],
    "hq_round": [
        ({"AccBits": 2049}, "AccBits must be 2..2048"),
        ({"Shift": 25}, "Shift must be 1..SumBits-1"),
        ({"Float": 0}, "ExpBits must be 0"),
    ],
    "hq_shift": [({"AmountBits": 12}, "AmountBits must be 1..11")],
    "hq_shift_mac": [
        ({"WeightExpBits": 0, "ActExpBits": 0}, "must have 2 or more exponent bits"),
        ({"WeightExpBits": 8}, "WeightExpBits and ActExpBits must be 0..7"),
    ],
    "hq_sig_product": [({"ABits": 9}, "ABits must be 1..8"), ({"BBits": 0}, "BBits must be 1..8")],
    "hq_sum": [({"Count": 0}, "Count must be 1..4096"), ({"Width": 513}, "Width must be 1..512")],
    "hq_table_mac": [
        ({"WeightBits": 9}, "WeightBits must be 1..8"),
        ({"ActBits": 0}, "ActBits must be 1..8"),
        ({"Codes": 0}, "Codes must be 1 or more, with at most 32 nets in all"),
        ({"CarryPick": 31}, "CarryPick and SignPick must be below the number of nets"),
    ],
    "hq_tally": [
        ({"LowBits": 0}, "LowBits must be 1 or more"),
        ({"AccBits": 1025}, "AccBits must be LowBits..1024"),
    ],
    "hq_term": [({"ProductBits": 3}, "ProductBits does not match the two formats")],
    "hq_ternary": [({"Width": 0}, "Width must be 1 or more")],
    "hq_thr": [
        ({"AccBits": 1}, "AccBits must be 2..1024"),
        ({"Steps": 9}, "Steps must be 1..8"),
        ({"Bits": 9}, "Bits must be 1..8"),
        ({"ThrBits": 26}, "ThrBits must be 1..AccBits+1"),
    ],
    "hq_thr_step": [({"Steps": 9}, "Steps must be 1..8"), ({"Step": 4}, "Step must be 0..Steps-1")],
    "hq_tree_acc": [({"SumBits": 511}, "SumBits must be Width..510")],
    "hq_tree_lane": [
        ({"WeightExpBits": 8}, "WeightExpBits and ActExpBits must be 0..7"),
        ({"WeightTwos": 1}, "must have neither Flip nor ExpBits"),
    ],
    "hq_tree_mac": [
        ({"Lanes": 0}, "Lanes must be 1..4096"),
        ({"ProductBits": 1}, "ProductBits must be 2..480"),
        ({"AccBits": 1}, "AccBits must be 2..1024"),
        ({"Levels": 5}, "Levels must be log3"),
    ],
    "hq_tree_shift": [({"ActExpBits": 1}, "WeightExpBits and ActExpBits must be 0 or 2..7")],
    "hq_tree_sum": [({"Count": 2}, "Count must be odd")],
    "hq_tree_table": [
        ({"ABits": 6}, "ABits and BBits must be 1 or more and 6 or less together"),
        ({"ProductBits": 32}, "ProductBits must be 1..31"),
    ],
    "hq_updown": [({"Width": 0}, "Width must be 1 or more")],
}
ANY = {"hq_lut.sv", "hq_lut_pair.sv"}  # one bit and truth tables: every value is legal

# Verilator stops at these even before it looks at checks, with an error of its own: nothing to add
# (a recursive sum, a cast to no bits).  `hwquant.mac.MacSpec` and the generators refuse them too.
EARLIER = {"hq_book_mac", "hq_bucket_mac", "hq_const_add", "hq_dot", "hq_mac"}


def needed(block):
    """Return the block's own files: it, what it instantiates, and models of the cells in them."""
    found, names = {}, [block]
    while names:
        name = names.pop()
        if f"{name}.sv" not in found:
            found[f"{name}.sv"] = SOURCES[f"{name}.sv"]
            names += [x for x in INSTANCE.findall(SOURCES[f"{name}.sv"]) if f"{x}.sv" in SOURCES]
    text = "".join(found.values())
    cells = cell_models(
        cell for cell in CELLS if re.search(rf"^ +{cell} #?\(?", text, re.MULTILINE)
    )
    return cells, found


def confined():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def verilator(block, values, folder):
    cells, blocks = needed(block)
    for name, text in (cells | blocks).items():
        (folder / name).write_text(text)
    root = find().verilator_root
    options = [f"-G{key}={value}" for key, value in values.items()]
    return subprocess.run(
        [str(root / "bin" / "verilator_bin"), "--lint-only", "-Wno-lint", "-Wno-style",
         "-Wno-MULTITOP", *options, "--top-module", block, *cells, *blocks],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS, preexec_fn=confined,
        env=os.environ | {"VERILATOR_ROOT": str(root)},
    )  # fmt: skip


def yosys(tool, block, values):
    """Return what a front end of Yosys says against the block, empty for nothing."""
    cells, blocks = needed(block)
    names = " ".join(blocks)
    if tool == "read_slang":
        options = " ".join(f"-G {key}={value}" for key, value in values.items())
        script = f"read_slang --threads 1 --top {block} {options} {' '.join(cells)} {names}"
    else:
        options = " ".join(f"-chparam {key} {value}" for key, value in values.items())
        script = "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v\n"
        script += f"read_verilog -sv {names}\nhierarchy -check -top {block} {options}"
    try:
        run(script, cells | blocks)
    except ToolError as error:
        return str(error)
    return ""


def test_the_table_holds_every_block():
    assert {f"{block}.sv" for block in BAD} | ANY == set(NAMES)
    for name in ANY:
        assert set(re.findall(r"parameter (?:bit|logic \[\d+:0\])", SOURCES[name]))
        assert "int unsigned" not in SOURCES[name]


@pytest.mark.sim
@pytest.mark.parametrize("block", BAD)
def test_verilator_stops_and_says_why(block, tmp_path):
    for values, said in BAD[block]:
        done = verilator(block, values, tmp_path)
        assert done.returncode != 0
        if block in EARLIER:
            continue
        assert f"{block}: " in done.stderr, (values, done.stderr[:1000])
        assert said in done.stderr, (values, done.stderr[:1000])


@pytest.mark.sim
@pytest.mark.parametrize("block", ["hq_add", "hq_bias", "hq_pack", "hq_tree_mac", "hq_dsp_mul"])
def test_the_defaults_pass(block, tmp_path):
    """Negative control: without the illegal value there is nothing to say."""
    done = verilator(block, {}, tmp_path)
    assert done.returncode == 0, done.stderr[:1000]


@pytest.mark.synth
@pytest.mark.parametrize("tool", ["read_verilog", "read_slang"])
@pytest.mark.parametrize("block", sorted(BAD)[::8])
def test_yosys_stops_too(tool, block):
    values, said = BAD[block][0]
    found = yosys(tool, block, values)
    assert found
    if tool == "read_verilog":  # the other one's message comes before the line that is passed on
        assert said in found


@pytest.mark.synth
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["read_verilog", "read_slang"])
@pytest.mark.parametrize("block", BAD)
def test_yosys_stops_at_every_block(tool, block):
    for values, _ in BAD[block]:
        assert yosys(tool, block, values)


@pytest.mark.synth
@pytest.mark.parametrize("tool", ["read_verilog", "read_slang"])
def test_yosys_reads_the_defaults(tool):
    assert yosys(tool, "hq_tree_mac", {}) == ""
