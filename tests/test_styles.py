# SPDX-License-Identifier: Apache-2.0
"""Table, Booth and shift kernels: exact in every variant, mapped too, and as small as stated."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import replace

import pytest

from costmodel.kernel import estimate
from hw.code_search import find_code
from hw.codes import FOUND
from hw.generate import generate, kernel_text
from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import STYLES, booth, shift, style_of, table
from hw.styles.plain import product_bits
from hw.yosys import run
from hwquant.errors import SpecError
from hwquant.formats import parse
from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify, verify_designs
from sim.gates import mapped
from sim.prove import prove_designs
from sim.toolchain import find

PRIMITIVES = ("LUT6_2", "CARRY8")
STEPS = 4096

# Signed, unsigned, sign-magnitude and mixed; odd and even widths; either operand recoded.
KERNELS = {
    "table": "e1m1 e2m0 e1m2 e2m1 int3 e2m1:ue2m1 uint3 int4:uint2 int3:e1m2 e3m0:ue1m1 int2",
    "booth": "int4 int3 int5 int8 uint4 uint5 int4:uint4 uint5:int4 e1m3 e0m4:int5 uint3:int6",
    "shift": "e2m2 e2m3 e3m0 e3m2 e2m1:int4 int5:e2m1 e2m1:ue2m2 e4m1 uint3:e2m3 e2m0:int4 e2m4",
}
LARGE = {"booth": "int8:uint8 e1m6:int8 uint8", "shift": "e4m3 e5m2:e2m1 e2m1:int8 e4m3:int8"}


def specs_of(names, acc=None):
    pairs = [name.partition(":")[::2] for name in names.split()]
    return [
        MacSpec(weight, act or weight, length=64)
        if acc is None
        else MacSpec(weight, act or weight, acc=acc)
        for weight, act in pairs
    ]


@pytest.mark.sim
@pytest.mark.parametrize("style", KERNELS)
@pytest.mark.parametrize("variant", ["", "_portable"])
def test_every_product_and_streams(style, variant):
    verify(specs_of(KERNELS[style]), style=style + variant, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
@pytest.mark.parametrize("style", LARGE)
def test_wide_operands(style):
    verify(specs_of(LARGE[style]), style=style, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_accumulators_of_any_width():
    """From the addend alone, without a counter, through every remainder of three bits."""
    for style, name in (("table", "e2m1"), ("booth", "int4"), ("shift", "e2m1:int4")):
        (spec,) = specs_of(name)
        low = product_bits(spec.weight, spec.act) - 1
        specs = [replace_acc(spec, low + extra) for extra in (0, 1, 2, 3, 4, 5, 6, 30)]
        verify(specs, style=style, steps=STEPS).raise_for_mismatch()


def replace_acc(spec, acc):
    return MacSpec(spec.weight, spec.act, acc=acc)


@pytest.mark.sim
@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("table", "e1m1 e2m1 int3"),
        ("booth", "int4 int5 int8:uint8"),
        ("shift", "e2m2 e2m1:int8 e3m1"),
        ("table_portable", "e2m1"),
        ("booth_portable", "int5"),
        ("shift_portable", "e2m3"),
    ],
)
def test_the_mapped_netlist(style, names):
    designs = [mapped(design) for design in designs_of_specs(specs_of(names), style)]
    verify_designs(designs, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_a_generated_folder_is_verified_as_it_is(tmp_path):
    bundle = generate(MacSpec("e2m1", "e2m1", length=16), tmp_path / "kernel", style="table")
    verify(bundle, steps=STEPS).raise_for_mismatch()


FAULTS = {
    "a Booth digit": ("booth", "int4", "hq_booth_row.sv", "~Once & (Digit2", "Once & (Digit2"),
    "a carry of the counter": ("table", "e2m1", "hq_updown.sv", "(Q1 & Carry1)", "(Q1 & Q0)"),
    "reset of a held beat": ("booth", "int3", "hq_tally.sv", "Rst | (En & Valid", "Rst | (Valid"),
    "the absorbed shift": ("shift", "e2m2", "hq_shift_mac.sv", "'hFFFF_0000_0", "'hFF00_0000_0"),
    "a table bit": ("shift", "e2m2", "hq_mul_table.sv", "(a * b) >>> place", "(a | b) >>> place"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(fault):
    """Negative control."""
    style, name, file, good, bad = FAULTS[fault]
    design = design_of_spec(specs_of(name)[0], style)
    assert good in design.sources[file]
    sources = {**design.sources, file: design.sources[file].replace(good, bad)}
    assert verify_designs([replace(design, sources=sources)], steps=STEPS).mismatches


# The figures of docs/kernels/single_lane.md: accumulator = product width + 8.
SITES = {
    "table": {"int3": 14, "e1m1": 11, "e2m0": 13, "e1m2": 15, "e2m1": 18},
    "booth": {"int4": 24, "int5": 31, "int6": 40, "int8": 60, "int4:uint4": 24, "int8:uint8": 61},
    "shift": {
        "e2m2": 30, "e2m3": 42, "e2m1:int4": 23, "e2m1:int8": 33, "e2m1:ue2m2": 26,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("style", "name"), [(style, name) for style, listed in SITES.items() for name in listed]
)
def test_sites(style, name):
    """The whole kernel, control and registers included; a primitive is never split or doubled."""
    (spec,) = specs_of(name)
    spec = replace_acc(spec, product_bits(spec.weight, spec.act) + 8)
    assert estimate(spec, style, synth=True).resources.lut_sites <= SITES[style][name]


def lint(files, folder, top):
    for name, text in files.items():
        (folder / name).write_text(text)
    tools = find()
    command = [tools.verilator, "--lint-only", "-Wall"]
    command += ["-Wno-DECLFILENAME", "--top-module", top, *files]  # cell models: one file for many
    environment = os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def files_of(spec, style):
    chosen = style_of(style, spec)
    cells = cell_models(PRIMITIVES)
    blocks = {name: source_text(name) for name in chosen.sources}
    return {**cells, **blocks, "k.sv": kernel_text(spec, "k", style)}


@pytest.mark.sim
@pytest.mark.parametrize("style", [*KERNELS, *(f"{name}_portable" for name in KERNELS)])
def test_lint_is_clean(style, tmp_path):
    for name in KERNELS[style.removesuffix("_portable")].split()[::3]:
        found = lint(files_of(specs_of(name)[0], style), tmp_path, "k")
        assert found.returncode == 0, f"{name}: {found.stderr}"


@pytest.mark.parametrize("style", KERNELS)
def test_the_other_front_end_reads_it(style):
    """Yosys' own front end is what every price uses; this is slang."""
    spec = specs_of(KERNELS[style])[0]
    files = {n: t for n, t in files_of(spec, style).items() if not n.startswith("cell_")}
    library = "read_verilog -lib +/xilinx/cells_sim.v\n"  # without the parameters of its cells
    read = f"read_slang --threads 1 -Wno-undefined-param-override --top k {' '.join(files)}\n"
    run(library + read + "hierarchy -check -top k\nproc\n", files)


