# SPDX-License-Identifier: Apache-2.0
"""Bucket kernels: exact, in the cycles they promise, as RTL and as mapped netlist."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import replace

import pytest

from costmodel.bucket import bucket_cost, headroom_spec
from hw import generate, kernel_text
from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import STYLES, fitting, style_of
from hw.styles.bucket import plan
from hw.yosys import run
from hwquant.errors import SpecError
from hwquant.mac import MacSpec
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify_designs
from sim.gates import mapped
from sim.kernels import Design
from sim.replay import play
from sim.rows import LAST
from sim.toolchain import find
from sim.vectors import CLEAR, ENABLE, RESET, VALID

STEPS = 2048
SPECS = (
    MacSpec("e3m0", "e3m0", 1, 256),
    MacSpec("e3m1", "e3m1", 1, 100),
    MacSpec("e3m2", "e3m2", 1, 32),
    MacSpec("e3m1", "e2m1", 1, 40, 12),  # an accumulator that wraps
    MacSpec("e2m1", "e1m2", 1, 64),  # one operand with exponents
    MacSpec("int4", "e3m1", 1, 50),
    MacSpec("ue3m1", "uint3", 1, 33),
    MacSpec("e2m1", "ue2m2", 1, 7),
    MacSpec("e3m1", "e3m1", 1, 1),
    MacSpec("e2m1", "e3m0", 3, 50),
    MacSpec("e4m0", "int3", 2, 64),
)
WIDE = (  # windows of two and four exponents, significands of four and five bits
    MacSpec("e4m1", "e2m2", 1, 20),
    MacSpec("e3m0", "e3m0", 4, 64),
    MacSpec("e2m3", "e2m3", 1, 20),
    MacSpec("e4m0", "e4m0", 1, 20),
)


def verified(design):
    """Return the report of one design."""
    return verify_designs([design], steps=STEPS, jobs=1)


@pytest.mark.sim
@pytest.mark.parametrize(
    ("style", "specs"),
    [("bucket", SPECS), ("bucket_portable", SPECS[::2]), ("bucket_fast", WIDE)],
)
def test_every_pair_and_every_stream_is_exact(style, specs):
    report = verify_designs(list(designs_of_specs(specs, style)), steps=STEPS, jobs=1)
    report.raise_for_mismatch()
    assert report.kernels == len(specs)
    assert all(result.mac_steps >= STEPS for result in report.results)
    pairs = sum(len(s.weight.codes) * len(s.act.codes) * s.lanes for s in specs)
    assert sum(result.products for result in report.results) == pairs


@pytest.mark.sim
def test_the_mapped_netlist_is_exact():
    design = mapped(design_of_spec(SPECS[1], "bucket"))
    text = design.sources["netlists.v"]
    assert "RAM32M" in text
    assert "CARRY8" in text
    verified(design).raise_for_mismatch()


def noise(kernel, count, seed):
    """Return rows with every control bit at random; a dot product's first beat taken clears."""
    rng = random.Random(seed)
    spec, promised, rows, busy, begun = kernel.spec, kernel.control, [], 0, False
    shares = ((ENABLE, 0.9), (VALID, 0.8), (LAST, 0.06), (CLEAR, 0.02), (RESET, 0.005))
    for _ in range(count):
        control = sum(bit * (rng.random() < share) for bit, share in shares)
        if control & RESET:
            busy, begun = promised.abort - 1, False
        elif control & ENABLE and busy:
            busy -= 1
        elif control & ENABLE and control & VALID:
            if control & CLEAR and begun:
                busy, begun = promised.abort - 1, False
            else:
                control |= CLEAR * (not begun)
                begun = not control & LAST
                busy = 0 if begun else promised.gap
        codes = [
            [rng.choice(fmt.codes) for _ in range(spec.lanes)] for fmt in (spec.weight, spec.act)
        ]
        rows.append((control, *codes))
    return rows


@pytest.mark.sim
@pytest.mark.parametrize("spec", [SPECS[0], SPECS[-1]], ids=["one lane", "two lanes"])
def test_any_control_at_any_time(spec):
    """The scalar model fed by the beats that the kernel says it takes agrees with every result."""
    design = design_of_spec(spec, "bucket")
    outcome = play(design, noise(design.kernels[0], 3000, seed=3))
    assert outcome.mismatches == 0, outcome.errors[:2]
    assert outcome.compared >= 15


@pytest.mark.sim
@pytest.mark.parametrize("field", ["latency", "gap", "abort"])
@pytest.mark.parametrize("off", [-1, 1])
def test_cycles_are_as_promised_to_the_cycle(field, off):
    """One cycle more or fewer than the manifest says is seen."""
    design = design_of_spec(SPECS[1], "bucket")
    kernel = design.kernels[0]
    if field == "latency":
        wrong = replace(kernel, latency=kernel.latency + off)
    else:
        value = getattr(kernel.control, field) + off
        wrong = replace(kernel, control=replace(kernel.control, **{field: value}))
    assert verified(replace(design, kernels=(wrong,))).mismatches


