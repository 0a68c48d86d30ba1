# SPDX-License-Identifier: Apache-2.0
"""Requantization blocks: bit-equal to `hwquant.requant` in Verilator, faults found, tools agree."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
from fractions import Fraction

import pytest

from costmodel.requant import BIAS_BITS, WIDE_BIAS_BITS, reference, reference_table
from hw.library import source_text
from hw.requant import (
    RequantBundle,
    generate_requant,
    requant_from_json,
    requant_latency,
    requant_name,
    requant_sources,
    requant_style,
    requant_text,
    requant_to_json,
)
from hw.yosys import run
from hwquant.errors import InputError, SpecError, ToolError
from hwquant.formats import Integer, Minifloat, integers, minifloats, parse
from hwquant.requant import MultiplyShift, RoundPack, Thresholds, code_values
from sim.report import MismatchError
from sim.requant import (
    RequantUnit,
    requant_design,
    verify_requant,
    verify_requant_design,
)
from sim.toolchain import find
from sim.unit import Design, mapped

EXOTIC = "int2 int4n int8n uint1 e1m0 e2m0 e0m3 ue0m4 e4m3fn e5m2ieee e3m0fn e4m3b4".split()  # noqa: SIM905


def every_output():
    """Return every integer and minifloat of 3..8 bits, signed and unsigned, and odd ones."""
    unsigned = [*integers(3, 8, signed=False), *minifloats(3, 8, signed=False)]
    return [*integers(3, 8), *minifloats(3, 8), *unsigned, *map(parse, EXOTIC)]


def round_packs(fmt, acc_bits, rng):
    """Return requantizers with a common shift, a low one, and a shift per channel."""
    # Shifts around what makes the accumulator's range meet the format's.
    spare = acc_bits - fmt.max_int.bit_length()
    common = rng.randrange(max(spare - 3, -2), max(spare, 0) + 2)
    scale = 1 << max(common, 1)
    biases = [rng.randrange(-3 * scale, 3 * scale) for _ in range(2)]
    shifts = [rng.randrange(max(spare - 4, -3), max(spare, 0) + 3) for _ in range(3)]
    shifts[1] = shifts[0] + 1
    own = [0, rng.randrange(-99, 99), rng.randrange(-(1 << acc_bits - 2), 1 << acc_bits - 2)]
    # Far below, most accumulators saturate: where the adder is split.
    low = max(spare - 6, 1)
    ends = [rng.randrange(1 << low), -rng.randrange(1 << low + 1)]
    return [
        RoundPack(fmt, acc_bits, biases, [common]),
        RoundPack(fmt, acc_bits, ends, [low]),
        RoundPack(fmt, acc_bits, own, shifts),
    ]


def standard(formats, acc_bits, seed):
    rng = random.Random(seed)
    return [spec for fmt in formats for spec in round_packs(fmt, acc_bits, rng)]


@pytest.mark.sim
def test_every_format_is_exhaustively_right():
    specs = standard(every_output(), 10, seed=3)
    split = [spec for spec in specs if ".Split(1)" in requant_text(spec, "k")]
    assert {type(spec.fmt) for spec in split} == {Integer, Minifloat}
    assert len(split) > 20
    report = verify_requant(specs)
    report.raise_for_mismatch()
    assert len(report.results) == len(specs)
    assert all(r.exhaustive and r.checks >= r.unit.spec.channels << 10 for r in report.results)


@pytest.mark.sim
def test_integers_with_wide_biases_are_exhaustively_right():
    """The biases fill the accumulator's range or lie at an end of it: `hq_clip` does these."""
    rng, specs = random.Random(9), []
    for fmt in ("int2", "int3", "int4", "int8", "uint1", "uint4", "uint3", "int5"):
        for shift, acc_bits in ((1, 13), (2, 14), (3, 12), (5, 14)):
            half = 1 << acc_bits - 1
            ends = [[half - 1, 0, -5], [-half, 3 - half, 17], [rng.randrange(-half, half)] * 2]
            biases = [[rng.randrange(-half, half) for _ in range(3)], *ends]
            specs += [RoundPack(fmt, acc_bits, bias, [shift]) for bias in biases]
    texts = [requant_text(spec, "k") for spec in specs]
    assert sum(".Clip(1)" in text for text in texts) > 80
    assert sum(".Upper(1)" in text for text in texts) > 20
    report = verify_requant(specs)
    report.raise_for_mismatch()
    assert all(result.exhaustive for result in report.results)


