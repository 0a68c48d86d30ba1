# SPDX-License-Identifier: Apache-2.0
"""Verilator (-Wall, no waivers), both Yosys front ends and Icarus, if installed, take the RTL."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
from importlib.resources import files as files_of

import pytest

from hw import kernel_text, product_bits, product_text
from hw.block_kernel import BLOCK_SOURCES
from hw.constant.emit import SOURCES as CONSTANT_SOURCES
from hw.library import source_text
from hw.requant import requant_sources
from hw.styles import CODEBOOK_STYLES, STYLES
from hw.styles.plain import PRODUCT_SOURCES
from hw.tile import TILE_SOURCES
from hw.yosys import run
from hwquant.errors import ToolError
from hwquant.mac import MacSpec
from hwquant.requant import MultiplyShift, RoundPack, Thresholds
from sim.toolchain import find

SOURCES = {name: source_text(name) for name in (*STYLES["plain"].sources, "hq_product.sv")}
LANES = (1, 1, 2, 3, 5, 8)
WIDTHS = ("auto", "sum", 2, 7, 24, 300)


def sweep(formats, count, seed):
    """Return specs that meet every format, odd lane counts, and accumulators narrow and wide."""
    rng = random.Random(seed)
    pairs = [(fmt, rng.choice(formats)) for fmt in formats]
    pairs += [(rng.choice(formats), fmt) for fmt in formats]
    rng.shuffle(pairs)
    specs = []
    for weight, act in pairs[:count]:
        lanes, acc = rng.choice(LANES), rng.choice(WIDTHS)
        if acc == "sum":  # exactly as wide as the sum of one beat: no extension, no truncation
            acc = product_bits(weight, act) + (lanes - 1).bit_length()
        specs.append(MacSpec(weight, act, lanes, 64, acc, rng.choice(["wrap", "saturate"])))
    return specs


def widths(text):
    return re.findall(r"^ +(input |output) logic (\[\d+:0\] )?(\w+)", text, re.MULTILINE)


def module_name(text):
    return re.search(r"module (\w+)", text)[1]


def bench(texts):
    """Return a module ``top`` that brings every port of every module to its own ports."""
    ports, instances = [], []
    for index, text in enumerate(texts):
        name = module_name(text)
        wires = []
        for direction, size, port in widths(text):
            ports.append(f"{direction} logic {size}{port}{index}")
            wires.append(f".{port}({port}{index})")
        instances.append(f"  {name} u_{index} ({', '.join(wires)});")
    return (
        "module top (\n  " + ",\n  ".join(ports) + "\n);\n" + "\n".join(instances) + "\nendmodule\n"
    )


def lint(files, folder, top="top"):
    for name, text in files.items():
        (folder / name).write_text(text)
    return verilator(["--top-module", top, *files], folder)


def verilator(arguments, folder):
    """Run Verilator's compiled program: the script beside it would need perl."""
    tools = find()
    return subprocess.run(
        [tools.verilator, "--lint-only", "-Wall", *arguments],
        cwd=folder, capture_output=True, text=True,
        env=os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)},
    )  # fmt: skip


@pytest.mark.sim
def test_all_formats_are_clean_under_wall(all_formats, tmp_path):
    specs = sweep(all_formats, 220, seed=1)
    texts = [kernel_text(spec, f"k{index}") for index, spec in enumerate(specs)]
    texts += [product_text(spec, f"p{index}") for index, spec in enumerate(specs)]
    # One module per file, as generated: several in one would be a style warning of their own.
    named = {f"{module_name(text)}.sv": text for text in texts}
    files = {**SOURCES, **named, "top.sv": bench(texts)}
    done = lint(files, tmp_path)
    assert "%Warning" not in done.stderr, done.stderr[:2000]
    assert done.returncode == 0


def test_no_block_waives_a_warning():
    for name, text in SOURCES.items():
        assert "lint_off" not in text
        assert "\t" not in text
        assert max(map(len, text.splitlines())) <= 100, name
        assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n/// ")
        assert f"module {name.removesuffix('.sv')} #(" in text
        assert "`default_nettype none" in text
        assert text.endswith("`default_nettype wire\n")