FAULTS = {
    "an address is not cleared": (
        "hq_drain.sv", "assign set_o = en_i && clear_o;",
        "assign set_o = en_i && clear_o && addr_q != AddrBits'(Last);",
    ),
    "an unended dot product stays": (
        "hq_drain.sv", "assign abort = clear_i && dirty_q;", "assign abort = 1'b0;",
    ),
    "reset forgets the buckets": (
        "hq_drain.sv", "busy_q <= 1'b1;\n      clear_q", "busy_q <= 1'b0;\n      clear_q",
    ),
    "a beat that is not taken counts": (
        "hq_drain.sv", "!(valid_i && ready_o)", "!valid_i",
    ),
    "the sign of the activation is lost": (
        "hq_bucket.sv", "(weight_neg ^ act_neg) | clear_i", "weight_neg | clear_i",
    ),
    "a frozen cycle writes": ("hq_bucket_mac.sv", "assign write = en_i;", "assign write = 1'b1;"),
    "a bucket too narrow for the longest dot product": (
        "kernels.sv", ".BucketBits(", ".BucketBits(-1+",
    ),
    "the last bucket is left out": (
        "hq_drain.sv", "assign done = addr_q == AddrBits'(Last);",
        "assign done = addr_q == AddrBits'(Last - 1);",
    ),
    "the top loses its sign": (
        "hq_bucket.sv", "{Digit{sum[BucketBits-1]}}", "{Digit{1'b0}}",
    ),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault):
    file, old, new = FAULTS[fault]
    design = design_of_spec(SPECS[1], "bucket")
    assert design.sources[file].count(old) == 1
    text = design.sources[file].replace(old, new)
    changed = Design(design.kernels, {**design.sources, file: text})
    assert verified(changed).mismatches


@pytest.mark.sim
@pytest.mark.parametrize("style", ["bucket", "bucket_portable", "bucket_fast"])
def test_wall_clean(style, tmp_path):
    texts = {
        f"k{i}.sv": kernel_text(spec, f"k{i}", style) for i, spec in enumerate((*SPECS, *WIDE))
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (".Window(0)", "Window must be 0..2"),
        (".Last(14)", "Last must be First..2**AddrBits-1"),
        (".AddrBits(4)", "AddrBits must be 1..6"),
        (".BucketBits(11)", "BucketBits must exceed"),
    ],
)
@pytest.mark.sim
def test_illegal_parameters_stop_elaboration(change, message, tmp_path):
    text = kernel_text(SPECS[1], "kernel", "bucket_portable")
    assert change in text
    name = change.partition("(")[0]
    wrong = {".Window": 3, ".Last": 40, ".AddrBits": 7, ".BucketBits": 4}[name]
    sources = {file: source_text(file) for file in STYLES["bucket_portable"].sources}
    sources["kernel.sv"] = text.replace(change, f"{name}({wrong})")
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
@pytest.mark.parametrize("spec", [SPECS[1], SPECS[-1]], ids=["one lane", "two lanes"])
def test_both_yosys_front_ends_read_it(spec):
    files = {name: source_text(name) for name in STYLES["bucket"].sources}
    files["kernel.sv"] = kernel_text(spec, "kernel", "bucket")
    names = " ".join(files)
    check = "hierarchy -check -top kernel\nproc\ncheck -assert\n"
    run(f"read_verilog -lib +/xilinx/cells_sim.v\nread_verilog -sv {names}\n{check}", files)
    portable = kernel_text(spec, "kernel", "bucket_portable")
    files["kernel.sv"] = portable  # slang needs every cell's declaration, so it reads this one
    models = cell_models(STYLES["bucket"].primitives)
    files |= models
    names = " ".join(files)
    run(f"read_slang --threads 1 --top kernel {names}\n{check}", files)


def test_manifest_says_ports_and_cycles(tmp_path):
    spec = MacSpec("e4m3", "e4m3", 1, 256)
    bundle = generate(spec, tmp_path / "kernel", style="bucket")
    interface = bundle.manifest["interface"]
    assert bundle.style == "bucket"
    assert {port["name"]: port["direction"] for port in interface["ports"]}.items() >= {
        "last_i": "input",
        "ready_o": "output",
        "valid_o": "output",
    }.items()
    # 29 buckets: drain and clear, two cycles of flight.
    assert interface["latency_cycles"] == 32
    assert interface["gap_cycles"] == 60
    assert interface["abort_cycles"] == 31
    assert interface["cycles_per_dot"] == 316


@pytest.mark.parametrize("window", [0, 1, 2])
@pytest.mark.parametrize("pair", [("e3m1", "e3m1"), ("e4m3", "int8"), ("ue4m4", "e2m1")])
def test_a_bucket_holds_the_longest_dot_product_and_no_bit_more(pair, window):
    """By the definition: the largest sum in one bucket, in units of its least exponent."""
    spec = MacSpec(*pair, 1, 37)
    made = plan(spec, window)
    largest = 1
    for fmt in (spec.weight, spec.act):
        shift = max((1 << getattr(fmt, "exponent_bits", 0)) - 2, 0)
        largest *= max(-fmt.min_int, fmt.max_int) >> shift
    needed = 37 * largest << (1 << window) - 1
    assert 1 << made.bucket_bits - 2 <= needed <= 1 << made.bucket_bits - 1


def test_refusals_say_why():
    with pytest.raises(SpecError, match=r"two exponent bits.*allowed here: plain"):
        style_of("bucket", MacSpec("int4", "e1m2"))
    with pytest.raises(SpecError, match="use overflow wrap"):
        style_of("bucket", MacSpec("e3m2", "e3m2", overflow="saturate"))
    assert "bucket" in {style.name for style in fitting(MacSpec("e3m2", "int4"))}


@pytest.mark.synth
def test_price_of_core_and_sequencer():
    spec = headroom_spec("e3m1", "e3m1")
    assert spec.accumulator.width == 25
    cost = bucket_cost(spec)
    assert cost.core_luts <= 28
    assert cost.luts - cost.core_luts == cost.unit.lut_sites / 16
    assert cost.luts <= 30
    assert (cost.beats, cost.cycles) == (256, 284)
    with pytest.raises(SpecError, match="has no drain"):
        bucket_cost(spec, "plain")