@pytest.mark.sim
def test_sixteen_bit_accumulators_are_exhaustively_right():
    specs = standard(map(parse, ("e2m1", "e3m2", "e4m3", "int4", "int8", "uint4")), 16, seed=4)
    specs += [
        MultiplyShift("int8", 16, [219, -77], [1000, -123456], 14),
        MultiplyShift("e2m1", 16, [21845, 1], [0, -5], 23),
        Thresholds.of("e2m1", 16, unit=[0.001, -0.003], bias=[0, 0.4]),
        Thresholds.of("int8", 16, unit=[Fraction(1, 300), Fraction(-1, 128)], bias=0.1),
        Thresholds.of("uint4", 16, unit=0.001, bias=-1),
    ]
    report = verify_requant(specs)
    report.raise_for_mismatch()
    assert all(r.exhaustive for r in report.results)
    assert report.checks > sum(spec.channels << 16 for spec in specs)


@pytest.mark.sim
@pytest.mark.slow
def test_every_format_of_sixteen_bit_accumulators():
    verify_requant(standard(every_output(), 16, seed=5)).raise_for_mismatch()


@pytest.mark.sim
def test_wide_accumulators_are_right_at_every_cut():
    specs = standard(map(parse, ("e2m1", "e4m3", "int8")), 24, seed=6)
    specs += standard(map(parse, ("e3m2", "e5m2", "int4")), 45, seed=7)
    specs += [RoundPack("e7m0", 200, [1 << 150, -3], [60]), RoundPack("int4", 80, [5], [70])]
    specs += [MultiplyShift("int8", 24, [30000, -1, 0], [9, 0, -500], 30)]
    specs += [Thresholds.of("e3m2", 24, unit=[1e-6, -1e-5])]
    report = verify_requant(specs, steps=4096)
    report.raise_for_mismatch()
    assert not any(r.exhaustive for r in report.results)