FAULTS = {
    "a width mismatch": (
        "hq_mul.sv",
        "assign p_o = OutBits'(a_i)",
        "assign p_o = (OutBits+1)'(a_i)",
    ),
    "an unused bit": ("hq_decode.sv", "sig_o = {normal, code_i", "sig_o = {1'b1, code_i"),
    "a missing port": ("hq_term.sv", ".exp_i(exp_sum),", ""),
}


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_lint_notices(fault, tmp_path):
    """Negative control: an injected fault must fail the lint that passes above."""
    name, good, bad = FAULTS[fault]
    assert good in SOURCES[name]
    spec = MacSpec("e0m3", "ue1m3")
    files = {**SOURCES, name: SOURCES[name].replace(good, bad), "k.sv": kernel_text(spec, "k")}
    assert lint(files, tmp_path, top="k").returncode != 0


ILLEGAL = {
    "Bits must be 1..8": ("WeightBits(4)", "WeightBits(9)"),
    "ProductBits must be the width": ("ProductBits(9)", "ProductBits(8)"),
    "AccBits must be 2..1024": ("AccBits(9)", "AccBits(1)"),
    "ExpBits must be 0": ("WeightFloat(1)", "WeightFloat(0)"),
}


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
@pytest.mark.parametrize("tool", ["verilator", "read_verilog", "read_slang"])
def test_illegal_parameters_stop_elaboration(tool, said, tmp_path):
    good, bad = ILLEGAL[said]
    text = kernel_text(MacSpec("e2m1", "e2m1"), "k")
    assert good in text
    files = SOURCES | {"k.sv": text.replace(good, bad)}
    if tool == "verilator":
        done = lint(files, tmp_path, top="k")
        assert done.returncode != 0
        assert said in done.stderr
    else:
        with pytest.raises(ToolError, match="Yosys failed"):
            run(elaborate(tool, "k", files), files)


def elaborate(tool, top, files):
    names = " ".join(files)
    read = {
        "read_verilog": f"read_verilog -sv {names}",
        "read_slang": f"read_slang --threads 1 --top {top} {names}",
    }[tool]
    return f"{read}\nhierarchy -check -top {top}\nproc\ncheck -assert\n"


@pytest.mark.synth
@pytest.mark.parametrize("tool", ["read_verilog", "read_slang"])
def test_all_formats_elaborate_in_yosys(tool, all_formats):
    specs = sweep(all_formats, 60, seed=2)
    texts = [kernel_text(spec, f"k{index}") for index, spec in enumerate(specs)]
    texts += [product_text(spec, f"p{index}") for index, spec in enumerate(specs)]
    files = SOURCES | {"kernels.sv": "\n".join(texts), "top.sv": bench(texts)}
    run(elaborate(tool, "top", files), files)


def prove_equal(pair, patched=None):
    """Prove with SAT that both Yosys front ends read the same product; raise if they do not."""
    gold = {name: SOURCES[name] for name in PRODUCT_SOURCES} | {
        "gold.sv": product_text(MacSpec(*pair), "gold")
    }
    gate = {f"gate_{name}": SOURCES[name] for name in PRODUCT_SOURCES} | {
        "gate.sv": product_text(MacSpec(*pair), "gate")
    }
    if patched is not None:
        name, good, bad = patched
        assert good in SOURCES[name]
        gate[f"gate_{name}"] = SOURCES[name].replace(good, bad)
    script = f"""
        read_slang --threads 1 --top gate {" ".join(gate)}
        hierarchy -top gate
        proc
        flatten
        design -stash right
        read_verilog -sv {" ".join(gold)}
        hierarchy -top gold
        proc
        flatten
        design -stash left
        design -copy-from left -as gold gold
        design -copy-from right -as gate gate
        miter -equiv -flatten -make_assert gold gate miter
        hierarchy -top miter
        opt -full
        sat -verify -prove-asserts -show-inputs miter
    """
    run(script, gold | gate)


PAIRS = list(itertools.product(("int4", "e2m1", "ue2m2", "e0m3"), ("e3m1", "uint4")))


@pytest.mark.synth
@pytest.mark.parametrize("pair", PAIRS, ids=" x ".join)
def test_both_yosys_front_ends_read_the_same_product(pair):
    prove_equal(pair)


