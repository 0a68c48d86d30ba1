# SPDX-License-Identifier: Apache-2.0
"""Proofs: library kernels are proved, injected faults refuted by vectors that really are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import sim
from hw.generate import generate
from hwquant import codec
from hwquant.errors import InputError, ToolError
from hwquant.mac import MacSpec
from sim.designs import design_of_spec
from sim.kernels import Control, Design, Kernel
from sim.prove import STYLES, prove, prove_designs
from sim.prove import engine as prove_module
from sim.prove.evaluate import evaluate
from sim.prove.golden import golden_text
from sim.prove.netlist import read
from sim.prove.sums import normalize
from sim.prove.terms import Dag
from sim.replay import load_failure, play, save_failure
from sim.vectors import CLEAR, ENABLE, RESET, VALID

pytestmark = pytest.mark.synth

PROVED = [
    *(MacSpec("e2m1", "e2m1", 4, 64, 15, overflow) for overflow in ("wrap", "saturate")),
    *(MacSpec("int8", "int8", 1, 64, 22, overflow) for overflow in ("wrap", "saturate")),
    *(MacSpec("e4m3", "e4m3", 1, 64, 39, overflow) for overflow in ("wrap", "saturate")),
    MacSpec("int4n", "ue2m2", 3, 64, 7, "saturate"),  # narrower than a product
    MacSpec("e4m3fn", "e5m2ieee", 2, 64, 62, "saturate"),  # codes without a value
    MacSpec("uint8", "int4", 7, 64, "auto", "wrap"),
    MacSpec("e4m3", "int4", 1, 64, 1024, "wrap"),  # the widest accumulator
]

ACC = "hq_acc.sv"
CLEARS = "if (rst_i || (en_i && clear_i)) acc_q <= '0;"
RAIL = "{wide[WideBits-1], {AccBits - 1{~wide[WideBits-1]}}}"
FITS = "assign acc_d = fits ? wide[AccBits-1:0]"
SIGN = "assign neg_o = weight_neg ^ act_neg;"
HELD = "always_ff @(posedge clk_i) begin\n    if (en_i && valid_i) acc_o"
FAULTS = {
    "rail one too low": (ACC, RAIL, RAIL.replace("- 1{", "- 2{").replace("}}}", "}}, 1'b0}")),
    "dropped carry into bit 2": (
        ACC,
        FITS,
        FITS + " ^ (AccBits'(acc_q[2:0] == 3'b111 && sum_i[2:0] == 3'd1) << 3)",
    ),
    "one sum in 65536": (ACC, FITS, f"{FITS} ^ AccBits'(wide[15:0] == 16'h2345)"),
    "clear misses": (ACC, CLEARS, "if (rst_i) acc_q <= '0;"),
    "reset misses": (ACC, CLEARS, "if (en_i && clear_i) acc_q <= '0;"),
    "reset misses one value": (
        ACC,
        CLEARS,
        "if ((rst_i && acc_q != 1155) || (en_i && clear_i)) acc_q <= '0;",
    ),
    "does not freeze": (ACC, "if (en_i && valid_i) acc_o", "if (valid_i) acc_o"),
    "result not held": (ACC, "if (en_i && valid_i) acc_o", "if (en_i) acc_o"),
    "one pair of codes": (
        "hq_term.sv",
        SIGN,
        SIGN[:-1] + " ^ (weight_i == WeightBits'(5) && act_i == ActBits'(11));",
    ),
}
SPECS = {
    "int8 x int8": MacSpec("int8", "int8", 2, 64, 20, "saturate"),
    "e4m3 x e2m1": MacSpec("e4m3", "e2m1", 1, 64, 26, "saturate"),
}


def edited(spec: MacSpec, file: str, right: str, wrong: str) -> Design:
    design = design_of_spec(spec)
    assert design.sources[file].count(right) == 1
    sources = {**design.sources, file: design.sources[file].replace(right, wrong)}
    return Design(design.kernels, sources)


def expected_outputs(spec: MacSpec, latency: int, rows) -> list[int | None]:
    """Return each row's result by MacSpec, dot product by dot product; written apart from sim."""
    results: list[int | None] = []
    waiting: list[list[int | None]] = []  # [accumulator, enabled cycles left]
    codes: tuple[list[int], list[int]] = ([], [])
    for control, weight, act in rows:
        if control & RESET:
            waiting, codes = [], ([], [])
            results.append(None)
            continue
        if control & ENABLE:
            waiting = [[acc, left - 1] for acc, left in waiting if left]
            if control & VALID:
                if control & CLEAR:
                    codes = ([], [])
                codes[0].extend(weight)
                codes[1].extend(act)
                waiting.append([int(spec.accumulate(*codes)[-1]), latency - 1])
        results.append(next((acc for acc, left in waiting if not left), None))
    return results