def any_function(acc, channel):
    return min(max((acc // 8) ** 3 // (50 + channel), 0), 5)


@pytest.mark.sim
def test_threshold_units_of_both_styles_do_any_monotone_function():
    spec = Thresholds.of_function((9, 3, 14, 0, 7, 1), any_function, 9, channels=3)
    relu = Thresholds.of("e2m1", 9, unit=[0.1, -0.2], bias=0.3, relu=True)
    one = Thresholds((1, 0), ((7,),), 4)
    specs = [spec, spec, relu, relu, one, one]
    report = verify_requant_design(requant_design(specs, ["search", "parallel"] * 3))
    report.raise_for_mismatch()
    assert report.checks > 2 * 3 * 512


FAULTS = {
    "ties go up": ("hq_pack.sv", "top_i[0] & (sticky_i | odd)", "top_i[0]", 1),
    "negative ties go away": ("hq_pack.sv", "(~sticky_i & odd)", "~sticky_i", 1),
    "no mantissa: ties are odd": ("hq_pack.sv", "odd = |field_i", "odd = field_i[0]", 3),
    "integer ties go up": ("hq_clamp.sv", "wide[0] & ~tie_i", "wide[0]", 2),
    "no integer saturation": ("hq_clamp.sv", "over_i || wide", "over_i && wide", 2),
    "no saturation": ("hq_pack.sv", "over = over_i ||", "over = over_i &&", 1),
    "saturates one binade late": ("hq_bias.sv", "? moved & down_q :", "? 1'b0 :", 2),
    "subnormals are shifted on": ("hq_norm.sv", "empty & normal_i", "empty", 1),
    "subnormals lose their last bit": (
        "hq_norm.sv",
        "sticky_i | (~move &",
        "sticky_i & (~move &",
        1,
    ),
    "-0": ("hq_pack.sv", "neg_i & (|clamped)", "neg_i", 1),
    "own shift forgets": (
        "hq_shift.sv",
        "sticky[k+1] | (amount_i[k]",
        "sticky[k+1] & (amount_i[k]",
        4,
    ),
    "threshold itself is left out": ("hq_thr.sv", "left >= right", "left > right", 5),
    "search step compares wrongly": ("hq_thr_step.sv", "left >= right", "left > right", 6),
    "falling channels rise": ("hq_thr.sv", "count ^ {Steps{falls}}", "count", 5),
    "a stall is ignored": ("hq_round.sv", "if (en_i) acc_q", "acc_q", 1),
    "clipped ties go up": ("hq_clip.sv", "diff[Low] & ~equal[Low]", "diff[Low]", 8),
    "bits above the code are lost": ("hq_clip.sv", " | (|bad_q)", "", 8),
    "a borrow above the code is lost": (
        "hq_clip.sv",
        ": a[Base+i] < b[Base+i]",
        ": 1'b0",
        8,
    ),
    "ones above the code are taken for zeros": ("hq_clip.sv", "Upper ? a", "!Upper ? a", 9),
    "the wrong end": ("hq_clip.sv", "diff[Positions] ^ Upper", "diff[Positions]", 9),
    "a stall is clipped": ("hq_clip.sv", "near_end = en_i &", "near_end =", 8),
    "a reset leaves a result": ("hq_round.sv", "valid_q <= '0;", "valid_q[0] <= 1'b0;", 2),
    "the product is unsigned": ("hq_mulshift.sv", ".BSigned(1'b1)", ".BSigned(1'b0)", 7),
}
UNITS = [
    RoundPack("int8", 9, [0], [1]),
    RoundPack("e2m1", 10, [3, -7], [3]),
    RoundPack("int4", 10, [3, -7], [3]),
    RoundPack("e3m0", 10, [1, 0], [2]),
    RoundPack("e3m2", 10, [1, 0], [2, 4]),
    Thresholds.of("uint2", 8, unit=[0.1, -0.2]),
    Thresholds.of("e2m1", 8, unit=[0.1, -0.2]),
    MultiplyShift("int4", 9, [-9, 5], [0, 3], 6),
    RoundPack("int4", 12, [300, -764], [2]),
    RoundPack("uint3", 12, [2047, -9], [3]),
]


def faulty(index, fault):
    """Return one unit with a fault in one block, under names of its own."""
    name, good, bad, number = FAULTS[fault]
    spec = UNITS[number]
    sources = requant_sources(spec)
    assert sources[name].count(good) >= 1, fault
    sources[name] = sources[name].replace(good, bad, 1)
    prefix = f"fault{index}_"
    own = {
        prefix + file: re.sub(r"\bhq_(?=\w)", f"{prefix}hq_", text)
        for file, text in (sources | {"top.sv": requant_text(spec, "top_of")}).items()
    }
    own[f"{prefix}top.sv"] = own[f"{prefix}top.sv"].replace("top_of", f"{prefix}top")
    return RequantUnit(spec, f"{prefix}top", requant_latency(spec)), own


@pytest.mark.sim
def test_every_injected_fault_is_found_and_told():
    """Negative control: one fault per unit, each must be found, the healthy units must pass."""
    design = requant_design(UNITS)
    units, sources = list(design.units), dict(design.sources)
    for index, fault in enumerate(FAULTS):
        unit, own = faulty(index, fault)
        units.append(unit)
        sources |= own
    report = verify_requant_design(Design(tuple(units), sources))
    healthy, broken = report.results[: len(UNITS)], report.results[len(UNITS) :]
    assert not any(result.mismatches for result in healthy)
    missed = [fault for fault, r in zip(FAULTS, broken, strict=True) if not r.mismatches]
    assert not missed
    for result in broken:
        spec = result.unit.spec
        for failure in result.failures:
            lanes = [failure.acc] * spec.channels
            right = int(spec.apply(lanes)[failure.channel])
            assert failure.expected in (right, None)
            assert failure.got != failure.expected
    with pytest.raises(MismatchError, match=r"channel \d, accumulator -?\d+: expected code"):
        report.raise_for_mismatch()


@pytest.mark.sim
@pytest.mark.synth
@pytest.mark.slow
def test_the_mapped_netlist_computes_the_same():
    specs = [RoundPack("e2m1", 14, [3, -7, 11], [3]), RoundPack("int4", 14, [3, -7], [3])]
    verify_requant_design(mapped(requant_design(specs))).raise_for_mismatch()


def lint(spec, folder, text=None):
    files = requant_sources(spec) | {"k.sv": text or requant_text(spec, "k")}
    for name, content in files.items():
        (folder / name).write_text(content)
    tools = find()
    command = [tools.verilator, "--lint-only", "-Wall", "--top-module", "k", *files]
    environment = os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def varied():
    specs = standard(every_output()[::4], 12, seed=8) + UNITS
    return [
        *specs,
        Thresholds.of("uint1", 8, unit=[1, 2]),
        Thresholds.of("int5", 24, unit=[1e-6] * 5),
    ]


@pytest.mark.sim
def test_blocks_are_clean_under_wall(tmp_path):
    for spec in varied():
        done = lint(spec, tmp_path)
        assert done.returncode == 0, f"{spec}\n{done.stderr}"
        assert not done.stderr


@pytest.mark.synth
@pytest.mark.parametrize("tool", ["read_verilog -sv", "read_slang --threads 1 --top top"])
def test_both_yosys_front_ends_elaborate(tool):
    files, instances = {}, []
    for index, spec in enumerate(varied()):
        text = requant_text(spec, f"k{index}")
        files |= requant_sources(spec) | {f"k{index}.sv": text}
        wires = re.findall(r"^  (?:input |output) logic (?:\[(\d+):0\] )?(\w+)", text, re.MULTILINE)
        pins = ", ".join(
            f".{port}({'code' + str(index) if port == 'code_o' else ''})"
            if port.endswith("_o")
            else f".{port}(data[{int(width or 0)}:0])"
            for width, port in wires
        )
        instances.append(f"  logic [7:0] code{index};\n  k{index} u{index} ({pins});\n")
    files["top.sv"] = "module top (input [63:0] data);\n" + "".join(instances) + "endmodule\n"
    names = " ".join(files)
    run(f"{tool} {names}\nhierarchy -check -top top\nproc\n", files)


ILLEGAL = {
    "Shift must be 1..SumBits-1": (1, "Shift(3)", "Shift(0)"),
    "AccBits must be 2..2048": (1, "AccBits(10)", "AccBits(1)"),
    "ExpBits must be 0": (2, "ExpBits(0)", "ExpBits(1)"),
    "MaxCode must be below": (1, "MaxCode(7)", "MaxCode(8)"),
    "Narrow must be 0": (2, "Signed(1),\n    .Narrow(0)", "Signed(0),\n    .Narrow(1)"),
    "Split must be 0 unless": (1, "SumBits(11),\n    .Split(0)", "SumBits(11),\n    .Split(1)"),
    "Steps must be 1..8": (6, "Steps(4)", "Steps(0)"),
    "ThrBits must be 1..AccBits+1": (6, "AccBits(8)", "AccBits(5)"),
    "MultBits must be 2..32": (7, "MultBits(5)", "MultBits(33)"),
}


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    number, good, bad = ILLEGAL[said]
    text = requant_text(UNITS[number], "k")
    assert good in text
    done = lint(UNITS[number], tmp_path, text.replace(good, bad))
    assert done.returncode != 0
    assert said in done.stderr


def test_generated_folders_are_whole_and_the_same_every_time(tmp_path):
    for index, spec in enumerate(UNITS):
        bundle = generate_requant(spec, tmp_path / f"a{index}")
        again = generate_requant(spec, tmp_path / f"b{index}")
        assert bundle.spec == spec
        assert bundle.name == requant_name(spec)
        assert bundle.style == requant_style(spec)
        assert bundle.latency_cycles == requant_latency(spec)
        for path in sorted(bundle.folder.iterdir()):
            assert path.read_bytes() == (again.folder / path.name).read_bytes()
        assert requant_from_json(json.loads(json.dumps(requant_to_json(spec)))) == spec


@pytest.mark.sim
def test_a_changed_folder_is_verified_as_it_is(tmp_path):
    bundle = generate_requant(UNITS[1], tmp_path / "unit")
    assert verify_requant(bundle).mismatches == 0
    block = bundle.folder / "hq_pack.sv"
    block.write_text(block.read_text().replace("(sticky_i | odd)", "sticky_i"))
    report = verify_requant(bundle.folder)
    assert report.mismatches
    assert "hq_pack.sv does not match its hash" in report.warnings[0]
    with pytest.raises(InputError, match=r"hq_pack\.sv does not match"):
        RequantBundle.load(bundle.folder)


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(SpecError, match="not the name of an RTL block"):
        generate_requant(UNITS[1], tmp_path / "x", name="hq_round")
    with pytest.raises(SpecError, match="style 'search' cannot do RoundPack, allowed: auto, round"):
        requant_text(UNITS[1], "k", "search")
    with pytest.raises(InputError, match="RoundPack, MultiplyShift, Thresholds"):
        requant_from_json({"requantizer": "Magic", "acc_bits": 8})
    with pytest.raises(InputError, match="damaged"):
        requant_from_json({"requantizer": "RoundPack", "acc_bits": 8})
    with pytest.raises(InputError, match="nothing to verify"):
        verify_requant([])
    with pytest.raises(InputError):
        verify_requant(tmp_path)


@pytest.mark.synth
@pytest.mark.slow
def test_the_reference_requantizers_meet_their_targets():
    """LUT6 sites: 24-bit accumulator, 64 channel biases in LUTs, one shift."""
    targets = {"e2m1": 73, "e3m2": 84, "e4m3": 104, "int4": 48, "int8": 49}
    assert BIAS_BITS == 12
    for bits in (BIAS_BITS, WIDE_BIAS_BITS):
        table = reference_table(list(targets), bias_bits=bits)
        found = {row["format"]: row["lut_sites"] for row in table}
        assert all(found[name] <= target for name, target in targets.items()), (bits, found)
    wide = {
        row["format"]: row["lut_sites"] for row in reference_table(["int4", "int8"], bias_bits=24)
    }
    assert wide["int8"] <= targets["int8"]
    assert wide["int4"] <= targets["int4"] + 1
    assert reference("e2m1").channels == 64


def test_blocks_carry_their_contract():
    for file in {name for spec in UNITS for name in requant_sources(spec)}:
        text = source_text(file)
        assert "Latency" in text
        assert "lint_off" not in text
        assert max(map(len, text.splitlines())) <= 100


def test_thresholds_of_one_format_share_its_levels():
    spec = Thresholds.of("e2m1", 8)
    assert spec.codes == tuple(code for _, code in code_values(parse("e2m1")))
    assert dataclasses.replace(spec, falling=frozenset([0])).apply([127]).tolist() == [15]
    with pytest.raises(ToolError):
        mapped(Design((RequantUnit(spec, "absent", 3),), {"x.sv": "module x; endmodule"}))