@pytest.mark.synth
def test_a_wrong_decoder_is_disproved():
    """Negative control: without the subnormal's exponent of one the proof must fail."""
    with pytest.raises(ToolError, match="proof did fail"):
        prove_equal(("e2m1", "e2m1"), ("hq_decode.sv", "field[0] | ~normal", "field[0]"))


# Every block by itself, as the top, in every front end.

PRODUCTS = [MacSpec("e2m1", "int8"), MacSpec("e7m0", "uint4"), MacSpec("int8", "int8", 1, 4)]
PRODUCTS += [MacSpec("e0m3", "ue1m3", 3), MacSpec("e4m3", "e4m3", 5, 64, 24, "saturate")]


def some(*names):
    """Return the parameters of `PRODUCTS` but for ``names``."""
    return [
        {k: v for k, v in STYLES["plain"].parameters(s).items() if k not in names} for s in PRODUCTS
    ]


BLOCKS = {
    "hq_acc": [
        {},
        {"SumBits": 9, "AccBits": 2, "Saturate": 1, "HasCarry": 0},
        {"SumBits": 30, "AccBits": 12, "Saturate": 0, "HasCarry": 1},
        {"SumBits": 20, "AccBits": 300, "Saturate": 1, "HasCarry": 1},
    ],
    "hq_add": [{}, {"Width": 1, "HasCarry": 0}, {"Width": 261, "HasCarry": 1}],
    "hq_align": [
        {},
        {"InBits": 16, "InSigned": 1, "ExpBits": 2, "Offset": 0, "OutBits": 16},
        {"InBits": 1, "InSigned": 0, "ExpBits": 8, "Offset": 2, "OutBits": 255},
    ],
    "hq_decode": [
        {},
        {"Bits": 8, "Float": 0, "Signed": 1, "ExpBits": 0},
        {"Bits": 8, "Float": 1, "Signed": 1, "ExpBits": 7},
        {"Bits": 4, "Float": 1, "Signed": 1, "ExpBits": 0},
        {"Bits": 4, "Float": 1, "Signed": 0, "ExpBits": 1},
    ],
    "hq_mul": [
        {"ABits": 1, "BBits": 8, "ASigned": a, "BSigned": b} for a in (0, 1) for b in (0, 1)
    ],
    "hq_sum": [{}, {"Count": 1}, {"Count": 5, "Width": 3, "HasCarry": 0}, {"Count": 64}],
    "hq_term": some("Lanes", "AccBits", "Saturate"),
    "hq_product": some("Lanes", "AccBits", "Saturate"),
    "hq_dot": some("AccBits", "Saturate"),
    "hq_mac": some(),
}
CASES = [(block, values) for block, sets in BLOCKS.items() for values in sets]
FRONT_ENDS = ["verilator", "read_verilog", "read_slang"]
FRONT_ENDS += ["icarus"] if shutil.which("iverilog") else []


def icarus_text(text, folder):
    """Rewrite what the installed Icarus cannot parse at all, and nothing it can.

    Icarus 11 knows neither ``int unsigned`` as a parameter's type nor elaboration ``$error``.
    """
    probes = {
        "int unsigned": "module p #(parameter int unsigned W = 4) (input logic a); endmodule",
        "$error": 'module p; if (0) begin : gen_x $error("x"); end endmodule',
    }
    rewrites = {
        "int unsigned": (r"\bint unsigned\b", "int"),
        "$error": (r"^( +)\$error\(.*\);$", r"\1illegal_parameter u_bad ();"),
    }
    for construct, probe in probes.items():
        (folder / "probe.sv").write_text(probe)
        if icarus(["probe.sv"], folder).returncode:
            text = re.sub(*rewrites[construct], text, flags=re.MULTILINE)
    return text


def below(block):
    """Return a module ``block``_top with the ports and parameters of ``block``, which it holds.

    Verilator takes a recursive block that is the top itself for two modules, one without a body.
    """
    text = SOURCES[f"{block}.sv"]
    head = text[text.index("module ") : text.index("\n);") + 3].replace(block, f"{block}_top", 1)
    settings = ", ".join(f".{p}({p})" for p in re.findall(r"parameter .*?(\w+) =", head))
    return f"{head}\n  {block} #({settings}) u_block (.*);\nendmodule\n"


