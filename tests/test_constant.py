# SPDX-License-Identifier: Apache-2.0
"""Constant kernels: exact at every level, in Verilator, as netlists; faults are found."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import subprocess

import numpy as np
import pytest

from costmodel.constant import constant_price, random_matrix
from hw.constant import MatVecSpec, build, constant_name, constant_text, generate_constant
from hw.constant.design import Chain
from hw.constant.emit import SOURCES, constant_sources
from hw.constant.heap import Heap, Plan, lay
from hw.constant.kernel import ConstantBundle, is_constant_folder, spec_from_json, spec_to_json
from hw.constant.share import digits, share
from hw.manifest import MANIFEST
from hw.yosys import run
from hwquant import codec
from hwquant.errors import FormatError, InputError, SpecError
from hwquant.formats import parse
from sim.constant import (
    constant_design,
    verify_constant_design,
)
from sim.report import MismatchError
from sim.toolchain import find
from sim.unit import mapped

PAIRS = [
    ("int4", "int4"), ("int4n", "uint4"), ("int2", "uint1"), ("int8", "int8"), ("uint3", "uint2"),
    ("e2m1", "int4"), ("e2m1", "e2m1"), ("e3m2", "ue2m2"), ("e4m3fn", "int4"), ("int4", "e4m3"),
    ("e5m2", "e5m2ieee"), ("e0m3", "e0m3"), ("int3", "e3m0"), ("pow4a0.75f6", "int4"),
]  # fmt: skip


def matrix(weight, act, outputs, inputs, seed=0, *, bias=True):
    """Return a kernel with random codes, a row of zeros among them, and random biases."""
    rng = np.random.default_rng(seed)
    codes = np.array(parse(weight).codes)[
        rng.integers(0, len(parse(weight).codes), (outputs, inputs))
    ]
    if outputs > 2:
        codes[1] = 0
    return MatVecSpec(codes, weight, act, rng.integers(-300, 300, outputs) if bias else None)


def vectors(spec, count, seed=1):
    legal = np.array(spec.act.codes)
    return legal[np.random.default_rng(seed).integers(0, len(legal), (count, spec.inputs))]


def by_hand(spec, row):
    """Return the outputs for one vector of codes, in plain Python from the scalar codec."""
    x = [codec.decode(spec.act, int(code)) for code in row]
    return [
        sum(codec.decode(spec.weight, w) * v for w, v in zip(ws, x, strict=True)) + b
        for ws, b in zip(spec.codes, spec.bias, strict=True)
    ]


@pytest.mark.parametrize("pair", PAIRS)
def test_dot_is_the_sum_of_decoded_products(pair):
    spec = matrix(*pair, 3, 5)
    x = vectors(spec, 20)
    assert [list(map(int, y)) for y in spec.dot(x)] == [by_hand(spec, row) for row in x]


def test_every_range_is_reached_and_no_wider():
    spec = matrix("int4", "uint4", 4, 3)
    every = spec.dot(np.array(list(itertools.product(range(16), repeat=3))))
    assert [(int(y.min()), int(y.max())) for y in every.T] == list(spec.ranges)


def test_digits_are_canonical():
    for value in range(-1000, 1000):
        found = digits(value)
        assert sum(sign << shift for shift, sign in found) == value
        places = [shift for shift, _ in found]
        assert all(b - a > 1 for a, b in itertools.pairwise(places))


def test_shared_sums_are_the_matrix():
    spec = matrix("int6", "int4", 12, 10)
    shared = share(spec.weights, (-8, 7), 4)
    forms = [np.eye(spec.inputs, dtype=int)[i] for i in range(spec.inputs)]
    for p in shared.pairs:
        first, second = forms[p.first] << p.first_shift, forms[p.second] << p.second_shift
        forms.append(first + p.sign * second)
    got = [sum((g * (forms[n] << s) for n, s, g in row), 0 * forms[0]) for row in shared.rows]
    assert shared.pairs
    assert np.array_equal(got, spec.weights)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("levels", [1, 3])
def test_the_netlist_is_exact(pair, levels):
    spec = matrix(*pair, 6, 9)
    design = build(spec, levels=levels)
    x = vectors(spec, 200)
    assert np.array_equal(design.evaluate(x), spec.dot(x))


def test_the_netlist_is_exact_on_odd_shapes():
    rng = random.Random(4)
    for seed in range(40):
        weight, act = rng.choice(PAIRS[:8])
        spec = matrix(weight, act, rng.randint(1, 5), rng.randint(1, 7), seed, bias=seed % 2 == 0)
        x = vectors(spec, 50, seed)
        assert np.array_equal(build(spec).evaluate(x), spec.dot(x)), f"{seed} {weight} {act}"


def test_a_row_takes_what_it_says_and_leaves_a_bit_a_column():
    rng = random.Random(5)
    for _ in range(50):
        heap, top, total = Heap(), 12, 0
        values = {}
        for column in range(rng.randint(1, 8)):
            for _ in range(rng.randint(0, 9)):
                bit = len(values)
                values[bit] = rng.randrange(2)
                total += values[bit] << column
                heap.add(column, rng.randrange(3), bit)
        plain = dict.fromkeys(range(10_000), True)
        for row in lay(heap, top, Plan(1.4, 0.0), plain):
            assert all(len(bits) <= 3 for bits in row.bits)
            result = sum(values[b] for b in row.low)
            result += sum(values[b] << at for at, bits in enumerate(row.bits) for b in bits)
            for at in range(row.width + row.extras):
                bit = len(values)
                values[bit] = result >> at & 1
                heap.add(row.column + at, row.stage + 1, bit)
        left = sum(values[b] << c for c, bits in heap.columns.items() for _, b in bits)
        assert heap.settled
        assert left % (1 << top) == total % (1 << top)


SIMULATED = [
    matrix("int4", "int4", 5, 12),
    matrix("e2m1", "e4m3", 3, 4),
    matrix("e2m1", "e2m1", 3, 4),
    matrix("int2", "uint1", 3, 9),
    matrix("int8", "int8", 3, 3),
    MatVecSpec([[0]], "int4", "int4"),
    MatVecSpec([[1]], "int4", "int4"),
    MatVecSpec([[15]], "int4", "int4", [3]),
    MatVecSpec([[3, 0]], "int4", "uint2", [-3]),
]


@pytest.mark.sim
@pytest.mark.parametrize(("levels", "primitive"), [(1, True), (3, False)])
def test_verilator_agrees(levels, primitive):
    design = constant_design(SIMULATED, levels=levels, primitive=primitive)
    report = verify_constant_design(design, steps=1500)
    report.raise_for_mismatch()
    assert [r.exhaustive for r in report.results] == [
        False,
        False,
        True,
        True,
        *[False],
        *[True] * 4,
    ]
    assert all(result.checks > 1000 for result in report.results)


@pytest.mark.sim
@pytest.mark.synth
def test_the_mapped_netlist_agrees():
    design = mapped(constant_design([SIMULATED[0], SIMULATED[3]]))
    verify_constant_design(design, steps=500).raise_for_mismatch()


@pytest.mark.sim
def test_one_flipped_weight_bit_is_found():
    good = SIMULATED[0]
    codes = [list(row) for row in good.codes]
    codes[3][7] ^= 1
    wrong = MatVecSpec(codes, good.weight, good.act, good.bias)
    design = constant_design([wrong])
    unit = dataclasses.replace(design.units[0], spec=good)
    if max(wrong.out_bits) != max(good.out_bits):
        raise AssertionError("choose a weight that leaves the width as it is")
    report = verify_constant_design(dataclasses.replace(design, units=(unit,)), steps=500)
    assert report.mismatches > 100
    assert {failure.output for failure in report.results[0].failures} == {3}
    with pytest.raises(MismatchError, match="output 3: expected"):
        report.raise_for_mismatch()


@pytest.mark.sim
def test_a_late_result_is_found():
    design = constant_design([SIMULATED[3]])
    unit = dataclasses.replace(design.units[0], latency=design.units[0].latency + 1)
    report = verify_constant_design(dataclasses.replace(design, units=(unit,)), steps=200)
    assert report.mismatches


def lint(design, folder):
    for name, text in design.sources.items():
        (folder / name).write_text(text)
    tools = find()
    command = [tools.verilator, "--lint-only", "-Wall", "-Wno-DECLFILENAME"]
    environment = os.environ | {"VERILATOR_ROOT": str(tools.verilator_root)}
    command += ["--top-module", "unit_0", *design.sources]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.sim
@pytest.mark.parametrize("primitive", [True, False])
def test_lint_is_clean(primitive, tmp_path):
    for index, spec in enumerate(SIMULATED):
        folder = tmp_path / str(index)
        folder.mkdir()
        found = lint(constant_design([spec], primitive=primitive), folder)
        assert found.returncode == 0, f"{index}: {found.stderr}"


@pytest.mark.synth
def test_the_other_front_end_reads_it():
    sources = constant_design(SIMULATED[:2]).sources
    files = {n: t for n, t in sources.items() if not n.startswith("cell_")}
    library = "read_verilog -lib +/xilinx/cells_sim.v\n"  # without the parameters of its cells
    options = "--threads 1 -Wno-undefined-param-override"
    for top in ("unit_0", "unit_1"):
        read = f"read_slang {options} --top {top} {' '.join(files)}\n"
        run(f"{library}{read}hierarchy -check -top {top}\nproc\n", files)


ROWS, TABLES = matrix("int4", "int4", 12, 12), matrix("e2m1", "e2m1", 3, 4)
ILLEGAL = {
    "hq_const_row: Extras must be 0..2": (ROWS, ".Extras(2)", ".Extras(3)"),
    "hq_const_row: Extend must be 1 with Extras of 2": (
        ROWS, ".Extras(2), .Extend(1)", ".Extras(2), .Extend(0)",
    ),
    "hq_const_table: Inputs must be 1..8": (TABLES, ".Inputs(4)", ".Inputs(9)"),
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("said", ILLEGAL)
def test_illegal_parameters_stop_elaboration(said, tmp_path):
    spec, good, bad = ILLEGAL[said]
    design = constant_design([spec])
    text = design.sources["units.sv"]
    assert good in text
    sources = {**design.sources, "units.sv": text.replace(good, bad, 1)}
    found = lint(dataclasses.replace(design, sources=sources), tmp_path)
    assert found.returncode != 0
    assert said in found.stderr


def test_every_source_is_used_by_some_kernel():
    used = {name for spec in SIMULATED for name in constant_sources(build(spec))}
    assert used == set(SOURCES)


def test_generation_is_byte_identical_and_reads_back(tmp_path):
    spec = SIMULATED[0]
    bundle = generate_constant(spec, tmp_path / "a")
    again = generate_constant(spec, tmp_path / "b")
    names = [*bundle.files, MANIFEST, "files.f"]
    assert [(tmp_path / "a" / n).read_bytes() for n in names] == [
        (tmp_path / "b" / n).read_bytes() for n in names
    ]
    assert again == dataclasses.replace(bundle, folder=tmp_path / "b")
    assert bundle.spec == spec
    assert bundle.manifest["interface"]["initiation_interval"] == 1
    assert bundle.latency_cycles == build(spec).latency
    assert is_constant_folder(tmp_path / "a")
    text = (tmp_path / "a" / bundle.files[-1]).read_text()
    assert "acc_o[o] = sum over i of weight[o][i] * act_i[i] + bias[o]" in text
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_damaged_folders_are_refused(tmp_path):
    bundle = generate_constant(SIMULATED[3], tmp_path / "k")
    top = tmp_path / "k" / bundle.files[-1]
    top.write_text(top.read_text().replace("u_valid0", "u_valid9"))
    with pytest.raises(InputError, match="does not match its hash"):
        ConstantBundle.load(tmp_path / "k")
    record = json.loads((tmp_path / "k" / MANIFEST).read_text())
    record["spec"]["codes"][0][0] = 99
    (tmp_path / "k" / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(InputError, match="code 99 has no value"):
        ConstantBundle.load(tmp_path / "k")
    assert not is_constant_folder(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, 2], "int4", "int4"), r"shape \(2,\)"),
        (([[1.5]], "int4", "int4"), "float64"),
        ((np.zeros((1, 0), int), "int4", "int4"), "1 x 0 weights"),
        ((np.zeros((512, 512), int), "int4", "int4"), "65536 in all"),
        (([[16]], "int4", "int4"), "code 16 has no value in int4"),
        (([[8]], "int4n", "int4"), "code 8 has no value in int4n"),
        (([[1]], "int4", "int99"), "int99"),
        (([[1]], "int4", "int4", [1, 2]), "one integer for each of the 1 outputs"),
        (([[1]], "int4", "int4", [0.5]), "one integer for each"),
    ],
)
def test_impossible_specs_are_refused(arguments, said):
    with pytest.raises((SpecError, FormatError), match=said):
        MatVecSpec(*arguments)


def test_wrong_activations_are_refused():
    spec = SIMULATED[0]
    with pytest.raises(SpecError, match=r"allowed \(\.\.\., 12\)"):
        spec.dot([1, 2])
    with pytest.raises(FormatError, match="code 16"):
        spec.dot([16] * 12)
    with pytest.raises(SpecError, match="kernel name"):
        constant_text(build(spec), "Bad-Name")
    assert constant_name(spec) == constant_name(MatVecSpec(spec.codes, "int4", "int4", spec.bias))


@pytest.mark.synth
def test_sites_beat_plain_sums_and_agree_with_the_estimate():
    """A row's sites are exact; da4ml's netlist of a like matrix takes 3.7 sites per weight."""
    spec = random_matrix("int4 gaussian", 16, 12, "int4")
    price = constant_price(spec, synth=True)
    design = build(spec)
    rows = sum(item.row.sites for item in design.items if isinstance(item, Chain))
    assert rows < price["lut_sites"] <= 1.05 * design.sites
    assert price["sites_per_weight"] < 2.6
    assert price["lutram"] == 0
    # Without synthesis: flip-flops exact, LUT sites as near as the formula claims.
    formula = constant_price(spec)
    assert (formula["source"], price["source"]) == ("formula", "synthesis")
    assert formula["ff"] == price["ff"]
    assert abs(formula["lut_sites"] - price["lut_sites"]) <= 0.05 * price["lut_sites"]
