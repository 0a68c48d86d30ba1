"""Block-dot kernels: the exact twin, RTL in Verilator and both Yosys front ends, commands."""

from __future__ import annotations

import json
import os
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from hw.block_kernel import (
    BLOCK_SOURCES,
    BlockBundle,
    accumulate_parameters,
    block_from_json,
    block_kernel_name,
    block_kernel_text,
    block_latency,
    block_sources,
    block_to_json,
    generate_block,
    is_block_folder,
)
from hw.library import source_text
from hw.yosys import run
from hwquant import block_np, parse
from hwquant.block import BLOCK_NAMES, ScaleFormat, scale_value
from hwquant.block_mac import BlockMacSpec, fp32, scale_parts
from hwquant.errors import FormatError, InputError, SpecError, ToolError
from sim.block import block_design, verify_block, verify_block_design
from sim.report import MismatchError
from sim.toolchain import find
from sim.unit import Design


def vectors(spec, count=12, length=None, seed=0, spread=6):
    """Return codes and scales of ``count`` pairs of vectors quantized from random numbers."""
    rng = np.random.default_rng(seed)
    n = spec.length if length is None else length
    found = []
    for fmt in (spec.weight, spec.act):
        x = rng.normal(size=(count, n)) * np.exp2(rng.integers(-spread, spread, (count, n)))
        found.append(block_np.encode(fmt, x, scale=1.0))
    return found


def exact(w, a):
    """Return the dot products as exact numbers, from the tensors' values."""
    numbers = []
    for left, right in zip(w.values(), a.values(), strict=True):
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        numbers.append(sum(Fraction(x) * Fraction(y) for x, y in pairs))
    return numbers


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_the_auto_window_holds_the_exact_dot_product(name):
    spec = BlockMacSpec(name, name, 8, 100)
    w, a = vectors(spec)
    assert w.codes.shape[1] % spec.weight.block  # the last block is shorter
    sums = spec.dot(w.codes, a.codes, w.scales, a.scales)
    assert [spec.value(int(s)) for s in sums] == exact(w, a)
    assert spec.lossless


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_nothing_overflows_the_auto_window(name):
    fmt, length = parse(name), 96
    spec = BlockMacSpec(name, name, 8, length, overflow="saturate")
    top = 254 if fmt.scale is ScaleFormat.E8M0 else 126
    scales = np.full((1, length // fmt.block), top)
    for code in (max(fmt.element.codes), fmt.element.codes[0], 127 if name == "mxint8" else 7):
        codes = np.full((1, length), code)
        found = spec.accumulate(codes, codes, scales, scales)[0].tolist()
        assert found == [found[0] * (k + 1) for k in range(len(found))]


def test_scale_parts_are_the_scales():
    for scale, last in ((ScaleFormat.E8M0, 254), (ScaleFormat.E4M3, 126)):
        sig, exp = scale_parts(scale, np.arange(last + 1))
        for code in range(last + 1):
            assert int(sig[code]) * Fraction(2) ** int(exp[code]) == scale_value(scale, code)
        with pytest.raises(FormatError, match=f"scale code {last + 1}"):
            scale_parts(scale, [last + 1])


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_the_window_rounds_and_overflows_by_name(rounding, overflow):
    """Against a second way to say it: exact numbers of each block, rounded as fractions."""
    spec = BlockMacSpec("mxfp4", "mxint8", 8, 96, (11, 1), rounding, overflow)
    w, a = vectors(spec, 60)
    states = spec.accumulate(w.codes, a.codes, w.scales, a.scales)
    lost = rail = 0
    for row in range(60):
        state = 0
        for block in range(3):
            cut = slice(32 * block, 32 * block + 32)
            x = zip(w.values()[row, cut].tolist(), a.values()[row, cut].tolist(), strict=True)
            number = sum(Fraction(p) * Fraction(q) for p, q in x) / 2
            step = round(number) if rounding == "nearest" else number.__floor__()
            lost += step != number
            state += step
            low, high = -(1 << 10), (1 << 10) - 1
            rail += not low <= state <= high
            clamped = min(max(state, low), high)
            state = clamped if overflow == "saturate" else (state - low) % 2048 + low
            assert state == states[row, block]
    assert lost > 20
    assert rail > 3


def test_fp32_accumulation_rounds_once_a_block():
    spec = BlockMacSpec("mxfp8e4m3", "mxfp8e4m3", 8, 128)
    w, a = vectors(spec, 20)
    found = spec.dot_fp32(w.codes, a.codes, w.scales, a.scales)
    for row in range(20):
        state = Fraction(0)
        for block in range(4):
            cut = slice(32 * block, 32 * block + 32)
            x = zip(w.values()[row, cut].tolist(), a.values()[row, cut].tolist(), strict=True)
            state = fp32(state + sum(Fraction(p) * Fraction(q) for p, q in x))
        assert Fraction(float(found[row])) == state
    for x in (0.1, 1e-45, 3e-46, 1e39, -7.7e-39, 16777217.0, 16777219.0):
        near = np.float32(min(x, float(np.finfo(np.float32).max)))
        assert float(fp32(Fraction(x))) == near


def test_exact_rounding_refuses_to_lose_bits():
    spec = BlockMacSpec("mxfp4", "mxfp4", 8, 32, (12, -2), "exact")
    with pytest.raises(InputError, match="blocks have bits below"):
        spec.dot(np.full(32, 1), np.eye(1, 32, dtype=int)[0], [126], [125])
    with pytest.raises(SpecError, match="can lose bits and the rounding is exact"):
        block_kernel_text(spec)
    assert spec.dot([1] * 32, [1] * 32, [127], [127]) == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act": "int8"}, "act int8 is not block-scaled"),
        ({"act": "nvfp4"}, "differ in block size or scale format"),
        ({"act": "mxfp4k16"}, "differ in block size"),
        ({"lanes": 33}, "lanes 33, allowed 1..32"),
        ({"lanes": 0}, "lanes 0"),
        ({"length": 4}, "length 4"),
        ({"window": (3, 3)}, "window 3:3"),
        ({"window": (2000, 0)}, "window 2000:0"),
        ({"window": (1100, 1090)}, "window 1100:1090"),
        ({"rounding": "up"}, "rounding 'up', allowed: nearest, floor, exact"),
        ({"overflow": "clip"}, "overflow 'clip'"),
    ],
)
def test_bad_specs(changes, message):
    good = {"weight": "mxfp4", "act": "mxfp4", "lanes": 8, "length": 64, "window": (9, -9)}
    with pytest.raises(SpecError, match=message):
        BlockMacSpec(**(good | changes))


