# SPDX-License-Identifier: Apache-2.0
"""The farm in Verilator: right kernels pass, and each injected fault is found and told."""

from __future__ import annotations

import shutil

import pytest

import sim
from hw.generate import kernel_text
from hw.library import source_text
from hw.styles import STYLES
from hwquant import cache, codec
from hwquant.errors import CacheError, InputError, ToolError
from hwquant.mac import MacSpec
from sim import build, farm_top, toolchain
from sim.build import simulator
from sim.designs import design_of_spec, designs_of_specs
from sim.engine import verify_designs
from sim.kernels import Design, Kernel
from sim.replay import play, replay, save_failure

pytestmark = pytest.mark.sim

STEPS = 4096

MIXED = [
    MacSpec("e2m1", "int4", 4, 64, "auto", "wrap"),
    MacSpec("int8", "int8", 1, 256, 22, "saturate"),
    MacSpec("e7m0", "e7m0", 2, 64, 261, "saturate"),
    MacSpec("e6m1", "uint4", 3, 64, 66, "wrap"),
    MacSpec("uint8", "uint8", 16, 256, 12, "saturate"),
    MacSpec("int2", "ue2m2", 64, 128, 2, "saturate"),
    MacSpec("e4m3fn", "e5m2ieee", 1, 64, 1024, "wrap"),
    MacSpec("int4n", "e0m3", 5, 64, 3, "wrap"),
]


def test_mixed_formats_lanes_widths_and_overflow_modes_have_no_mismatch():
    report = sim.verify(MIXED, seed=7, steps=STEPS)
    report.raise_for_mismatch()
    assert report.kernels == len(MIXED)
    assert report.products == sum(len(s.weight.codes) * len(s.act.codes) for s in MIXED)
    assert all(result.mac_steps >= STEPS for result in report.results)
    assert {r.kernel.spec for r in report.results} == set(MIXED)
    assert next(r for r in report.results if r.kernel.spec == MIXED[1]).rails > 100


# Each fault is logic around a good kernel.  Delayed by the latency of two enabled cycles:
# valid, clear, weight and activation as w2, a2; `good_acc`, `good_valid` are the kernel's outputs.
SPEC = MacSpec("e2m1", "e2m1", 1, 64, 12, "saturate")
PAIR = (5, 12)  # 3 * -2 in steps of a half: codes of one product
FAULTS = {
    "none": ("good_acc", "good_valid"),
    "one bit for one code pair": (
        f"(w2 == 4'd{PAIR[0]} && a2 == 4'd{PAIR[1]}) ? good_acc ^ 12'd1 : good_acc",
        "good_valid",
    ),
    "upper rail one too low": ("(good_acc == 12'h7ff) ? 12'h7fe : good_acc", "good_valid"),
    "lower rail one too high": ("(good_acc == 12'h800) ? 12'h801 : good_acc", "good_valid"),
    "sign": ("(w2 == 4'd9) ? -good_acc : good_acc", "good_valid"),
    "no result for one pair": ("good_acc", "good_valid && !(w2 == 4'd3 && a2 == 4'd3)"),
    "a result for no beat": ("good_acc", "good_valid || w2 == 4'd3"),
    "one cycle late": ("late_acc", "late_valid"),
}


def faulty(name: str, acc: str, valid: str) -> str:
    """Return a kernel called ``name`` with logic around a good one."""
    good = kernel_text(SPEC, f"good_{name}")
    return f"""{good}
module {name} (
  input logic clk_i, rst_i, en_i, valid_i, clear_i, input logic [3:0] weight_i, act_i,
  output logic valid_o, output logic [11:0] acc_o
);
  logic [11:0] good_acc, late_acc;
  logic good_valid, late_valid;
  logic [3:0] w1, a1, w2, a2;
  good_{name} u_good (.*, .valid_o(good_valid), .acc_o(good_acc));
  always_ff @(posedge clk_i) begin
    if (en_i) {{w1, a1, w2, a2}} <= {{weight_i, act_i, w1, a1}};
    if (en_i) {{late_acc, late_valid}} <= {{good_acc, good_valid}};
    if (rst_i) late_valid <= 1'b0;
  end
  assign acc_o = {acc};
  assign valid_o = {valid};
endmodule
"""