@pytest.mark.parametrize("spec", PROVED, ids=lambda s: f"{s.weight}x{s.act}x{s.lanes}{s.overflow}")
def test_library_kernels_are_proved(spec, private_cache):
    report = prove(spec, jobs=1)
    (proof,) = report.proofs
    assert proof.status == "proved", proof.describe()
    assert proof.products == "enumerated"
    # The kernel keeps what the next beat is added to; no name was given to the prover.
    assert any("acc_q" in line and "u_golden.start" in line for line in proof.invariant)
    assert list((private_cache / "prove").iterdir())


@pytest.mark.usefixtures("private_cache")
@pytest.mark.parametrize("pair", [("cb2f1_-3_0_1_4", "int3"), ("int2", "cb2f1_-3_0_1_4")])
def test_tiny_formats_with_a_value_for_every_code_are_proved(pair):
    (proof,) = prove(MacSpec(*pair), jobs=1).proofs
    assert proof.status == "proved", proof.describe()


def test_all_styles_hold_each_overflow_mode_and_more_than_one_kind_of_format():
    assert {s.overflow.value for s in STYLES} == {"wrap", "saturate"}
    assert {"int8", "e2m1", "e4m3", "e4m3fn"} <= {str(s.weight) for s in STYLES}
    assert max(s.lanes for s in STYLES) == 16


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refuted_by_a_vector_that_is_wrong(fault, spec, private_cache):
    assert private_cache
    report = prove_designs([edited(spec, *FAULTS[fault])], jobs=1)
    (proof,) = report.proofs
    assert proof.status == "refuted", proof.describe()
    failure = proof.failure
    assert failure is not None
    wanted = expected_outputs(spec, 2, failure.rows)
    if failure.stage == "proof":
        assert failure.expected == wanted[-1]
    else:
        assert failure.expected == next(x for x in reversed(wanted) if x is not None)
    assert failure.got != failure.expected
    assert f"expected {failure.expected}, got {failure.got}" in failure.describe()
    with pytest.raises(sim.MismatchError, match="expected"):
        report.raise_for_refutation()
    if fault == "one pair of codes":
        assert (5, 11) in set(zip(failure.weight, failure.act, strict=True))
        values = (codec.decode(spec.weight, 5), codec.decode(spec.act, 11))
        assert values[0] * values[1] != 0
    if fault == "rail one too low":
        assert abs(failure.expected) >= spec.accumulator.max_int
    if fault == "one sum in 65536":
        assert failure.expected & 0xFFFF == 0x2345


@pytest.mark.sim
def test_a_refutation_replays_in_the_simulator(tmp_path):
    spec = SPECS["int8 x int8"]
    design = edited(spec, *FAULTS["one sum in 65536"])
    failure = prove_designs([design]).proofs[0].failure
    again = play(design, load_failure(save_failure(failure, tmp_path / "f.json")).rows)
    assert again.mismatches
    first = again.errors[0]
    assert (first["expected"], first["got"]) == (failure.expected, failure.got)


def test_products_are_also_proved_by_the_solver(private_cache):
    assert private_cache
    report = prove(MacSpec("e3m2", "int4", 2, 64, 20, "saturate"), products=True)
    assert (report.proofs[0].status, report.proofs[0].products) == ("proved", "proved")


def test_a_proof_beyond_its_limit_gives_up_and_is_not_cached(private_cache):
    report = prove(MacSpec("e5m2", "e5m2", 2, 64, 70, "saturate"), products=True, timeout=1.5)
    (proof,) = report.proofs
    assert proof.status == "gave up"
    assert "limit of 1.5 s CPU reached while" in proof.detail
    assert not (private_cache / "prove").exists()


