# SPDX-License-Identifier: Apache-2.0
"""Kernels for codebooks: exact in every style and variant, mapped too, proved, and small."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from costmodel.bucket import headroom_spec
from costmodel.catalogue import NORMAL_FLOAT as NF4
from costmodel.kernel import estimate
from hw.catalogue import choose
from hw.generate import generate, kernel_name, kernel_text, product_text
from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import digit, fitting, style_of
from hw.yosys import run
from hwquant import codec
from hwquant.errors import SpecError
from hwquant.formats import parse
from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify, verify_designs
from sim.gates import mapped
from sim.prove import prove_designs
from sim.toolchain import find

STEPS = 2048
POW, ODD, BIT = "pow4a0.75f6", "cb3f3_-8_-4_-1_0_1_2_4_8", "cb1f0_0_5"

# Signed, unsigned and lopsided codebooks; either operand; whole and odd digits; both codebooks.
PAIRS = {
    "plain": [
        *((POW, POW), (POW, "int4"), (NF4, "e2m1"), ("e4m3", BIT), ("pow8a0.5f0", "ue2m2")),
        *(("cb2f1_-3_0_1_4", "upow4a0.75f6"), ("cb2f0_-5_0_7", "e5m2"), ("uint1", NF4)),
    ],
    "table": [
        *((POW, POW), ("pow3a0.75f6", "int4"), ("pow3a0.5f2", "e2m1"), (BIT, "uint4")),
        ("cb2f1_-3_0_1_4", "int4"),
    ],
    "digit": [
        *((POW, "int4"), (POW, "uint4"), ("int8", POW), (ODD, "uint5"), (ODD, "int8")),
        *((POW, "e1m3"), ("upow3a0.75f1", "int3"), (BIT, "uint1"), (BIT, "int2"), ("e0m3", ODD)),
    ],
    "decode": [
        *((POW, "int4"), (NF4, "int4"), (NF4, NF4), ("uint8", NF4), ("upow6a0.5f0", POW)),
        *((POW, "e1m3"), (ODD, "int3")),
    ],
    "rom": [
        *((POW, "upow4a0.75f6"), (NF4, "int4"), (NF4, "upow3a0.5f2"), ("e2m1", POW)),
        *((BIT, "uint1"), (ODD, "ue2m2")),
    ],
}
VARIANTS = [*PAIRS, "digit_portable", "decode_portable", "rom_portable", "table_portable"]


def specs_of(style, length=64):
    return [MacSpec(w, a, length=length) for w, a in PAIRS[style.removesuffix("_portable")]]


@pytest.mark.sim
@pytest.mark.parametrize("style", VARIANTS)
def test_every_product_and_streams(style):
    verify(specs_of(style), style=style, steps=STEPS).raise_for_mismatch()


@pytest.mark.sim
def test_lanes_and_saturation_are_plain():
    specs = [
        MacSpec(POW, "uint4", 5, 40, overflow="saturate", acc=17),
        MacSpec(NF4, POW, 3, 64),
        MacSpec("cb2f1_-3_0_1_4", "int3", 2, 8, acc=5),
    ]
    verify(specs, style="auto", steps=STEPS).raise_for_mismatch()
    assert {choose(spec).style for spec in specs} == {"plain"}


@pytest.mark.sim
@pytest.mark.parametrize("style", PAIRS)
def test_the_mapped_netlist(style):
    designs = [mapped(design) for design in designs_of_specs(specs_of(style)[:2], style)]
    verify_designs(designs, steps=STEPS).raise_for_mismatch()


@pytest.mark.parametrize(
    ("style", "weight", "act"),
    [
        ("plain", "pow3a0.5f2", "int3"),
        ("table", "pow3a0.5f2", "int3"),
        ("digit", "pow3a0.5f2", "int4"),
        ("decode", "cb3f2_-7_-4_-2_0_1_3_6_9", "int4"),
        ("rom", "cb3f2_-7_-4_-2_0_1_3_6_9", "int4"),
    ],
)
def test_one_pair_of_each_style_is_proved_for_all_states(style, weight, act):
    (proof,) = prove_designs([design_of_spec(MacSpec(weight, act, 1, 16), style)]).proofs
    assert (proof.status, proof.detail) == ("proved", "")


FAULTS = {
    "a word of the decoder": ("plain", 0, "hq_book_decode.sv", "Words[w*SigBits+b]", "Words[b]"),
    "the sign of the decoder": ("plain", 0, "hq_book_decode.sv", "code_i[Bits-1];", "1'b0;"),
    "a row's table": ("digit", 0, "hq_digit_rows.sv", "{~Row[32*i+:32]", "{Row[32*i+:32]"),
    "a row's place": ("digit", 0, "hq_digit_rows.sv", "part[k-1][2+:Width]", "part[k-1][1+:Width]"),
    "the wide first row": ("decode", 0, "hq_book_first.sv", "D0 & Here & D1", "D0 | Here & D1"),
    "a product's bit": ("rom", 0, "hq_rom_mac.sv", "Words[w*Bits+i]", "Words[w*Bits]"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(fault):
    """Negative control."""
    style, index, file, good, bad = FAULTS[fault]
    spec = specs_of(style)[index]
    design = design_of_spec(spec, style)
    assert good in design.sources[file]
    sources = {**design.sources, file: design.sources[file].replace(good, bad)}
    assert verify_designs([replace(design, sources=sources)], steps=STEPS).mismatches


# The figures of docs/kernels/codebook.md: accumulator = product width + 8.
SITES = [
    *(("digit", POW, "int4", 38), ("digit", POW, "int8", 66), ("table", POW, POW, 46)),
    *(("rom", POW, "upow4a0.75f6", 75), ("decode", NF4, "int4", 43), ("decode", NF4, NF4, 81)),
]


@pytest.mark.parametrize(("style", "weight", "act", "most"), SITES)
def test_sites_and_the_choice(style, weight, act, most):
    spec = headroom_spec(weight, act)
    assert estimate(spec, style, synth=True).resources.lut_sites <= most
    assert choose(spec).style == style
    assert "LUTs for this kernel" in choose(spec).why
    assert choose(spec, among=()).style == style, "the formula agrees with synthesis"


def test_a_list_nobody_measured_has_a_style_by_formula():
    spec = MacSpec("cb3f2_-7_-4_-2_0_1_3_6_9", "int6", length=64)
    assert choose(spec).style == "digit"
    assert "not in the catalogue" in choose(spec).why
    assert "plain" in {style.name for style in fitting(spec)}


def test_rows_are_the_products():
    """The tables restated: rows of the digits of every code add up to every product."""
    for book, other in ((parse(POW), parse("int5")), (parse(ODD), parse("uint3"))):
        found = digit.rows(book, other)
        bits = other.bits
        for w in range(8):
            for x in range(1 << bits):
                total = 0
                for row, (truths, signed) in enumerate(zip(found.truths, found.signs, strict=True)):
                    index = w | (x >> 2 * row & 3) << 3
                    value = sum((t >> index & 1) << i for i, t in enumerate(truths))
                    negative = signed and value >> len(truths) - 1
                    total += (value - (negative << len(truths))) << 2 * row
                assert total == codec.decode(book, w) * codec.decode(other, x)


def files_of(spec, style):
    chosen = style_of(style, spec)
    blocks = {name: source_text(name) for name in chosen.sources}
    text = kernel_text(spec, "k", style)
    return {**cell_models(("LUT6_2", "CARRY8")), **blocks, "k.sv": text}


def lint(files, folder):
    for name, text in files.items():
        (folder / name).write_text(text)
    tools = find()
    command = [tools.verilator, "--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", "k"]
    environment = os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)}
    return subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.mark.sim
@pytest.mark.parametrize("style", VARIANTS)
def test_lint_is_clean(style, tmp_path):
    for spec in specs_of(style)[::2]:
        found = lint(files_of(spec, style), tmp_path)
        assert found.returncode == 0, f"{spec.weight} x {spec.act}: {found.stderr}"


@pytest.mark.parametrize("style", PAIRS)
def test_the_other_front_end_reads_it(style):
    files = {n: t for n, t in files_of(specs_of(style)[0], style).items() if "cell_" not in n}
    library = "read_verilog -lib +/xilinx/cells_sim.v\n"
    read = f"read_slang --threads 1 -Wno-undefined-param-override --top k {' '.join(files)}\n"
    run(library + read + "hierarchy -check -top k\nproc\n", files)


ILLEGAL = {
    "hq_book_mac: WeightSigBits must be 1..25": (
        "plain", ".WeightSigBits(10)", ".WeightSigBits(26)",
    ),
    "hq_digit_mac: the codebook's WeightBits or ActBits must be 1..3": (
        "digit", ".WeightBits(4)", ".WeightBits(5)",
    ),
    "hq_decode_mac: WeightExpBits and ActExpBits": ("decode", ".ActExpBits(0)", ".ActExpBits(2)"),
    "hq_rom_mac: WeightBits and ActBits must be 2..8 together": (
        "rom", ".ActBits(4)", ".ActBits(7)",
    ),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    style, good, bad = ILLEGAL[said]
    files = files_of(MacSpec(POW, "int4"), style)
    assert good in files["k.sv"]
    text = files["k.sv"].replace(good, bad)
    text = text.replace("[3:0] act_i", "[6:0] act_i") if "ActBits(7)" in bad else text
    found = lint({**files, "k.sv": text}, tmp_path)
    assert found.returncode != 0
    assert said in found.stderr


@pytest.mark.parametrize(
    ("style", "weight", "act", "said"),
    [
        ("booth", POW, "int4", "is a codebook"),
        ("shift", POW, "e4m3", "is a codebook"),
        ("tree", POW, "int4", "is a codebook"),
        ("bucket", NF4, "e4m3", "is a codebook"),
        ("digit", NF4, "int4", "up to 3 bits beside its sign"),
        ("digit", POW, "e4m3", "an integer or a"),
        ("digit", "int4", "int4", "needs a codebook"),
        ("decode", NF4, "e2m1", "not evenly spaced"),
        ("decode", POW, "int2", "allowed from 3"),
        ("rom", POW, "int8", "11 bits beside the signs"),
        ("rom", "int4", "int4", "neither operand is a codebook"),
        ("table", ODD, POW, "7 inputs"),
    ],
)
def test_what_a_style_refuses(style, weight, act, said):
    with pytest.raises(SpecError, match=said):
        style_of(style, MacSpec(weight, act))


def test_the_bare_product_block_knows_no_codebooks():
    with pytest.raises(SpecError, match="is a codebook"):
        product_text(MacSpec(POW, "int4"), "p")


def test_names_are_legal_and_long_lists_are_cut():
    assert kernel_name(MacSpec(POW, "int4")) == "hq_mac_pow4a0p75f6_int4_l1_a14_wrap"
    other = NF4.replace("_93_", "_94_")
    names = {kernel_name(MacSpec(name, "int4")) for name in (NF4, other)}
    assert len(names) == 2
    assert all(len(name) < 60 for name in names)


@pytest.mark.sim
def test_a_generated_folder_is_verified_as_it_is(tmp_path):
    spec = MacSpec(NF4, POW, length=16)
    bundle = generate(spec, tmp_path / "kernel", style="auto")
    assert bundle.spec == spec
    assert bundle.manifest["formats"]["weight"]["name"] == NF4
    verify(bundle, steps=STEPS).raise_for_mismatch()