@pytest.fixture(scope="module")
def faults():
    kernels = tuple(Kernel(SPEC, f"fault_{i}", 2) for i in range(len(FAULTS)))
    sources = {file: source_text(file) for file in STYLES["plain"].sources}
    sources["faults.sv"] = "\n".join(
        faulty(kernel.name, *fault) for kernel, fault in zip(kernels, FAULTS.values(), strict=True)
    )
    report = verify_designs([Design(kernels, sources)], steps=STEPS)
    return dict(zip(FAULTS, report.results, strict=True))


def test_the_kernel_without_a_fault_passes_beside_faulty_ones(faults):
    assert faults["none"].mismatches == 0
    assert not faults["none"].failures


def test_one_wrong_bit_of_one_code_pair_is_told_with_its_codes(faults):
    result = faults["one bit for one code pair"]
    first = result.failures[0]
    assert (first.stage, first.weight, first.act) == ("products", PAIR[:1], PAIR[1:])
    product = codec.decode(SPEC.weight, PAIR[0]) * codec.decode(SPEC.act, PAIR[1])
    assert (first.expected, first.got) == (product, product ^ 1)
    # Exactly one product, and in the streams exactly the beats of this pair.
    assert result.failures[1].stage == "streams"
    assert all((f.weight, f.act) == (PAIR[:1], PAIR[1:]) for f in result.failures)
    assert str(PAIR[0]) in first.describe()
    assert f"expected {product}, got {product ^ 1}" in first.describe()


@pytest.mark.parametrize(
    ("fault", "expected", "got"),
    [("upper rail one too low", 2047, 2046), ("lower rail one too high", -2048, -2047)],
)
def test_a_wrong_rail_is_found_by_the_streams_alone(faults, fault, expected, got):
    result = faults[fault]
    assert result.mismatches > 50
    assert {f.stage for f in result.failures} == {"streams"}
    assert {(f.expected, f.got) for f in result.failures} == {(expected, got)}


def test_a_sign_error_of_one_weight_code_is_found(faults):
    assert {f.weight for f in faults["sign"].failures} == {(9,)}
    assert all(f.expected == -f.got for f in faults["sign"].failures)


def test_a_missing_result_and_a_surplus_result_are_found(faults):
    missing = faults["no result for one pair"].failures[0]
    assert (missing.weight, missing.act, missing.got) == ((3,), (3,), None)
    surplus = faults["a result for no beat"]
    assert surplus.mismatches > 0
    assert surplus.failures[0].expected is None
    assert surplus.failures[0].got is not None
    assert faults["one cycle late"].mismatches > STEPS // 2


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        # the accumulator is not cleared / does not freeze / keeps beats through a reset
        ("hq_acc.sv", "if (rst_i || (en_i && clear_i)) acc_q <= '0;", "if (rst_i) acc_q <= '0;"),
        ("hq_acc.sv", "if (en_i && valid_i) acc_o <= acc_d;", "if (valid_i) acc_o <= acc_d;"),
        ("hq_mac.sv", "if (rst_i) valid_q <= 1'b0;\n    else if", "if"),
    ],
)
def test_faults_in_clear_enable_and_reset_are_found(file, right, wrong):
    design = design_of_spec(SPEC)
    assert right in design.sources[file]
    sources = dict(design.sources) | {file: design.sources[file].replace(right, wrong)}
    report = verify_designs([Design(design.kernels, sources)], steps=STEPS)
    assert report.mismatches > 0
    with pytest.raises(sim.MismatchError, match="expected"):
        report.raise_for_mismatch()


def test_rtl_that_ends_the_simulation_is_an_error_not_a_pass():
    design = design_of_spec(SPEC)
    text = design.sources["kernels.sv"].replace(
        "endmodule", "  always @(posedge clk_i) if (valid_o) $finish;\nendmodule"
    )
    broken = Design(design.kernels, {**design.sources, "kernels.sv": text})
    with pytest.raises(ToolError, match=r"simulation|testbench"):
        verify_designs([broken], steps=STEPS)