ILLEGAL = {
    "hq_tally: AccBits must be LowBits..1024": ("table", "e2m1", ".AccBits(15)", ".AccBits(3)"),
    "hq_booth: ABits must be 3..8": ("booth", "int4", ".WeightBits(4)", ".WeightBits(2)"),
    "hq_shift_mac: WeightExpBits or ActExpBits must be 2..7": (
        "shift", "e2m1:int4", ".WeightExpBits(2)", ".WeightExpBits(1)",
    ),
    "hq_table_mac: WeightBits must be 1..8": ("table", "e2m1", ".WeightBits(4)", ".WeightBits(9)"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    style, name, good, bad = ILLEGAL[said]
    files = files_of(specs_of(name)[0], style)
    assert good in files["k.sv"]
    found = lint({**files, "k.sv": files["k.sv"].replace(good, bad)}, tmp_path, "k")
    assert found.returncode != 0
    assert said in found.stderr


@pytest.mark.parametrize(
    ("style", "spec", "said"),
    [
        ("table", MacSpec("int4", "int4"), "8 magnitude bits"),
        ("table", MacSpec("e2m1", "e2m1", lanes=2), "2 lanes"),
        ("booth", MacSpec("int4", "int4", overflow="saturate"), "no clamp"),
        ("booth", MacSpec("e2m1", "int4"), "not evenly spaced"),
        ("booth", MacSpec("int2", "int4"), "allowed from 3"),
        ("booth", MacSpec("int8", "int8", acc=14), "allowed from 15"),
        ("shift", MacSpec("int4", "e1m3"), "nothing to shift"),
        ("shift", MacSpec("e2m5", "int2"), "int2"),
    ],
)
def test_what_a_style_refuses(style, spec, said):
    with pytest.raises(SpecError, match=said):
        style_of(style, spec)


def test_every_pair_of_formats_has_a_small_style(all_formats):
    """One lane, wrap, an accumulator that holds the product: something other than plain fits."""
    named = {parse(str(fmt).removesuffix("fn").removesuffix("ieee")) for fmt in all_formats}
    chosen = sorted(named, key=str)[::3]
    styles = (booth.STYLE, shift.STYLE, table.STYLE)
    for weight, act in itertools.product(chosen, chosen):
        spec = MacSpec(weight, act, acc=600)
        if not any(style.refuse(spec) is None for style in styles):
            narrow = [fmt for fmt in (weight, act) if fmt.bits - fmt.signed < 3]
            assert narrow, f"{weight} x {act}"


@pytest.mark.parametrize("values", FOUND, ids=lambda pair: str(pair[0]))
def test_a_stored_code_carries_the_product(values):
    """Every product bit is a function of few nets, found again by brute force."""
    weight, act = values
    products = [w * a for w in weight for a in act]
    size = len(products)
    nets = [tuple(x >> bit & 1 for x in range(size)) for bit in range((size - 1).bit_length())]
    nets += [tuple(truth >> x & 1 for x in range(size)) for truth in FOUND[values]]
    nets.append(tuple(int(product < 0) for product in products))
    inputs = 4 if min(products) == 0 else 5  # the sign is folded in, or one of the nets
    for place in range(max(max(p, -p - 1) for p in products).bit_length()):
        truth = [product >> place & 1 for product in products]
        assert any(
            len(set(zip(*chosen, strict=True))) == len(set(zip(*chosen, truth, strict=True)))
            for chosen in itertools.combinations(nets, inputs)
        ), f"bit {place}"


def test_codes_save_what_they_should():
    int3, e2m1, e1m2 = parse("int3"), parse("e2m1"), parse("e1m2")
    assert len(table.tables(int3, int3).codes) == 1 + 1
    assert len(table.tables(e2m1, e2m1).codes) == 1 + 4, "the sign and a code of four nets"
    assert len(table.tables(e1m2, e1m2).codes) == 1 + 3


def solve(clauses):
    """A solver for small instances: unit propagation and search."""
    trail = set()
    while unit := next((c[0] for c in clauses if len(c) == 1), None):
        trail.add(unit)
        clauses = [[x for x in c if x != -unit] for c in clauses if unit not in c]
        if [] in clauses:
            return None
    if not clauses:
        return trail
    for guess in (clauses[0][0], -clauses[0][0]):
        rest = solve([*clauses, [guess]])
        if rest is not None:
            return trail | set(rest)
    return None


def test_the_search_finds_a_code():
    """2 x 2 bits, every product bit from three nets or fewer: one net will not do, two will."""
    found = find_code(range(4), range(4), (None, None), solve, limit=3)
    assert found is not None
    assert len(found) == 2
    nets = [[x >> bit & 1 for x in range(16)] for bit in range(4)]
    nets += [[truth >> x & 1 for x in range(16)] for truth in found]
    for place in range(4):
        bit = [(w * a) >> place & 1 for w in range(4) for a in range(4)]
        assert any(
            len(set(zip(*chosen, strict=True))) == len(set(zip(*chosen, bit, strict=True)))
            for chosen in itertools.combinations(nets, 3)
        )


def test_the_search_says_when_there_is_none():
    assert find_code(range(4), range(4), (), solve, limit=2) is None


def test_primitives_are_named():
    for style in STYLES.values():
        text = "".join(source_text(name) for name in style.sources)
        assert ("LUT6_2" in text) or not set(style.primitives) & {"LUT6_2"}


@pytest.mark.parametrize(
    ("style", "name", "lanes"),
    [("table", "e1m1", 1), ("booth", "int3", 1), ("shift", "e2m0", 1), ("tree", "int3", 2)],
)
def test_one_format_of_each_style_is_proved_for_all_states(style, name, lanes):
    design = design_of_spec(MacSpec(name, name, lanes, 16), style)
    (proof,) = prove_designs([design]).proofs
    assert (proof.status, proof.detail) == ("proved", "")