# The RTL.

WINDOWS = [
    ("mxfp4", "mxfp4", 8, (15, -16)),
    ("mxfp4", "mxfp8e4m3", 32, (12, -8)),
    ("mxfp6e2m3", "mxfp6e3m2", 4, (20, -20)),
    ("mxfp8e5m2", "mxfp8e5m2", 2, (24, -30)),
    ("mxint8", "mxint8", 16, (10, -12)),
    ("mxint8k4", "mxfp4k4", 4, "auto"),
    ("nvfp4", "nvfp4", 16, "auto"),
    ("nvfp4", "nvfp4", 8, (10, -8)),
    ("mxfp4k5", "mxint8k5", 2, (7, 0)),  # lanes do not divide the block
    ("mxfp4k2", "mxfp4k2", 1, (300, 280)),
    ("mxfp4k2", "mxfp4k2", 1, (-200, -300)),
    ("nvfp4k2", "nvfp4k2", 2, (-19, -20)),
]
RULES = [("nearest", "wrap"), ("nearest", "saturate"), ("floor", "wrap"), ("floor", "saturate")]
SPECS = [BlockMacSpec(w, a, n, 256, win, *rule) for w, a, n, win in WINDOWS for rule in RULES]


@pytest.mark.sim
def test_every_kernel_equals_its_twin():
    report = verify_block(SPECS, steps=4096)
    report.raise_for_mismatch()
    assert report.mismatches == 0
    assert report.checks > 300_000
    for result in report.results:
        spec = result.unit.spec
        assert result.checks > 1000
        assert (result.inexact > 0) != spec.lossless
        if not spec.lossless and spec.overflow == "saturate" and spec.bounds[0] < 200:
            assert result.rails > 20