def test_rtl_that_does_not_compile_is_an_error_with_its_place():
    design = design_of_spec(SPEC)
    broken = Design(design.kernels, {**design.sources, "hq_acc.sv": "module hq_acc ("})
    with pytest.raises(ToolError, match=r"hq_acc\.sv"):
        verify_designs([broken], steps=STEPS)


def test_a_saved_failure_replays_alone_with_a_waveform(tmp_path, faults):
    kernel = Kernel(SPEC, "fault_1", 2)
    sources = {file: source_text(file) for file in STYLES["plain"].sources}
    fault = FAULTS["one bit for one code pair"]
    sources["faults.sv"] = faulty("fault_1", *fault)
    failure = faults["one bit for one code pair"].failures[1]
    again = play(Design((kernel,), sources), failure.rows, waves=tmp_path / "out.vcd")
    assert again.mismatches >= 1
    # The fault also moves the result where no beat comes; such errors belong to no beat.
    last = [error for error in again.errors if error["beat"] >= 0][-1]
    assert (last["expected"], last["got"]) == (failure.expected, failure.got)
    vcd = (tmp_path / "out.vcd").read_text()
    assert "$enddefinitions" in vcd
    assert " acc_o " in vcd
    # Only this dot product: the trace ends a few cycles after its last row.
    end = max(int(line[1:]) for line in vcd.splitlines() if line.startswith("#"))
    assert end <= 2 * (len(failure.rows) + 12)
    # The library's kernel has no such fault.
    outcome = replay(save_failure(failure, tmp_path / "failure.json"))
    assert (outcome.mismatches, outcome.waves) == (0, None)
    assert outcome.compared > 0


@pytest.fixture
def cached_cache(private_cache):
    """Give a private cache the shared compiled runtime, so that tests need not compile it."""
    runtime = build._runtime(toolchain.find(), trace=False)
    target = private_cache / runtime.parent.name / runtime.name
    if not target.exists():
        shutil.copytree(runtime, target)
    return private_cache


def test_a_damaged_cached_build_is_built_again(cached_cache, capfd):
    assert sim.verify(SPEC, steps=64).mismatches == 0
    (program,) = cached_cache.glob(f"farm/*/{farm_top.TOP}")
    raw = bytearray(program.read_bytes())
    for damage in (raw[: len(raw) // 2], raw[:-1] + bytes([raw[-1] ^ 1])):
        program.write_bytes(damage)
        assert sim.verify(SPEC, steps=64).mismatches == 0
        assert "damaged; building it again" in capfd.readouterr().err
        assert len(program.read_bytes()) == len(raw)
    assert not [p for p in (cached_cache / "farm").iterdir() if p.name.startswith(".")]


def test_the_build_depends_on_the_sources_and_is_found_again(cached_cache):
    sim.verify(SPEC, steps=64)
    (first,) = (cached_cache / "farm").iterdir()
    stamp = (first / farm_top.TOP).stat().st_mtime_ns
    sim.verify(SPEC, steps=128, seed=3)
    assert list((cached_cache / "farm").iterdir()) == [first]
    assert stamp == (first / farm_top.TOP).stat().st_mtime_ns


def test_a_missing_compiler_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"g\+\+ was not found on PATH; install it"):
        sim.verify(SPEC, steps=64)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match="no-such-compiler"):
        toolchain.find()


def test_a_cache_that_cannot_be_written_is_a_cache_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="HWQUANT_CACHE"):
        simulator({"a.sv": "module a; endmodule"}, "a", visible="`verilator_config\n")
    assert cache.root() == tmp_path / "file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"steps": 0}, "steps 0"), ({"seed": -1}, "seed -1")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        sim.verify(SPEC, **arguments)
    with pytest.raises(InputError, match="nothing to verify"):
        sim.verify([])


def test_specs_are_grouped_without_loss_into_farms_of_bounded_size():
    specs = [MacSpec("int4", "int4", lanes, acc=acc) for lanes in (1, 64) for acc in range(2, 130)]
    designs = list(designs_of_specs([*specs, *specs]))
    assert [k.spec for d in designs for k in d.kernels] == sorted(specs, key=lambda s: s.lanes)
    assert all(len(d.kernels) <= 100 for d in designs)
    assert all(sum(k.spec.lanes for k in d.kernels) <= 512 for d in designs)