def test_a_verdict_is_cached_by_content(private_cache, monkeypatch):
    spec = MacSpec("int3", "int3", 1, 64, 9)
    first = prove(spec).proofs[0]

    def never(*_, **__):
        raise AssertionError("proved again")

    with monkeypatch.context() as patch:
        patch.setattr(prove_module, "_run", never)
        assert prove(spec).proofs[0] == first
        changed = edited(spec, ACC, "// clamp, else wrap", "// clamp")
        with pytest.raises(AssertionError, match="proved again"):
            prove_designs([changed])
    (entry,) = (private_cache / "prove").iterdir()
    entry.write_text(entry.read_text().replace("proved", "rotten"))
    assert prove(spec).proofs[0].status == "proved"  # a damaged entry is not believed


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (HELD, HELD.replace("posedge", "negedge")),
        (HELD, "wire other = clk_i & en_i;\n  " + HELD.replace("clk_i", "other")),
        (f"{HELD} <= acc_d;\n  end", "always_latch if (en_i && valid_i) acc_o = acc_d;"),
        (
            f"always_ff @(posedge clk_i) begin\n    {CLEARS}",
            "always_ff @(posedge clk_i or posedge rst_i) begin\n    if (rst_i) acc_q <= '0;",
        ),
        ("module hq_acc", "module hq_acc_gone"),
    ],
    ids=["falling edge", "second clock", "latch", "asynchronous reset", "no module"],
)
def test_rtl_that_a_step_does_not_describe_is_an_error_not_a_pass(right, wrong, private_cache):
    assert private_cache
    with pytest.raises(ToolError):
        prove_designs([edited(MacSpec("int3", "int3", 1, 64, 9), ACC, right, wrong)])


def test_an_output_that_follows_an_input_at_once_is_not_proved(private_cache):
    assert private_cache
    right, wrong = "output logic valid_o", "output logic shown_o"
    design = edited(MacSpec("int3", "int3", 1, 64, 9), ACC, right, wrong)
    text = design.sources[ACC].replace("valid_o <=", "shown_o <=")
    mac = design.sources["hq_mac.sv"]
    mac = mac.replace("    .valid_o(valid_o),", "    .shown_o(shown),")
    mac = mac.replace(
        "  logic valid_q;", "  logic valid_q, shown;\n  assign valid_o = shown & ~rst_i;"
    )
    follows = Design(design.kernels, {**design.sources, ACC: text, "hq_mac.sv": mac})
    assert prove_designs([follows]).proofs[0].status == "refuted"


def test_a_kernel_with_other_ports_is_refused():
    design = design_of_spec(MacSpec("int3", "int3"))
    kernel = Kernel(design.kernels[0].spec, "other", 2, Control(holds=False))
    with pytest.raises(InputError, match="other ports"):
        prove_designs([Design((kernel,), design.sources)])


@pytest.mark.parametrize("pair", [("e3m2", "uint4"), ("e3m2ieee", "int4n"), ("e0m3", "e2m1")])
def test_the_golden_products_equal_the_codec_on_every_pair(pair):
    design = design_of_spec(MacSpec(*pair, 1, 64, 24))
    kernel = design.kernels[0]
    netlist = read(design, kernel)
    spec, dag = kernel.spec, netlist.dag
    pairs = np.array(
        list(product(range(1 << spec.weight.bits), range(1 << spec.act.bits))), np.uint64
    )
    names = ("product_1_0", "legal_1", "weight_1_0", "act_1_0")
    terms = dict(zip(names, map(netlist.golden, names), strict=True))
    variables = {terms["weight_1_0"]: pairs[:, 0], terms["act_1_0"]: pairs[:, 1]}
    values = evaluate(dag, [terms["product_1_0"], terms["legal_1"]], variables, len(pairs))
    width = dag.widths[terms["product_1_0"]]
    for index, (w, a) in enumerate(pairs.tolist()):
        legal = w in spec.weight.codes and a in spec.act.codes
        assert int(values[terms["legal_1"]][index]) == legal
        if legal:
            wanted = codec.decode(spec.weight, w) * codec.decode(spec.act, a)
            assert int(values[terms["product_1_0"]][index]) == wanted % (1 << width)


def test_the_golden_model_takes_no_parameter_from_the_rtl():
    text = golden_text(design_of_spec(MacSpec("e2m1", "int4")).kernels[0])
    assert "hq_mac" not in text
    assert "hq_decode" not in text


