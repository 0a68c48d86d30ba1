# SPDX-License-Identifier: Apache-2.0
"""Tiles: an outer product of multiply-accumulates from one DSP slice, every place exact."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace

import pytest

from hw.library import source_text
from hw.netlist import cell_models, cells_in
from hw.tile import (
    TILE_PRIMITIVES,
    TILE_SOURCES,
    TileBundle,
    TileSpec,
    generate_tile,
    tile_from_json,
    tile_layout,
    tile_text,
    tile_to_json,
)
from hw.yosys import run, synthesize
from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from sim.report import MismatchError
from sim.tile import tile_design, verify_tile, verify_tile_design
from sim.toolchain import find
from sim.unit import mapped

STEPS = 2048
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


def tile(name, **options):
    weight, _, act = name.partition(":")
    return TileSpec(parse(weight), parse(act or weight), **options)


LUT = "int4 int3 int5 int2 uint4 int4:uint4 int6 int4:int5 uint3:int4"
FLOATS = "e2m1 e1m3 e3m2:int3 e2m1:int4 e2m2:ue2m1 ue3m0"
DSP = "int4 int3:uint3 int5 int2 uint4 int6:int4"


@pytest.mark.sim
@pytest.mark.parametrize("primitive", [True, False])
@pytest.mark.parametrize("names", [LUT, FLOATS])
def test_every_pair_in_every_place_and_streams(names, primitive):
    specs = [tile(name) for name in names.split()]
    report = verify_tile_design(tile_design(specs, primitive=primitive), steps=STEPS)
    report.raise_for_mismatch()
    for spec, result in zip(specs, report.results, strict=True):
        pairs = len(spec.weight.codes) * len(spec.act.codes)
        assert result.checks >= pairs + STEPS


@pytest.mark.sim
@pytest.mark.parametrize("primitive", [True, False])
def test_sums_in_the_slice(primitive):
    specs = [tile(name, adder="dsp") for name in DSP.split()]
    assert tile_layout(specs[0]).count == 2
    verify_tile_design(tile_design(specs, primitive=primitive), steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_wide_formats():
    specs = [tile("int8"), tile("int8:uint8"), tile("e4m3:int4", length=16)]
    verify_tile_design(tile_design(specs), steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_shapes_and_widths_on_request():
    specs = [
        tile("int4", weights=1, acts=2),
        tile("int4", weights=2, acts=1, acc=9),
        tile("int3", acc=40),
        tile("int4", weights=1, acts=1, adder="dsp", length=4096),
        tile("uint2:int3", acts=1),
    ]
    verify_tile_design(tile_design(specs), steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
@pytest.mark.synth
def test_the_mapped_netlists():
    specs = [tile("int4"), tile("int4", adder="dsp"), tile("e2m1:int3")]
    design = mapped(tile_design(specs))
    netlists = "\n".join(design.sources[f"{unit.name}.sv"] for unit in design.units)
    assert cells_in(netlists)["DSP48E2"] == len(specs)
    verify_tile_design(design, steps=STEPS).raise_for_mismatch()


FAULTS = {
    "no bias: a field lacks what the one below has borrowed": (
        "hq_dsp_mul.sv", ".RND(Bias)", ".RND(48'd0)",
    ),
    "no borrow between packed activations": (
        "hq_dsp_tile.sv", "assign borrow = right[j*FewStep-1];", "assign borrow = 1'b0;",
    ),
    "sign bits are added": ("hq_dsp_mul.sv", "5'b01100", "5'b00100"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault):
    """Negative control."""
    name, good, bad = FAULTS[fault]
    design = tile_design([tile("int4")])
    assert design.sources[name].count(good) >= 1
    sources = {**design.sources, name: design.sources[name].replace(good, bad)}
    with pytest.raises(MismatchError, match="results differ"):
        verify_tile_design(replace(design, sources=sources), steps=STEPS).raise_for_mismatch()


SITES = {"int4": 59, "int5": 68, "int8": 44, "int3": 78}
SITES_DSP = {"int4": 2, "int5": 2, "int6": 3}


@pytest.mark.synth
@pytest.mark.parametrize(("adder", "most"), [("lut", SITES), ("dsp", SITES_DSP)])
def test_sites_of_whole_tiles(adder, most):
    for name, sites in most.items():
        width = 2 * parse(name).bits + 8
        spec = tile(name, adder=adder, acc=width)
        sources = {file: source_text(file) for file in TILE_SOURCES}
        used = synthesize(sources | {"kernel.sv": tile_text(spec, "kernel")}, "kernel")
        assert (used.dsp, used.lutram) == (1, 0)
        assert used.lut_sites <= sites, name


@pytest.mark.sim
@pytest.mark.parametrize("name", ["int4", "e3m2", "int4:uint8", "e2m1:int3", "uint4"])
def test_lint_is_clean(name, tmp_path):
    blocks = {file: source_text(file) for file in TILE_SOURCES}
    for primitive in (True, False):
        cells = cell_models(TILE_PRIMITIVES) if primitive else {}
        text = tile_text(tile(name), "k", primitive=primitive)
        found = lint({**cells, **blocks, "k.sv": text}, tmp_path, "k")
        assert found.returncode == 0, found.stderr


@pytest.mark.synth
def test_the_other_front_end_reads_it():
    files = {file: source_text(file) for file in TILE_SOURCES}
    files["k.sv"] = tile_text(tile("e2m1:int4"), "k")
    library = "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v\n"
    read = f"read_slang --threads 1 -Wno-undefined-param-override --top k {' '.join(files)}\n"
    run(library + read + "hierarchy -check -top k\nproc\n", files)


ILLEGAL = {
    "hq_dsp_tile: Weights * Acts * Stride must be 1..49": (".Stride(11)", ".Stride(20)"),
    "hq_dsp_tile: SigBits must be 1..Stride": (".SigBits(8)", ".SigBits(12)"),
    "hq_dsp_tile: InDsp needs integers and AccBits up to Stride": (".InDsp(0)", ".InDsp(1)"),
}


@pytest.mark.sim
@pytest.mark.parametrize("said", list(ILLEGAL))
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    good, bad = ILLEGAL[said]
    files = {file: source_text(file) for file in TILE_SOURCES}
    text = tile_text(tile("int4"), "k", primitive=False)
    assert good in text
    found = lint({**files, "k.sv": text.replace(good, bad)}, tmp_path, "k")
    assert found.returncode != 0
    assert said in found.stderr


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("int8", {"adder": "dsp", "weights": 2}, "no 2 x any products"),
        ("e2m1", {"adder": "dsp"}, "allowed for integers"),
        ("int4", {"adder": "dsp", "acc": 30}, "fields have 22"),
        ("int4", {"adder": "fabric"}, "allowed: lut, dsp"),
        ("int4", {"acc": 7}, "allowed from 8"),
        ("int4", {"weights": 3, "acts": 3}, "no 3 x 3 products"),
        ("pow4a0.75f6", {}, "allowed: integers and minifloats"),
    ],
)
def test_what_is_refused(name, options, said):
    with pytest.raises(SpecError, match=said):
        tile(name, **options)


@pytest.mark.sim
def test_a_generated_folder_is_verified_as_it_is(tmp_path):
    spec = tile("int4", length=64)
    bundle = generate_tile(spec, tmp_path / "tile")
    assert TileBundle.load(tmp_path / "tile").spec == spec
    assert bundle.manifest["dsps"] == 1
    assert bundle.manifest["layout"]["products"] == 4
    assert bundle.manifest["interface"]["initiation_interval"] == 1
    verify_tile(bundle, steps=STEPS).raise_for_mismatch()
    assert tile_from_json(json.loads(json.dumps(tile_to_json(spec)))) == spec
    top = tmp_path / "tile" / f"{bundle.name}.sv"
    top.write_text(top.read_text().replace(".Bias(48'h", ".Bias(48'h1"))
    with pytest.raises(InputError, match="does not match its hash"):
        TileBundle.load(tmp_path / "tile")


def test_a_damaged_spec_is_refused():
    with pytest.raises(InputError, match="needed exactly"):
        tile_from_json({"tile": True})
