# SPDX-License-Identifier: Apache-2.0
"""Kernels with one DSP slice: exact in every variant, mapped too, and as small as stated."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from costmodel.kernel import estimate
from hw.generate import generate, kernel_text
from hw.library import source_text
from hw.netlist import cell_models, cells_in
from hw.styles import STYLES, style_of
from hw.yosys import run
from hwquant.errors import SpecError
from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify, verify_designs
from sim.gates import mapped
from sim.mutate import mutate_designs
from sim.prove import prove_designs
from sim.toolchain import find

STEPS = 4096
KERNELS = {
    "dsp": "int4 int8 uint8:int8 e2m1 e3m2 e4m2 e4m3:int4 int3:uint4 e1m2 e2m0:int5 e3m4:e2m1",
    "dsp_acc": "int4 e2m1 e4m3 uint8:int8 e3m0:int4 e2m3:ue2m2",
}


def specs_of(names, lanes=1, length=64):
    pairs = [name.partition(":")[::2] for name in names.split()]
    return [MacSpec(weight, act or weight, lanes, length) for weight, act in pairs]


@pytest.mark.sim
@pytest.mark.parametrize("style", KERNELS)
@pytest.mark.parametrize("variant", ["", "_portable"])
def test_every_product_and_streams(style, variant):
    verify(specs_of(KERNELS[style]), style=style + variant, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_two_lanes_share_the_adder_of_the_slice():
    specs = specs_of("int4 e2m1:int4 e4m3 uint4:int5 e2m1", lanes=2)
    for style in ("dsp_acc", "dsp_acc_portable"):
        verify(specs, style=style, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_accumulators_of_any_width():
    specs = [MacSpec("int4", "e2m1", acc=acc) for acc in (2, 5, 9, 47, 48)]
    for style in KERNELS:
        verify(specs, style=style, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
@pytest.mark.synth
@pytest.mark.parametrize(
    ("style", "names"), [("dsp", "int4 e2m1 uint8:int8"), ("dsp_acc", "int4 e3m1")]
)
def test_the_mapped_netlist(style, names):
    designs = [mapped(design) for design in designs_of_specs(specs_of(names), style)]
    for design in designs:
        assert cells_in(design.sources["netlists.v"])["DSP48E2"] == len(design.kernels)
    verify_designs(designs, steps=STEPS).raise_for_mismatch()


FAULTS = {
    "dsp": ("hq_dsp_mul.sv", ".ALUMODE({2'b00, neg_i, neg_i})", ".ALUMODE({2'b00, 1'b0, neg_i})"),
    "dsp_portable": ("hq_dsp_mac.sv", "restart_q <= {restart_q[0], clear_i}",
                     "restart_q <= {restart_q[0], 1'b0}"),
    "dsp_acc": ("hq_dsp_add.sv", ".OPMODE({3'b000, !restart_i, 5'b01111})",
                ".OPMODE({3'b000, 1'b1, 5'b01111})"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("style", FAULTS)
def test_a_fault_is_found(style):
    """Negative control."""
    name, good, bad = FAULTS[style]
    design = design_of_spec(MacSpec("e2m1", "e2m1", length=16), style)
    assert design.sources[name].count(good) == 1
    broken = replace(
        design, sources={**design.sources, name: design.sources[name].replace(good, bad)}
    )
    assert sum(r.mismatches for r in verify_designs([broken], steps=STEPS).results) > 0


SITES = {
    "dsp": {"int3": 1, "int4": 1, "int8": 1, "e1m2": 2, "e2m1": 6, "e2m2": 7, "e3m2": 12},
    "dsp_acc": {"e1m1": 4, "e2m1": 9, "int4": 11, "e4m3": 60},
}


@pytest.mark.synth
@pytest.mark.parametrize("style", SITES)
def test_sites_beside_the_slice(style):
    for name, sites in SITES[style].items():
        used = estimate(MacSpec(name, name, length=256), style, synth=True).resources
        assert (used.dsp, used.lutram) == (1, 0)
        assert used.lut_sites <= sites, name


WAIVED = """`verilator_config
lint_off -file "cell_*"
"""


def lint(files, folder, top):
    """Run Verilator -Wall; the cells' models, which stand for the vendor's, are not judged."""
    files = {"cells.vlt": WAIVED, **files}
    for name, text in files.items():
        (folder / name).write_text(text)
    tools = find()
    command = [tools.verilator, "--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", top]
    environment = os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)}
    return subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True, env=environment
    )


def files_of(spec, style):
    chosen = style_of(style, spec)
    blocks = {name: source_text(name) for name in chosen.sources}
    return {**cell_models(chosen.primitives), **blocks, "k.sv": kernel_text(spec, "k", style)}


@pytest.mark.sim
@pytest.mark.parametrize("style", [name for name in STYLES if name.startswith("dsp")])
def test_lint_is_clean(style, tmp_path):
    for spec in specs_of("int4 e3m2 e2m1:uint4"):
        found = lint(files_of(spec, style), tmp_path, "k")
        assert found.returncode == 0, found.stderr


@pytest.mark.synth
@pytest.mark.parametrize("style", KERNELS)
def test_the_other_front_end_reads_it(style):
    spec = MacSpec("e2m1", "int4")
    files = {n: t for n, t in files_of(spec, style).items() if not n.startswith("cell_")}
    library = "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v\n"
    read = f"read_slang --threads 1 -Wno-undefined-param-override --top k {' '.join(files)}\n"
    run(library + read + "hierarchy -check -top k\nproc\n", files)


ILLEGAL = {
    "hq_dsp_mac: AccBits must be 2..48": ("dsp", ".AccBits(17)", ".AccBits(49)"),
    "hq_dsp_mul: ABits must be 1..27": ("dsp", ".WeightExpBits(2)", ".WeightExpBits(5)"),
    "hq_dsp_acc_mac: Lanes must be 1..2": ("dsp_acc", ".Lanes(1)", ".Lanes(3)"),
}


@pytest.mark.sim
@pytest.mark.parametrize("said", list(ILLEGAL))
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    style, good, bad = ILLEGAL[said]
    files = files_of(MacSpec("e2m1", "e2m1", acc=17), style)
    text = files["k.sv"]
    assert good in text
    if "WeightExpBits" in good:  # a weight of 36 bits
        text = text.replace(".WeightBits(4)", ".WeightBits(8)").replace(
            ".WeightWidth(5)", ".WeightWidth(34)"
        )
    found = lint({**files, "k.sv": text.replace(good, bad)}, tmp_path, "k")
    assert found.returncode != 0
    assert said in found.stderr


@pytest.mark.parametrize(
    ("style", "spec", "said"),
    [
        ("dsp", MacSpec("int4", "int4", lanes=2), "2 lanes"),
        ("dsp", MacSpec("int4", "int4", overflow="saturate"), "no clamp"),
        ("dsp", MacSpec("e4m3", "e4m3"), "up to 27 x 18"),
        ("dsp", MacSpec("int4", "int4", acc=49), "a DSP has 48"),
        ("dsp_acc", MacSpec("int4", "int4", lanes=3), "3 lanes"),
        ("dsp_acc", MacSpec("e5m2", "e5m2"), "a DSP has 48"),
        ("dsp_acc", MacSpec("int4", "int4", overflow="saturate"), "no clamp"),
    ],
)
def test_what_a_style_refuses(style, spec, said):
    with pytest.raises(SpecError, match=said):
        style_of(style, spec)


@pytest.mark.synth
@pytest.mark.parametrize("style", ["dsp_portable", "dsp_acc_portable"])
def test_one_format_of_each_style_is_proved_for_all_states(style):
    design = design_of_spec(MacSpec("int3", "int3", 1, 16), style)
    # Yosys wants the cells that a block would instantiate by default, if it were not told.
    cells = cell_models(("LUT6_2", "CARRY8"))
    design = replace(design, sources={**cells, **design.sources})
    (proof,) = prove_designs([design]).proofs
    assert (proof.status, proof.detail) == ("proved", "")


@pytest.mark.sim
@pytest.mark.synth
def test_every_mutant_of_the_kernel_dies():
    design = design_of_spec(MacSpec("e2m1", "int4", 1, 16), "dsp_portable")
    report = mutate_designs([(design, ("hq_dsp_mul", "hq_dsp_mac"))], mutants=40, steps=STEPS)
    report.raise_for_survivor()
    assert len(report.fates) > 40


@pytest.mark.sim
def test_a_generated_folder_is_verified_as_it_is(tmp_path):
    spec = MacSpec("int7", "int7", length=256)
    bundle = generate(spec, tmp_path / "kernel", style="auto-dsp")
    assert bundle.style == "dsp"
    assert bundle.latency_cycles == 3
    assert bundle.manifest["dsps"] == 1
    verify(bundle, steps=STEPS).raise_for_mismatch()