def test_sums_in_one_form_keep_their_value():
    """Random terms of the operators that sums are made of: old and new agree on random values."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        dag = Dag()
        bits = [dag.variable(f"b{i}", 1) for i in range(3)]
        words = [dag.variable(f"w{i}", int(rng.integers(2, 9))) for i in range(4)]
        ranges = {words[0]: (-2, 1), words[1]: (-1, 1)}
        terms = [*bits, *words]
        for _ in range(25):
            a, b = (terms[int(i)] for i in rng.integers(0, len(terms), 2))
            width = int(rng.integers(2, 14))
            kind = int(rng.integers(0, 6))
            if kind == 0:
                new = dag.make("bvadd", (dag.fit(a, width), dag.fit(b, width)))
            elif kind == 1:
                new = dag.make("bvsub", (dag.fit(a, width), dag.fit(b, width)))
            elif kind == 2:
                new = dag.make("concat", (a, b))
            elif kind == 3:
                high, low = sorted(map(int, rng.integers(0, dag.widths[a], 2)), reverse=True)
                new = dag.make("extract", (a,), (high, low))
            elif kind == 4:  # the adder with a carry below its operands
                one, carry = dag.constant(1, 1), bits[int(rng.integers(0, 3))]
                left = dag.make("concat", (dag.fit(a, width), one))
                right = dag.make("concat", (dag.fit(b, width), carry))
                total = dag.make("bvadd", (left, right))
                new = dag.make("extract", (total,), (width, 1))
            else:
                new = dag.make("bvneg", (a,))
            if dag.widths[new] <= 40:
                terms.append(new)
        count = 64
        variables = {b: rng.integers(0, 2, count).astype(np.uint64) for b in bits}
        for word in words:
            width = dag.widths[word]
            low, high = ranges.get(word, (-(1 << width - 1), (1 << width - 1) - 1))
            raw = rng.integers(low, high + 1, count)
            variables[word] = (raw & ((1 << width) - 1)).astype(np.uint64)
        new_terms = normalize(dag, terms, ranges)
        values = evaluate(dag, [*terms, *new_terms.values()], variables, count)
        for term in terms:
            assert np.array_equal(values[term], values[new_terms[term]])


def command(*arguments, cwd):
    """Run the installed command."""
    script = str(Path(sys.executable).with_name("hwquant"))
    return subprocess.run(
        [script, "prove", *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )


def test_the_command_proves_a_folder_and_refutes_it_when_edited(tmp_path, private_cache):
    assert private_cache
    bundle = generate(MacSpec("e2m1", "int4", 2, 64, 12, "saturate"), tmp_path / "rtl")
    good = command(bundle.folder, "--json", "--junit", tmp_path / "good.xml", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    result = json.loads(good.stdout)
    assert (result["kernels"], result["proved"], result["warnings"]) == (1, 1, [])
    assert "bitwuzla" in result["tools"]
    assert ET.fromstring((tmp_path / "good.xml").read_text()).get("failures") == "0"  # noqa: S314

    path = bundle.folder / ACC
    path.write_text(path.read_text().replace(CLEARS, "if (rst_i) acc_q <= '0;"))
    bad = command(bundle.folder, "--json", "--junit", tmp_path / "bad.xml", cwd=tmp_path)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["refuted"] == 1
    assert "expected" in bad.stderr
    assert "replay: hwquant verify " in bad.stderr
    assert load_failure(tmp_path / "hwquant-failure.json").kernel.name == bundle.name
    assert ET.fromstring((tmp_path / "bad.xml").read_text()).get("failures") == "1"  # noqa: S314


def test_giving_up_is_not_a_pass_unless_allowed(tmp_path, private_cache):
    assert private_cache
    options = ("--weight", "e5m2", "--act", "e5m2", "--products", "--timeout", "1")
    done = command(*options, "--json", "--junit", "p.xml", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["gave_up"] == 1
    assert "gave up" in done.stderr
    assert ET.fromstring((tmp_path / "p.xml").read_text()).get("errors") == "1"  # noqa: S314
    assert command(*options, "--allow-unknown", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of"),
        (("--weight", "int4"), "go together"),
        (("--weight", "int4", "--act", "int9"), "int9"),
        (("--weight", "int4", "--act", "int4", "--all-styles"), "give one of"),
        (("--all-styles", "--lanes", "2"), "--lanes cannot go with"),
        (("no-such-folder",), "no-such-folder"),
        ((".",), "manifest.json"),
        (("--weight", "int4", "--act", "int4", "--timeout", "0"), "timeout"),
        (("--weight", "int4", "--act", "int4", "--jobs", "0"), "jobs"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