@pytest.mark.sim
@pytest.mark.synth
def test_tree_kernels_and_their_mapped_netlists():
    specs = [
        BlockMacSpec("mxfp4", "mxfp4", 8, 256, (12, -8), "nearest", "saturate"),
        BlockMacSpec("nvfp4", "nvfp4", 16, 64, (12, -12), "nearest", "saturate"),
    ]
    assert verify_block(specs, steps=1024, style="tree").mismatches == 0
    report = verify_block(specs, steps=1024, style="tree", netlist=True)
    assert (report.mismatches, report.level) == (0, "netlist")


FAULTS = {
    "a tie goes up": ("hq_block_acc.sv", "| wide[Guard])", "| 1'b1)"),
    "a tie goes down": ("hq_block_acc.sv", "| wide[Guard])", "| 1'b0)"),
    "sticky is forgotten": ("hq_block_acc.sv", "(|wide[Guard-2:0])", "1'b0"),
    "no clamp of a large block": ("hq_block_acc.sv", "add_d = fits ?", "add_d = 1'b1 ?"),
    "small shifts are not stopped": ("hq_block_acc.sv", "if (place[13]) by_q", "if (0) by_q"),
    "large shifts are not stopped": ("hq_block_acc.sv", "place > 14'(Left)", "place > 14'd8000"),
    "the clear is lost": ("hq_block_acc.sv", "take_q && first_q", "1'b0"),
    "scales come late": ("hq_block_seq.sv", "k == 0 ? exponent", "k == 0 ? exp_q[0+:ExpBits]"),
    "a block goes on": ("hq_block_seq.sv", "clear_i | start_q", "clear_i"),
    "a dropped block counts": ("hq_block_seq.sv", "valid_i && last_i", "valid_i"),
    "subnormal scales": ("hq_block_scale.sv", "- ExpBits'(weight_normal)", "- ExpBits'(1)"),
    "no hidden bit": (
        "hq_block_scale.sv",
        "{weight_normal, weight_i[2:0]}",
        "{1'b1, weight_i[2:0]}",
    ),
}


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_noticed(fault):
    """Negative control."""
    name, good, bad = FAULTS[fault]
    assert good in source_text(name)
    specs = [
        BlockMacSpec("mxfp4k4", "mxfp4k4", 2, 64, (9, -8), "nearest", "saturate"),
        BlockMacSpec("nvfp4k4", "nvfp4k4", 2, 64, (9, -10), "nearest", "saturate"),
    ]
    design = block_design(specs)
    sources = dict(design.sources) | {name: source_text(name).replace(good, bad)}
    report = verify_block_design(Design(design.units, sources), steps=2048)
    assert report.mismatches > 0
    with pytest.raises(MismatchError, match="results differ; the first"):
        report.raise_for_mismatch()


def lint(texts, folder, top):
    for name, text in texts.items():
        (folder / name).write_text(text)
    tools = find()
    return subprocess.run(
        [tools.verilator, "--lint-only", "-Wall", "--top-module", top, *texts],
        cwd=folder, capture_output=True, text=True,
        env=os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)},
    )  # fmt: skip


@pytest.mark.sim
def test_clean_under_wall(tmp_path):
    for index, spec in enumerate(SPECS[::3]):
        texts = block_sources(spec) | {"k.sv": block_kernel_text(spec, "k")}
        (tmp_path / str(index)).mkdir()
        done = lint(texts, tmp_path / str(index), "k")
        assert done.returncode == 0, f"{block_kernel_name(spec)}: {done.stderr[:2000]}"