def icarus(arguments, folder):
    return subprocess.run(
        ["iverilog", "-g2012", "-t", "null", *arguments], cwd=folder, capture_output=True, text=True
    )


def refused(tool, cases, files, folder):
    """Return what front end ``tool`` says against elaborating ``cases``; empty for nothing."""
    said = []
    if tool in ("verilator", "icarus"):
        for name, text in files.items():
            (folder / name).write_text(icarus_text(text, folder) if tool == "icarus" else text)
        (folder / "hq_sum_top.sv").write_text(below("hq_sum"))
        for block, values in cases:
            if tool == "icarus":
                options = [f"-P{block}.{key}={value}" for key, value in values.items()]
                done = icarus(["-s", block, *options, *files], folder)
            else:
                options = [f"-G{key}={value}" for key, value in values.items()]
                top = [block, *files]
                if block == "hq_sum":
                    top = ["hq_sum_top", "hq_sum_top.sv", *files]
                done = verilator([*options, "--top-module", *top], folder)
            if done.returncode:
                said.append(f"{block} {values}: {done.stdout}{done.stderr}")
        return "\n".join(said)
    lines = []
    for block, values in cases:
        lines.append("design -reset")
        if tool == "read_slang":
            options = " ".join(f"-G {key}={value}" for key, value in values.items())
            lines.append(f"read_slang --threads 1 --top {block} {options} {' '.join(files)}")
            lines.append(f"hierarchy -check -top {block}")
        else:
            options = " ".join(f"-chparam {key} {value}" for key, value in values.items())
            lines += [f"read_verilog -sv {' '.join(files)}"]
            lines += [f"hierarchy -check -top {block} {options}"]
        lines.append("proc\ncheck -assert")
    try:
        run("\n".join(lines), files)
    except ToolError as error:
        return str(error)
    return ""


def test_every_block_of_the_library_has_representative_parameters():
    plain = {*STYLES["plain"].sources, "hq_product.sv"}
    assert {f"{block}.sv" for block in BLOCKS} == plain
    # The blocks of the other styles and of requantizers go through the front ends inside whole
    # kernels: test_styles, test_bucket, test_tree, test_constant, test_rtl_requant.  None may be of
    # no use.
    styles = (*STYLES.values(), *CODEBOOK_STYLES.values())
    used = {name for style in styles for name in style.sources} | {*CONSTANT_SOURCES}
    for kind in (MultiplyShift, RoundPack, Thresholds):
        used |= set(requant_sources(kind.of("e2m1", 16, unit=1, scale=4)))
    used |= set(BLOCK_SOURCES)  # test_block_kernels
    used |= set(TILE_SOURCES)  # test_dsp_tile
    folder = files_of("hw").joinpath("rtl")
    assert plain | used == {path.name for path in folder.iterdir()}
    print(f"front ends: {', '.join(FRONT_ENDS)}")
    print(
        "Icarus Verilog is not installed" if "icarus" not in FRONT_ENDS else "Icarus is installed"
    )


@pytest.mark.sim
@pytest.mark.synth
@pytest.mark.parametrize("tool", FRONT_ENDS)
def test_every_block_elaborates_by_itself(tool, tmp_path):
    assert refused(tool, CASES, SOURCES, tmp_path) == ""


@pytest.mark.sim
@pytest.mark.synth
@pytest.mark.parametrize("tool", FRONT_ENDS)
@pytest.mark.parametrize("bad", ["undeclared ^ act_neg;", "weight_neg ^ act_neg"])
def test_every_front_end_refuses_a_broken_block(tool, bad, tmp_path):
    """Negative control: a name that is not declared, a semicolon that is missing."""
    good = "weight_neg ^ act_neg;"
    assert SOURCES["hq_term.sv"].count(good) == 1
    broken = SOURCES | {"hq_term.sv": SOURCES["hq_term.sv"].replace(good, bad)}
    assert refused(tool, [("hq_term", {})], broken, tmp_path) != ""
