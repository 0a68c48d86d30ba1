# SPDX-License-Identifier: Apache-2.0
"""The RTL is accepted by Verilator (-Wall, no waivers) and by both Yosys front ends."""

from __future__ import annotations

import itertools
import random
import re
import subprocess

import pytest

from hw import kernel_text, product_bits, product_text
from hw.library import source_text
from hw.styles import STYLES
from hw.styles.plain import PRODUCT_SOURCES
from hw.yosys import run
from hwquant.errors import ToolError
from hwquant.mac import MacSpec
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
    root = find().verilator_root
    command = [str(root / "bin" / "verilator"), "--lint-only", "-Wall", "--top-module", top, *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


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
    "ProductBits does not match": ("ProductBits(9)", "ProductBits(8)"),
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