@pytest.mark.synth
@pytest.mark.parametrize("tool", ["read_verilog", "read_slang"])
def test_yosys_front_ends_take_the_kernels(tool):
    texts = block_sources(SPECS[0])
    names = []
    for index, spec in enumerate(SPECS[::5]):
        texts |= block_sources(spec) | {f"k{index}.sv": block_kernel_text(spec, f"k{index}")}
        names.append(f"k{index}")
    script = []
    for top in names:
        read = f"read_verilog -sv {' '.join(texts)}"
        if tool == "read_slang":
            read = f"read_slang --threads 1 --top {top} {' '.join(texts)}"
        script.append(f"design -reset\n{read}\nhierarchy -check -top {top}\nproc\ncheck -assert")
    run("\n".join(script), texts)


ILLEGAL = {
    "SumBits must be 2..512": (".SumBits(14)", ".SumBits(1)"),
    "AccBits must be 2..1024": (".AccBits(32)", ".AccBits(1)"),
    "Offset must be -4000..4000": (".Offset(-", ".Offset(-9"),
    "Left Guard..4000": (".Guard(", ".Guard(9"),
    "Latency must be 1..64": (".Latency(2)", ".Latency(0)"),
    "ExpBits must be 9": (".E4m3(0)", ".E4m3(1)"),
}


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
@pytest.mark.parametrize("tool", ["verilator", "read_verilog"])
def test_illegal_parameters_stop_elaboration(tool, said, tmp_path):
    good, bad = ILLEGAL[said]
    text = block_kernel_text(SPECS[0], "k")
    assert good in text
    texts = block_sources(SPECS[0]) | {"k.sv": text.replace(good, bad)}
    if tool == "verilator":
        done = lint(texts, tmp_path, "k")
        assert done.returncode != 0
        assert said in done.stderr
    else:
        with pytest.raises(ToolError, match="Yosys failed"):
            run(f"read_verilog -sv {' '.join(texts)}\nhierarchy -check -top k\n", texts)


def test_blocks_carry_their_contract():
    for name in BLOCK_SOURCES:
        text = source_text(name)
        assert "Latency" in text
        assert "lint_off" not in text
        assert max(map(len, text.splitlines())) <= 100


def test_generation_is_stable_and_read_back(tmp_path):
    spec = SPECS[4]
    bundle = generate_block(spec, tmp_path / "a", style="tree")
    again = generate_block(spec, tmp_path / "b", style="tree")
    for path in sorted(bundle.folder.iterdir()):
        assert path.read_bytes() == (again.folder / path.name).read_bytes()
    assert BlockBundle.load(tmp_path / "a").spec == spec
    assert block_from_json(json.loads(json.dumps(block_to_json(spec)))) == spec
    assert bundle.latency_cycles == block_latency(spec, "tree") == 9
    assert bundle.manifest["accumulator"]["block_sum_bits"] == 28
    assert is_block_folder(tmp_path / "a")
    assert not is_block_folder(tmp_path)
    block = bundle.folder / "hq_block_acc.sv"
    block.write_text(block.read_text().replace("take_q && first_q", "1'b0"))
    with pytest.raises(InputError, match=r"hq_block_acc\.sv does not match"):
        BlockBundle.load(bundle.folder)


def test_the_shifter_is_no_wider_than_it_must_be():
    narrow = accumulate_parameters(BlockMacSpec("mxfp4", "mxfp4", 8, 64, (15, -16)))
    assert (narrow["Guard"], narrow["Left"]) == (15, 48)
    exact_ = accumulate_parameters(BlockMacSpec("nvfp4", "nvfp4", 16, 64))
    assert (exact_["Guard"], exact_["Offset"], exact_["Left"]) == (0, 0, 28)


def test_refusals():
    with pytest.raises(SpecError, match="one result per dot product"):
        block_kernel_text(BlockMacSpec("mxfp8e4m3", "mxfp8e4m3"), style="bucket")
    with pytest.raises(SpecError, match="not the name of an RTL block"):
        block_kernel_text(SPECS[0], "hq_block_acc")
    with pytest.raises(InputError, match="damaged"):
        block_from_json({"kind": "block"})
    with pytest.raises(InputError, match="nothing to verify"):
        verify_block([])
    with pytest.raises(InputError, match="steps 0"):
        verify_block(SPECS[:1], steps=0)
